//! Secret and public keys.
//!
//! In: PKCS#8, PKCS#1 or SEC 1, DER or PEM, encrypted or not; the SubjectPublicKeyInfo of a certificate. Out:
//! [`Key`] and [`PublicKey`]. Invariant: the octets of a secret key live only here and in the library of primitives,
//! and are wiped when dropped; they are in no `Debug`. Fails: [`Fault::Key`], [`Fault::PassPhrase`], [`Fault::Weak`].
//! RFC 5958 §2, RFC 8017, RFC 5915 §3, RFC 8410 §7.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, PrivateKey};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use const_oid::ObjectIdentifier;
use der::asn1::{OctetString, OctetStringRef};
use der::{Decode, Encode};
use x509_cert::spki::SubjectPublicKeyInfoRef;
use zeroize::Zeroizing;

use super::asn1::{self, Algorithm, EncryptedKeyInfo, PrivateKeyInfo};
use super::ber::{self, Reader};
use super::{Fault, oid, pbes2, pem};

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// NIST P-256: ECDSA and ECDH.
    P256,
    /// NIST P-384: ECDSA and ECDH.
    P384,
    /// RSA of 2048 bits or more.
    Rsa,
    /// Ed25519: signatures only.
    Ed25519,
    /// X25519: key agreement only.
    X25519,
}

/// How an RSA key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RsaScheme {
    /// PKCS#1 v1.5, which every reader knows.
    #[default]
    Pkcs1,
    /// PSS.
    Pss,
}

/// A signature and the AlgorithmIdentifier that says how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// DER of the AlgorithmIdentifier; fit for certificates and requests too.
    pub algorithm: Vec<u8>,
    /// The signature's octets.
    pub value: Vec<u8>,
}

/// A secret key, cheap to copy: copies share the one that is wiped in the end.
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    kind: KeyKind,
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
    secret: Secret,
}

