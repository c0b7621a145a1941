//! Keys about signatures: whom to believe, who insists on them, who signs for a domain.

use std::path::PathBuf;

use super::super::value::{self, Choice, choice};
use super::super::{FetchLists, Roots};
use super::{Default, Key, Section, key, standard};
use crate::address::Domain;
use crate::rules::edit::Who;

pub(in crate::config) static SMIME_ROOTS: Key<Roots> = standard(
    "roots",
    value::ROOTS,
    "\"system\"",
    "The certificate authorities that are believed when they name the signer of a message.",
);
pub(in crate::config) static SMIME_REVOCATIONS: Key<Vec<PathBuf>> = key(
    "revocations",
    value::PATHS,
    Default::Value("[]"),
    "[\"/etc/impart/smime/a.example.crl\"]",
    "Files of lists of revoked certificates, in PEM or DER, read again when they change. \
     A certificate whose issuer has a list here that is out of date is not believed.",
);
pub(in crate::config) static SMIME_REQUIRE: Key<Vec<toml::Spanned<Who>>> = key(
    "require",
    value::WHO,
    Default::Value("[]"),
    "[\"alice@a.example\"]",
    "Domains and inboxes served here that take no message without a valid signature of its author that says when it was \
     made. \
     Nobody else is asked to sign. \
     Reports of what became of a message are taken as they are, and so is what is encrypted, whose signature only its \
     reader can see.",
);

pub(in crate::config) static SMIME_FETCH_CRLS: Key<FetchLists> = standard(
    "fetch_crls",
    choice::<FetchLists>(),
    "\"no\"",
    "Whether lists of revoked certificates are fetched, by HTTP, from where certificates of signers who are believed name \
     them. \
     public: not from loopback, private or link-local addresses, and from port 80 only. \
     any: from those too, and from every port. \
     The first message of a signer waits for them, for two seconds at most; where there is no list, it is as if nobody \
     had named one.",
);

impl Choice for FetchLists {
    const EXPECTED: &'static str = "\"no\", \"public\" or \"any\"";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("no", FetchLists::No), ("public", FetchLists::Public), ("any", FetchLists::Any)];
}

pub(in crate::config) static SMIME_AUTHORITIES: Key<PathBuf> = key(
    "authorities",
    value::PATH,
    Default::Derived("ca beside the file of accounts"),
    "\"/var/lib/impart/ca\"",
    "The directory of the authorities that `impartctl cert init` makes, one for each domain. \
     Where the daemon issues certificates by itself it must be able to write there.",
);
pub(in crate::config) static SIGNER_DOMAIN: Key<Domain> =
    key("domain", value::DOMAIN, Default::Required, "\"a.example\"", "The domain that signs, served here.");
pub(in crate::config) static SIGNER_CHAIN: Key<PathBuf> = key(
    "chain",
    value::PATH,
    Default::Required,
    "\"/etc/impart/smime/presence.pem\"",
    "PEM file of the certificate for presence@ that domain, and its intermediate certificates.",
);
pub(in crate::config) static SIGNER_KEY: Key<PathBuf> = key(
    "key",
    value::PATH,
    Default::Required,
    "\"/etc/impart/smime/presence.key\"",
    "PEM file of its private key; no one else should be able to read it.",
);

pub(in crate::config) static AUTHORITY_DOMAIN: Key<Domain> = key(
    "domain",
    value::DOMAIN,
    Default::Required,
    "\"a.example\"",
    "The domain, served here, whose authority `impartctl cert init` has made.",
);
pub(in crate::config) static AUTHORITY_PASSPHRASE_FILE: Key<PathBuf> = key(
    "passphrase_file",
    value::PATH,
    Default::Derived("the credential"),
    "\"/etc/impart/smime/ca.passphrase\"",
    "The file whose first line is the pass phrase of the authority's key; no one else should be able to read it.",
);
pub(in crate::config) static AUTHORITY_CREDENTIAL: Key<String> = standard(
    "credential",
    value::CREDENTIAL,
    "\"impart-ca\"",
    "Where there is no such file: the credential of systemd with the pass phrase, given by LoadCredentialEncrypted=.",
);
pub(in crate::config) static AUTHORITY_DAYS: Key<usize> = standard(
    "days",
    value::DAYS,
    "365",
    "How many days a certificate is valid. Clients renew it when a third of that is left.",
);

pub(in crate::config) const SMIME: Section = Section {
    name: "smime",
    repeated: false,
    commented: false,
    text: "Signatures of messages.",
    keys: &[
        &SMIME_ROOTS.info,
        &SMIME_REVOCATIONS.info,
        &SMIME_FETCH_CRLS.info,
        &SMIME_REQUIRE.info,
        &SMIME_AUTHORITIES.info,
    ],
};
pub(in crate::config) const AUTHORITY: Section = Section {
    name: "authority",
    repeated: true,
    commented: true,
    text: "A domain whose users get their certificates from the daemon, by `impart key new`. \
           The daemon can then sign certificates, as can whoever takes it over; without this section it cannot.",
    keys: &[&AUTHORITY_DOMAIN.info, &AUTHORITY_PASSPHRASE_FILE.info, &AUTHORITY_CREDENTIAL.info, &AUTHORITY_DAYS.info],
};
pub(in crate::config) const SIGNER: Section = Section {
    name: "signer",
    repeated: true,
    commented: true,
    text: "What a domain signs with what it says itself: receipts, and what is told of presence.",
    keys: &[&SIGNER_DOMAIN.info, &SIGNER_CHAIN.info, &SIGNER_KEY.info],
};
