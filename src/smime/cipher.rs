//! Encryption of contents: what is chosen, and what S/MIME capabilities say of it.

use const_oid::ObjectIdentifier;

use super::oid;

/// How the content of a message is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cipher {
    /// AES-256-GCM in AuthEnvelopedData: what S/MIME 4.0 readers know.
    #[default]
    Aes256Gcm,
    /// AES-128-GCM in AuthEnvelopedData.
    Aes128Gcm,
    /// AES-256-CBC in EnvelopedData, for readers of S/MIME 3: alterations go unnoticed where nothing is signed.
    Aes256Cbc,
    /// AES-128-CBC in EnvelopedData.
    Aes128Cbc,
}

impl Cipher {
    /// All of them, those that we would rather receive first.
    pub const ALL: [Cipher; 4] = [Cipher::Aes256Gcm, Cipher::Aes128Gcm, Cipher::Aes256Cbc, Cipher::Aes128Cbc];

    /// The best that all recipients read, by what each of them has said (RFC 8551 §2.7.1); of whom nothing is known is
    /// taken to read everything. AES-128-CBC, which S/MIME 3 has, where nothing is common.
    pub fn common<'a>(capabilities: impl IntoIterator<Item = &'a [Cipher]>) -> Cipher {
        let told: Vec<&[Cipher]> = capabilities.into_iter().filter(|list| !list.is_empty()).collect();
        let read = |cipher: &Cipher| told.iter().all(|list| list.contains(cipher));
        Cipher::ALL.into_iter().find(read).unwrap_or(Cipher::Aes128Cbc)
    }

    /// Its name, for files.
    pub fn word(self) -> &'static str {
        match self {
            Cipher::Aes256Gcm => "aes256-gcm",
            Cipher::Aes128Gcm => "aes128-gcm",
            Cipher::Aes256Cbc => "aes256-cbc",
            Cipher::Aes128Cbc => "aes128-cbc",
        }
    }

    /// The one of that name.
    pub fn of_word(word: &str) -> Option<Cipher> {
        Cipher::ALL.into_iter().find(|cipher| cipher.word() == word)
    }

    /// Whether an alteration is noticed by the cipher itself.
    pub fn is_authenticated(self) -> bool {
        matches!(self, Cipher::Aes256Gcm | Cipher::Aes128Gcm)
    }

    /// Octets of its key.
    pub(super) fn key_octets(self) -> usize {
        match self {
            Cipher::Aes256Gcm | Cipher::Aes256Cbc => 32,
            Cipher::Aes128Gcm | Cipher::Aes128Cbc => 16,
        }
    }

    pub(super) fn oid(self) -> ObjectIdentifier {
        match self {
            Cipher::Aes256Gcm => oid::AES256_GCM,
            Cipher::Aes128Gcm => oid::AES128_GCM,
            Cipher::Aes256Cbc => oid::AES256_CBC,
            Cipher::Aes128Cbc => oid::AES128_CBC,
        }
    }

    pub(super) fn named(name: ObjectIdentifier) -> Option<Self> {
        Cipher::ALL.into_iter().find(|cipher| cipher.oid() == name)
    }
}
