//! What is found of signatures of messages for inboxes here, and of what is said of presence here.
//!
//! In: an entity and whom it is for. Out: a [`Signature`] with its verdict, or the reply that refuses. Invariants: nothing is
//! looked at that is not for an inbox here; a large entity is looked at on a thread of its own; what is refused contradicts
//! itself, was altered, or is out of its time or place, and nothing else is. RFC 8551, RFC 9788, RFC 3463 §3.8.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::lists::Lists;
use super::transaction::Judge;
use crate::accounts::Accounts;
use crate::address::{ForwardPath, Mailbox};
use crate::dns::published;
use crate::envelope::{Class, Envelope};
use crate::mime::signed::describe;
use crate::policy::Service;
use crate::policy::inbox::{ASTRAY, UNSIGNED};
use crate::presence;
use crate::reply::{EnhancedCode, Reply};
use crate::rules::Signed;
use crate::rules::edit::Who;
use crate::smime::trust::{Distrust, ListPlace, Published, Trust};
use crate::smime::{Circumstances, Examined, Finding, Memory, Signer, Verdict, examine_with};
use crate::smtp::command::Rcpt;
use bytes::Bytes;

/// Octets of an entity that are looked at beside the work on sockets: a tenth of a millisecond's digest.
const SMALL: usize = 32 * 1024;
/// How long the author's domain may take to say what it publishes of its signers.
const DNS: Duration = Duration::from_secs(5);

/// Who is believed, and who insists.
#[derive(Debug)]
pub struct Signatures {
    /// Whom to believe; asked for with the first message that is signed, since it takes a while to read them all.
    pub trust: LazyLock<Trust, Box<dyn FnOnce() -> Trust + Send>>,
    /// Certificates of signers who were believed.
    pub memory: Memory,
    /// Who fetches lists of revoked certificates; `None`: nobody.
    pub lists: Option<Lists>,
    /// Whether domains are asked what they publish of their signers.
    pub asks_dns: bool,
    /// Inboxes and domains that take messages with valid signatures only.
    pub require: Vec<Who>,
}

impl Signatures {
    /// Nobody is believed, nobody insists.
    #[cfg(test)]
    pub(super) fn none() -> Signatures {
        let nobody = || Trust::new(&crate::smime::trust::Anchors::default()).unwrap();
        Signatures {
            trust: LazyLock::new(Box::new(nobody)),
            memory: Memory::default(),
            lists: None,
            asks_dns: false,
            require: Vec::new(),
        }
    }

    /// Whether an inbox insists on a signature that is not there, or proves nothing. What is encrypted is between its author
    /// and its reader.
    pub(super) fn refuses(&self, inbox: &Mailbox, signature: Option<&Signature>) -> bool {
        let insists = self.require.iter().any(|who| match who {
            Who::Mailbox(mailbox) => mailbox.key() == inbox.key(),
            Who::Domain(domain) => domain == inbox.domain(),
        });
        insists && !signature.is_some_and(Signature::proves)
    }

    /// What an inbox says against a signature, or against that there is none.
    pub(super) fn objection(&self, inbox: &Mailbox, signature: Option<&Signature>) -> Option<&'static str> {
        if signature.is_some_and(|signature| signature.astray.contains(&inbox.key())) {
            return Some(ASTRAY);
        }
        self.refuses(inbox, signature).then_some(UNSIGNED)
    }
}

/// The refusal of a message that was signed for others.
pub(super) fn refuse_astray() -> Reply {
    Reply::new(554, EnhancedCode::new(5, 7, 7), format!("the signature is refused: {ASTRAY}"))
}

/// What was found of a message.
pub(super) struct Signature {
    examined: Examined,
    /// Keys of the inboxes for which it was not signed, while it was for others.
    astray: HashSet<String>,
    /// What is to be thought of it.
    pub verdict: Verdict,
}

impl Signature {
    /// Whether it was signed for some of its recipients only.
    pub fn is_astray(&self) -> bool {
        !self.astray.is_empty()
    }

    /// Whether it is enough for who insists. One without any signed time may be as old as its key. A domain signs what it says
    /// itself, and no messages of persons.
    fn proves(&self) -> bool {
        match self.verdict.finding {
            Finding::ValidUser(_) => self.verdict.timed,
            Finding::ValidDomain(_) => self.verdict.timed && self.examined.is_report(),
            Finding::Undecryptable(_) => true,
            _ => false,
        }
    }

