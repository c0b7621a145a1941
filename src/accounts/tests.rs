use super::*;

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn check(address: &str, class: Class, expected: Found) {
    let inboxes = HashSet::from(["alice@a.example".to_owned()]);
    let accounts = Accounts::new(HashMap::from([
        (domain("a.example"), LocalDomain { im: true, inboxes }),
        (domain("quiet.example"), LocalDomain::default()),
    ]));
    assert_eq!(accounts.find(&Mailbox::parse(address).unwrap(), class), expected, "{address}");
}

#[test]
fn addresses() {
    check("alice@a.example", Class::Im, Found::Inbox);
    check("ALICE@A.example", Class::Im, Found::Inbox);
    check("PostMaster@a.example", Class::Im, Found::Inbox);
    check("bob@a.example", Class::Im, Found::NoInbox);
    check("alice@a.example", Class::Pres, Found::NotOffered);
    check("alice@quiet.example", Class::Im, Found::NotOffered);
    check("alice@b.example", Class::Im, Found::Foreign);
}
