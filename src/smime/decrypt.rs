//! Decrypting: what is inside an encrypted layer.
//!
//! In: an encrypted layer, identities. Out: the MIME entity inside. Invariant: what everybody can see (structure,
//! algorithms, for whom it is) has faults of its own; whatever is wrong beyond that, key or content, is one fault.
//! Fails: [`Fault::NotForUs`], [`Fault::Undecryptable`], [`Fault::Unsupported`]. RFC 5652 §6, RFC 5083 §2, RFC 3218.

use std::borrow::Cow;

use cms::enveloped_data::{
    KeyAgreeRecipientIdentifier, KeyAgreeRecipientInfo, KeyTransRecipientInfo, OriginatorIdentifierOrKey,
    RecipientIdentifier, RecipientInfo,
};
use const_oid::ObjectIdentifier;
use der::Decode;
use der::asn1::{BitString, OctetString};
use zeroize::Zeroizing;

use super::agreement::Agreement;
use super::asn1::{self, Algorithm};
use super::ber::{self, Element, Reader};
use super::content::Parameters;
use super::signed_data::{Identifier, content, elements};
use super::{Encrypted, Fault, Identity, oid, transport};
use crate::limits;

/// EnvelopedData or AuthEnvelopedData.
struct Envelope<'a> {
    recipients: Vec<Recipient>,
    parameters: Parameters,
    octets: Cow<'a, [u8]>,
    /// The authenticated attributes, as they were authenticated.
    beside: Vec<u8>,
    tag: &'a [u8],
}

/// One recipient's way to the content's key.
enum Recipient {
    Transport {
        identifier: Identifier,
        algorithm: Algorithm,
        key: OctetString,
    },
    Agreement {
        scheme: ObjectIdentifier,
        wrap: Algorithm,
        material: Option<OctetString>,
        originator: BitString,
        keys: Vec<(Identifier, OctetString)>,
    },
}

/// More than a KeyAgreeRecipientInfo has.
const PARTS: usize = 8;

/// Decrypts with the identities that are recipients, one after the other until one succeeds.
pub fn decrypt(encrypted: &Encrypted, identities: &[Identity]) -> Result<Vec<u8>, Fault> {
    let envelope = Envelope::read(&encrypted.cms)?;
    let mut outcome = Err(Fault::NotForUs);
    for identity in identities {
        let mut keys = envelope.recipients.iter().map(|recipient| recipient.key(identity, &envelope));
        match keys.find(|key| *key != Err(Fault::NotForUs)) {
            Some(Ok(key)) => {
                let content = key
                    .and_then(|key| envelope.parameters.unseal(&key, &envelope.octets, envelope.tag, &envelope.beside));
                match content {
                    Some(content) => return Ok(content),
                    None => outcome = Err(Fault::Undecryptable),
                }
            }
            Some(Err(fault)) if outcome == Err(Fault::NotForUs) => outcome = Err(fault),
            _ => {}
        }
    }
    outcome
}

impl<'a> Envelope<'a> {
    fn read(cms: &'a [u8]) -> Result<Self, Fault> {
        let authenticated = Reader::only(cms, ber::SEQUENCE)?.oid()? == oid::AUTH_ENVELOPED_DATA;
        let name = if authenticated { oid::AUTH_ENVELOPED_DATA } else { oid::ENVELOPED_DATA };
        let mut data = content(cms, name)?;
        data.take(ber::INTEGER)?;
        data.optional(ber::context(0))?;
        let infos = elements(data.take(ber::SET)?.inside(), limits::CMS_RECIPIENTS, "recipients")?;
        let mut recipients = Vec::with_capacity(infos.len());
        for info in infos {
            recipients.extend(Recipient::read(&info)?);
        }
        let mut inner = data.sequence()?;
        if inner.oid()? != oid::DATA {
            return Err(Fault::Syntax("what is encrypted is not a MIME entity"));
        }
        let parameters = Parameters::read(&Algorithm::from_ber(inner.take(ber::SEQUENCE)?.raw)?)?;
        if parameters.cipher.is_authenticated() != authenticated {
            return Err(Fault::Syntax("the cipher is not one of this structure"));
        }
        let octets = inner.next()?;
        if octets.tag & !ber::CONSTRUCTED != ber::context_primitive(0) {
            return Err(Fault::Syntax("the encrypted content is missing"));
        }
        let octets = octets.octets()?;
        let (mut beside, mut tag): (Vec<u8>, &[u8]) = (Vec::new(), &[]);
        if authenticated {
            if let Some(attributes) = data.optional(ber::context(1))? {
                beside = attributes.raw.to_vec();
                beside[0] = ber::SET;
            }
            tag = data.take(ber::OCTET_STRING)?.contents;
        }
        Ok(Envelope { recipients, parameters, octets, beside, tag })
    }
}

