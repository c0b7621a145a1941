//! What layer of protection an entity is.
//!
//! In: an entity with CRLF. Out: [`Layer`]. Invariant: the header says it, nothing in the body does; a part of a
//! multipart/mixed is no layer. Fails: what says that it is S/MIME, and is not. RFC 8551 §3.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::signed_data::SignedData;
use super::{Cipher, Fault, Form, ber, oid};
use crate::mime::signed::{Described, describe, parts};

/// What an entity is.
#[derive(Clone, Debug)]
pub enum Layer<'a> {
    /// Not protected.
    Plain,
    /// Signed.
    Signed(Signed<'a>),
    /// Encrypted.
    Encrypted(Encrypted),
}

/// A signed entity, not verified.
#[derive(Clone, Debug)]
pub struct Signed<'a> {
    /// The MIME entity that was signed, octet for octet.
    pub content: Cow<'a, [u8]>,
    /// Beside the signature or inside.
    pub form: Form,
    /// The ContentInfo.
    pub(super) cms: Vec<u8>,
}

/// An encrypted entity.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// The ContentInfo.
    pub(super) cms: Vec<u8>,
}

impl Signed<'_> {
    /// The ContentInfo, for those who look for certificates or digests.
    pub fn cms(&self) -> &[u8] {
        &self.cms
    }
}

impl Encrypted {
    /// How the content is encrypted; `None` for a cipher that is not known here.
    pub fn cipher(&self) -> Option<Cipher> {
        let mut info = ber::Reader::only(&self.cms, ber::SEQUENCE).ok()?;
        let authenticated = info.oid().ok()? == oid::AUTH_ENVELOPED_DATA;
        let mut data = info.take(ber::context(0)).ok()?.inside().sequence().ok()?;
        data.take(ber::INTEGER).ok()?;
        data.optional(ber::context(0)).ok()?;
        data.take(ber::SET).ok()?;
        let mut content = data.sequence().ok()?;
        content.oid().ok()?;
        let cipher = Cipher::named(content.sequence().ok()?.oid().ok()?)?;
        (cipher.is_authenticated() == authenticated).then_some(cipher)
    }

    /// The ContentInfo: what a digest that spots replays is made of, without the key.
    pub fn cms(&self) -> &[u8] {
        &self.cms
    }
}

/// Says what layer `entity` is: header section, empty line, body.
pub fn open(entity: &[u8]) -> Result<Layer<'_>, Fault> {
    let described =
        describe(entity).map_err(|_| Fault::Syntax("a field that says what the body is stands there twice"))?;
    if described.is("multipart", "signed") {
        return detached(&described);
    }
    if !described.is("application", "pkcs7-mime") && !described.is("application", "x-pkcs7-mime") {
        return Ok(Layer::Plain);
    }
    let cms = decoded(&described)?;
    let mut content_info = ber::Reader::only(&cms, ber::SEQUENCE)?;
    match content_info.oid()? {
        oid::SIGNED_DATA => {
            let content = SignedData::read(&cms)?.content.ok_or(Fault::NoSigner)?;
            let content = Cow::Owned(content.octets()?.into_owned());
            Ok(Layer::Signed(Signed { content, form: Form::Opaque, cms }))
        }
        oid::ENVELOPED_DATA | oid::AUTH_ENVELOPED_DATA => Ok(Layer::Encrypted(Encrypted { cms })),
        oid::COMPRESSED_DATA => Err(Fault::Unsupported("compressed-data".to_owned())),
        other => Err(Fault::algorithm(other)),
    }
}

fn detached<'a>(described: &Described<'a>) -> Result<Layer<'a>, Fault> {
    let protocol = described.parameter("protocol").unwrap_or_default();
    let ours = ["application/pkcs7-signature", "application/x-pkcs7-signature"];
    if !ours.iter().any(|name| protocol.eq_ignore_ascii_case(name.as_bytes())) {
        return Ok(Layer::Plain);
    }
    let boundary = described.parameter("boundary").filter(|boundary| !boundary.is_empty());
    let boundary = boundary.ok_or(Fault::Syntax("multipart/signed has no boundary"))?;
    let two = parts(described.body, boundary.trim_ascii_end());
    let (content, signature) = two.ok_or(Fault::Syntax("multipart/signed has other than two parts"))?;
    let signature = describe(signature).map_err(|_| Fault::Syntax("the signature's header contradicts itself"))?;
    if !["pkcs7-signature", "x-pkcs7-signature"].iter().any(|name| signature.is("application", name)) {
        return Err(Fault::Syntax("the second part is not the signature"));
    }
    let cms = decoded(&signature)?;
    Ok(Layer::Signed(Signed { content: Cow::Borrowed(content), form: Form::Detached, cms }))
}

/// The octets of a body of base64, or as it is.
fn decoded(described: &Described<'_>) -> Result<Vec<u8>, Fault> {
    match described.encoding().as_str() {
        "base64" => {
            let mut text = Vec::with_capacity(described.body.len());
            let words = described.body.split(u8::is_ascii_whitespace);
            words.for_each(|word| text.extend_from_slice(word));
            STANDARD.decode(&text).map_err(|_| Fault::Syntax("the body is not base64"))
        }
        "7bit" | "8bit" | "binary" => Ok(described.body.to_vec()),
        _ => Err(Fault::Syntax("the body's transfer encoding is not base64")),
    }
}

/// An entity of application/pkcs7-mime.
pub(super) fn opaque(kind: &str, cms: &[u8]) -> Vec<u8> {
    let head = format!(
        "Content-Type: application/pkcs7-mime; smime-type={kind};\r\n name=smime.p7m\r\n\
         Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=smime.p7m\r\n\r\n"
    );
    let mut out = Vec::with_capacity(head.len() + cms.len() * 3 / 2 + 80);
    out.extend_from_slice(head.as_bytes());
    base64_lines(cms, &mut out);
    out
}

/// Base64 in lines of 64 characters with CRLF.
pub(super) fn base64_lines(octets: &[u8], out: &mut Vec<u8>) {
    let encoded = STANDARD.encode(octets);
    for line in encoded.as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
}
