//! What becomes of TLS at mail exchangers, counted for whoever reports it (RFC 8460).
//!
//! In: sessions, or attempts at one. Out: [`tlsrpt::Counts`], in the file that outlives the process. Fails never: what cannot be
//! kept is counted on, and told to the administrator.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk;
use crate::dns::Tlsa;
use crate::route::sts::Mode;
use crate::route::tlsrpt::{Counts, Kind, Policy, Session, Trouble};
use crate::route::{Exchangers, Host, Target};
use crate::timestamp::Timestamp;
use crate::tls::Fault;
use crate::tls::TlsError;

/// The counts. Clones share them.
#[derive(Clone, Debug)]
pub struct TlsCounts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    changed: bool,
}

impl TlsCounts {
    /// With what was kept in this file.
    pub fn at(file: PathBuf) -> TlsCounts {
        let counts = std::fs::read_to_string(&file).map(|text| Counts::parse(&text)).unwrap_or_default();
        TlsCounts(Arc::new(Shared { file, state: Mutex::new(State { counts, changed: false }) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves it whole: every change is a single call.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the counts.
    pub fn with<R>(&self, look: impl FnOnce(&Counts) -> R) -> R {
        look(&self.state().counts)
    }

    /// Changes the counts.
    pub fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut state = self.state();
        change(&mut state.counts);
        state.changed = true;
    }

    /// Writes them down, if they have changed. Files are written: not to be called beside the work on sockets.
    pub fn keep(&self) {
        let text = {
            let mut state = self.state();
            if !std::mem::take(&mut state.changed) {
                return;
            }
            state.counts.text()
        };
        if let Err(error) = disk::replace(&self.0.file, 0o600, &[text.as_bytes()]) {
            let file = self.0.file.display();
            tracing::warn!("what is to be reported of TLS cannot be kept in {file}: {error}; make it writable");
        }
    }
}

/// What a domain says of an exchanger: DANE comes before MTA-STS, as where it decides.
pub(super) fn policy(found: &Exchangers, tlsa: &[Tlsa]) -> Policy {
    if !tlsa.is_empty() {
        let hex = |data: &[u8]| data.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let line = |one: &Tlsa| format!("{} {} {} {}", one.usage, one.selector, one.matching, hex(&one.data));
        return Policy { kind: Kind::Tlsa, text: tlsa.iter().map(line).collect(), hosts: Vec::new() };
    }
    match found.policy.as_deref().filter(|policy| policy.mode != Mode::None) {
        Some(policy) => {
            let text: Vec<String> = policy.text().lines().map(str::to_owned).collect();
            let hosts = text.iter().filter_map(|line| line.strip_prefix("mx: ")).map(str::to_owned).collect();
            Policy { kind: Kind::Sts, text, hosts }
        }
        None => Policy::default(),
    }
}

/// Counts a session with an exchanger.
pub(super) fn count(
    counts: &TlsCounts,
    now: Timestamp,
    (found, target): (&Exchangers, &Target),
    policy: Policy,
    (address, trouble): (Option<IpAddr>, Option<Trouble>),
) {
    let Host::Name(host) = &target.host else { return };
    let named = found.policy.as_deref().is_none_or(|policy| policy.names(host));
    let trouble = trouble.or((policy.kind == Kind::Sts && !named).then_some(Trouble::Failure));
    let session = Session { domain: found.domain.clone(), policy, host: host.to_string(), address, trouble };
    counts.change(|counts| counts.add(now, session));
}

/// What is reported of a fault.
pub(super) fn trouble(error: &TlsError) -> Trouble {
    match error {
        TlsError::Certificate { fault, .. } => match fault {
            Fault::Expired { .. } | Fault::NotYetValid { .. } => Trouble::Expired,
            Fault::Names { .. } => Trouble::HostMismatch,
            Fault::UnknownIssuer { .. } => Trouble::NotTrusted,
            Fault::Tlsa { .. } => Trouble::TlsaInvalid,
            Fault::Purpose | Fault::Invalid(_) => Trouble::Failure,
        },
        _ => Trouble::Failure,
    }
}
