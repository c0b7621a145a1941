//! The replies in their order.
//!
//! In: replies as they are known. Out: octets for the wire in the order of the commands (RFC 2920 §3.2). The reply to a
//! transaction is known later than those to the commands after it: it has a slot, and what follows waits behind it.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use crate::reply::Reply;

/// Names a transaction whose reply is to come. Unique in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

#[derive(Debug)]
struct Slot {
    /// The transaction's reply, once it is known.
    reply: Option<Reply>,
    /// Octets of `held` that follow it, up to the next slot.
    after: usize,
}

/// Octets to be written, and octets that wait for a transaction's reply.
#[derive(Debug, Default)]
pub(super) struct Replies {
    pub(super) output: BytesMut,
    held: BytesMut,
    slots: VecDeque<Slot>,
    /// The ticket of the first slot.
    first: u64,
    /// Slots without a reply.
    open: usize,
}

impl Replies {
    /// A reply to the next command.
    pub(super) fn say(&mut self, reply: &Reply) {
        match self.slots.back_mut() {
            None => reply.write(&mut self.output),
            Some(slot) => {
                let before = self.held.len();
                reply.write(&mut self.held);
                slot.after += self.held.len() - before;
            }
        }
    }

    /// A place for the reply to a transaction.
    pub(super) fn reserve(&mut self) -> Ticket {
        self.slots.push_back(Slot { reply: None, after: 0 });
        self.open += 1;
        Ticket(self.first + (self.slots.len() as u64 - 1))
    }

    /// Puts a reply into its place; one for an unknown ticket, or a second one, is dropped.
    pub(super) fn complete(&mut self, ticket: Ticket, reply: Reply) {
        let index = ticket.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(slot) = index.and_then(|index| self.slots.get_mut(index)).filter(|slot| slot.reply.is_none()) else {
            return;
        };
        slot.reply = Some(reply);
        self.open -= 1;
        self.flush();
    }

    /// Moves what waits no more to the output.
    fn flush(&mut self) {
        while let Some(slot) = self.slots.front() {
            let Some(reply) = &slot.reply else { return };
            reply.write(&mut self.output);
            let after = slot.after.min(self.held.len());
            self.output.extend_from_slice(&self.held[..after]);
            self.held.advance(after);
            self.slots.pop_front();
            self.first += 1;
        }
        self.held.clear();
    }

    /// Transactions without a reply.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Transactions whose reply has not been moved to the output.
    pub(super) fn waiting(&self) -> usize {
        self.slots.len()
    }

    /// Octets that are kept.
    pub(super) fn octets(&self) -> usize {
        self.output.len() + self.held.len()
    }

    /// Gives back memory that holds nothing.
    pub(super) fn release(&mut self) {
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
        if self.slots.is_empty() {
            self.held = BytesMut::new();
            self.slots = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(replies: &mut Replies) -> String {
        String::from_utf8(replies.output.split().to_vec()).unwrap()
    }

    #[test]
    fn in_order_whatever_the_order_of_completion() {
        let mut replies = Replies::default();
        replies.say(&Reply::bare(250, "a"));
        let one = replies.reserve();
        replies.say(&Reply::bare(250, "b"));
        replies.say(&Reply::bare(250, "c"));
        let two = replies.reserve();
        let three = replies.reserve();
        replies.say(&Reply::bare(250, "d"));
        assert_eq!(text(&mut replies), "250 a\r\n");
        replies.complete(two, Reply::bare(250, "two"));
        assert_eq!(text(&mut replies), "");
        assert_eq!((replies.open(), replies.waiting()), (2, 3));
        replies.complete(one, Reply::bare(250, "one"));
        assert_eq!(text(&mut replies), "250 one\r\n250 b\r\n250 c\r\n250 two\r\n");
        replies.complete(two, Reply::bare(550, "again"));
        replies.complete(Ticket(99), Reply::bare(550, "never"));
        assert_eq!(text(&mut replies), "");
        replies.complete(three, Reply::bare(250, "three"));
        assert_eq!(text(&mut replies), "250 three\r\n250 d\r\n");
        replies.say(&Reply::bare(250, "e"));
        assert_eq!(text(&mut replies), "250 e\r\n");
        assert_eq!((replies.open(), replies.waiting(), replies.octets()), (0, 0, 0));
    }
}
