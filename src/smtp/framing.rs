//! Where lines, messages and chunks end.
//!
//! In: what was read, as it came. Out: whole command lines, and entities as [`Bytes`] that are moved rather than copied
//! where they lie in one piece. Invariant: only CRLF ends a line and only CRLF.CRLF ends DATA, however the octets were
//! cut into reads; nothing is repaired. Memory: a line is bounded by what the caller allows, an entity by its [`Body`]'s
//! limit; what is beyond is counted and dropped.
//! RFC 5321 §2.3.8, §4.1.1.4, §4.5.2 and §4.5.3.1.4, RFC 3030 §2.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Whether each CR is followed by LF, and each LF follows a CR.
pub fn is_canonical(octets: &[u8]) -> bool {
    let ends = octets.first() != Some(&b'\n') && octets.last() != Some(&b'\r');
    let pairs = octets.iter().zip(octets.iter().skip(1));
    ends && !pairs.fold(false, |bad, (a, b)| bad | ((*a == b'\r') != (*b == b'\n')))
}

/// What [`Lines`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line of so many octets stands at the start, without the CRLF that follows it.
    Whole(usize),
    /// A line with a bare LF, or one that ends in none but it. The rest of it, up to CRLF, will be skipped.
    BareLf,
    /// A line longer than it may be. The rest of it, up to CRLF, will be skipped.
    TooLong,
    /// More octets are needed.
    Partial,
}

/// Finds command lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// Octets at the start in which there is no LF.
    scanned: usize,
    /// A line was refused, and its CRLF has not come.
    skipping: bool,
}

impl Lines {
    /// The next line at the start of `input`; skipped octets are taken out, a whole line is left for the caller. `most` says
    /// of the start of a line how long the line may be with its CRLF.
    pub fn next(&mut self, input: &mut BytesMut, most: impl Fn(&[u8]) -> usize) -> Line {
        if self.skipping && !self.skip(input) {
            return Line::Partial;
        }
        let most = most(input);
        let unseen = input.get(self.scanned..).unwrap_or_default();
        let lf = memchr(b'\n', unseen).map(|at| self.scanned + at);
        self.scanned = 0;
        match lf {
            Some(at) if at >= most => self.refuse(Line::TooLong),
            Some(at) if at > 0 && input.get(at - 1) == Some(&b'\r') => Line::Whole(at - 1),
            Some(_) => self.refuse(Line::BareLf),
            None if input.len() >= most => self.refuse(Line::TooLong),
            None => {
                self.scanned = input.len();
                Line::Partial
            }
        }
    }

    fn refuse(&mut self, line: Line) -> Line {
        self.skipping = true;
        line
    }

    /// Drops octets up to the next CRLF. A CR at the end stays: its LF may follow.
    fn skip(&mut self, input: &mut BytesMut) -> bool {
        while let Some(at) = memchr(b'\n', input) {
            let ended = at > 0 && input.get(at - 1) == Some(&b'\r');
            input.advance(at + 1);
            if ended {
                self.skipping = false;
                return true;
            }
        }
        let keep = usize::from(input.last() == Some(&b'\r'));
        input.advance(input.len() - keep);
        false
    }

    /// Whether no line is begun, as far as this knows.
    pub fn is_clear(&self) -> bool {
        !self.skipping
    }
}

/// Octets that are reserved at once for an entity that comes in pieces, at most.
const RESERVE_OCTETS: u64 = 256 * 1024;

/// The same for DATA, which does not say how much will come.
const DATA_RESERVE_OCTETS: u64 = 4 * 1024;

/// The octets of an entity as they come, up to a limit.
#[derive(Debug)]
pub struct Body {
    octets: BytesMut,
    /// `octets` were moved: they share their memory with what was read after them.
    moved: bool,
    total: u64,
    limit: u64,
}

