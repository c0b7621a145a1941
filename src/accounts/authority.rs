//! Who judges proofs: what is offered to whom, and by which of the places an account is known.
//!
//! In: the accounts as they are now, the options, a connection's [`Origin`]. Out: mechanisms, and an [`Exchange`]. An account of the
//! file or the passwd-file is judged here; others by Dovecot, or by the directory, if there is one. Invariant: a mechanism is
//! offered only where every place can judge by it, since a client takes the best that is offered and then fails.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::dovecot::Authentication;
use super::entries::Account;
use super::exchange::{Exchange, Step};
use super::file::Fresh;
use super::limit::Limits;
use super::token::Tokens;
use super::{Accounts, Fault, Origin, ldap, token, verifiers};
use crate::address::{Domain, Mailbox};
use crate::clock::Clock;
use crate::random;
use crate::sasl::{Mechanism, SaslError, Secret, prepare};
use crate::tls::person::{Revocations, prove_person};
use crate::tls::{CertificateDer, Connector, Roots, TlsError};

/// How long a judgement may wait for its turn.
const TURN: Duration = Duration::from_secs(10);

/// What the administrator may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of this server, for the challenge of CRAM-MD5.
    pub host: Domain,
    /// The domain of accounts whose name is given without one.
    pub domain: Option<Domain>,
    /// Dovecot's socket for proofs.
    pub dovecot: Option<PathBuf>,
    /// A directory.
    pub ldap: Option<ldap::Options>,
    /// Tokens.
    pub tokens: Option<token::Options>,
    /// Who may say in a client certificate whose it is; without any, EXTERNAL is not offered.
    pub authorities: Roots,
    /// Lists of revoked certificates.
    pub revocations: Vec<PathBuf>,
    /// How the directory and the authorization server are reached.
    pub connector: Option<Connector>,
    /// For what is answered about accounts that do not exist. A restart must not change it: the salts of those that do
    /// stay. Without it another is made each time.
    pub secret: Option<[u8; 32]>,
}

impl Options {
    /// For a server of this name: its own accounts alone.
    pub fn new(host: Domain) -> Options {
        Options {
            host,
            domain: None,
            dovecot: None,
            ldap: None,
            tokens: None,
            authorities: Roots::none(),
            revocations: Vec::new(),
            connector: None,
            secret: None,
        }
    }
}

/// Judges proofs; clones are the same.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    options: Options,
    accounts: watch::Receiver<Arc<Accounts>>,
    clock: Arc<dyn Clock>,
    /// For what is answered about accounts that do not exist.
    secret: [u8; 32],
    limits: Mutex<Limits>,
    turns: Semaphore,
    dovecot: Option<Authentication>,
    tokens: Option<Tokens>,
    revocations: Vec<Fresh<Revocations>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// Where an account is judged.
pub(super) enum Place {
    /// Here, by its verifiers.
    Here(Box<Account>),
    /// By Dovecot.
    Dovecot,
    /// By the directory.
    Directory,
    /// Nowhere: there is no such account, which nobody is told.
    Nowhere,
}

impl Authority {
    /// Judges by the accounts as they are at the time. It fails without random octets.
    pub fn new(
        options: Options,
        accounts: watch::Receiver<Arc<Accounts>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Authority, SaslError> {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
        let inner = Inner {
            accounts,
            clock,
            secret: options.secret.map_or_else(random::octets, Ok)?,
            limits: Mutex::default(),
            turns: Semaphore::new(threads),
            dovecot: options.dovecot.clone().map(Authentication::new),
            tokens: options.tokens.clone().map(Tokens::new),
            revocations: options
                .revocations
                .iter()
                .map(|file| Fresh::new(file.clone(), Revocations::from_pem))
                .collect(),
            options,
        };
        Ok(Authority(Arc::new(inner)))
    }

    /// Asks Dovecot what it offers; to be called at the start and now and then. What fails is logged.
    pub async fn refresh(&self) {
        if let Some(dovecot) = &self.0.dovecot {
            dovecot.refresh().await;
        }
    }

    /// What is offered to such a client, the best first; nothing that shows a password or a token in the clear.
    pub fn mechanisms(&self, origin: &Origin) -> Vec<Mechanism> {
        let inner = &self.0;
        let elsewhere = inner.dovecot.as_ref().map(Authentication::mechanisms);
        let dovecot = |mechanism| elsewhere.as_ref().is_none_or(|offered| offered.contains(&mechanism));
        let scram = inner.options.ldap.is_none()
            && inner.accounts.borrow().entries().all_scram()
            && dovecot(Mechanism::ScramSha256);
        let offered = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus => scram && elsewhere.is_none() && origin.channel_binding.is_some(),
            Mechanism::ScramSha256 => scram,
            Mechanism::Plain => origin.is_secure() && dovecot(Mechanism::Plain),
            Mechanism::External => !origin.chain.is_empty() && !inner.options.authorities.is_empty(),
            Mechanism::OAuthBearer => {
                let by_dovecot = elsewhere.is_some() && dovecot(Mechanism::OAuthBearer);
                origin.is_secure() && (inner.tokens.is_some() || by_dovecot)
            }
            Mechanism::CramMd5 => origin.odmr,
        };
        Mechanism::ALL.into_iter().filter(offered).collect()
    }

