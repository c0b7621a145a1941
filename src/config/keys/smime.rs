//! Keys about signatures: whom to believe, who insists on them, who signs for a domain.

use std::path::PathBuf;

use super::super::Roots;
use super::super::value;
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

pub(in crate::config) const SMIME: Section = Section {
    name: "smime",
    repeated: false,
    commented: false,
    text: "Signatures of messages.",
    keys: &[&SMIME_ROOTS.info, &SMIME_REVOCATIONS.info, &SMIME_REQUIRE.info],
};
pub(in crate::config) const SIGNER: Section = Section {
    name: "signer",
    repeated: true,
    commented: true,
    text: "What a domain signs with what it says itself: receipts, and what is told of presence.",
    keys: &[&SIGNER_DOMAIN.info, &SIGNER_CHAIN.info, &SIGNER_KEY.info],
};