    /// What it proves to rules: of whom the message is, as its envelope or its header says, has signed it.
    pub fn signed(&self, author: Option<&Mailbox>) -> Signed {
        match (&self.verdict.finding, author) {
            (Finding::Undecryptable(_), _) => Signed::Author,
            (Finding::ValidUser(user), Some(author)) if self.verdict.timed && user.key() == author.key() => {
                Signed::Author
            }
            (Finding::ValidDomain(domain), Some(author)) if self.verdict.timed && domain == author.domain() => {
                Signed::Domain
            }
            _ => Signed::No,
        }
    }

    /// Whether what acts here was signed for all of its recipients, and by nobody else than who says it.
    pub fn is_of_its_author(&self) -> Result<(), Reply> {
        if self.is_astray() {
            return Err(refuse_astray());
        }
        match self.verdict.finding {
            Finding::WrongSender(_) => Err(refused(&self.verdict)),
            _ => Ok(()),
        }
    }

    /// What it protects, for who acts on it.
    pub fn content(&self) -> presence::Signed {
        let content = Bytes::copy_from_slice(self.examined.payload());
        presence::Signed { content, by_author: self.verdict.user().is_some() }
    }

    /// By what it is known again at each recipient who lives here.
    pub fn seen(&self, envelope: &Envelope, accounts: &Accounts) -> Vec<Option<[u8; 32]>> {
        let key = |mailbox: &Mailbox| self.examined.seen_key(mailbox, envelope.sender.mailbox(), &self.verdict);
        let seen = |mailbox: &Mailbox| accounts.is_local(mailbox.domain()).then(|| key(mailbox)).flatten();
        envelope.recipients.iter().map(|recipient| seen(&recipient.address)).collect()
    }
}

impl Judge {
    /// What is found of the signature of an entity; `None` where it has none, or nobody who lives here is to have it.
    pub(super) async fn signature(
        &self,
        entity: &Bytes,
        rcpts: &[Rcpt],
        class: Class,
        accounts: &Accounts,
    ) -> Result<Option<Signature>, Reply> {
        if !is_protected(entity) {
            return Ok(None);
        }
        // Of presence what a client of ours says to others is said to us.
        let acts = class == Class::Pres && self.listener.service == Service::Client;
        let local = |rcpt: &Rcpt| match &rcpt.path {
            ForwardPath::Mailbox(mailbox) if acts || accounts.is_local(mailbox.domain()) => {
                let members = accounts.members(mailbox).unwrap_or_default();
                let inboxes = if members.is_empty() { std::slice::from_ref(mailbox) } else { members };
                let inboxes = inboxes.iter().map(Mailbox::key).collect();
                // A group is nobody: its members are written to by its name.
                let members = if members.len() == 1 { members } else { &[] };
                Some(Reached { names: std::iter::once(mailbox).chain(members).cloned().collect(), inboxes })
            }
            _ => None,
        };
        let recipients: Vec<Reached> = rcpts.iter().filter_map(local).collect();
        if recipients.is_empty() {
            return Ok(None);
        }
        let signatures = self.context.signatures.borrow().clone();
        let examined = if entity.len() <= SMALL {
            examine_with(entity, &[], &[], &signatures.memory)
        } else {
            let (entity, signatures) = (entity.clone(), Arc::clone(&signatures));
            aside(move || examine_with(&entity, &[], &[], &signatures.memory)).await?
        };
        let published = match signatures.asks_dns {
            true => self.published(&examined).await,
            false => None,
        };
        let case = Arc::new(Case { recipients, all: rcpts.len(), published });
        let (judged, places) = self.judged(examined, &case).await?;
        let judged = match &signatures.lists {
            // What is believed may be another thing now.
            Some(lists) if !places.is_empty() && lists.ask(places).await => {
                self.judged(judged.examined, &case).await?.0
            }
            _ => judged,
        };
        self.context.meters.examine(&judged.verdict);
        match refusal(&judged.verdict) {
            Some(refusal) => Err(refusal),
            None => Ok(Some(judged)),
        }
    }

    /// What is found, and, of a signer who is believed for the first time, where it is told whether that is still right.
    async fn judged(&self, examined: Examined, case: &Arc<Case>) -> Result<(Signature, Vec<ListPlace>), Reply> {
        let (signatures, case) = (self.context.signatures.borrow().clone(), Arc::clone(case));
        let now = self.context.clock.now();
        let is_known = is_known(examined.signers(), &signatures.memory);
        let is_quick = is_known && is_quick(examined.signers());
        let work = move || {
            let (trust, published) = (&signatures.trust, case.published.as_ref());
            let circumstances = Circumstances { now, accepted: now, recipients: &[], trust, published, pins: &[] };
            let judged = judge(examined, &case, &circumstances);
            let mut places = Vec::new();
            for signer in judged.examined.signers().iter().filter(|_| judged.verdict.is_valid() && !is_known) {
                signatures.memory.keep(&signer.certificate);
                if signatures.lists.is_some() {
                    places.extend(trust.lists_of(&signer.certificate));
                }
            }
            (judged, places)
        };
        // Of others, authorities may have to be read, and chains to be checked; lists that came along are read each time.
        if is_quick { Ok(work()) } else { aside(work).await }
    }

