//! Who takes which job: destinations, their connections, and the lanes. No I/O.
//!
//! In: work, and what connections say of themselves. Out: jobs for the connection that asks, and connections to be made
//! ([`Start`]). Jobs wait here, not in connections: whichever connection has room takes the oldest. A job that is large,
//! or that follows a large one of its lane, is *bulk* and waits and travels apart.
//!
//! Invariant: while a job of a lane is with a connection, no other connection gets a job of that lane; jobs of a lane are
//! given out in the order in which they came. A destination without jobs and connections is forgotten.

mod one;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use self::one::{Member, Pool};
use super::{Destination, Job, Work};
use crate::route::{Hop, Target};
use crate::timestamp::Timestamp;

/// Jobs for each connection that wait before another connection is made, at least; paced messages never are so many.
const CROWD: usize = 8;
/// Jobs after which a connection gives its place to a destination that has none.
const SHARE: u64 = 500;
/// Destinations for which a target is remembered as the one to be tried first.
const REMEMBERED: usize = 1024;
/// Jobs given to a connection at a time, so that others get their part.
pub(super) const BATCH: usize = 32;

/// A connection's number.
pub(super) type Id = u64;

#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub per_destination: usize,
    pub in_all: usize,
    pub bulk_octets: u64,
}

/// A job with the class in which it waits.
#[derive(Debug)]
pub(super) struct Item {
    pub job: Job,
    pub bulk: bool,
}

/// A job that a connection is through with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    pub lane: u64,
    pub bulk: bool,
}

/// A connection to be made.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub destination: Destination,
    pub id: Id,
    pub hop: Arc<Hop>,
    /// To be tried first: it may have a message that it has not answered (RFC 1047).
    pub first: Option<Target>,
    /// Rung when there are jobs or orders.
    pub wake: Arc<Notify>,
}

/// What a connection is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Go,
    /// Take no more, end when nothing is in flight.
    Retire,
    /// End at once.
    Abort,
}

/// All destinations.
#[derive(Debug)]
pub(super) struct Pools {
    bounds: Bounds,
    pools: HashMap<Destination, Pool>,
    /// Connections, those that are being made and those that are ending included.
    connections: usize,
    next: Id,
    /// Connections that were idle when they were put here, longest first, each with its point in that order.
    idle: VecDeque<(Destination, Id, u64)>,
    idled: u64,
    starved: VecDeque<Destination>,
    remembered: VecDeque<(Destination, Target)>,
    order: Order,
}

impl Pools {
    pub fn new(bounds: Bounds) -> Self {
        Pools {
            bounds,
            pools: HashMap::new(),
            connections: 0,
            next: 0,
            idle: VecDeque::new(),
            idled: 0,
            starved: VecDeque::new(),
            remembered: VecDeque::new(),
            order: Order::Go,
        }
    }

    /// Connections and destinations at the moment.
    pub fn count(&self) -> (usize, usize) {
        (self.connections, self.pools.len())
    }

    /// Takes work; gives it back while everything is being ended.
    pub fn add(&mut self, work: Work, starts: &mut Vec<Start>) -> Result<(), Box<Work>> {
        if self.order != Order::Go {
            return Err(Box::new(work));
        }
        let Work { destination, hop, job } = work;
        let pool = match self.pools.get_mut(&destination) {
            Some(pool) => {
                pool.hop = hop;
                pool
            }
            None => self.pools.entry(destination.clone()).or_insert_with(|| Pool::new(hop)),
        };
        let lane = pool.lanes.entry(job.lane).or_default();
        let bulk = self.bounds.per_destination > 1 && (job.size > self.bounds.bulk_octets || lane.bulk > 0);
        *(if bulk { &mut lane.bulk } else { &mut lane.chat }) += 1;
        pool.soonest = pool.soonest.min(job.expires);
        let key = job.lane;
        pool.waiting(bulk).push_back(Item { job, bulk });
        pool.ring(bulk, key);
        self.want(&destination, bulk, starts);
        Ok(())
    }

    /// Makes a connection if the jobs that wait deserve one.
    fn want(&mut self, destination: &Destination, bulk: bool, starts: &mut Vec<Start>) {
        let Some(pool) = self.pools.get_mut(destination) else { return };
        let waiting = pool.waiting(bulk).len();
        let (mut members, mut depth) = (0, 0);
        for member in pool.members.iter().filter(|member| member.bulk == bulk && !member.retire) {
            if !member.ready || member.hungry {
                return;
            }
            members += 1;
            depth += member.depth;
        }
        let crowd = if members == 0 { 0 } else { depth.max(members * CROWD) };
        if waiting <= crowd || self.order == Order::Abort {
            return;
        }
        let reserved = (self.bounds.per_destination / 4).max(1);
        let most = match (bulk, self.bounds.per_destination) {
            (true, _) => reserved,
            (false, 1) => 1,
            (false, all) => all - reserved,
        };
        if members >= most || (members > 0 && members >= pool.granted) {
            return;
        }
        if self.connections >= self.bounds.in_all {
            // A first connection has a claim to a place; a further one has none.
            if members == 0 && !pool.starved {
                pool.starved = true;
                self.starved.push_back(destination.clone());
                self.evict();
            }
            return;
        }
        self.connections += 1;
        self.next += 1;
        let wake = Arc::new(Notify::new());
        let start = Start {
            destination: destination.clone(),
            id: self.next,
            hop: pool.hop.clone(),
            first: None,
            wake: wake.clone(),
        };
        pool.members.push(Member {
            id: start.id,
            bulk,
            ready: false,
            hungry: false,
            idle: None,
            retire: false,
            load: 0,
            taken: 0,
            depth: 1,
            private: VecDeque::new(),
            wake,
        });
        let remembered = self.remembered.iter().position(|(of, _)| of == destination);
        let first = remembered.and_then(|at| self.remembered.remove(at)).map(|(_, target)| target);
        starts.push(Start { first, ..start });
    }

