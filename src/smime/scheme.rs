//! Algorithms of digests and signatures: from their identifiers to the primitives and back.
//!
//! In: AlgorithmIdentifiers, public keys, octets. Out: whether a signature is one. Invariant: SHA-1 and MD5 prove
//! nothing, whoever asks. Fails: [`Fault::Weak`], [`Fault::Unsupported`], [`Fault::Altered`]. RFC 5754, RFC 8419,
//! RFC 8017.

use aws_lc_rs::{digest, signature};
use const_oid::ObjectIdentifier;
use der::Decode;

use super::asn1::{self, Algorithm, PssParameters};
use super::{Fault, KeyKind, PublicKey, oid};

/// A digest of SHA-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Digest {
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    pub(super) fn named(name: ObjectIdentifier) -> Result<Self, Fault> {
        match name {
            oid::SHA256 => Ok(Digest::Sha256),
            oid::SHA384 => Ok(Digest::Sha384),
            oid::SHA512 => Ok(Digest::Sha512),
            oid::SHA1 => Err(Fault::Weak("SHA-1")),
            oid::MD5 => Err(Fault::Weak("MD5")),
            other => Err(Fault::algorithm(other)),
        }
    }

    /// The AlgorithmIdentifier; without parameters, as RFC 5754 §2 wants.
    pub(super) fn identifier(self) -> Algorithm {
        asn1::plain(self.oid())
    }

    pub(super) fn oid(self) -> ObjectIdentifier {
        match self {
            Digest::Sha256 => oid::SHA256,
            Digest::Sha384 => oid::SHA384,
            Digest::Sha512 => oid::SHA512,
        }
    }

    pub(super) fn primitive(self) -> &'static digest::Algorithm {
        match self {
            Digest::Sha256 => &digest::SHA256,
            Digest::Sha384 => &digest::SHA384,
            Digest::Sha512 => &digest::SHA512,
        }
    }

    pub(super) fn of(self, octets: &[u8]) -> digest::Digest {
        digest::digest(self.primitive(), octets)
    }

    /// Its name in micalg (RFC 8551 §3.5.3.2).
    pub(super) fn micalg(self) -> &'static str {
        match self {
            Digest::Sha256 => "sha-256",
            Digest::Sha384 => "sha-384",
            Digest::Sha512 => "sha-512",
        }
    }
}

/// What an AlgorithmIdentifier says of a signature; `None` leaves the digest to the SignerInfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Pkcs1(Option<Digest>),
    Pss(Digest),
    Ecdsa(Option<Digest>),
    Ed25519,
}

impl Scheme {
    /// The digest that it names itself.
    fn digest(self) -> Option<Digest> {
        match self {
            Scheme::Pkcs1(own) | Scheme::Ecdsa(own) => own,
            Scheme::Pss(own) => Some(own),
            Scheme::Ed25519 => None,
        }
    }

    fn read(algorithm: &Algorithm) -> Result<Self, Fault> {
        match algorithm.oid {
            oid::RSA => Ok(Scheme::Pkcs1(None)),
            oid::SHA256_RSA => Ok(Scheme::Pkcs1(Some(Digest::Sha256))),
            oid::SHA384_RSA => Ok(Scheme::Pkcs1(Some(Digest::Sha384))),
            oid::SHA512_RSA => Ok(Scheme::Pkcs1(Some(Digest::Sha512))),
            oid::RSA_PSS => pss(algorithm).map(Scheme::Pss),
            oid::EC_PUBLIC_KEY => Ok(Scheme::Ecdsa(None)),
            oid::SHA256_ECDSA => Ok(Scheme::Ecdsa(Some(Digest::Sha256))),
            oid::SHA384_ECDSA => Ok(Scheme::Ecdsa(Some(Digest::Sha384))),
            oid::SHA512_ECDSA => Ok(Scheme::Ecdsa(Some(Digest::Sha512))),
            oid::ED25519 => Ok(Scheme::Ed25519),
            oid::SHA1_RSA | oid::SHA1_ECDSA => Err(Fault::Weak("SHA-1")),
            oid::MD5_RSA => Err(Fault::Weak("MD5")),
            other => Err(Fault::algorithm(other)),
        }
    }
}

/// RSASSA-PSS-params: one digest everywhere, and a salt as long as it (RFC 4055 §3.1); SHA-1 where nothing is said.
fn pss(algorithm: &Algorithm) -> Result<Digest, Fault> {
    let PssParameters { digest, mask, salt, .. } = asn1::parameters(algorithm)?;
    let digest = Digest::named(digest.ok_or(Fault::Weak("SHA-1"))?.oid)?;
    mask_digest(&mask.ok_or(Fault::Weak("SHA-1"))?, digest)?;
    if salt.unwrap_or(20) as usize != digest.primitive().output_len() {
        return Err(Fault::Unsupported("RSA-PSS with a salt unlike the digest's length".to_owned()));
    }
    Ok(digest)
}