    /// What the author's domain publishes of signers, proven by DNSSEC. Where nobody can say, it is as if there were nothing:
    /// the authorities that are named here decide.
    async fn published(&self, examined: &Examined) -> Option<Published> {
        let author = examined.author().filter(|_| !examined.signers().is_empty())?;
        published(&*self.context.resolver, &author, DNS).await
    }
}

/// Whether the header says that the whole is signed or encrypted. One that says it twice is looked at closely.
fn is_protected(entity: &[u8]) -> bool {
    describe(entity).map_or(true, |described| {
        described.is("multipart", "signed")
            || described.is("application", "pkcs7-mime")
            || described.is("application", "x-pkcs7-mime")
    })
}

/// Whether all who have signed were believed before.
fn is_known(signers: &[Signer], memory: &Memory) -> bool {
    !signers.is_empty() && signers.iter().all(|signer| memory.has(&signer.certificate))
}

/// Whether there is nothing to read beside the certificates of signers who are known.
fn is_quick(signers: &[Signer]) -> bool {
    signers.iter().all(|signer| signer.lists.is_empty())
}

/// Work that may take a while, beside the work on sockets.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Reply> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        let text = "the signature cannot be examined at the moment, try again later";
        Reply::new(451, EnhancedCode::new(4, 3, 0), text)
    })
}

/// What a verdict depends on besides the message and those who are believed.
struct Case {
    recipients: Vec<Reached>,
    /// How many recipients there are, those elsewhere too.
    all: usize,
    published: Option<Published>,
}

/// A recipient who lives here: by what names, and in which inboxes.
struct Reached {
    names: Vec<Mailbox>,
    inboxes: Vec<String>,
}

/// The verdict for all recipients: whom to believe is asked once. Where it was signed for none of all, it is that; where for
/// some, the others refuse it.
fn judge(examined: Examined, case: &Case, circumstances: &Circumstances<'_>) -> Signature {
    let mut verdict = examined.judge(circumstances);
    let has_signer = match &verdict.finding {
        Finding::Untrusted(why) => !matches!(why, Distrust::Unreadable(_)),
        finding => matches!(finding, Finding::ValidUser(_) | Finding::ValidDomain(_) | Finding::Expired(_)),
    };
    let (mut astray, mut meant, mut why) = (HashSet::new(), HashSet::new(), Vec::new());
    for reached in case.recipients.iter().filter(|_| has_signer) {
        match examined.is_written_to(&reached.names) {
            Ok(()) => meant.extend(reached.inboxes.iter().cloned()),
            Err(finding) => {
                astray.extend(reached.inboxes.iter().cloned());
                why.push(finding);
            }
        }
    }
    if why.len() == case.all
        && let Some(finding) = why.pop()
    {
        verdict = Verdict { finding, basis: None, replay_protected: false, timed: false, ..verdict };
    }
    astray.retain(|inbox| !meant.contains(inbox));
    Signature { examined, astray, verdict }
}

/// X.7.7: the message is not what its author sent, or not where and when it was to be.
fn refusal(verdict: &Verdict) -> Option<Reply> {
    let altered = matches!(verdict.finding, Finding::Altered(_));
    (altered || verdict.must_be_refused()).then(|| refused(verdict))
}

