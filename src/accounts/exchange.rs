//! One exchange: from a mechanism to a [`Principal`] or a refusal.
//!
//! In: the client's messages. Out: a [`Step`] for each. Invariants: every failure looks the same, whatever failed, and is
//! held back from the moment at which the message came, so that its time tells nothing; a disabled account fails at the end
//! like a wrong password; nobody acts as somebody else. A [`Fault`] of a place that judges is `454 4.7.0`, never a failure.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::{Instant, sleep_until};

use super::authority::{Authority, Place};
use super::dovecot::{Answer, Session};
use super::entries::free;
use super::limit::Closed;
use super::verifiers::Verifiers;
use super::{Fault, Origin, Principal, Proof};
use crate::address::Mailbox;
use crate::random;
use crate::reply::{EnhancedCode, Reply};
use crate::sasl::scram::{Binding, ClientFirst, ServerFirst, Verifier};
use crate::sasl::{BEARER_REFUSED, Bearer, CramResponse, Mechanism, Plain, SaslError, Secret, external};

/// Characters of a name in the log.
const NAME_SHOWN: usize = 128;

/// What comes next in an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next challenge; the client answers it.
    Challenge(Vec<u8>),
    /// Proven. The octets, where there are some, go to the client as a challenge that it answers with nothing, before the
    /// positive reply (RFC 4954 §4).
    Done(Principal, Option<Vec<u8>>),
    /// Refused, already delayed. After `421` the connection is closed.
    Refused(Reply),
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange {
    authority: Authority,
    mechanism: Mechanism,
    origin: Origin,
    state: State,
    /// The key of the account that is tried, for limits and the log.
    tried: Option<String>,
}

