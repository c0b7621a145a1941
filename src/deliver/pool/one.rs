//! One destination: its jobs that wait, its lanes, its connections.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use super::{Finished, Id, Item};
use crate::route::Hop;
use crate::timestamp::Timestamp;

/// Bulk jobs looked at for one that does not wait for its lane.
const BULK_SCAN: usize = 64;

#[derive(Debug)]
pub(super) struct Member {
    pub id: Id,
    pub bulk: bool,
    pub ready: bool,
    /// It waits with room for jobs: to be woken for the next.
    pub hungry: bool,
    /// Since this point in the order in which connections became idle.
    pub idle: Option<u64>,
    pub retire: bool,
    /// Jobs that it has.
    pub load: usize,
    /// Jobs that it has had.
    pub taken: u64,
    /// Jobs that it can have in flight.
    pub depth: usize,
    /// Jobs of lanes that are bound to it.
    pub private: VecDeque<Item>,
    pub wake: Arc<Notify>,
}

impl Member {
    pub fn ring(&mut self) {
        self.hungry = false;
        self.idle = None;
        self.wake.notify_one();
    }
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Jobs that wait or are with a connection, by class.
    pub chat: usize,
    pub bulk: usize,
    /// Jobs that are with the connection.
    pub bound: usize,
    pub connection: Option<Id>,
}

#[derive(Debug)]
pub(super) struct Pool {
    pub hop: Arc<Hop>,
    pub chat: VecDeque<Item>,
    pub bulk: VecDeque<Item>,
    pub lanes: HashMap<u64, Lane>,
    pub members: Vec<Member>,
    /// The earliest time at which a job that waits expires.
    pub soonest: Timestamp,
    /// It waits for a connection of another destination to end.
    pub starved: bool,
    /// Connections of one class that it has had when a further one could not be made.
    pub granted: usize,
}

impl Pool {
    pub fn new(hop: Arc<Hop>) -> Self {
        Pool {
            hop,
            chat: VecDeque::new(),
            bulk: VecDeque::new(),
            lanes: HashMap::new(),
            members: Vec::new(),
            soonest: Timestamp::MAX,
            starved: false,
            granted: usize::MAX,
        }
    }

    pub fn waiting(&mut self, bulk: bool) -> &mut VecDeque<Item> {
        if bulk { &mut self.bulk } else { &mut self.chat }
    }

    pub fn member(&mut self, id: Id) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    pub fn is_empty(&self) -> bool {
        self.chat.is_empty() && self.bulk.is_empty() && self.members.is_empty()
    }

    /// Wakes one connection for a job of this class: the one that has the lane, else the least loaded that waits.
    pub fn ring(&mut self, bulk: bool, lane: u64) {
        let bound = self.lanes.get(&lane).and_then(|lane| lane.connection);
        if let Some(member) = bound.and_then(|id| self.member(id)).filter(|member| !member.retire) {
            if member.hungry {
                member.ring();
            }
            return;
        }
        let free = self.members.iter_mut().filter(|member| member.hungry && member.bulk == bulk);
        if let Some(member) = free.min_by_key(|member| member.load) {
            member.ring();
        }
    }

    /// The next job for a connection; those of lanes that are bound to others are put before these.
    pub fn take(&mut self, id: Id) -> Option<Item> {
        let at = self.members.iter().position(|member| member.id == id)?;
        if let Some(item) = self.members[at].private.pop_front() {
            return Some(item);
        }
        let bulk = self.members[at].bulk;
        let mut passed = 0;
        loop {
            let queue = self.waiting(bulk);
            if passed >= BULK_SCAN {
                return None;
            }
            let key = queue.get(passed)?.job.lane;
            let lane = self.lanes.entry(key).or_default();
            if bulk && lane.chat > 0 {
                // What came before it goes by another connection, and first.
                passed += 1;
                continue;
            }
            let owner = *lane.connection.get_or_insert(id);
            lane.bound += 1;
            let item = self.waiting(bulk).remove(passed)?;
            if owner == id {
                return Some(item);
            }
            if let Some(member) = self.member(owner) {
                member.private.push_back(item);
                if member.hungry {
                    member.ring();
                }
            }
        }
    }

    /// A job has left its lane.
    pub fn finish(&mut self, finished: Finished) {
        let Some(lane) = self.lanes.get_mut(&finished.lane) else { return };
        let count = if finished.bulk { &mut lane.bulk } else { &mut lane.chat };
        *count = count.saturating_sub(1);
        let (chat_over, over) = (lane.chat == 0 && lane.bulk > 0, lane.chat + lane.bulk == 0);
        if over {
            self.lanes.remove(&finished.lane);
        } else if chat_over && !finished.bulk {
            self.ring(true, finished.lane);
        }
    }

    /// A job is no longer with a connection: answered, or put back.
    pub fn unbind(&mut self, lane: u64) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.bound = lane.bound.saturating_sub(1);
            if lane.bound == 0 {
                lane.connection = None;
            }
        }
    }
}
