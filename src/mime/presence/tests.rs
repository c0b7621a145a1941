use proptest::prelude::*;

use super::*;

fn id() -> SubscriptionId {
    SubscriptionId::new(*b"0123456789abcdef")
}

const ID: &str = "30313233343536373839616263646566";

fn check(value: &str, expected: Directive) {
    let value = value.replace("ID", ID);
    assert_eq!(Directive::parse(value.as_bytes()), Ok(expected.clone()), "{value}");
    let written = expected.to_string();
    assert_eq!(Directive::parse(written.as_bytes()), Ok(expected), "{written}");
}

#[test]
fn directives() {
    let phone = Device::parse("phone").unwrap();
    check(
        " publish; id=phone; expires=600",
        Directive::Publish { id: Some(phone), expires: Some(600), event: Event::Presence },
    );
    check("publish", Directive::Publish { id: None, expires: None, event: Event::Presence });
    check("publish; event=certificate", Directive::Publish { id: None, expires: None, event: Event::Certificate });
    check(
        "subscribe; id=ID; expires=3600; event=presence",
        Directive::Subscribe { id: id(), expires: Some(3600), event: Event::Presence },
    );
    check("SUBSCRIBE;Id=ID", Directive::Subscribe { id: id(), expires: None, event: Event::Presence });
    check("fetch; id=ID; event=watchers", Directive::Fetch { id: id(), event: Event::Watchers });
    check("cancel; id=\"ID\"", Directive::Cancel { id: id() });
    check(
        "notify; id=ID; seq=1795000000123; state=active;\r\n expires=3512; event=presence",
        Directive::Notify {
            id: Some(id()),
            seq: 1_795_000_000_123,
            state: State::Active,
            expires: Some(3512),
            event: Event::Presence,
        },
    );
    let change = |state| Directive::Notify { id: None, seq: 7, state, expires: None, event: Event::Presence };
    check("notify; seq=7; event=presence", change(State::Active));
    check("notify; seq=7; state=pending; reason=rejected", change(State::Pending));
    check("notify; seq=7; state=Terminated; reason=Rejected", change(State::Terminated(Some(Reason::Rejected))));
    check("notify; seq=7; state=terminated; reason=new", change(State::Terminated(None)));
    check("policy; for=presence", Directive::Policy { for_: Event::Presence, seq: None });
    check("policy; for=presence; seq=0", Directive::Policy { for_: Event::Presence, seq: Some(0) });
    check("fetch; id=ID; event=X-New", Directive::Fetch { id: id(), event: Event::Other("x-new".into()) });
}

#[test]
fn what_is_not_known_is_passed_over() {
    check("cancel (really); new=1; id = ID ; newer=\"a;b\\\"=\"", Directive::Cancel { id: id() });
    check("fetch; id=ID; seq=no-number", Directive::Fetch { id: id(), event: Event::Presence });
    check(
        "publish; expires=99999999999",
        Directive::Publish { id: None, expires: Some(u32::MAX), event: Event::Presence },
    );
}

#[test]
fn faults() {
    let check = |value: &str, expected: PresenceError| {
        assert_eq!(Directive::parse(value.replace("ID", ID).as_bytes()), Err(expected), "{value}");
    };
    check("", PresenceError::Syntax);
    check("; id=ID", PresenceError::Syntax);
    check("cancel id=ID", PresenceError::Syntax);
    check("cancel; id", PresenceError::Syntax);
    check("cancel; id=", PresenceError::Syntax);
    check("cancel; id=\"ID", PresenceError::Syntax);
    check("cancel; id=ID;", PresenceError::Syntax);
    check("cancel (; id=ID", PresenceError::Syntax);
    check("cancel, id=ID", PresenceError::Syntax);
    check("destroy; id=ID", PresenceError::Directive("destroy".into()));
    check("cancel; id=ID; Id=ID", PresenceError::Twice("id"));
    check("cancel", PresenceError::Missing("cancel", "id"));
    check("subscribe; event=presence", PresenceError::Missing("subscribe", "id"));
    check("notify; event=presence", PresenceError::Missing("notify", "seq"));
    check("cancel; id=0", PresenceError::Value("id", "32 hexadecimal digits"));
    check("cancel; id=+0313233343536373839616263646566", PresenceError::Value("id", "32 hexadecimal digits"));
    check("publish; id=\"a b\"", PresenceError::Value("id", "1 to 64 letters, digits, dots, underscores and hyphens"));
    check("publish; expires=-1", PresenceError::Value("expires", "a number of seconds"));
    check("notify; seq=+1", PresenceError::Value("seq", "a number of at most 64 bits"));
    check("notify; seq=1; state=maybe", PresenceError::Value("state", "active, pending or terminated"));
    check(
        &format!("policy; for={}", "x".repeat(65)),
        PresenceError::Value("for", "the name of an event, of at most 64 characters"),
    );
    check(&format!("cancel; id=ID; x={}", "x".repeat(5000)), PresenceError::Size);
}

#[test]
fn an_entity_has_one() {
    let of = |entity: &str| Directive::of(entity.replace("ID", ID).as_bytes());
    assert_eq!(of("From: a@a.example\r\nPRESENCE: cancel;\r\n id=ID\r\n\r\n"), Ok(Directive::Cancel { id: id() }));
    assert_eq!(of("From: a@a.example\r\n\r\nPresence: cancel; id=ID\r\n"), Err(PresenceError::Number));
    assert_eq!(of("Presence: cancel; id=ID\r\nPresence: cancel; id=ID\r\n\r\n"), Err(PresenceError::Number));
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![Just(Event::Presence), Just(Event::Watchers), "[a-z][a-z0-9.-]{0,63}".prop_map(|word| Event::of(&word))]
}

fn directive() -> impl Strategy<Value = Directive> {
    let id = any::<[u8; 16]>().prop_map(SubscriptionId::new);
    let expires = proptest::option::of(any::<u32>());
    let reason = proptest::option::of(proptest::sample::select(Reason::ALL.to_vec()));
    let state = prop_oneof![Just(State::Active), Just(State::Pending), reason.prop_map(State::Terminated)];
    let device = proptest::option::of("[A-Za-z0-9._-]{1,64}".prop_map(|name| Device::parse(&name).unwrap()));
    prop_oneof![
        (device, expires.clone(), event()).prop_map(|(id, expires, event)| Directive::Publish { id, expires, event }),
        (id.clone(), expires.clone(), event()).prop_map(|(id, expires, event)| Directive::Subscribe {
            id,
            expires,
            event
        }),
        (id.clone(), event()).prop_map(|(id, event)| Directive::Fetch { id, event }),
        id.clone().prop_map(|id| Directive::Cancel { id }),
        (proptest::option::of(id), any::<u64>(), state, expires, event())
            .prop_map(|(id, seq, state, expires, event)| { Directive::Notify { id, seq, state, expires, event } }),
        (event(), proptest::option::of(any::<u64>())).prop_map(|(for_, seq)| Directive::Policy { for_, seq }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(directive in directive()) {
        prop_assert_eq!(Directive::parse(directive.to_string().as_bytes()), Ok(directive));
    }

    #[test]
    fn nothing_is_too_strange(value in "(notify|cancel|publish)?[ -~;=\"\\\\()\r\né]{0,60}") {
        if let Ok(directive) = Directive::parse(value.as_bytes()) {
            prop_assert_eq!(Directive::parse(directive.to_string().as_bytes()), Ok(directive));
        }
    }
}
