use super::*;
use crate::sasl::Secret;

mod authority;
mod dovecot;
mod services;

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn principal(text: &str) -> Principal {
    Principal::vouched(mailbox(text))
}

/// a.example with the inbox alice and a group, quiet.example without inboxes.
fn bare() -> Accounts {
    let inboxes = HashSet::from(["alice@a.example".to_owned()]);
    let domains = HashMap::from([
        (domain("a.example"), LocalDomain { im: true, inboxes, ..LocalDomain::default() }),
        (domain("quiet.example"), LocalDomain::default()),
    ]);
    let aliases = HashMap::from([
        ("info@a.example".to_owned(), vec![mailbox("alice@a.example")]),
        ("all@a.example".to_owned(), vec![mailbox("alice@a.example"), mailbox("bob@a.example")]),
    ]);
    Accounts::new(domains).with_aliases(aliases)
}

/// The record of an account; its password is `password` if it has one.
fn record(name: &str, password: bool, more: &str) -> String {
    static VERIFIERS: std::sync::LazyLock<verifiers::Verifiers> =
        std::sync::LazyLock::new(|| verifiers::Verifiers::of(&Secret::new("password")).unwrap());
    let (phc, scram) = (VERIFIERS.argon2id.as_ref().unwrap(), VERIFIERS.scram.as_ref().unwrap());
    let proof = format!("argon2id = \"{}\"\nscram-sha-256 = \"{scram}\"\n", phc.as_str());
    format!("[account.\"{name}\"]\n{}{more}\n", if password { &proof } else { "" })
}

fn with_accounts() -> Accounts {
    let text = record(
        "alice@a.example",
        true,
        "odmr = \"tanstaaftanstaaf\"\ndelegates = { \"bob@a.example\" = \"copy\", \"carol@a.example\" = \"take\" }",
    ) + &record("bob@a.example", true, "addresses = [\"robert@a.example\"]")
        + &record("carol@a.example", true, "inbox = false")
        + &record("dave@a.example", true, "disabled = true")
        + &record("judy@a.example", true, "");
    bare().with_entries(Entries::parse(&text).unwrap())
}

#[test]
fn addresses() {
    let check = |accounts: &Accounts, address: &str, class: Class, expected: Found| {
        assert_eq!(accounts.find(&mailbox(address), class), expected, "{address}");
    };
    let accounts = bare();
    check(&accounts, "alice@a.example", Class::Im, Found::Inbox);
    check(&accounts, "ALICE@A.example", Class::Im, Found::Inbox);
    check(&accounts, "PostMaster@a.example", Class::Im, Found::Inbox);
    check(&accounts, "info@a.example", Class::Im, Found::Inbox);
    check(&accounts, "bob@a.example", Class::Im, Found::NoInbox);
    check(&accounts, "alice@a.example", Class::Pres, Found::NotOffered);
    check(&accounts, "alice@quiet.example", Class::Im, Found::NotOffered);
    check(&accounts, "alice@b.example", Class::Im, Found::Foreign);
    let accounts = with_accounts();
    check(&accounts, "bob@a.example", Class::Im, Found::Inbox);
    check(&accounts, "robert@a.example", Class::Im, Found::Inbox);
    check(&accounts, "carol@a.example", Class::Im, Found::NoInbox);
    // A disabled account gets its messages.
    check(&accounts, "dave@a.example", Class::Im, Found::Inbox);
    let accounts = accounts.with_users(Some(std::sync::Arc::new(Users::new("/nowhere".into()))));
    check(&accounts, "erin@a.example", Class::Im, Found::Elsewhere);
    check(&accounts, "Presence@a.example", Class::Im, Found::NoInbox);
    check(&accounts, "carol@a.example", Class::Im, Found::NoInbox);
    check(&accounts, "erin@quiet.example", Class::Im, Found::NotOffered);
    assert_eq!(bare().lost_members().count(), 1);
    assert_eq!(with_accounts().lost_members().count(), 0);
}

#[test]
fn who_gets_and_who_sends() {
    let accounts = with_accounts();
    let members = |address: &str| accounts.members(&mailbox(address)).map(|members| members.len());
    assert_eq!(members("all@a.example"), Some(2));
    assert_eq!(members("Robert@a.example"), Some(1));
    assert_eq!(members("bob@a.example"), None);
    let sends = |who: &str, address: &str| accounts.sends_as(&principal(who), &mailbox(address));
    assert!(sends("alice@a.example", "ALICE@a.example") && sends("alice@a.example", "info@a.example"));
    assert!(sends("bob@a.example", "robert@a.example"));
    assert!(!sends("alice@a.example", "all@a.example") && !sends("alice@a.example", "robert@a.example"));
    assert!(!sends("alice@a.example", "bob@a.example"));
}