    /// Ends the connection that has been idle longest.
    fn evict(&mut self) {
        while let Some((destination, id, since)) = self.idle.pop_front() {
            let Some(member) = self.pools.get_mut(&destination).and_then(|pool| pool.member(id)) else { continue };
            if member.idle == Some(since) && !member.retire {
                member.retire = true;
                member.ring();
                return;
            }
        }
    }

    /// The connection has been made, and can have `depth` jobs in flight.
    pub fn ready(&mut self, destination: &Destination, id: Id, depth: usize, starts: &mut Vec<Start>) {
        let Some(member) = self.pools.get_mut(destination).and_then(|pool| pool.member(id)) else { return };
        member.ready = true;
        member.depth = depth;
        let bulk = member.bulk;
        self.want(destination, bulk, starts);
    }

    /// A connection's turn: what it has finished comes in, jobs for the room that it has go out. With room and no job it
    /// is woken for the next; `idle` says that it has none at all.
    pub fn turn(
        &mut self,
        (destination, id): (&Destination, Id),
        finished: &mut Vec<Finished>,
        room: usize,
        idle: bool,
        out: &mut VecDeque<Item>,
        starts: &mut Vec<Start>,
    ) -> Order {
        let others_starve = !self.starved.is_empty();
        let Some(pool) = self.pools.get_mut(destination) else { return Order::Retire };
        for done in finished.drain(..) {
            pool.unbind(done.lane);
            pool.finish(done);
            if let Some(member) = pool.member(id) {
                member.load = member.load.saturating_sub(1);
            }
        }
        let Some(member) = pool.member(id) else { return Order::Retire };
        member.retire |= others_starve && member.taken >= SHARE;
        let retire = member.retire;
        let mut taken = 0;
        while taken < room.min(BATCH) {
            // What is bound to a connection that retires is still its own.
            let next =
                if retire { pool.member(id).and_then(|member| member.private.pop_front()) } else { pool.take(id) };
            let Some(item) = next else { break };
            out.push_back(item);
            taken += 1;
        }
        let Some(member) = pool.member(id) else { return Order::Retire };
        member.load += taken;
        member.taken += taken as u64;
        member.retire |= others_starve && idle && taken == 0;
        let retire = member.retire;
        member.hungry = taken == 0 && room > 0;
        let bulk = member.bulk;
        if !idle || taken > 0 {
            member.idle = None;
        } else if member.idle.is_none() && !retire {
            self.idled += 1;
            member.idle = Some(self.idled);
            self.note_idle(destination, id);
        }
        if taken > 0 {
            self.want(destination, bulk, starts);
        }
        match self.order {
            Order::Go if retire => Order::Retire,
            order => order,
        }
    }

    fn note_idle(&mut self, destination: &Destination, id: Id) {
        self.idle.push_back((destination.clone(), id, self.idled));
        if self.idle.len() > 4 * self.bounds.in_all.max(16) {
            let pools = &self.pools;
            self.idle.retain(|(of, id, since)| {
                let members = pools.get(of).map(|pool| pool.members.as_slice()).unwrap_or_default();
                members.iter().any(|member| member.id == *id && member.idle == Some(*since))
            });
        }
    }

    /// Takes a connection out if no job is bound to it and none waits that it could take: it may then end. False while
    /// there is something for it to do.
    pub fn part(&mut self, destination: &Destination, id: Id) -> bool {
        let Some(pool) = self.pools.get_mut(destination) else { return true };
        let Some(at) = pool.members.iter().position(|member| member.id == id) else { return true };
        let member = &pool.members[at];
        let (bulk, retire) = (member.bulk, member.retire);
        if !member.private.is_empty() || (!retire && !pool.waiting(bulk).is_empty()) {
            return false;
        }
        pool.members.remove(at);
        true
    }