enum Secret {
    Ecdsa(EcdsaKeyPair, PrivateKey),
    Rsa(RsaKeyPair),
    /// For PSS alone.
    Pss(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
    X25519(PrivateKey),
}

impl Key {
    /// Makes a new key; RSA of 3072 bits.
    pub fn generate(kind: KeyKind) -> Result<Self, Fault> {
        let failed = |_| Fault::Random;
        match kind {
            KeyKind::P256 | KeyKind::P384 => {
                let pair = EcdsaKeyPair::generate(curve(kind).0).map_err(failed)?;
                let pkcs8 = pair.to_pkcs8v1().map_err(failed)?;
                Key::elliptic(kind, pkcs8.as_ref())
            }
            KeyKind::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?;
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                Key::from_pkcs8(pkcs8.as_ref())
            }
            KeyKind::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                Key::ed25519(pair.seed().map_err(failed)?.as_be_bytes().map_err(failed)?.as_ref())
            }
            KeyKind::X25519 => {
                let secret = PrivateKey::generate(&agreement::X25519).map_err(failed)?;
                let seed: Curve25519SeedBin<'_> = secret.as_be_bytes().map_err(failed)?;
                Key::x25519(seed.as_ref())
            }
        }
    }

    /// Reads PKCS#8 (encrypted too, given the pass phrase), PKCS#1 or SEC 1.
    pub fn from_der(octets: &[u8], pass_phrase: Option<&str>) -> Result<Self, Fault> {
        let mut reader = Reader::only(octets, ber::SEQUENCE)?;
        let first = reader.next()?;
        if first.tag == ber::SEQUENCE {
            let pass_phrase = pass_phrase.ok_or(Fault::NoPassPhrase)?;
            let encrypted = reader.take(ber::OCTET_STRING)?.octets()?;
            let clear = pbes2::decrypt(&Algorithm::from_ber(first.raw)?, &encrypted, pass_phrase)?;
            return Key::from_pkcs8(&clear).map_err(|_| Fault::PassPhrase);
        }
        match reader.next()?.tag {
            ber::SEQUENCE => Key::from_pkcs8(octets),
            ber::INTEGER => Key::rsa(octets, oid::RSA),
            _ => {
                let mut curve = reader.take(ber::context(0))?.inside();
                Key::elliptic(kind_of_curve(curve.oid()?)?, octets)
            }
        }
    }

    /// Reads the first key of a PEM text.
    pub fn from_pem(text: &str, pass_phrase: Option<&str>) -> Result<Self, Fault> {
        let blocks = pem::blocks(text)?;
        let block = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY"));
        let block = block.ok_or(Fault::Key("there is none in the text"))?;
        if block.old_encryption {
            return Err(Fault::Key("its encryption is OpenSSL's old one; rewrite it with `openssl pkcs8 -topk8`"));
        }
        Key::from_der(&block.der, pass_phrase)
    }

    /// As PEM, not encrypted.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::write("PRIVATE KEY", &self.0.pkcs8)
    }

    /// As PEM, encrypted with the pass phrase: PBES2, PBKDF2 with HMAC-SHA-512, AES-256-CBC.
    pub fn to_encrypted_pem(&self, pass_phrase: &str) -> Result<Zeroizing<String>, Fault> {
        let (algorithm, encrypted) = pbes2::encrypt(&self.0.pkcs8, pass_phrase.as_bytes())?;
        let info = EncryptedKeyInfo { algorithm, key: OctetString::new(encrypted)? };
        Ok(pem::write("ENCRYPTED PRIVATE KEY", &info.to_der()?))
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.0.kind
    }

    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// PKCS#8, not encrypted.
    pub fn pkcs8(&self) -> &Zeroizing<Vec<u8>> {
        &self.0.pkcs8
    }

    /// Whether it is the secret part of that public key.
    pub fn matches(&self, public: &PublicKey<'_>) -> bool {
        PublicKey::from_spki(&self.0.spki).is_ok_and(|own| own.kind == public.kind && own.octets == public.octets)
    }

    /// Signs octets: SHA-256, for P-384 SHA-384; Ed25519 as it is. An RSA key for PSS alone signs so, whatever is asked.
    pub fn sign(&self, message: &[u8], scheme: RsaScheme) -> Result<Signature, Fault> {
        let random = SystemRandom::new();
        match &self.0.secret {
            Secret::Ecdsa(pair, _) => {
                let name = if self.0.kind == KeyKind::P256 { oid::SHA256_ECDSA } else { oid::SHA384_ECDSA };
                let value = pair.sign(&random, message).map_err(|_| Fault::Random)?;
                Ok(Signature { algorithm: asn1::plain(name).to_der()?, value: value.as_ref().to_vec() })
            }
            Secret::Rsa(pair) | Secret::Pss(pair) => {
                let scheme = if matches!(self.0.secret, Secret::Pss(_)) { RsaScheme::Pss } else { scheme };
                let (encoding, algorithm): (&dyn signature::RsaEncoding, _) = match scheme {
                    RsaScheme::Pkcs1 => (&signature::RSA_PKCS1_SHA256, asn1::with_null(oid::SHA256_RSA)),
                    RsaScheme::Pss => (&signature::RSA_PSS_SHA256, super::scheme::pss_sha256()?),
                };
                let mut value = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut value).map_err(|_| Fault::Random)?;
                Ok(Signature { algorithm: algorithm.to_der()?, value })
            }
            Secret::Ed25519(pair) => {
                let value = pair.try_sign(message).map_err(|_| Fault::Random)?;
                Ok(Signature { algorithm: asn1::plain(oid::ED25519).to_der()?, value: value.as_ref().to_vec() })
            }
            Secret::X25519(_) => Err(Fault::Key("X25519 cannot sign")),
        }
    }

    /// The key for ECDH or X25519.
    pub(super) fn agreement(&self) -> Option<&PrivateKey> {
        match &self.0.secret {
            Secret::Ecdsa(_, secret) | Secret::X25519(secret) => Some(secret),
            _ => None,
        }
    }

    /// The key that decrypts what was encrypted to an RSA key.
    pub(super) fn transport(&self) -> Option<PrivateDecryptingKey> {
        match &self.0.secret {
            Secret::Rsa(_) => PrivateDecryptingKey::from_pkcs8(&self.0.pkcs8).ok(),
            _ => None,
        }
    }

    fn from_pkcs8(octets: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::only(octets, ber::SEQUENCE)?;
        reader.small()?;
        let mut algorithm = reader.sequence()?;
        let name = algorithm.oid()?;
        let key = reader.take(ber::OCTET_STRING)?.contents;
        match name {
            oid::RSA | oid::RSA_PSS => Key::rsa(key, name),
            oid::EC_PUBLIC_KEY => Key::elliptic(kind_of_curve(algorithm.oid()?)?, octets),
            oid::ED25519 => Key::ed25519(Reader::new(key).take(ber::OCTET_STRING)?.contents),
            oid::X25519 => Key::x25519(Reader::new(key).take(ber::OCTET_STRING)?.contents),
            other => Err(Fault::algorithm(other)),
        }
    }

    fn elliptic(kind: KeyKind, octets: &[u8]) -> Result<Self, Fault> {
        let rejected = Fault::Key("it is not a key on that curve");
        let (signing, agreeing, name) = curve(kind);
        let pair = EcdsaKeyPair::from_private_key_der(signing, octets).map_err(|_| rejected.clone())?;
        let pkcs8 = Zeroizing::new(pair.to_pkcs8v1().map_err(|_| rejected.clone())?.as_ref().to_vec());
        let secret = PrivateKey::from_private_key_der(agreeing, &pkcs8).map_err(|_| rejected)?;
        let spki = asn1::spki(asn1::with(oid::EC_PUBLIC_KEY, &name)?, pair.public_key().as_ref())?;
        Ok(Key(Arc::new(Inner { kind, pkcs8, spki, secret: Secret::Ecdsa(pair, secret) })))
    }

    fn rsa(pkcs1: &[u8], name: ObjectIdentifier) -> Result<Self, Fault> {
        let pair = RsaKeyPair::from_der(pkcs1).map_err(|_| Fault::Key("it is not an RSA key of 2048 to 8192 bits"))?;
        let algorithm = if name == oid::RSA { asn1::with_null(name) } else { asn1::plain(name) };
        let pkcs8 = pkcs8(&algorithm, pkcs1)?;
        let spki = asn1::spki(algorithm, pair.public_key().as_ref())?;
        let secret = if name == oid::RSA { Secret::Rsa(pair) } else { Secret::Pss(pair) };
        Ok(Key(Arc::new(Inner { kind: KeyKind::Rsa, pkcs8, spki, secret })))
    }

    fn ed25519(seed: &[u8]) -> Result<Self, Fault> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Fault::Key("an Ed25519 key has 32 octets"))?;
        let public = pair.public_key().as_ref().to_vec();
        Key::raw(KeyKind::Ed25519, oid::ED25519, seed, &public, Secret::Ed25519(pair))
    }

    fn x25519(seed: &[u8]) -> Result<Self, Fault> {
        let rejected = Fault::Key("an X25519 key has 32 octets");
        let secret = PrivateKey::from_private_key(&agreement::X25519, seed).map_err(|_| rejected.clone())?;
        let public = secret.compute_public_key().map_err(|_| rejected)?;
        Key::raw(KeyKind::X25519, oid::X25519, seed, public.as_ref(), Secret::X25519(secret))
    }

    /// RFC 8410: the secret is an octet string inside an octet string.
    fn raw(kind: KeyKind, name: ObjectIdentifier, seed: &[u8], public: &[u8], secret: Secret) -> Result<Self, Fault> {
        let algorithm = asn1::plain(name);
        let inner = Zeroizing::new(OctetStringRef::new(seed)?.to_der()?);
        let pkcs8 = pkcs8(&algorithm, &inner)?;
        let spki = asn1::spki(algorithm, public)?;
        Ok(Key(Arc::new(Inner { kind, pkcs8, spki, secret })))
    }
}

