//! Who somebody proves to be.

use super::{Origin, Principal};
use crate::reply::{EnhancedCode, Reply};
use crate::sasl::Mechanism;

/// Judges proofs.
#[derive(Debug)]
pub struct Authority;

/// What comes next in an exchange.
#[derive(Clone, Debug)]
pub enum Step {
    /// The next challenge; the client answers it.
    Challenge(Vec<u8>),
    /// Proven. The octets, where there are some, go to the client as a challenge that it answers with nothing, before the
    /// positive reply (RFC 4954 §4).
    Done(Principal, Option<Vec<u8>>),
    /// Refused, already delayed: `535 5.7.8`, `454 4.7.0`, `421 4.7.0`, `501 5.5.2`.
    Refused(Reply),
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange;

impl Authority {
    /// What is offered to such a client; nothing that shows a password in the clear.
    pub fn mechanisms(&self, origin: &Origin) -> Vec<Mechanism> {
        let _ = origin;
        Vec::new()
    }

    /// Begins an exchange. `initial`: the initial response, where there was one.
    pub async fn begin(&self, mechanism: Mechanism, initial: Option<Vec<u8>>, origin: &Origin) -> (Exchange, Step) {
        let _ = (mechanism, initial, origin);
        (Exchange, refused())
    }
}

impl Exchange {
    /// The client's answer to the last challenge.
    pub async fn step(&mut self, response: Vec<u8>) -> Step {
        let _ = response;
        refused()
    }
}

fn refused() -> Step {
    Step::Refused(Reply::new(454, EnhancedCode::new(4, 7, 0), "authentication is not possible now; try later"))
}