fn refused(verdict: &Verdict) -> Reply {
    Reply::new(554, EnhancedCode::new(5, 7, 7), format!("the signature is refused: {}", verdict.reason()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smime::examine;

    #[test]
    fn what_says_that_it_is_protected() {
        let check = |header: &str, expected| {
            assert_eq!(is_protected(format!("{header}\r\n\r\nbody").as_bytes()), expected, "{header}");
        };
        check("From: a@a.example", false);
        check("Content-Type: multipart/mixed; boundary=x", false);
        check("Content-Type: Multipart/Signed; boundary=x", true);
        check("Content-Type: application/PKCS7-mime; smime-type=enveloped-data", true);
        check("Content-Type: application/x-pkcs7-mime", true);
        check("Content-Type: text/plain\r\nContent-Type: multipart/signed", true);
    }

    #[test]
    fn who_insists_is_heard() {
        let mailbox = |text: &str| Mailbox::parse(text).unwrap();
        let require = vec!["alice@a.example".parse().unwrap(), "b.example".parse().unwrap()];
        let signatures = Signatures { require, ..Signatures::none() };
        for (inbox, expected) in [("Alice@a.example", true), ("bob@a.example", false), ("bob@b.example", true)] {
            assert_eq!(signatures.refuses(&mailbox(inbox), None), expected, "{inbox}");
        }
        let with = |finding| Signature {
            examined: examine(b"", &[], &[]),
            astray: HashSet::new(),
            verdict: Verdict { timed: true, ..Verdict::bare(finding) },
        };
        let alice = mailbox("alice@a.example");
        let lost = Signature { astray: HashSet::from([alice.key()]), ..with(Finding::ValidUser(alice.clone())) };
        assert_eq!(signatures.objection(&alice, Some(&lost)), Some(ASTRAY));
        assert_eq!(signatures.objection(&mailbox("bob@b.example"), Some(&lost)), None);
        let timeless = with(Finding::ValidUser(alice.clone()));
        let timeless = Signature { verdict: Verdict { timed: false, ..timeless.verdict.clone() }, ..timeless };
        assert!(signatures.refuses(&alice, Some(&timeless)), "it may be as old as its key");
        assert!(signatures.refuses(&alice, Some(&with(Finding::ValidDomain(alice.domain().clone())))), "no report");
        assert!(!signatures.refuses(&alice, Some(&with(Finding::ValidUser(alice.clone())))));
        assert!(!signatures.refuses(&alice, Some(&with(Finding::Undecryptable("no".to_owned())))));
        let absent = crate::smime::verdict::Absence::Plain;
        assert!(signatures.refuses(&alice, Some(&with(Finding::Unsigned(absent)))));
    }

    #[test]
    fn lists_that_came_along_are_read_aside() {
        use crate::tls::make::{Authority, AuthorityOptions, Leaf};
        let now = crate::timestamp::Timestamp::from_secs(1_795_000_000);
        let authority = Authority::root(&AuthorityOptions::new("CA", now)).unwrap();
        let leaf = Leaf { server: false, client: false, ..Leaf::new(&[], now) }.with_addresses(&["alice@a.example"]);
        let made = authority.issue(&leaf).unwrap();
        let alice = crate::smime::Identity::from_pem(&made.key_pem, &made.chain_pem, None).unwrap();
        let part = b"Content-Type: text/plain\r\n\r\nhello\r\n";
        let entity = crate::smime::sign(part, &alice, &crate::smime::SignOptions::new(now)).unwrap();
        let entity = [b"From: alice@a.example\r\nMIME-Version: 1.0\r\n".as_slice(), &entity].concat();
        let mut signers = examine(&entity, &[], &[]).signers().to_vec();
        let memory = Memory::default();
        assert!(!is_known(&[], &memory) && signers.len() == 1 && !is_known(&signers, &memory));
        memory.keep(&signers[0].certificate);
        assert!(is_known(&signers, &memory) && is_quick(&signers));
        signers[0].lists = Arc::from(vec![vec![0x30, 0]]);
        assert!(is_known(&signers, &memory) && !is_quick(&signers));
    }

    #[test]
    fn what_rules_hear_of_a_signature() {
        let alice = Mailbox::parse("alice@a.example").unwrap();
        let check = |finding: Finding, timed, author: Option<&str>, expected| {
            let verdict = Verdict { timed, ..Verdict::bare(finding) };
            let signature = Signature { examined: examine(b"", &[], &[]), astray: HashSet::new(), verdict };
            let author = author.map(|text| Mailbox::parse(text).unwrap());
            assert_eq!(signature.signed(author.as_ref()), expected, "{author:?}");
        };
        let (user, domain) = (Finding::ValidUser(alice.clone()), Finding::ValidDomain(alice.domain().clone()));
        check(user.clone(), true, Some("ALICE@a.example"), Signed::Author);
        check(user.clone(), true, Some("bob@a.example"), Signed::No);
        check(user.clone(), true, None, Signed::No);
        check(user, false, Some("alice@a.example"), Signed::No);
        check(domain.clone(), true, Some("bob@a.example"), Signed::Domain);
        check(domain.clone(), true, Some("bob@b.example"), Signed::No);
        check(domain, false, Some("bob@a.example"), Signed::No);
        check(Finding::Undecryptable(String::new()), false, None, Signed::Author);
        check(Finding::Untrusted(Distrust::NoChain), true, Some("alice@a.example"), Signed::No);
    }
}