/// MGF1, with the digest that is used beside it.
pub(super) fn mask_digest(mask: &Algorithm, beside: Digest) -> Result<(), Fault> {
    if mask.oid != oid::MGF1 {
        return Err(Fault::algorithm(mask.oid));
    }
    if Digest::named(asn1::parameters::<Algorithm>(mask)?.oid)? != beside {
        return Err(Fault::Unsupported("RSA with two different digests".to_owned()));
    }
    Ok(())
}

/// The AlgorithmIdentifier of MGF1 with that digest.
pub(super) fn mask(digest: &Algorithm) -> Result<Algorithm, Fault> {
    asn1::with(oid::MGF1, digest)
}

/// The AlgorithmIdentifier of PSS with SHA-256.
pub(super) fn pss_sha256() -> Result<Algorithm, Fault> {
    let digest = asn1::with_null(oid::SHA256);
    let mask = Some(mask(&digest)?);
    asn1::with(oid::RSA_PSS, &PssParameters { digest: Some(digest), mask, salt: Some(32), trailer: None })
}

/// Checks a signature as certificates and CRLs carry them: `algorithm` is the DER of its AlgorithmIdentifier.
pub fn check(key: &PublicKey<'_>, algorithm: &[u8], message: &[u8], value: &[u8]) -> Result<(), Fault> {
    Means::new(key, &Algorithm::from_der(algorithm)?, None)?.check(message, value)
}

/// A public key with an algorithm, ready for any number of signatures.
pub(super) struct Means {
    scheme: Scheme,
    digest: Option<Digest>,
    /// `None`: it is no key of its kind, so that no signature fits.
    key: Option<signature::ParsedPublicKey>,
}

impl Means {
    /// With the digest of a SignerInfo, where there is one, which must not contradict the algorithm.
    pub(super) fn new(key: &PublicKey<'_>, algorithm: &Algorithm, digest: Option<Digest>) -> Result<Self, Fault> {
        let scheme = Scheme::read(algorithm)?;
        let own = scheme.digest();
        if let (Some(own), Some(digest)) = (own, digest)
            && own != digest
        {
            return Err(Fault::Syntax("two different digests are named"));
        }
        let digest = own.or(digest);
        let primitive = primitive(key, scheme, digest)?;
        Ok(Means { scheme, digest, key: signature::ParsedPublicKey::new(primitive, key.octets).ok() })
    }

    /// Whether it is for that algorithm and digest.
    pub(super) fn fits(&self, algorithm: &Algorithm, digest: Digest) -> bool {
        let named = Scheme::read(algorithm).is_ok_and(|scheme| scheme == self.scheme);
        named && self.scheme.digest().or(self.digest) == Some(digest)
    }

    /// Checks a signature.
    pub(super) fn check(&self, message: &[u8], value: &[u8]) -> Result<(), Fault> {
        let fits = self.key.as_ref().is_some_and(|key| key.verify_sig(message, value).is_ok());
        let altered = Fault::Altered("the signature does not fit the signed attributes and the signer's key");
        if fits { Ok(()) } else { Err(altered) }
    }
}

fn primitive(
    key: &PublicKey<'_>,
    scheme: Scheme,
    digest: Option<Digest>,
) -> Result<&'static dyn signature::VerificationAlgorithm, Fault> {
    use Digest::{Sha256, Sha384, Sha512};
    Ok(match (key.kind, scheme, digest) {
        (KeyKind::Rsa, Scheme::Pkcs1(_), Some(digest)) if !key.only_pss => match digest {
            Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        },
        (KeyKind::Rsa, Scheme::Pss(digest), _) => match digest {
            Sha256 => &signature::RSA_PSS_2048_8192_SHA256,
            Sha384 => &signature::RSA_PSS_2048_8192_SHA384,
            Sha512 => &signature::RSA_PSS_2048_8192_SHA512,
        },
        (KeyKind::P256, Scheme::Ecdsa(_), Some(digest)) => match digest {
            Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
            Sha512 => &signature::ECDSA_P256_SHA512_ASN1,
        },
        (KeyKind::P384, Scheme::Ecdsa(_), Some(digest)) => match digest {
            Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
            Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
            Sha512 => &signature::ECDSA_P384_SHA512_ASN1,
        },
        (KeyKind::Ed25519, Scheme::Ed25519, _) => &signature::ED25519,
        _ => return Err(Fault::Syntax("the signature's algorithm is not one of the signer's key")),
    })
}