    /// Takes a connection out that is gone or was never made. `finished` has been answered, `back` was not sent and goes
    /// to another connection, before everything else; what was bound to it and waits comes with it unless `doubtful` says
    /// that an earlier job of its lane is lost, and is returned then.
    pub fn leave(
        &mut self,
        destination: &Destination,
        id: Id,
        finished: &mut Vec<Finished>,
        mut back: VecDeque<Item>,
        doubtful: impl Fn(u64) -> bool,
    ) -> Vec<Item> {
        let mut lost = Vec::new();
        let Some(pool) = self.pools.get_mut(destination) else { return lost };
        let Some(at) = pool.members.iter().position(|member| member.id == id) else { return lost };
        for item in pool.members.remove(at).private {
            if doubtful(item.job.lane) {
                finished.push(Finished { lane: item.job.lane, bulk: item.bulk });
                lost.push(item);
            } else {
                back.push_back(item);
            }
        }
        for done in finished.drain(..) {
            pool.unbind(done.lane);
            pool.finish(done);
        }
        for item in back.into_iter().rev() {
            pool.unbind(item.job.lane);
            pool.waiting(item.bulk).push_front(item);
        }
        lost
    }

    /// Takes out everything that waits for a destination, unless another connection is there to take it.
    pub fn give_up(&mut self, destination: &Destination, bulk: bool) -> Vec<Item> {
        let Some(pool) = self.pools.get_mut(destination) else { return Vec::new() };
        let others = pool.members.iter().filter(|member| member.bulk == bulk && member.ready).count();
        if others > 0 {
            pool.granted = others;
            return Vec::new();
        }
        let mut items: Vec<Item> = pool.waiting(bulk).drain(..).collect();
        if pool.members.is_empty() {
            items.extend(pool.waiting(!bulk).drain(..));
        }
        for item in &items {
            pool.finish(Finished { lane: item.job.lane, bulk: item.bulk });
        }
        items
    }

    /// Whether a connection is for bulk.
    pub fn is_bulk(&self, destination: &Destination, id: Id) -> bool {
        let members = self.pools.get(destination).map(|pool| &pool.members);
        members.is_some_and(|members| members.iter().any(|member| member.id == id && member.bulk))
    }

    /// The connection's socket is closed: its place is free.
    pub fn closed(&mut self, destination: &Destination, starts: &mut Vec<Start>) {
        self.connections = self.connections.saturating_sub(1);
        while self.connections < self.bounds.in_all {
            let Some(starved) = self.starved.pop_front() else { break };
            if let Some(pool) = self.pools.get_mut(&starved) {
                pool.starved = false;
            }
            self.stir(&starved, starts);
        }
        self.stir(destination, starts);
        self.forget(destination);
    }

    /// Somebody is to take what waits for a destination.
    fn stir(&mut self, destination: &Destination, starts: &mut Vec<Start>) {
        for bulk in [false, true] {
            let Some(pool) = self.pools.get_mut(destination) else { return };
            if let Some(lane) = pool.waiting(bulk).front().map(|item| item.job.lane) {
                pool.ring(bulk, lane);
                self.want(destination, bulk, starts);
            }
        }
    }

    fn forget(&mut self, destination: &Destination) {
        if self.pools.get(destination).is_some_and(Pool::is_empty) {
            self.pools.remove(destination);
        }
    }

    /// The target may have a message that it has not answered: it is tried first next time.
    pub fn remember(&mut self, destination: &Destination, target: Target) {
        self.remembered.retain(|(of, _)| of != destination);
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((destination.clone(), target));
    }

    /// Takes out the jobs that wait and whose time is over.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(Destination, Item)> {
        let mut over = Vec::new();
        for (destination, pool) in self.pools.iter_mut().filter(|(_, pool)| pool.soonest <= now) {
            let mut soonest = Timestamp::MAX;
            let mut gone = Vec::new();
            let bound = pool.members.iter_mut().map(|member| (true, &mut member.private));
            for (bound, queue) in bound.chain([(false, &mut pool.chat), (false, &mut pool.bulk)]) {
                for item in std::mem::take(queue) {
                    if item.job.expires <= now {
                        gone.push((bound, item));
                    } else {
                        soonest = soonest.min(item.job.expires);
                        queue.push_back(item);
                    }
                }
            }
            pool.soonest = soonest;
            for (bound, item) in gone {
                if bound {
                    pool.unbind(item.job.lane);
                }
                pool.finish(Finished { lane: item.job.lane, bulk: item.bulk });
                over.push((destination.clone(), item));
            }
        }
        // A destination that only waited for a place may be empty now.
        self.pools.retain(|_, pool| !pool.is_empty());
        over
    }

    /// Whether everything ends at once.
    pub fn is_aborted(&self) -> bool {
        self.order == Order::Abort
    }

    /// Ends all connections, when they have nothing to do or at once.
    pub fn end(&mut self, order: Order) {
        self.order = order;
        for member in self.pools.values_mut().flat_map(|pool| &mut pool.members) {
            member.ring();
        }
    }

    /// Everything that still waits, when there is no connection left to take it.
    pub fn drain(&mut self) -> Vec<(Destination, Item)> {
        let mut all = Vec::new();
        for (destination, pool) in self.pools.drain() {
            all.extend(pool.chat.into_iter().chain(pool.bulk).map(|item| (destination.clone(), item)));
        }
        all
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