impl Recipient {
    /// Reads a RecipientInfo; nothing for a kind that needs a password or a key shared before, and for one that cannot
    /// be read: it does not cost the others their message.
    fn read(info: &Element<'_>) -> Result<Option<Self>, Fault> {
        if info.tag == ber::context(1)
            && let Some(keys) = elements(info.inside(), PARTS, "parts of a recipient")?.last()
        {
            elements(keys.inside(), limits::CMS_RECIPIENTS, "recipients")?;
        }
        Ok(match RecipientInfo::from_ber(info.raw) {
            Ok(RecipientInfo::Ktri(info)) => transported(info),
            Ok(RecipientInfo::Kari(info)) => agreed(info),
            _ => None,
        })
    }

    /// The content's key by that identity; `None` where something is wrong that nobody is told.
    fn key(&self, identity: &Identity, envelope: &Envelope<'_>) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let certificate = identity.certificate();
        let octets = envelope.parameters.cipher.key_octets();
        match self {
            Recipient::Transport { identifier, algorithm, key } => {
                if !identifier.means(certificate) {
                    return Err(Fault::NotForUs);
                }
                transport::decrypt(identity.key(), algorithm, key.as_bytes(), octets).map(Some)
            }
            Recipient::Agreement { scheme, wrap, material, originator, keys } => {
                let own = keys.iter().find(|(identifier, _)| identifier.means(certificate));
                let ((_, wrapped), secret) = own.zip(identity.key().agreement()).ok_or(Fault::NotForUs)?;
                let agreement = Agreement::new(*scheme, wrap, material.as_ref().map(OctetString::as_bytes))?;
                let unwrapped = agreement.unwrap(secret, originator.raw_bytes(), wrapped.as_bytes());
                Ok(unwrapped.filter(|key| key.len() == octets))
            }
        }
    }
}

fn transported(info: KeyTransRecipientInfo) -> Option<Recipient> {
    let identifier = match info.rid {
        RecipientIdentifier::IssuerAndSerialNumber(names) => Identifier::new(names).ok()?,
        RecipientIdentifier::SubjectKeyIdentifier(key) => Identifier::Key(key.0),
    };
    Some(Recipient::Transport { identifier, algorithm: info.key_enc_alg, key: info.enc_key })
}

fn agreed(info: KeyAgreeRecipientInfo) -> Option<Recipient> {
    // A key of the originator's certificate is not looked for: everybody makes one for each message.
    let OriginatorIdentifierOrKey::OriginatorKey(originator) = info.originator else { return None };
    let wrap = asn1::parameters(&info.key_enc_alg).ok()?;
    let mut keys = Vec::with_capacity(info.recipient_enc_keys.len());
    for one in info.recipient_enc_keys {
        let identifier = match one.rid {
            KeyAgreeRecipientIdentifier::IssuerAndSerialNumber(names) => Identifier::new(names).ok()?,
            KeyAgreeRecipientIdentifier::RKeyId(key) => Identifier::Key(key.subject_key_identifier.0),
        };
        keys.push((identifier, one.enc_key));
    }
    let (scheme, originator) = (info.key_enc_alg.oid, originator.public_key);
    Some(Recipient::Agreement { scheme, wrap, material: info.ukm, originator, keys })
}