#[test]
fn members_that_are_further_addresses() {
    let aliases = HashMap::from([
        ("help@a.example".to_owned(), vec![mailbox("Robert@a.example")]),
        (
            "both@a.example".to_owned(),
            ["bob", "robert", "alice"].map(|name| mailbox(&format!("{name}@a.example"))).into(),
        ),
    ]);
    let (bob, alice) = (mailbox("bob@a.example"), mailbox("alice@a.example"));
    let entries = with_accounts().entries().clone();
    let early = bare().with_aliases(aliases.clone()).with_entries(entries.clone());
    for accounts in [early, bare().with_entries(entries).with_aliases(aliases)] {
        assert_eq!(accounts.members(&mailbox("help@a.example")), Some(&[bob.clone()][..]));
        assert_eq!(accounts.members(&mailbox("both@a.example")), Some(&[bob.clone(), alice.clone()][..]));
        assert!(accounts.sends_as(&principal("bob@a.example"), &mailbox("help@a.example")));
    }
}

#[test]
fn who_reads() {
    let accounts = with_accounts();
    let check = |who: &str, inbox: &str, expected: Reads| {
        assert_eq!(accounts.reads(&principal(who), &mailbox(inbox), Timestamp::default()), expected, "{who} {inbox}");
    };
    check("alice@a.example", "Alice@a.example", Reads::Own);
    check("bob@a.example", "alice@a.example", Reads::Copy);
    check("carol@a.example", "alice@a.example", Reads::Take);
    check("dave@a.example", "alice@a.example", Reads::No);
    check("alice@a.example", "bob@a.example", Reads::No);
    check("carol@a.example", "carol@a.example", Reads::No);
    check("eve@b.example", "eve@b.example", Reads::No);
    assert_eq!(accounts.inboxes_of(&principal("alice@a.example")), [mailbox("alice@a.example")]);
    assert_eq!(accounts.inboxes_of(&principal("carol@a.example")), []);
    assert_eq!(accounts.inboxes_of(&principal("info@a.example")), []);
}

#[test]
fn who_is_cut_off() {
    let check = |accounts: &Accounts, who: &str, expected: bool| {
        assert_eq!(accounts.is_cut_off(&principal(who)), expected, "{who}");
    };
    let accounts = with_accounts();
    check(&accounts, "alice@a.example", false);
    check(&accounts, "dave@a.example", true);
    check(&accounts, "erin@a.example", true);
    check(&accounts, "info@a.example", true);
    let dave = principal("dave@a.example");
    assert!(!accounts.sends_as(&dave, &dave.account));
    assert_eq!(accounts.reads(&dave, &dave.account, Timestamp::default()), Reads::No);
    assert_eq!(accounts.inboxes_of(&dave), []);
    // One without a record may be known to the directory, or is one of the mail system's users.
    let users = Some(std::sync::Arc::new(Users::new("/nowhere".into())));
    for accounts in [accounts.clone().with_judges(true), accounts.with_users(users)] {
        check(&accounts, "erin@a.example", false);
        check(&accounts, "dave@a.example", true);
        check(&accounts, "erin@b.example", true);
        check(&accounts, "presence@a.example", true);
    }
    // An inbox of the configuration without a record.
    check(&bare(), "alice@a.example", false);
}

#[test]
fn a_proof_ends_with_what_it_stood_on() {
    let key = "alice@a.example";
    let accounts = with_accounts();
    let verifiers = &accounts.entries().get(key).unwrap().verifiers;
    let by = |proof| Principal { account: mailbox(key), proof };
    let all = [by(verifiers.password()), by(verifiers.secret()), by(Proof::Elsewhere)];
    let check = |text: &str, expected: [bool; 3]| {
        // The inbox is in the configuration too, and others judge accounts of their own.
        let after = bare().with_entries(Entries::parse(text).unwrap()).with_judges(true);
        assert_eq!(all.each_ref().map(|principal| after.is_cut_off(principal)), expected, "{text}");
    };
    check(&record(key, true, "odmr = \"tanstaaftanstaaf\""), [false; 3]);
    check(&record(key, true, "odmr = \"another\""), [false, true, false]);
    check(&record(key, true, ""), [false, true, false]);
    let other = verifiers::Verifiers::of(&Secret::new("password")).unwrap();
    let phc = format!("[account.\"{key}\"]\nargon2id = \"{}\"\n", other.argon2id.unwrap().as_str());
    check(&phc, [true, true, false]);
    check("", [true, true, false]);
    check(&record(key, true, "odmr = \"tanstaaftanstaaf\"\ndisabled = true"), [true; 3]);
}

