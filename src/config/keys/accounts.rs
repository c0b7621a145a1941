//! Keys about people: accounts, the directory, tokens, aliases.

use std::path::PathBuf;

use super::super::value::{self, AliasEntry, Url};
use super::{Default, Key, Section, key, standard};
use crate::address::Domain;

pub(in crate::config) static DOMAIN_ALIASES: Key<Vec<AliasEntry>> = key(
    "aliases",
    value::ALIASES,
    Default::Value("{}"),
    "{ info = \"alice\", support = [\"alice\", \"bob\"] }",
    "Local parts that stand for others: one, or a group, to each of whom a message goes. \
     Who is alone behind an alias may send in its name. \
     A member is a local part here, an address of another domain served here, or another alias.",
);

pub(in crate::config) static ACCOUNTS_FILE: Key<PathBuf> = key(
    "file",
    value::PATH,
    Default::Derived("accounts.toml in the spool"),
    "\"/etc/impart/accounts.toml\"",
    "The file of accounts, which impartctl account writes. \
     It may be missing; when it changes, it is read again.",
);
pub(in crate::config) static ACCOUNTS_RULES: Key<PathBuf> = key(
    "rules",
    value::PATH,
    Default::Derived("rules beside the file of accounts"),
    "\"/etc/impart/rules\"",
    "The directory of the rules of inboxes, which impartctl rules writes. \
     It may be missing; when a file in it is replaced, it is read again.",
);
pub(in crate::config) static ACCOUNTS_DOMAIN: Key<Domain> = key(
    "domain",
    value::DOMAIN,
    Default::Derived("the first domain served here"),
    "\"a.example\"",
    "The domain of an account whose name is given without one.",
);
pub(in crate::config) static ACCOUNTS_PASSWD_FILE: Key<PathBuf> = key(
    "passwd_file",
    value::PATH,
    Default::Derived("none"),
    "\"/etc/dovecot/users\"",
    "A passwd-file as Dovecot reads it; its users have inboxes. \
     Passwords of the schemes ARGON2ID, SCRAM-SHA-256 and PLAIN can be used; with others there is no login. \
     When it changes, it is read again.",
);
pub(in crate::config) static ACCOUNTS_DOVECOT_AUTH: Key<PathBuf> = key(
    "dovecot_auth",
    value::SOCKET_FILE,
    Default::Derived("none"),
    "\"/run/dovecot/auth-client\"",
    "Dovecot's socket for authentication: it judges whoever has no password in the files.",
);
pub(in crate::config) static ACCOUNTS_DOVECOT_USERS: Key<PathBuf> = key(
    "dovecot_users",
    value::SOCKET_FILE,
    Default::Derived("none"),
    "\"/run/dovecot/auth-userdb\"",
    "Dovecot's socket for users: whoever is one has an inbox, in every domain served here.",
);
pub(in crate::config) static ACCOUNTS_AUTHORITIES: Key<Vec<PathBuf>> = key(
    "client_authorities",
    value::PATHS,
    Default::Value("[]"),
    "[\"/etc/impart/tls/people.pem\"]",
    "PEM files of the certificate authorities whose client certificates say whose they are, by an address of mail or an \
     im: URI that is an account. \
     Without them no client certificate does.",
);
pub(in crate::config) static ACCOUNTS_REVOCATIONS: Key<Vec<PathBuf>> = key(
    "client_revocations",
    value::PATHS,
    Default::Value("[]"),
    "[\"/etc/impart/tls/people.crl\"]",
    "PEM files of lists of revoked client certificates, read again when they change. \
     If there are any, each issuer must have one that is not out of date.",
);

pub(in crate::config) static LDAP_SERVER: Key<Url> = key(
    "server",
    value::LDAP_URL,
    Default::Required,
    "\"ldaps://ldap.a.example\"",
    "The directory. \
     In the clear only on a loopback address.",
);
pub(in crate::config) static LDAP_BIND_DN: Key<String> = key(
    "bind_dn",
    value::TEMPLATE,
    Default::Required,
    "\"uid={local},ou=people,dc=a,dc=example\"",
    "The distinguished name of an account: {local} is its local part, {domain} its domain, {address} both.",
);

pub(in crate::config) static OAUTH_KEYS: Key<PathBuf> = key(
    "keys",
    value::PATH,
    Default::Derived("none; then introspection must be there"),
    "\"/etc/impart/jwks.json\"",
    "The public keys of whoever issues the tokens, a JWKS file; read again when it changes.",
);
pub(in crate::config) static OAUTH_ISSUER: Key<String> = key(
    "issuer",
    value::TEXT,
    Default::Derived("none; required beside keys"),
    "\"https://login.a.example\"",
    "The claim iss of a good token.",
);
pub(in crate::config) static OAUTH_AUDIENCE: Key<String> = key(
    "audience",
    value::TEXT,
    Default::Derived("none; required beside keys"),
    "\"impart\"",
    "One of the claim aud of a good token; beside introspection it is looked at only where this key is there.",
);
pub(in crate::config) static OAUTH_CLAIM: Key<String> =
    standard("claim", value::TEXT, "\"email\"", "The claim that names the account.");
pub(in crate::config) static OAUTH_INTROSPECTION: Key<Url> = key(
    "introspection",
    value::HTTPS_URL,
    Default::Derived("none; then keys must be there"),
    "\"https://login.a.example/introspect\"",
    "Where the authorization server is asked whether a token is good (RFC 7662).",
);
pub(in crate::config) static OAUTH_CLIENT: Key<String> = key(
    "client",
    value::TEXT,
    Default::Derived("none; required beside introspection"),
    "\"impart\"",
    "As whom we ask there.",
);
pub(in crate::config) static OAUTH_SECRET_FILE: Key<PathBuf> = key(
    "secret_file",
    value::PATH,
    Default::Derived("none; required beside introspection"),
    "\"/etc/impart/oauth.secret\"",
    "A file with our secret there; no one else should be able to read it.",
);

pub(in crate::config) const ACCOUNTS: Section = Section {
    name: "accounts",
    repeated: false,
    commented: false,
    text: "Who may log in.",
    keys: &[
        &ACCOUNTS_FILE.info,
        &ACCOUNTS_RULES.info,
        &ACCOUNTS_DOMAIN.info,
        &ACCOUNTS_PASSWD_FILE.info,
        &ACCOUNTS_DOVECOT_AUTH.info,
        &ACCOUNTS_DOVECOT_USERS.info,
        &ACCOUNTS_AUTHORITIES.info,
        &ACCOUNTS_REVOCATIONS.info,
    ],
};
pub(in crate::config) const LDAP: Section = Section {
    name: "ldap",
    repeated: false,
    commented: true,
    text: "A directory that judges whoever has no password in the files, by a simple bind. \
           It does not tell which inboxes exist: they stand in the sections domain or in the file of accounts.",
    keys: &[&LDAP_SERVER.info, &LDAP_BIND_DN.info],
};
pub(in crate::config) const OAUTH: Section = Section {
    name: "oauth",
    repeated: false,
    commented: true,
    text: "Tokens with which people log in, judged by the keys of their issuer, or by asking it.",
    keys: &[
        &OAUTH_KEYS.info,
        &OAUTH_ISSUER.info,
        &OAUTH_AUDIENCE.info,
        &OAUTH_CLAIM.info,
        &OAUTH_INTROSPECTION.info,
        &OAUTH_CLIENT.info,
        &OAUTH_SECRET_FILE.info,
    ],
};
