//! The way from many tasks to the committer: a bounded queue that is emptied in one go.
//!
//! Invariant: what one task sends arrives in the order in which it sent it; a sender that finds the queue full waits
//! without holding a thread. The committer sleeps until something comes or a deadline passes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Semaphore;

/// The queue.
pub(super) struct Inbox<T> {
    room: Semaphore,
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    waiting: Vec<T>,
    counted: usize,
    closed: bool,
}

/// What the committer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Something to do.
    Some,
    /// The deadline has passed.
    Nothing,
    /// Nothing waits, and nothing will come.
    Closed,
}

impl<T> Inbox<T> {
    /// For so many at once.
    pub fn new(bound: usize) -> Self {
        let state = State { waiting: Vec::new(), counted: 0, closed: false };
        Inbox { room: Semaphore::new(bound), state: Mutex::new(state), filled: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one when there is room; `Err` when the queue is closed.
    pub async fn send(&self, item: T) -> Result<(), T> {
        match self.room.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(item),
        }
        self.push(item, 1)
    }

    /// Adds one in any case: what the spool tells itself, whose number is bounded otherwise.
    pub fn note(&self, item: T) -> Result<(), T> {
        self.push(item, 0)
    }

    fn push(&self, item: T, counted: usize) -> Result<(), T> {
        let mut state = self.state();
        if state.closed {
            return Err(item);
        }
        state.waiting.push(item);
        state.counted += counted;
        let first = state.waiting.len() == 1;
        // Whoever wakes finds the lock free.
        drop(state);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// No more after this; what waits is still taken.
    pub fn close(&self) {
        self.state().closed = true;
        self.room.close();
        self.filled.notify_one();
    }

    /// Moves all that waits into `into`, which is empty; sleeps until there is something, or until the deadline.
    pub fn take(&self, into: &mut Vec<T>, until: Option<Instant>) -> Taken {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state = match until {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::Nothing;
                    }
                    self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        std::mem::swap(&mut state.waiting, into);
        let counted = std::mem::take(&mut state.counted);
        drop(state);
        self.room.add_permits(counted);
        Taken::Some
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn keeps_the_order_and_the_bound() {
        let inbox = Arc::new(Inbox::new(2));
        inbox.send(1).await.unwrap();
        inbox.send(2).await.unwrap();
        inbox.note(3).unwrap();
        let blocked = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.send(4).await }
        });
        tokio::task::yield_now().await;
        let mut taken = Vec::new();
        assert_eq!(inbox.take(&mut taken, None), Taken::Some);
        assert_eq!(taken, [1, 2, 3], "the fourth had no room");
        blocked.await.unwrap().unwrap();
        taken.clear();
        assert_eq!(inbox.take(&mut taken, None), Taken::Some);
        assert_eq!(taken, [4]);
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_and_takes_no_more() {
        let inbox = Inbox::new(2);
        let mut taken = Vec::new();
        assert_eq!(inbox.take(&mut taken, Some(Instant::now())), Taken::Nothing);
        inbox.send(1).await.unwrap();
        inbox.close();
        assert_eq!(inbox.send(2).await, Err(2));
        assert_eq!(inbox.note(3), Err(3));
        assert_eq!(inbox.take(&mut taken, None), Taken::Some);
        taken.clear();
        assert_eq!(inbox.take(&mut taken, None), Taken::Closed);
    }
}