#[test]
fn rules_say_who_sends_and_who_reads() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = with_accounts();
    let (alice, now) = (mailbox("alice@a.example"), Timestamp::from_secs(1_800_000_000));
    let with = |accounts: &Accounts| {
        accounts.clone().with_rules(Arc::new(Rules::load(folder.path(), &Rules::default()).unwrap().0))
    };
    let edit = |change: &dyn Fn(Option<&str>) -> crate::rules::edit::Edited| {
        rules::change(folder.path(), &alice, |old| Ok(change(old).text)).unwrap();
    };
    let blocked = "robert@a.example".parse().unwrap();
    edit(&|old| crate::rules::edit::block(old, &blocked).unwrap());
    edit(&|old| crate::rules::edit::let_read(old, &mailbox("judy@a.example"), Read::Copy).unwrap());
    edit(&|old| crate::rules::edit::let_read(old, &mailbox("dave@a.example"), Read::Copy).unwrap());
    edit(&|old| crate::rules::edit::let_read(old, &mailbox("bob@a.example"), Read::Take).unwrap());
    let ruled = with(&accounts);
    let reads = |accounts: &Accounts, who: &str| accounts.reads(&principal(who), &alice, now);
    assert_eq!((reads(&accounts, "judy@a.example"), reads(&accounts, "bob@a.example")), (Reads::No, Reads::Copy));
    assert_eq!((reads(&ruled, "judy@a.example"), reads(&ruled, "bob@a.example")), (Reads::Copy, Reads::Take));
    assert_eq!(reads(&ruled, "dave@a.example"), Reads::No, "the account is disabled");
    let takes = |accounts: &Accounts, who: &str| accounts.takes(&alice, Some(&mailbox(who)), now);
    assert_eq!(takes(&accounts, "robert@a.example"), Takes::Yes);
    assert_eq!(takes(&ruled, "robert@a.example"), Takes::No);
    assert_eq!((takes(&ruled, "bob@a.example"), ruled.takes(&alice, None, now)), (Takes::Yes, Takes::Yes));
    std::fs::write(rules::path(folder.path(), &alice), "<ruleset/>").unwrap();
    let damaged = with(&accounts);
    assert_eq!((takes(&damaged, "bob@a.example"), takes(&damaged, "info@a.example")), (Takes::Untold, Takes::Yes));
    assert_eq!(damaged.takes(&mailbox("bob@a.example"), None, now), Takes::Yes);
    assert_eq!(reads(&damaged, "alice@a.example"), Reads::Own);
}

#[test]
fn files_that_are_wrong_say_so() {
    let check = |text: &str, expected: &str| {
        let shown = Entries::parse(text).unwrap_err().to_string();
        assert!(shown.contains(expected), "{shown}, not {expected}");
    };
    check("[account]\nx = 1", "line 2, column 5: ");
    check("[account.\"a@a.example\"]\nadresses = []", "line 2, column 1: unknown field `adresses`");
    check("[account.alice]\n", "account alice: \"alice\": the address has no domain");
    check("[account.\"a@a.example\"]\n[account.\"A@a.example\"]\n", "it stands twice, as A@a.example too");
    check("[account.\"a@a.example\"]\nargon2id = \"x\"", "`argon2id` is not a PHC string");
    check("[account.\"a@a.example\"]\nscram-sha-256 = \"x\"", "`scram-sha-256` is not");
    check(
        "[account.\"a@a.example\"]\n[account.\"b@a.example\"]\naddresses = [\"A@a.example\"]",
        "belongs to a@a.example",
    );
    // What a line of a secret holds is not shown.
    let shown = Entries::parse("[account.\"a@a.example\"]\nodmr = \"geheim\nx").unwrap_err().to_string();
    assert!(!shown.contains("geheim"), "{shown}");
}

#[test]
fn passwd_files() {
    let text = "# users\n\
                bob:{PLAIN}pw:1000:1000::/home/bob::userdb_mail=x\n\
                carol@a.example:{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,\
                WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n\
                dave:{CRYPT}$6$x:1:1:::\nerin:pw\nfrank:{ARGON2ID}$argon2i$x\ngrace::1:1::::nologin\nalice:{PLAIN}other\n@x:\n\
                Presence:{PLAIN}pw\n";
    let (entries, faults) = with_accounts().entries().clone().with_passwd(text, Some(&domain("a.example")));
    let shown = faults.join("\n");
    for expected in [
        "line 4: dave@a.example cannot log in: the scheme {CRYPT} is not known here; give it one of {ARGON2ID}",
        "line 5: erin@a.example cannot log in: its password has no scheme",
        "line 6: frank@a.example cannot log in: what follows {ARGON2ID} is not a PHC string",
        "line 9: the user \"@x\": the address is empty",
        "line 10: Presence@a.example is kept for what its whole domain signs; choose another name",
    ] {
        assert!(shown.contains(expected), "{shown}");
    }
    let fits = |name: &str, word: &str| {
        let account = entries.get(name).unwrap_or_else(|| panic!("{name}"));
        account.verifiers.fit(&Secret::new(word))
    };
    assert!(fits("carol@a.example", "password"), "the file of accounts comes first");
    assert!(entries.get("grace@a.example").is_some_and(|account| account.disabled && !account.has_password()));
    let (entries, _) = Entries::default().with_passwd(text, Some(&domain("a.example")));
    let fits = |name: &str, word: &str| entries.get(name).unwrap().verifiers.fit(&Secret::new(word));
    assert!(fits("bob@a.example", "pw") && !fits("bob@a.example", "password") && fits("carol@a.example", "pencil"));
    assert!(entries.all_scram() && entries.get("presence@a.example").is_none());
    assert_eq!(entries.usual_shape(), (4096, 16));
}
