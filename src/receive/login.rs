//! Logging in on a connection: AUTH to the authority of the accounts, and its judgement back.
//!
//! In: what the client says of itself. Out: challenges and the final reply; then the principal. Invariant: who has not
//! proven anything is nobody; after [`limits::LOGIN_FAILURES`] the connection is closed. The authority delays and limits
//! what fails. RFC 4954 §4.

use crate::accounts::{Authority, Exchange, Origin, Principal, Step};
use crate::limits;
use crate::reply::{EnhancedCode, Reply};
use crate::sasl::Mechanism;

/// What the client hears next.
#[derive(Debug)]
pub enum Say {
    /// A challenge.
    Challenge(Vec<u8>),
    /// The end of the exchange; positive when it succeeded.
    Reply(Reply),
}

/// Where the exchange is.
#[derive(Debug)]
enum Stage {
    None,
    Under(Mechanism, Exchange),
    /// Proven; the client has still to confirm the last challenge.
    Confirm(Mechanism, Principal),
}

/// The login of one connection.
#[derive(Debug)]
pub struct Login {
    authority: Authority,
    origin: Origin,
    stage: Stage,
    principal: Option<Principal>,
    failures: usize,
}

impl Login {
    /// Nobody has logged in from there.
    pub fn new(authority: Authority, origin: Origin) -> Login {
        Login { authority, origin, stage: Stage::None, principal: None, failures: 0 }
    }

    /// The connection has become another, by TLS.
    pub fn moved(&mut self, origin: Origin) {
        (self.origin, self.stage, self.principal) = (origin, Stage::None, None);
    }

    /// The names of the mechanisms that this client may use.
    pub fn mechanisms(&self) -> Vec<&'static str> {
        self.authority.mechanisms(&self.origin).into_iter().map(Mechanism::name).collect()
    }

    /// Who has logged in.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// AUTH.
    pub async fn begin(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> Say {
        self.stage = Stage::None;
        let Some(mechanism) = Mechanism::parse(mechanism) else {
            return Say::Reply(Reply::new(504, EnhancedCode::new(5, 5, 4), "that mechanism is not known here"));
        };
        if initial.is_some() && !mechanism.client_first() {
            let text = format!("{mechanism} begins with our challenge; send no first response");
            return Say::Reply(Reply::new(501, EnhancedCode::new(5, 7, 0), text));
        }
        let (exchange, step) = self.authority.begin(mechanism, initial, &self.origin).await;
        self.take(step, mechanism, Some(exchange))
    }

    /// A response.
    pub async fn respond(&mut self, response: Vec<u8>) -> Say {
        match std::mem::replace(&mut self.stage, Stage::None) {
            Stage::Under(mechanism, mut exchange) => {
                let step = exchange.step(response).await;
                self.take(step, mechanism, Some(exchange))
            }
            Stage::Confirm(mechanism, principal) if response.is_empty() => {
                self.take(Step::Done(principal, None), mechanism, None)
            }
            Stage::Confirm(..) | Stage::None => {
                self.refused(Reply::new(501, EnhancedCode::new(5, 5, 2), "an empty response was expected"))
            }
        }
    }

    fn take(&mut self, step: Step, mechanism: Mechanism, exchange: Option<Exchange>) -> Say {
        match (step, exchange) {
            (Step::Challenge(challenge), Some(exchange)) => {
                self.stage = Stage::Under(mechanism, exchange);
                Say::Challenge(challenge)
            }
            (Step::Done(principal, Some(last)), Some(_)) => {
                self.stage = Stage::Confirm(mechanism, principal);
                Say::Challenge(last)
            }
            (Step::Done(principal, _), _) => {
                let text = format!("welcome, {}", principal.account);
                self.principal = Some(principal);
                Say::Reply(Reply::new(235, EnhancedCode::new(2, 7, 0), text))
            }
            (Step::Refused(reply), _) => self.refused(reply),
            (Step::Challenge(_), None) => {
                self.refused(Reply::new(454, EnhancedCode::new(4, 7, 0), "the exchange has ended; begin anew"))
            }
        }
    }

    fn refused(&mut self, reply: Reply) -> Say {
        self.failures += usize::from(reply.is_permanent());
        if self.failures >= limits::LOGIN_FAILURES {
            let text = "too many failed logins; closing. Check name and password";
            return Say::Reply(Reply::new(421, EnhancedCode::new(4, 7, 0), text));
        }
        Say::Reply(reply)
    }
}
