//! Decrypting: what is inside an encrypted layer.
//!
//! In: an encrypted layer, identities. Out: the MIME entity inside. Invariant: what everybody can see (structure,
//! algorithms, for whom it is) has faults of its own; whatever is wrong beyond that, key or content, is one fault.
//! Fails: [`Fault::NotForUs`], [`Fault::Undecryptable`], [`Fault::Unsupported`]. RFC 5652 §6, RFC 5083 §2, RFC 3218.

use std::borrow::Cow;

use const_oid::ObjectIdentifier;
use zeroize::Zeroizing;

use super::agreement::Agreement;
use super::ber::{self, Element, Reader};
use super::content::Parameters;
use super::signed_data::{Identifier, content, elements};
use super::{Encrypted, Fault, Identity, oid, transport};
use crate::limits;

/// EnvelopedData or AuthEnvelopedData.
struct Envelope<'a> {
    recipients: Vec<Recipient<'a>>,
    parameters: Parameters<'a>,
    octets: Cow<'a, [u8]>,
    /// The authenticated attributes, as they were authenticated.
    beside: Vec<u8>,
    tag: &'a [u8],
}

/// One recipient's way to the content's key.
enum Recipient<'a> {
    Transport {
        identifier: Identifier<'a>,
        algorithm: &'a [u8],
        key: &'a [u8],
    },
    Agreement {
        scheme: ObjectIdentifier,
        wrap: &'a [u8],
        material: Option<&'a [u8]>,
        originator: &'a [u8],
        keys: Keys<'a>,
    },
}

type Keys<'a> = Vec<(Identifier<'a>, &'a [u8])>;

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
        let parameters = Parameters::read(inner.sequence()?)?;
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

impl<'a> Recipient<'a> {
    /// Reads a RecipientInfo; nothing for a kind that needs a password or a key shared before.
    fn read(info: &Element<'a>) -> Result<Option<Self>, Fault> {
        let mut reader = info.inside();
        if info.tag == ber::SEQUENCE {
            reader.take(ber::INTEGER)?;
            let identifier = Identifier::read(&mut reader)?;
            let algorithm = reader.take(ber::SEQUENCE)?.raw;
            let key = reader.take(ber::OCTET_STRING)?.contents;
            return Ok(Some(Recipient::Transport { identifier, algorithm, key }));
        }
        if info.tag != ber::context(1) {
            return Ok(None);
        }
        reader.take(ber::INTEGER)?;
        let mut originator = reader.take(ber::context(0))?.inside();
        // A key of the originator's certificate, which is not looked for: everybody makes one for each message.
        let Some(public) = originator.optional(ber::context(1))? else { return Ok(None) };
        let mut public = public.inside();
        public.take(ber::SEQUENCE)?;
        let originator = public.take(ber::BIT_STRING)?.bits()?;
        let material = match reader.optional(ber::context(1))? {
            Some(explicit) => Some(explicit.inside().take(ber::OCTET_STRING)?.contents),
            None => None,
        };
        let mut algorithm = reader.sequence()?;
        let scheme = algorithm.oid()?;
        let wrap = algorithm.take(ber::SEQUENCE)?.raw;
        let mut keys = Vec::new();
        for element in elements(reader.sequence()?, limits::CMS_RECIPIENTS, "recipients")? {
            let mut one = element.inside();
            let identifier = match one.optional(ber::context(0))? {
                Some(named) => Identifier::Key(named.inside().take(ber::OCTET_STRING)?.contents),
                None => Identifier::read(&mut one)?,
            };
            keys.push((identifier, one.take(ber::OCTET_STRING)?.contents));
        }
        Ok(Some(Recipient::Agreement { scheme, wrap, material, originator, keys }))
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
                transport::decrypt(identity.key(), algorithm, key, octets).map(Some)
            }
            Recipient::Agreement { scheme, wrap, material, originator, keys } => {
                let own = keys.iter().find(|(identifier, _)| identifier.means(certificate));
                let ((_, wrapped), secret) = own.zip(identity.key().agreement()).ok_or(Fault::NotForUs)?;
                let agreement = Agreement::new(*scheme, wrap, *material)?;
                Ok(agreement.unwrap(secret, originator, wrapped).filter(|key| key.len() == octets))
            }
        }
    }
}
