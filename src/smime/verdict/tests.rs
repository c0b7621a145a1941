use super::*;

fn user() -> Verdict {
    Verdict {
        finding: Finding::ValidUser(Mailbox::parse("alice@a.example").unwrap()),
        scheme: Scheme::Clear,
        encrypted: false,
        basis: Some(Basis::Root("Example CA".to_owned())),
        replay_protected: true,
        timed: true,
    }
}

#[test]
fn words() {
    let check = |verdict: &Verdict, expected: &str| assert_eq!(verdict.to_string(), expected);
    check(&user(), "signed by alice@a.example (certified by Example CA)");
    check(&Verdict { encrypted: true, ..user() }, "signed by alice@a.example (certified by Example CA), encrypted");
    check(
        &Verdict { scheme: Scheme::Unprotected, replay_protected: false, ..user() },
        "signed by alice@a.example (certified by Example CA); the text only, not subject, date and recipients",
    );
    check(
        &Verdict { replay_protected: false, ..user() },
        "signed by alice@a.example (certified by Example CA); it could be a repetition of an older message",
    );
    let domain = Domain::parse("a.example").unwrap();
    let basis = Some(Basis::Published(domain.clone()));
    check(
        &Verdict { finding: Finding::ValidDomain(domain), basis, ..user() },
        "signed by the domain a.example (certified by a.example)",
    );
    let bare = |finding| Verdict::bare(finding);
    check(&bare(Finding::Unsigned(Absence::Plain)), "not signed");
    check(
        &bare(Finding::Expired(Expiry::Over(Timestamp::from_secs(1_795_000_000)))),
        "signed, but not in time: the certificate expired on 2026-11-18",
    );
    check(&bare(Finding::Untrusted(Distrust::Revoked)), "signed, but not to be trusted: the certificate was revoked");
    check(
        &bare(Finding::WrongSender(Mismatch::Other {
            named: "mallory@b.example".to_owned(),
            from: Mailbox::parse("alice@a.example").unwrap(),
        })),
        "NOT FROM ITS SENDER: the certificate is for mallory@b.example, the message from alice@a.example",
    );
    check(
        &bare(Finding::Altered(Alteration::Field(Contradiction::To))),
        "ALTERED: To outside the signature names others than To inside",
    );
    check(&bare(Finding::Replayed(Replay::TooOld)), "REPEATED: it was signed more than 7 days ago");
}

#[test]
fn what_no_policy_accepts() {
    let refused = |finding| Verdict::bare(finding).must_be_refused();
    assert!(refused(Finding::Replayed(Replay::TooOld)));
    assert!(refused(Finding::Replayed(Replay::Ahead)));
    assert!(refused(Finding::Replayed(Replay::NotForRecipient(Mailbox::parse("bob@b.example").unwrap()))));
    assert!(refused(Finding::Altered(Alteration::Field(Contradiction::Presence))));
    assert!(refused(Finding::WrongSender(Mismatch::Contradiction(Contradiction::From))));
    assert!(!refused(Finding::WrongSender(Mismatch::NoName)), "a policy's to say");
    assert!(!refused(Finding::Unsigned(Absence::Plain)));
    assert!(!user().must_be_refused() && user().is_valid());
}
