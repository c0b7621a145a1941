//! What the session says of a recipient, as the queue's [`Outcome`].

use super::{Outcome, Scope};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::client::{Fate, Fault};

/// What it means that a hop accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// It has the message, and reports where it says that it does.
    Taken,
    /// It is a mail system: what becomes of the mail is known when it tells, if it tells.
    Mailed,
    /// It is a mail store: the recipient has the mail.
    Stored,
}

/// The outcome; `relay` is the server as in logs, `fault` why the session ended if it did.
pub(super) fn of(fate: Fate, accepts: Acceptance, relay: &str, fault: Option<&Fault>) -> Outcome {
    match fate {
        Fate::Accepted { reply, .. } if accepts == Acceptance::Stored => Outcome::Stored { reply },
        Fate::Accepted { reply, reports: true } if accepts == Acceptance::Taken => Outcome::Delivered { reply },
        Fate::Accepted { reply, .. } => Outcome::Relayed { reply },
        Fate::Refused { reply } => refused(reply, relay),
        Fate::Unfit { status, reason } => {
            Outcome::Failed { reply: None, status, reason: format!("host {relay}: {reason}") }
        }
        Fate::Lost { uncertain } => lost(fault, relay, uncertain),
    }
}

fn refused(reply: Reply, relay: &str) -> Outcome {
    let (status, reason) = (reply.status(), format!("host {relay} said: {reply}"));
    if reply.is_permanent() {
        return Outcome::Failed { reply: Some(reply), status, reason };
    }
    // 4.3.0 to 4.3.2 are about the whole system: its disk is full, it is going down (RFC 3463 §3.4).
    let scope = if status.subject == 3 && status.detail <= 2 { Scope::Destination } else { Scope::Recipient };
    Outcome::Deferred { scope, reply: Some(reply), status, reason, uncertain: false }
}

fn lost(fault: Option<&Fault>, relay: &str, uncertain: bool) -> Outcome {
    let mut reason = match fault {
        Some(fault) => format!("host {relay}: {fault}"),
        None => format!("host {relay}: the connection was given up"),
    };
    if uncertain {
        reason.push_str(" (the message had been sent: it may have arrived)");
    }
    let reply = match fault {
        Some(Fault::Refused(reply)) => Some(reply.clone()),
        _ => None,
    };
    // Without a fault it is only that this session takes no more.
    let scope = if fault.is_some() { Scope::Destination } else { Scope::Recipient };
    Outcome::Deferred { scope, reply, status: status(fault), reason, uncertain }
}

/// The status of a session that failed, never permanent: another server, or another day, may be better.
pub(super) fn status(fault: Option<&Fault>) -> EnhancedCode {
    match fault {
        Some(Fault::Refused(reply)) if reply.is_transient() => reply.status(),
        Some(Fault::Refused(reply)) => EnhancedCode { class: 4, ..reply.status() },
        Some(Fault::Protocol(_)) => EnhancedCode::new(4, 5, 0),
        Some(Fault::NotAuthenticated(_) | Fault::Login(_) | Fault::NotAttached(_)) => EnhancedCode::new(4, 7, 0),
        Some(Fault::NoStartTls) => EnhancedCode::new(4, 7, 10),
        Some(Fault::TimedOut(_) | Fault::Disconnected(_)) | None => EnhancedCode::new(4, 4, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fate: Fate, fault: Option<Fault>, expected: &str) {
        check_as(Acceptance::Taken, fate, fault, expected);
    }

    fn check_as(accepts: Acceptance, fate: Fate, fault: Option<Fault>, expected: &str) {
        let said = match of(fate, accepts, "mx[192.0.2.1]:2779", fault.as_ref()) {
            Outcome::Delivered { reply } => format!("delivered {reply}"),
            Outcome::Relayed { reply } => format!("relayed {reply}"),
            Outcome::Stored { reply } => format!("stored {reply}"),
            Outcome::Failed { status, reason, .. } => format!("failed {status} {reason}"),
            Outcome::Deferred { scope, status, reason, uncertain, .. } => {
                format!("deferred {scope:?} {status} {uncertain} {reason}")
            }
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn outcomes() {
        let reply = |code, text: &'static str| Reply::bare(code, text);
        check(Fate::Accepted { reply: reply(250, "ok"), reports: true }, None, "delivered 250 ok");
        check(Fate::Accepted { reply: reply(250, "ok"), reports: false }, None, "relayed 250 ok");
        for reports in [true, false] {
            let accepted = || Fate::Accepted { reply: reply(250, "ok"), reports };
            check_as(Acceptance::Mailed, accepted(), None, "relayed 250 ok");
            check_as(Acceptance::Stored, accepted(), None, "stored 250 ok");
        }
        let no = Reply::new(550, EnhancedCode::new(5, 1, 1), "who");
        check(Fate::Refused { reply: no }, None, "failed 5.1.1 host mx[192.0.2.1]:2779 said: 550 5.1.1 who");
        check(
            Fate::Refused { reply: reply(450, "later") },
            None,
            "deferred Recipient 4.0.0 false host mx[192.0.2.1]:2779 said: 450 later",
        );
        let full = Reply::new(452, EnhancedCode::new(4, 3, 1), "full");
        check(
            Fate::Refused { reply: full },
            None,
            "deferred Destination 4.3.1 false host mx[192.0.2.1]:2779 said: 452 4.3.1 full",
        );
        let unfit = Fate::Unfit { status: EnhancedCode::new(5, 3, 3), reason: "no".to_owned() };
        check(unfit, None, "failed 5.3.3 host mx[192.0.2.1]:2779: no");
        check(
            Fate::Lost { uncertain: true },
            Some(Fault::Disconnected("reset".to_owned())),
            "deferred Destination 4.4.2 true host mx[192.0.2.1]:2779: the connection was lost: reset \
             (the message had been sent: it may have arrived)",
        );
        check(
            Fate::Lost { uncertain: false },
            Some(Fault::Refused(reply(554, "no service"))),
            "deferred Destination 4.0.0 false host mx[192.0.2.1]:2779: it said: 554 no service",
        );
    }
}