fn pkcs8(algorithm: &Algorithm, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let info = PrivateKeyInfo { version: 0, algorithm: algorithm.clone(), key: OctetStringRef::new(key)? };
    Ok(Zeroizing::new(info.to_der()?))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.0.kind)
    }
}

/// The primitives of a curve; P-256's for what is not one.
fn curve(
    kind: KeyKind,
) -> (&'static signature::EcdsaSigningAlgorithm, &'static agreement::Algorithm, ObjectIdentifier) {
    match kind {
        KeyKind::P384 => (&signature::ECDSA_P384_SHA384_ASN1_SIGNING, &agreement::ECDH_P384, oid::P384),
        _ => (&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &agreement::ECDH_P256, oid::P256),
    }
}

fn kind_of_curve(name: ObjectIdentifier) -> Result<KeyKind, Fault> {
    match name {
        oid::P256 => Ok(KeyKind::P256),
        oid::P384 => Ok(KeyKind::P384),
        other => Err(Fault::algorithm(other)),
    }
}

const NO_CURVE: Fault = Fault::Syntax("a key does not name its curve");

/// A public key, as a SubjectPublicKeyInfo has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey<'a> {
    /// What kind of key it is.
    pub kind: KeyKind,
    /// A point, not compressed; an RSAPublicKey; or 32 octets.
    pub octets: &'a [u8],
    /// An RSA key for PSS alone.
    pub only_pss: bool,
}

impl<'a> PublicKey<'a> {
    /// Reads a SubjectPublicKeyInfo; fails where its kind is not known, and where RSA has fewer than 2048 bits.
    pub fn from_spki(spki: &'a [u8]) -> Result<Self, Fault> {
        let SubjectPublicKeyInfoRef { algorithm, subject_public_key } = SubjectPublicKeyInfoRef::from_der(spki)?;
        let octets = subject_public_key.as_bytes().ok_or(Fault::Syntax("a bit string is not of whole octets"))?;
        let kind = match algorithm.oid {
            oid::RSA | oid::RSA_PSS => KeyKind::Rsa,
            oid::EC_PUBLIC_KEY => kind_of_curve(algorithm.parameters_oid().map_err(|_| NO_CURVE)?)?,
            oid::ED25519 => KeyKind::Ed25519,
            oid::X25519 => KeyKind::X25519,
            other => return Err(Fault::algorithm(other)),
        };
        if kind == KeyKind::Rsa && modulus_bits(octets)? < 2048 {
            return Err(Fault::Weak("RSA of fewer than 2048 bits"));
        }
        Ok(PublicKey { kind, octets, only_pss: algorithm.oid == oid::RSA_PSS })
    }
}

fn modulus_bits(rsa: &[u8]) -> Result<usize, Fault> {
    let modulus = Reader::only(rsa, ber::SEQUENCE)?.take(ber::INTEGER)?.contents;
    let zeros = modulus.iter().position(|octet| *octet != 0).unwrap_or(modulus.len());
    let first = modulus.get(zeros).map_or(0, |octet| octet.leading_zeros() as usize);
    Ok((modulus.len() - zeros) * 8 - first)
}
