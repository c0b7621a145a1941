//! What the rules of inboxes say of a message: for a recipient, and for those that groups stand for.
//!
//! In: who sends, as far as it was proven, and who lives here. Out: `Ok`, or the reply that refuses; of an expanded envelope,
//! what is left of it. A refusal says that it is one and names no rule: there is no polite blocking of messages
//! (RFC 2779 §5.4.1). The receipt for members of a group who refuse names them. Reports about messages are not held against
//! rules: whoever sends hears what became of it.

use super::expand::{Expansion, Group};
use super::refuse;
use crate::accounts::{Accounts, Takes};
use crate::address::{Mailbox, ReversePath};
use crate::envelope::Envelope;
use crate::mime::{report, signed};
use crate::reply::Reply;
use crate::rules::{Circumstances, Signed};
use crate::timestamp::Timestamp;

/// What a sender reads whom an inbox blocks.
const BLOCKED: &str = "this inbox does not take messages from you";
/// What a sender reads whose signature is missing or proves nothing.
pub const UNSIGNED: &str = "this inbox takes messages with a valid signature of their author only; sign them";

fn untold() -> Reply {
    let text = "whether this inbox takes messages from you cannot be told at the moment, try again later";
    refuse(451, (4, 3, 0), text)
}

/// Whether an entity tells what became of a message, at a server or at its reader, in a form that programs read. What
/// only calls itself a report is a message like others.
pub fn is_exempt(sender: &ReversePath, entity: &[u8]) -> bool {
    let content = || signed::content(entity);
    *sender == ReversePath::Null && (report::parse(content()).is_ok() || report::is_notice(content()))
}

/// RCPT TO of an inbox, an alias or a group here. A null sender is judged by its entity: [`sift`].
pub fn recipient(sender: &ReversePath, mailbox: &Mailbox, accounts: &Accounts, now: Timestamp) -> Result<(), Reply> {
    let ReversePath::Mailbox(sender) = sender else { return Ok(()) };
    let inboxes = match accounts.members(mailbox) {
        Some(members) if !members.is_empty() => members,
        _ => std::slice::from_ref(mailbox),
    };
    let unseen = Circumstances { now, signed: Signed::Unseen, ..Circumstances::default() };
    let all: Vec<Takes> = inboxes.iter().map(|inbox| accounts.takes(inbox, Some(sender), unseen)).collect();
    if all.contains(&Takes::Untold) {
        return Err(untold());
    }
    // Those of a group who do not take it are told of by a receipt.
    if all.contains(&Takes::Yes) { Ok(()) } else { Err(refuse(550, (5, 7, 1), BLOCKED)) }
}

/// An expanded envelope without those whose rules refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sifted {
    /// What is left.
    pub expansion: Expansion,
    /// Those who refuse it; `None`: nobody does.
    pub refused: Option<Refused>,
}

/// Who refuses a message that others take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The envelope with all.
    pub envelope: Envelope,
    /// Their indexes in it, and what each says.
    pub indexes: Vec<(usize, &'static str)>,
    /// The index in what is left of one with whose acceptance they hear of it.
    pub with: usize,
}

/// What a sender reads whose signed recipients are others.
pub const ASTRAY: &str = "the message was signed for other recipients; name this one in To or Cc";

