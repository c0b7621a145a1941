//! Messages that differ in their Message-ID and time stamp only, signed or not, and the reading of that stamp.

use std::io::{Error, Result};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use impart::smime::protect::prepare;
use impart::smime::{Identity, SignOptions, sign};
use impart::timestamp::Timestamp;

/// Digits of the counter in the Message-ID.
const COUNTER: usize = 16;
/// Digits of the stamp: nanoseconds of the system clock.
const STAMP: usize = 20;
/// The field that carries the stamp.
const FIELD: &[u8] = b"X-Stamp: ";

/// An entity with two places to fill in; or entities that were signed before, each as it is.
pub struct Template {
    octets: Vec<u8>,
    counter: usize,
    stamp: usize,
    signed: Rc<Vec<Vec<u8>>>,
}

impl Template {
    /// An entity of `size` octets (or a little more, if that is too few for its header).
    pub fn new(from: &str, to: &str, size: usize, signed: Rc<Vec<Vec<u8>>>) -> Template {
        let run = nanoseconds();
        let date = jiff::Zoned::now().strftime("%a, %d %b %Y %H:%M:%S %z");
        let mut octets = format!("From: <{from}>\r\nTo: <{to}>\r\nDate: {date}\r\nMessage-ID: <").into_bytes();
        let counter = octets.len();
        octets.extend(format!("{}.{run:x}@load.test>\r\nX-Stamp: ", "0".repeat(COUNTER)).into_bytes());
        let stamp = octets.len();
        octets.extend(format!("{}\r\nSubject: load\r\n\r\n", "0".repeat(STAMP)).into_bytes());
        while octets.len() + 2 < size {
            let line = (size - octets.len() - 2).min(62);
            octets.extend(std::iter::repeat_n(b'x', line));
            octets.extend(b"\r\n");
        }
        Template { octets, counter, stamp, signed }
    }

    /// Octets of the entity with number `number`.
    pub fn size(&self, number: u64) -> usize {
        self.signed(number).unwrap_or(&self.octets).len()
    }

    fn signed(&self, number: u64) -> Option<&Vec<u8>> {
        self.signed.get(number as usize)
    }

    /// Appends the entity with number `number`, stamped with `stamp`.
    pub fn write(&self, number: u64, stamp: u64, out: &mut Vec<u8>) {
        if let Some(entity) = self.signed(number) {
            return out.extend_from_slice(entity);
        }
        let at = out.len();
        out.extend_from_slice(&self.octets);
        digits(&mut out[at + self.counter..][..COUNTER], number);
        digits(&mut out[at + self.stamp..][..STAMP], stamp);
    }
}

/// So many entities with that identity's signature.
pub fn signed(identity: &Identity, from: &str, to: &str, size: usize, count: u64) -> Result<Vec<Vec<u8>>> {
    let template = Template::new(from, to, size, Rc::default());
    let options = SignOptions::new(Timestamp::from(SystemTime::now()));
    let one = |number| {
        let mut entity = Vec::new();
        template.write(number, nanoseconds(), &mut entity);
        let prepared = prepare(&entity, false).map_err(Error::other)?;
        let part = sign(prepared.payload(), identity, &options).map_err(Error::other)?;
        Ok(prepared.message(&part))
    };
    (0..count).map(one).collect()
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Now, by the system clock, which both programs share.
pub fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The stamp in an entity's header; `None` where there is none (messages of other generators).
pub fn stamp(entity: &[u8]) -> Option<u64> {
    let mut line_start = 0;
    while let Some(length) = entity[line_start..].iter().position(|byte| *byte == b'\n') {
        let line = &entity[line_start..line_start + length];
        if let Some(rest) = line.strip_prefix(FIELD) {
            return std::str::from_utf8(rest).ok()?.trim().parse().ok();
        }
        if line.len() <= 1 {
            return None;
        }
        line_start += length + 1;
    }
    None
}

/// Quantiles of times in microseconds, as a JSON object.
pub fn quantiles(times: &mut [u32]) -> serde_json::Value {
    if times.is_empty() {
        return serde_json::Value::Null;
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    serde_json::json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
}
