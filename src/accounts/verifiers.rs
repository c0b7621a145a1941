//! What is kept of a password, and whether a password fits it.
//!
//! In: a password. Out: verifiers, from which it cannot be had; or whether it fits one. Invariant: judging a password costs
//! one Argon2id computation whether there is an account or not. All of it takes long and belongs on a thread of its own.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, PasswordHash};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::Proof;
use crate::random;
use crate::sasl::scram::{self, Verifier};
use crate::sasl::{SaslError, Secret, prepare};

/// What an account is proven with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verifiers {
    /// A PHC string of Argon2id.
    pub argon2id: Option<Phc>,
    /// SCRAM-SHA-256.
    pub scram: Option<Verifier>,
    /// The password itself: only in a passwd-file of others.
    pub plain: Option<Secret>,
    /// The secret of ODMR, which fits there and nowhere else.
    pub odmr: Option<Secret>,
}

/// What tells whether a password or a secret is still the one that was; the password cannot be had from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(u64);

impl std::fmt::Debug for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stamp(..)")
    }
}

/// A PHC string of Argon2id.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Phc(String);

impl Phc {
    /// Reads it; `None` for another algorithm.
    pub fn parse(text: &str) -> Option<Phc> {
        let known = text.starts_with("$argon2id$") && PasswordHash::new(text).is_ok();
        known.then(|| Phc(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Phc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phc(..)")
    }
}

/// Random letters and digits for a secret that a program stores.
pub(super) fn generated() -> Result<Secret, SaslError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let octets: [u8; 26] = random::octets()?;
    let text: String = octets.iter().map(|octet| char::from(LETTERS[usize::from(octet % 32)])).collect();
    Ok(Secret::new(text))
}

impl Verifiers {
    /// Of a password: both kinds, so that every mechanism can be used.
    pub fn of(password: &Secret) -> Result<Verifiers, SaslError> {
        let prepared = prepare(password.reveal())?;
        let salt: [u8; scram::SALT] = random::octets()?;
        let hash = Argon2::default().hash_password_with_salt(prepared.as_bytes(), &salt);
        let argon2id = hash.map_err(|_| SaslError::Prohibited)?.to_string();
        let salt: [u8; scram::SALT] = random::octets()?;
        let scram = Verifier::new(password, &salt, scram::ITERATIONS)?;
        Ok(Verifiers { argon2id: Some(Phc(argon2id)), scram: Some(scram), ..Verifiers::default() })
    }

    /// What a proof by the password stands on.
    pub fn password(&self) -> Proof {
        let plain = self.plain.as_ref().map(Secret::reveal);
        Proof::Password(stamp((self.argon2id.as_ref().map(Phc::as_str), &self.scram, plain)))
    }

    /// What a proof by the secret of ODMR stands on.
    pub fn secret(&self) -> Proof {
        Proof::Odmr(stamp(self.odmr.as_ref().map(Secret::reveal)))
    }

    /// Whether what proved the account is still its.
    pub fn stand(&self, proof: Proof) -> bool {
        match proof {
            Proof::Password(_) => proof == self.password(),
            Proof::Odmr(_) => proof == self.secret(),
            Proof::Elsewhere => true,
        }
    }

    /// Whether the password fits. Without verifiers it does not, after the same work.
    pub fn fit(&self, password: &Secret) -> bool {
        let Ok(prepared) = prepare(password.reveal()) else {
            return work();
        };
        if let Some(phc) = &self.argon2id {
            return Argon2::default().verify_password(prepared.as_bytes(), phc.as_str()).is_ok();
        }
        work();
        match (&self.scram, &self.plain) {
            (_, Some(plain)) => prepare(plain.reveal())
                .is_ok_and(|plain| verify_slices_are_equal(plain.as_bytes(), prepared.as_bytes()).is_ok()),
            (Some(scram), None) => scram.fits(password),
            (None, None) => false,
        }
    }
}

/// Asked for each message that is submitted, so it has to be cheap; it only tells one state of a file from another.
fn stamp(of: impl Hash) -> Stamp {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    Stamp(hasher.finish())
}

/// The work of judging a password, for nothing.
fn work() -> bool {
    let mut out = [0; 32];
    let _ = Argon2::default().hash_password_into(b"nobody's", b"salt of nobody", &mut out);
    std::hint::black_box(&out);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_fit_their_verifiers_alone() {
        let of = Verifiers::of(&Secret::new("pass\u{ad}word")).unwrap();
        let one = |verifiers: &Verifiers, word: &str| verifiers.fit(&Secret::new(word));
        assert!(one(&of, "password") && !one(&of, "Password") && !one(&of, "\u{7}"));
        let scram = Verifiers { argon2id: None, ..of };
        assert!(one(&scram, "password") && !one(&scram, "passwort"));
        let plain = Verifiers { plain: Some(Secret::new("password")), ..Verifiers::default() };
        assert!(one(&plain, "password") && !one(&plain, "passwor"));
        let none = Verifiers { odmr: Some(Secret::new("password")), ..Verifiers::default() };
        assert!(!one(&none, "password"));
        assert!(Phc::parse("$argon2i$v=19$m=16,t=2,p=1$c29tZXNhbHQ$aaaaaaaaaaaaaaaaaaaaaa").is_none());
    }

    #[test]
    fn a_proof_stands_until_what_it_stood_on_changes() {
        let before = Verifiers { odmr: Some(Secret::new("one")), ..Verifiers::of(&Secret::new("password")).unwrap() };
        let same = Verifiers::of(&Secret::new("password")).unwrap();
        assert!(before.stand(before.password()) && before.stand(before.secret()) && before.stand(Proof::Elsewhere));
        assert!(!same.stand(before.password()), "set anew, be it the same");
        let odmr = Verifiers { odmr: Some(Secret::new("two")), ..before.clone() };
        assert!(odmr.stand(before.password()) && !odmr.stand(before.secret()));
        let disarmed = Verifiers { argon2id: None, scram: None, ..before.clone() };
        assert!(!disarmed.stand(before.password()) && disarmed.stand(before.secret()));
    }

    #[test]
    fn generated_secrets_differ() {
        let (one, other) = (generated().unwrap(), generated().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.reveal().len(), 26);
    }
}