/// Takes out whoever does not take it from all of these authors; `None`: somebody anonymous. `objects`: what an inbox says against the
/// signature, or the lack of one, besides its rules. If that is everybody, it is refused.
pub fn sift(
    expansion: Expansion,
    authors: &[Option<&Mailbox>],
    objects: impl Fn(&Mailbox) -> Option<&'static str>,
    accounts: &Accounts,
    circumstances: Circumstances<'_>,
) -> Result<Sifted, Reply> {
    let takes = |inbox: &Mailbox, signed: Signed| {
        let local = accounts.is_local(inbox.domain());
        let circumstances = Circumstances { signed, ..circumstances };
        let takes = |author: &Option<&Mailbox>| accounts.takes(inbox, *author, circumstances);
        authors.iter().filter(|_| local).map(takes).find(|takes| *takes != Takes::Yes).unwrap_or(Takes::Yes)
    };
    let recipients = || expansion.envelope.recipients.iter().map(|one| &one.address);
    let all: Vec<Takes> = recipients().map(|inbox| takes(inbox, circumstances.signed)).collect();
    if all.contains(&Takes::Untold) {
        return Err(untold());
    }
    let words = |index: usize| match all[index] {
        Takes::No if takes(&expansion.envelope.recipients[index].address, Signed::Unseen) == Takes::Yes => {
            Some(UNSIGNED)
        }
        Takes::No => Some(BLOCKED),
        _ => objects(&expansion.envelope.recipients[index].address),
    };
    let indexes: Vec<(usize, &str)> = (0..all.len()).filter_map(|index| Some((index, words(index)?))).collect();
    match indexes[..] {
        [] => return Ok(Sifted { expansion, refused: None }),
        [(_, first), ..] if indexes.len() == all.len() => return Err(refuse(550, (5, 7, 1), first)),
        _ => {}
    }
    let Expansion { envelope, before, groups } = expansion;
    let left: Vec<usize> = (0..all.len()).filter(|index| indexes.iter().all(|(gone, _)| gone != index)).collect();
    let original = |index: usize| envelope.recipients.get(index).and_then(|one| one.original.as_ref());
    // One who came from the same address, if there is one: it had the message before if and only if they had it.
    let beside = |gone: usize| {
        let same = left.iter().position(|index| original(*index) == original(gone));
        left.iter().position(|index| *index == gone).or(same).unwrap_or_default()
    };
    let groups = groups.iter().map(|group| Group { member: beside(group.member), ..*group }).collect();
    let with = indexes.first().map_or(0, |(first, _)| beside(*first));
    let recipients = left.iter().filter_map(|index| envelope.recipients.get(*index).cloned()).collect();
    let after = Envelope { recipients, ..envelope.clone() };
    let refused = Some(Refused { envelope, indexes, with });
    Ok(Sifted { expansion: Expansion { envelope: after, before, groups }, refused })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::accounts::{LocalDomain, Rules, rules};
    use crate::address::Domain;
    use crate::envelope::{Body, Class, Notify, Recipient};
    use crate::policy::expand::expand;
    use crate::rules::edit;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(&format!("{text}@a.example")).unwrap()
    }

    /// alice blocks mallory, bob blocks mallory's domain, carol has no rules, dave's are damaged; `both` and `all` are groups.
    fn accounts(directory: &Path) -> Accounts {
        let block = |inbox: &str, who: &str| {
            let who = who.parse().unwrap();
            rules::change(directory, &mailbox(inbox), |old| Ok(edit::block(old, &who).unwrap().text)).unwrap();
        };
        block("alice", "mallory@b.example");
        block("bob", "b.example");
        std::fs::write(rules::path(directory, &mailbox("dave")), "no").unwrap();
        let rules = Rules::load(directory, &Rules::default()).unwrap().0;
        let inboxes = ["alice", "bob", "carol", "dave"].map(|name| mailbox(name).key()).into();
        let domain = (Domain::parse("a.example").unwrap(), LocalDomain { im: true, inboxes, ..LocalDomain::default() });
        let aliases = HashMap::from([
            (mailbox("al").key(), vec![mailbox("alice")]),
            (mailbox("both").key(), vec![mailbox("alice"), mailbox("bob")]),
            (mailbox("all").key(), vec![mailbox("alice"), mailbox("carol"), mailbox("bob")]),
        ]);
        Accounts::new(HashMap::from([domain])).with_aliases(aliases).with_rules(Arc::new(rules))
    }

    fn envelope() -> Envelope {
        Envelope {
            class: Class::Im,
            sender: ReversePath::Null,
            body: Body::SevenBit,
            utf8: false,
            ret: None,
            envid: None,
            deliver_by: None,
            require_tls: false,
            recipients: Vec::new(),
        }
    }

    const MALLORY: &str = "mallory@b.example";

    #[test]
    fn only_what_tells_of_a_message_is_exempt() {
        let report = |kind: &str, part: &str, fields: &str| {
            format!(
                "From: mallory@b.example\r\nContent-Type: multipart/report; report-type={kind}; boundary=b\r\n\r\n\
                 --b\r\n\r\nhello\r\n--b\r\nContent-Type: message/{part}\r\n\r\n{fields}\r\n--b--\r\n"
            )
        };
        let check = |kind: &str, part: &str, fields: &str, expected| {
            let entity = report(kind, part, fields);
            assert_eq!(is_exempt(&ReversePath::Null, entity.as_bytes()), expected, "{entity}");
            assert!(!is_exempt(&ReversePath::Mailbox(mailbox("mallory")), entity.as_bytes()));
        };
        let status = "Reporting-MTA: dns; b.example\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\n\
                      Action: failed\r\nStatus: 5.1.1\r\n";
        check("delivery-status", "delivery-status", status, true);
        check("delivery-status", "delivery-status", "Reporting-MTA: dns; b.example\r\n", false);
        check("x", "delivery-status", status, false);
        let displayed = "Disposition: manual-action/MDN-sent-manually; displayed\r\n";
        check("disposition-notification", "disposition-notification", displayed, true);
        check("Disposition-Notification", "global-disposition-notification", displayed, true);
        check("disposition-notification", "x", displayed, false);
        check("feedback-report", "feedback-report", "Feedback-Type: abuse\r\n", false);
    }

    #[test]
    fn recipients() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path());
        let check = |from: &str, to: &str, expected: &str| {
            let sender = match from {
                "" => ReversePath::Null,
                from => ReversePath::Mailbox(Mailbox::parse(from).unwrap()),
            };
            let got = recipient(&sender, &mailbox(to), &accounts, Timestamp::default());
            let shown = got.map_or_else(|reply| format!("{} {}", reply.code(), reply.status()), |()| "ok".to_owned());
            assert_eq!(shown, expected, "{from} {to}");
        };
        check(MALLORY, "alice", "550 5.7.1");
        check(MALLORY, "al", "550 5.7.1");
        check("eve@b.example", "alice", "ok");
        check("eve@b.example", "bob", "550 5.7.1");
        check("eve@c.example", "bob", "ok");
        check(MALLORY, "both", "550 5.7.1");
        check(MALLORY, "all", "ok");
        check(MALLORY, "carol", "ok");
        check("eve@c.example", "dave", "451 4.3.0");
        check("dave@a.example", "dave", "ok");
        check("", "alice", "ok");
    }

    #[test]
    fn members_of_groups() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path());
        let sifted_by = |insistent: &[&str], from: Option<&str>, to: &[&str]| {
            let notify = Some(Notify { success: true, failure: true, delay: false });
            let recipient = |name: &&str| Recipient { address: mailbox(name), notify, original: None };
            let envelope = Envelope { recipients: to.iter().map(recipient).collect(), ..envelope() };
            let author = from.map(|from| Mailbox::parse(from).unwrap());
            let expansion = expand(envelope, |address| accounts.members(address));
            let insists = |inbox: &Mailbox| insistent.contains(&inbox.local()).then_some(UNSIGNED);
            sift(expansion, &[author.as_ref()], insists, &accounts, Timestamp::default().into())
        };
        let check =
            |from: Option<&str>, to: &[&str], left: &[&str], refused: &[usize], with: usize, groups: &[usize]| {
                let got = sifted_by(&[], from, to).unwrap();
                let names: Vec<_> = got.expansion.envelope.recipients.iter().map(|one| one.address.local()).collect();
                assert_eq!(names, left);
                let gone = got.refused.map(|refused| (refused.indexes, refused.with)).unwrap_or_default();
                let gone = (gone.0.into_iter().map(|(index, _)| index).collect::<Vec<_>>(), gone.1);
                assert_eq!(gone, (refused.to_vec(), with));
                assert_eq!(got.expansion.groups.iter().map(|group| group.member).collect::<Vec<_>>(), groups);
            };
        check(Some("eve@c.example"), &["all"], &["alice", "carol", "bob"], &[], 0, &[0]);
        check(None, &["all"], &["alice", "carol", "bob"], &[], 0, &[0]);
        check(Some(MALLORY), &["all"], &["carol"], &[0, 2], 0, &[0]);
        check(Some("eve@b.example"), &["carol", "both"], &["carol", "alice"], &[2], 1, &[1]);
        assert_eq!(sifted_by(&[], Some(MALLORY), &["both"]).unwrap_err().code(), 550);
        assert_eq!(sifted_by(&[], Some(MALLORY), &["carol", "dave"]).unwrap_err().code(), 451);
        // Some insist on a signature that is not there.
        let unsigned = sifted_by(&["carol"], Some("eve@c.example"), &["all"]).unwrap();
        assert_eq!(unsigned.refused.unwrap().indexes, [(1, UNSIGNED)]);
        let both = sifted_by(&["carol"], Some(MALLORY), &["all"]).unwrap_err();
        assert_eq!((both.code(), both.text()), (550, BLOCKED));
        assert_eq!(sifted_by(&["bob"], Some("eve@c.example"), &["bob"]).unwrap_err().text(), UNSIGNED);
    }

    /// A member of a group who takes nothing anonymous is no reason to keep it from the others.
    #[test]
    fn who_may_be_anybody_must_be_let_in_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let nobody_anonymous = |old: Option<&str>| {
            let text = edit::block(old, &"d.example".parse().unwrap()).unwrap().text.unwrap();
            let (before, rest) = text.split_once("  <rule id=\"anonymous\">").unwrap();
            Ok(Some(format!("{before}{}", rest.split_once("</rule>\n").unwrap().1)))
        };
        rules::change(folder.path(), &mailbox("carol"), nobody_anonymous).unwrap();
        let accounts = accounts(folder.path());
        let eve = Mailbox::parse("eve@c.example").unwrap();
        let left = |to: &str, authors: &[Option<&Mailbox>]| {
            let recipients = vec![Recipient { address: mailbox(to), notify: None, original: None }];
            let expansion = expand(Envelope { recipients, ..envelope() }, |address| accounts.members(address));
            let sifted = sift(expansion, authors, |_| None, &accounts, Timestamp::default().into());
            sifted.map(|sifted| {
                let names = sifted.expansion.envelope.recipients.iter().map(|one| one.address.local().to_owned());
                names.collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(left("all", &[Some(&eve)]).unwrap(), "alice carol bob");
        assert_eq!(left("all", &[Some(&eve), None]).unwrap(), "alice bob");
        assert_eq!(left("carol", &[Some(&eve), None]).unwrap_err().text(), BLOCKED);
        let mallory = Mailbox::parse(MALLORY).unwrap();
        assert_eq!(left("both", &[Some(&mallory), None]).unwrap_err().text(), BLOCKED, "as whom it claims to be");
    }

    #[test]
    fn an_inbox_insists_on_signatures_by_its_rules() {
        let folder = tempfile::tempdir().unwrap();
        let eve: edit::Who = "eve@c.example".parse().unwrap();
        let change = |old: Option<&str>| Ok(edit::let_write_signed(old, &eve).unwrap().text);
        rules::change(folder.path(), &mailbox("alice"), change).unwrap();
        let accounts = accounts(folder.path());
        let sender = Mailbox::parse("eve@c.example").unwrap();
        // Whether it is signed is not known yet.
        let to = |name: &str| {
            recipient(&ReversePath::Mailbox(sender.clone()), &mailbox(name), &accounts, Timestamp::default())
        };
        assert!(to("alice").is_ok());
        let sifted = |to: &str, signed: Signed| {
            let recipients = vec![Recipient { address: mailbox(to), notify: None, original: None }];
            let expansion = expand(Envelope { recipients, ..envelope() }, |address| accounts.members(address));
            let circumstances = Circumstances { signed, ..Circumstances::default() };
            sift(expansion, &[Some(&sender)], |_| None, &accounts, circumstances)
        };
        assert_eq!(sifted("alice", Signed::No).unwrap_err().text(), UNSIGNED);
        assert_eq!(sifted("alice", Signed::Domain).unwrap_err().text(), UNSIGNED);
        assert_eq!(sifted("alice", Signed::Author).unwrap().refused, None);
        let both = sifted("both", Signed::No).unwrap();
        assert_eq!(both.refused.unwrap().indexes, [(0, UNSIGNED)]);
    }
}