impl Body {
    /// An empty one that holds at most `limit` octets.
    pub fn new(limit: u64) -> Body {
        Body { octets: BytesMut::new(), moved: false, total: 0, limit }
    }

    /// Takes `count` octets from the start of `input`; `expected` more will follow, as far as anybody knows. Into an empty
    /// body that expects nothing more they are moved, else copied.
    pub fn take(&mut self, input: &mut BytesMut, count: usize, expected: u64) {
        let count = count.min(input.len());
        if count == 0 {
            return;
        }
        self.total = self.total.saturating_add(count as u64);
        if self.is_over() {
            self.octets = BytesMut::new();
            input.advance(count);
        } else if self.octets.is_empty() && expected == 0 {
            self.octets = input.split_to(count);
            self.moved = true;
        } else {
            self.append(&input[..count], expected);
            input.advance(count);
        }
    }

    fn append(&mut self, octets: &[u8], expected: u64) {
        let more = expected.min(RESERVE_OCTETS).min(self.limit - self.total);
        let more = octets.len() + usize::try_from(more).unwrap_or(0);
        if self.moved {
            let mut own = BytesMut::with_capacity(self.octets.len() + more);
            own.extend_from_slice(&self.octets);
            self.octets = own;
            self.moved = false;
        }
        self.octets.reserve(more);
        self.octets.extend_from_slice(octets);
    }

    /// Whether more came than the limit; then nothing is kept.
    pub fn is_over(&self) -> bool {
        self.total > self.limit
    }

    /// Octets that came.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The octets.
    pub fn finish(self) -> Bytes {
        self.octets.freeze()
    }
}

/// The octets of DATA, up to CRLF.CRLF (RFC 5321 §4.5.2).
#[derive(Debug)]
pub struct Dots {
    /// The next octet is the first of a line.
    line_start: bool,
}

impl Default for Dots {
    /// After the CRLF of the command DATA.
    fn default() -> Self {
        Dots { line_start: true }
    }
}

impl Dots {
    /// Moves octets from `input` to `body`, without the dots that were doubled; true when the end was found and taken out.
    /// Octets whose meaning depends on what follows stay in `input`: at most two.
    pub fn take(&mut self, input: &mut BytesMut, body: &mut Body) -> bool {
        let mut at = 0;
        loop {
            if self.line_start {
                match input.get(at..).unwrap_or_default() {
                    [b'.', b'\r', b'\n', ..] => {
                        body.take(input, at, 0);
                        input.advance(3);
                        return true;
                    }
                    [] | [b'.'] | [b'.', b'\r'] => {
                        body.take(input, at, DATA_RESERVE_OCTETS);
                        return false;
                    }
                    [b'.', ..] => {
                        body.take(input, at, (input.len() - at) as u64);
                        input.advance(1);
                        at = 0;
                    }
                    _ => {}
                }
                self.line_start = false;
            }
            let rest = input.get(at..).unwrap_or_default();
            let Some(length) = memchr(b'\n', rest) else {
                let keep = usize::from(rest.last() == Some(&b'\r'));
                body.take(input, input.len() - keep, DATA_RESERVE_OCTETS);
                return false;
            };
            self.line_start = length > 0 && rest.get(length - 1) == Some(&b'\r');
            at += length + 1;
        }
    }
}

/// The octets of a chunk that are still to come (RFC 3030 §2).
#[derive(Debug)]
pub struct Chunk {
    /// So many.
    pub left: u64,
    /// After the last chunk comes the next transaction.
    pub last: bool,
}

impl Chunk {
    /// Moves octets from `input` to `body`, or drops them where there is none; true when the chunk is complete.
    pub fn take(&mut self, input: &mut BytesMut, body: Option<&mut Body>) -> bool {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        self.left -= count as u64;
        match body {
            Some(body) => body.take(input, count, self.left + u64::from(!self.last)),
            None => input.advance(count),
        }
        self.left == 0
    }
}

#[cfg(test)]
mod tests;