#[derive(Debug)]
enum State {
    /// The client's first message is due.
    First,
    /// The answer to our challenge of CRAM-MD5 is due.
    Cram(Vec<u8>),
    /// The client's proof is due.
    Scram(Box<Scram>),
    /// Dovecot leads.
    Dovecot(Box<Session>),
    /// The octet after a refused token is due (RFC 7628 §3.2.3).
    TokenRefused(&'static str),
    /// Nothing more is due.
    Over,
}

#[derive(Debug)]
struct Scram {
    server: ServerFirst,
    name: Option<(Mailbox, Proof)>,
}

/// What came of a message.
enum Outcome {
    Challenge(Vec<u8>, State),
    Proven(Mailbox, Proof, Option<Vec<u8>>),
    Wrong(String),
    Closed(Closed),
}

impl From<SaslError> for Outcome {
    fn from(error: SaslError) -> Self {
        Outcome::Wrong(error.to_string())
    }
}

/// Ends a message's way early, by an outcome or by a fault.
enum Stop {
    Outcome(Outcome),
    Fault(Fault),
}

impl From<SaslError> for Stop {
    fn from(error: SaslError) -> Self {
        Stop::Outcome(error.into())
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

fn wrong(why: &str) -> Outcome {
    Outcome::Wrong(why.to_owned())
}

fn refused(code: u16, enhanced: (u8, u16, u16), text: &'static str) -> Step {
    Step::Refused(Reply::new(code, EnhancedCode::new(enhanced.0, enhanced.1, enhanced.2), text))
}

impl Exchange {
    pub(super) async fn begin(
        authority: Authority,
        mechanism: Mechanism,
        initial: Option<Vec<u8>>,
        origin: Origin,
    ) -> (Exchange, Step) {
        let offered = authority.mechanisms(&origin).contains(&mechanism);
        let mut exchange = Exchange { authority, mechanism, origin, state: State::First, tried: None };
        let clear = !exchange.origin.is_secure() && matches!(mechanism, Mechanism::Plain | Mechanism::OAuthBearer);
        let step = match (offered, initial) {
            (false, _) if clear => refused(538, (5, 7, 11), "not in the clear; use TLS"),
            (false, _) => refused(504, (5, 5, 4), "this mechanism is not offered here"),
            (true, Some(_)) if !mechanism.client_first() => {
                refused(501, (5, 7, 0), "this mechanism has no initial response")
            }
            (true, Some(initial)) => exchange.step(initial).await,
            (true, None) if mechanism.client_first() => Step::Challenge(Vec::new()),
            (true, None) => match exchange.cram_challenge() {
                Ok(challenge) => {
                    exchange.state = State::Cram(challenge.clone());
                    Step::Challenge(challenge)
                }
                Err(fault) => exchange.fault(&Fault(fault.to_string())),
            },
        };
        (exchange, step)
    }

    /// The client's answer to the last challenge.
    pub async fn step(&mut self, response: Vec<u8>) -> Step {
        let started = Authority::now();
        let state = std::mem::replace(&mut self.state, State::Over);
        let admitted = self.authority.limits().admit(self.origin.address, self.tried.as_deref(), started);
        let outcome = match admitted {
            Err(closed) => Ok(Outcome::Closed(closed)),
            Ok(()) => match self.judge(state, &response).await {
                Ok(outcome) | Err(Stop::Outcome(outcome)) => Ok(outcome),
                Err(Stop::Fault(fault)) => Err(fault),
            },
        };
        match outcome {
            Err(fault) => self.fault(&fault),
            Ok(Outcome::Challenge(challenge, state)) => {
                self.state = state;
                Step::Challenge(challenge)
            }
            Ok(Outcome::Proven(name, proof, last)) => match self.unfit(&name) {
                Some(why) => self.failed(&why, started).await,
                None => self.succeeded(name, proof, last, started),
            },
            Ok(Outcome::Wrong(why)) => self.failed(&why, started).await,
            Ok(Outcome::Closed(Closed::Account)) => {
                refused(454, (4, 7, 0), "too many failed attempts for this account; try again in 15 minutes")
            }
            Ok(Outcome::Closed(Closed::Address)) => {
                refused(421, (4, 7, 0), "too many failed attempts; try again in 15 minutes")
            }
        }
    }

    async fn judge(&mut self, state: State, response: &[u8]) -> Result<Outcome, Stop> {
        match state {
            State::First => match self.mechanism {
                Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => self.scram_first(response).await,
                Mechanism::Plain => self.plain(response).await,
                Mechanism::External => self.external(response).await,
                Mechanism::OAuthBearer => self.bearer(response).await,
                Mechanism::CramMd5 => Ok(wrong("out of order")),
            },
            State::Cram(challenge) => self.cram(&challenge, response),
            State::Scram(scram) => match (scram.server.verify(response), scram.name) {
                (Ok(last), Some((name, proof))) => Ok(Outcome::Proven(name, proof, Some(last))),
                (Ok(_), None) => Ok(wrong("no account")),
                (Err(error), _) => Ok(error.into()),
            },
            State::Dovecot(mut session) => {
                let answer = session.answer(response).await?;
                Ok(self.dovecot_says(answer, session))
            }
            State::TokenRefused(why) => Ok(wrong(why)),
            State::Over => Ok(wrong("out of order")),
        }
    }

    /// Whom the client claims to be. Whoever wants to act as somebody else is refused, and what is closed is said.
    fn claims(&mut self, user: &str, authorization: Option<&str>) -> Result<Option<Mailbox>, Stop> {
        let name = self.authority.name(user);
        self.tried = Some(name.as_ref().map_or_else(|| user.chars().take(NAME_SHOWN).collect(), Mailbox::key));
        let admitted = self.authority.limits().admit(self.origin.address, self.tried.as_deref(), Authority::now());
        admitted.map_err(|closed| Stop::Outcome(Outcome::Closed(closed)))?;
        let other = authorization.is_some_and(|other| self.authority.name(other).map(|it| it.key()) != self.tried);
        if other { Err(Stop::Outcome(wrong("it wants to act as somebody else"))) } else { Ok(name) }
    }

    async fn scram_first(&mut self, response: &[u8]) -> Result<Outcome, Stop> {
        let plus = self.mechanism == Mechanism::ScramSha256Plus;
        let offered = self.authority.mechanisms(&self.origin).contains(&Mechanism::ScramSha256Plus);
        let octets = self.origin.channel_binding;
        // What Dovecot judges it judges by itself, and -PLUS is not offered then.
        let first = ClientFirst::parse(response, Binding { plus, offered, octets })?;
        let name = self.claims(&first.user, first.authorization.as_deref())?;
        let (verifier, proof) = match self.authority.place(name.as_ref()) {
            Place::Dovecot => return self.ask_dovecot(response).await,
            Place::Here(account) => (account.verifiers.scram.clone(), account.verifiers.password()),
            Place::Directory | Place::Nowhere => (None, Proof::Elsewhere),
        };
        let name = name.filter(|_| verifier.is_some()).map(|name| (name, proof));
        let verifier = verifier.unwrap_or_else(|| {
            let like = self.authority.accounts().entries().usual_shape();
            Verifier::fake(self.authority.secret(), self.tried.as_deref().unwrap_or_default(), like)
        });
        let nonce = BASE64.encode(random::octets::<18>().map_err(SaslError::from)?);
        let server = first.challenge(verifier, &nonce);
        Ok(Outcome::Challenge(server.message().to_vec(), State::Scram(Box::new(Scram { server, name }))))
    }

    async fn plain(&mut self, response: &[u8]) -> Result<Outcome, Stop> {
        let plain = Plain::parse(response)?;
        let name = self.claims(&plain.user, plain.authorization.as_deref())?;
        let (name, proof, fits) = match (self.authority.place(name.as_ref()), name) {
            (Place::Dovecot, _) => return self.ask_dovecot(response).await,
            (Place::Directory, Some(name)) if self.authority.accounts().is_local(name.domain()) => {
                let fits = self.authority.bind(&name, &plain.password).await?;
                (name, Proof::Elsewhere, fits)
            }
            (Place::Here(account), Some(name)) => {
                let proof = account.verifiers.password();
                (name, proof, self.authority.fits(account.verifiers, plain.password).await?)
            }
            _ => {
                self.authority.fits(Verifiers::default(), plain.password).await?;
                return Ok(wrong("no account"));
            }
        };
        Ok(if fits { Outcome::Proven(name, proof, None) } else { wrong("wrong password") })
    }

    async fn external(&mut self, response: &[u8]) -> Result<Outcome, Stop> {
        let wanted = external(response)?;
        let named = match self.authority.person(&self.origin.chain)? {
            Ok(named) => named,
            Err(why) => return Ok(Outcome::Wrong(format!("the client certificate: {why}"))),
        };
        let wanted = match wanted {
            Some(text) => Some(self.authority.name(&text).ok_or_else(|| Stop::Outcome(wrong("not a name")))?.key()),
            None => None,
        };
        let accounts = self.authority.accounts();
        for name in named.into_iter().filter(|name| wanted.as_ref().is_none_or(|wanted| *wanted == name.key())) {
            self.claims(&name.to_string(), None)?;
            if accounts.is_local(name.domain()) && accounts.may_log_in(&name).await? {
                return Ok(Outcome::Proven(name, Proof::Elsewhere, None));
            }
        }
        Ok(wrong("the client certificate names no account, or another"))
    }

    async fn bearer(&mut self, response: &[u8]) -> Result<Outcome, Stop> {
        if !self.authority.has_tokens() {
            return self.ask_dovecot(response).await;
        }
        let bearer = Bearer::parse(response)?;
        let claimed = match &bearer.user {
            Some(user) => Some(self.claims(user, None)?),
            None => None,
        };
        let owner = self.authority.token(&bearer.token).await?.and_then(|owner| self.authority.name(&owner));
        let refuse = |why| Ok(Outcome::Challenge(BEARER_REFUSED.to_vec(), State::TokenRefused(why)));
        let Some(owner) = owner else { return refuse("the token is not good, or names nobody") };
        if claimed.is_some_and(|claimed| claimed.is_none_or(|claimed| claimed.key() != owner.key())) {
            return refuse("the token is somebody else's");
        }
        self.tried = Some(owner.key());
        let accounts = self.authority.accounts();
        if accounts.is_local(owner.domain()) && accounts.may_log_in(&owner).await? {
            return Ok(Outcome::Proven(owner, Proof::Elsewhere, None));
        }
        refuse("no account")
    }

    /// RFC 2195 §2: different each time, in the form of a Message-ID.
    fn cram_challenge(&self) -> Result<Vec<u8>, SaslError> {
        let number = u128::from_be_bytes(random::octets()?);
        let (now, host) = (self.authority.clock().now().millis() / 1000, self.authority.host());
        Ok(format!("<{number}.{now}@{host}>").into_bytes())
    }

    fn cram(&mut self, challenge: &[u8], response: &[u8]) -> Result<Outcome, Stop> {
        let response = CramResponse::parse(response)?;
        let name = self.claims(&response.user, None)?;
        let accounts = self.authority.accounts();
        let account = name.as_ref().and_then(|name| accounts.entries().get(&name.key()));
        let proof = account.map_or(Proof::Elsewhere, |account| account.verifiers.secret());
        let secret = account.and_then(|account| account.verifiers.odmr.clone());
        let fits = response.fits(challenge, secret.as_ref().unwrap_or(&Secret::new("nobody's")));
        match (name, secret, fits) {
            (Some(name), Some(_), true) => Ok(Outcome::Proven(name, proof, None)),
            _ => Ok(wrong("no secret for ODMR, or another")),
        }
    }

    async fn ask_dovecot(&mut self, response: &[u8]) -> Result<Outcome, Stop> {
        let dovecot = self.authority.dovecot().ok_or_else(|| Fault("Dovecot is not configured".to_owned()))?;
        let (session, answer) = dovecot.begin(self.mechanism, response, &self.origin).await?;
        Ok(self.dovecot_says(answer, Box::new(session)))
    }

    fn dovecot_says(&mut self, answer: Answer, session: Box<Session>) -> Outcome {
        match answer {
            Answer::Challenge(challenge) => Outcome::Challenge(challenge, State::Dovecot(session)),
            Answer::Refused => wrong("refused by Dovecot"),
            Answer::Done(user) => match self.authority.name(&user) {
                Some(name) => Outcome::Proven(name, Proof::Elsewhere, None),
                None => wrong("Dovecot names a user that is no address; set `domain` of the section accounts"),
            },
        }
    }

    /// Why somebody who has proven to be this account is not let in.
    fn unfit(&self, name: &Mailbox) -> Option<String> {
        // A directory, Dovecot or a token may know it.
        if let Err(kept) = free(name.clone()) {
            return Some(kept);
        }
        let accounts = self.authority.accounts();
        if !accounts.is_local(name.domain()) {
            return Some(format!("{} is not served here", name.domain()));
        }
        let disabled = accounts.entries().get(&name.key()).is_some_and(|account| account.disabled);
        disabled.then(|| "the account is disabled".to_owned())
    }

    fn succeeded(&mut self, name: Mailbox, proof: Proof, last: Option<Vec<u8>>, now: Instant) -> Step {
        let key = name.key();
        self.authority.limits().succeeded(self.origin.address, &key, now);
        // As it stands in the file, however it was typed.
        let name = self.authority.accounts().entries().get(&key).map_or(name, |account| account.name.clone());
        tracing::info!("{}: authenticated as {name} by {}", from(self.origin.address), self.mechanism);
        Step::Done(Principal { account: name, proof }, last)
    }

    async fn failed(&mut self, why: &str, started: Instant) -> Step {
        let tried = self.tried.as_deref();
        let delay = self.authority.limits().failed(self.origin.address, tried, started);
        let name: String = tried.unwrap_or("nobody").chars().take(NAME_SHOWN).collect();
        let (from, name) = (from(self.origin.address), name.escape_debug());
        tracing::info!("{from}: authentication as {name} by {} failed: {why}", self.mechanism);
        sleep_until(started + delay).await;
        refused(535, (5, 7, 8), "authentication failed; check the name and the password")
    }

    fn fault(&self, fault: &Fault) -> Step {
        tracing::warn!("{}: authentication by {} is not possible: {fault}", from(self.origin.address), self.mechanism);
        refused(454, (4, 7, 0), "authentication is not possible now; try later")
    }
}

fn from(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "a local program".to_owned(), |address| address.to_string())
}