    /// Begins an exchange. `initial`: the initial response, where there was one (RFC 4954 §4).
    pub async fn begin(&self, mechanism: Mechanism, initial: Option<Vec<u8>>, origin: &Origin) -> (Exchange, Step) {
        Exchange::begin(self.clone(), mechanism, initial, origin.clone()).await
    }

    /// The account of this name, prepared, with the domain that it lacks.
    pub(super) fn name(&self, text: &str) -> Option<Mailbox> {
        let text = prepare(text).ok()?;
        match (text.contains('@'), &self.0.options.domain) {
            (false, Some(domain)) => Mailbox::new(&text, domain.clone()).ok(),
            _ => Mailbox::parse(&text).ok(),
        }
    }

    pub(super) fn accounts(&self) -> Arc<Accounts> {
        self.0.accounts.borrow().clone()
    }

    pub(super) fn host(&self) -> &Domain {
        &self.0.options.host
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(super) fn limits(&self) -> MutexGuard<'_, Limits> {
        self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.0.secret
    }

    pub(super) fn dovecot(&self) -> Option<&Authentication> {
        self.0.dovecot.as_ref()
    }

    pub(super) fn has_tokens(&self) -> bool {
        self.0.tokens.is_some()
    }

    /// Where the account is judged. One of the file that has no password of its own is the mail system's.
    pub(super) fn place(&self, name: Option<&Mailbox>) -> Place {
        let accounts = self.accounts();
        let own = name.and_then(|name| accounts.entries().get(&name.key()));
        let elsewhere = match (&self.0.dovecot, &self.0.options.ldap) {
            (Some(_), _) => Place::Dovecot,
            (None, Some(_)) => Place::Directory,
            (None, None) => Place::Nowhere,
        };
        match own {
            Some(account) if account.has_password() || matches!(elsewhere, Place::Nowhere) => {
                Place::Here(Box::new(account.clone()))
            }
            _ => elsewhere,
        }
    }

    /// Whether the password fits the verifiers; in its turn, on a thread of its own.
    pub(super) async fn fits(&self, verifiers: verifiers::Verifiers, password: Secret) -> Result<bool, Fault> {
        let busy = || Fault("too many passwords wait to be judged".to_owned());
        let turn = tokio::time::timeout(TURN, self.0.turns.acquire()).await.map_err(|_| busy())?;
        let _turn = turn.map_err(|_| busy())?;
        let judged = tokio::task::spawn_blocking(move || verifiers.fit(&password)).await;
        judged.map_err(|error| Fault(error.to_string()))
    }

    pub(super) async fn bind(&self, name: &Mailbox, password: &Secret) -> Result<bool, Fault> {
        let (Some(directory), Some(connector)) = (&self.0.options.ldap, &self.0.options.connector) else {
            return Err(Fault("there is no directory".to_owned()));
        };
        ldap::bind(directory, connector, name, password).await
    }

    pub(super) async fn token(&self, token: &Secret) -> Result<Option<String>, Fault> {
        let (Some(tokens), Some(connector)) = (&self.0.tokens, &self.0.options.connector) else {
            return Err(Fault("nothing judges tokens".to_owned()));
        };
        tokens.judge(token, connector).await
    }

    /// Whom a client certificate names; with the reason if it proves nobody.
    pub(super) fn person(&self, chain: &[CertificateDer<'_>]) -> Result<Result<Vec<Mailbox>, String>, Fault> {
        let mut all = Vec::new();
        for lists in &self.0.revocations {
            all.push(lists.get()?);
        }
        let now = self.0.clock.now().to_system_time().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let proven = prove_person(chain, &self.0.options.authorities, &all, now);
        let told = |fault| TlsError::Certificate { of: "the client".to_owned(), fault }.to_string();
        Ok(proven.map_err(told))
    }

    /// When a judgement begins.
    pub(super) fn now() -> Instant {
        Instant::now()
    }
}
