//! What is wrong with a message, a certificate or a key, in words for people.

/// Why something could not be read, verified, decrypted or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The encoding or the structure is not what the standards say.
    #[error("not in the form that S/MIME wants: {0}")]
    Syntax(&'static str),
    /// Structures or messages inside each other, beyond the bound.
    #[error("nested too deeply")]
    TooDeep,
    /// More of something than the bound.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// An algorithm that is not known here; its object identifier, or its name.
    #[error(
        "the algorithm {0} is not supported; ask the sender for a common one (ECDSA, RSA or Ed25519 with SHA-2; AES)"
    )]
    Unsupported(String),
    /// An algorithm or key that no longer protects anything.
    #[error("{0} is too weak to prove anything")]
    Weak(&'static str),
    /// The content or the signed attributes are not those that were signed.
    #[error("altered: {0}")]
    Altered(&'static str),
    /// An attribute that must be there is missing, or is there twice.
    #[error("the signature has no {0}, or several")]
    Attribute(&'static str),
    /// Nobody signed.
    #[error("nobody signed it")]
    NoSigner,
    /// The certificate of a signer is neither in the message nor known.
    #[error("the signer's certificate is not in the message")]
    NoCertificate,
    /// It is encrypted to others: no recipient is one of the keys at hand.
    #[error("it is not encrypted to any of the keys at hand; import the key of the certificate that the sender used")]
    NotForUs,
    /// It cannot be decrypted, for a reason that is never told: telling it would help to decrypt others' messages.
    #[error("it cannot be decrypted")]
    Undecryptable,
    /// A certificate cannot be read, or does not serve for this.
    #[error("the certificate cannot be used: {0}")]
    Certificate(&'static str),
    /// A key cannot be read, or does not serve for this.
    #[error("the key cannot be used: {0}")]
    Key(&'static str),
    /// The pass phrase of a key or of a PKCS#12 file is wrong, or the file is damaged.
    #[error("the pass phrase is wrong, or the file is damaged")]
    PassPhrase,
    /// A file of keys whose encryption is older than Triple DES and RC2 in PKCS#12: RC4, single DES.
    #[error(
        "the file's encryption is an old one; rewrite it with `openssl pkcs12 -legacy -in OLD -nodes -out KEYS` and \
         `openssl pkcs12 -export -in KEYS -out NEW`"
    )]
    OldFile,
    /// A pass phrase is needed.
    #[error("the key is encrypted: give its pass phrase")]
    NoPassPhrase,
    /// The part that should be signed would not pass every hop as it is.
    #[error("it cannot be made fit for every hop before it is signed: {0}")]
    NotClean(crate::mime::Defect),
    /// A token that holds a key does not sign; what it says.
    #[error("the token does not sign: {0}")]
    Token(String),
    /// The source of random octets failed.
    #[error("the system gives no random numbers")]
    Random,
}

impl Fault {
    /// An algorithm by its object identifier.
    pub(super) fn algorithm(oid: const_oid::ObjectIdentifier) -> Self {
        Fault::Unsupported(oid.to_string())
    }
}

impl From<der::Error> for Fault {
    fn from(_: der::Error) -> Self {
        Fault::Syntax("a structure is not of the form that it should have")
    }
}
