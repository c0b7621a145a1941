//! Every bound that a peer could otherwise exceed, in one place, with its source.
//!
//! These are the protocol's own; what an administrator may change is in the configuration, with these as defaults.

use std::time::Duration;

/// Octets of a local part (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_OCTETS: usize = 64;
/// Octets of a domain: 255 in RFC 5321 §4.5.3.1.2, of which DNS leaves 253 without the dots at its ends (RFC 1035 §2.3.4).
pub const DOMAIN_OCTETS: usize = 253;
/// Octets of a command line with CRLF: 512 (RFC 5321 §4.5.3.1.4) and what the extensions offered add to MAIL and RCPT:
/// DSN 615 (RFC 3461 §5.4), AUTH 500 (RFC 4954 §3), and the smaller ones.
pub const COMMAND_LINE_OCTETS: usize = 2048;
/// Octets of a line of an AUTH exchange with CRLF, the command among them (RFC 4954 §4).
pub const AUTH_LINE_OCTETS: usize = 12288;
/// Octets of the name of a device.
pub const DEVICE_OCTETS: usize = 64;
/// How long a client may take to authenticate, from the start of its connection.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Failed authentications of one connection, after which it is closed.
pub const LOGIN_FAILURES: usize = 3;
/// Accounts whose rate of submission is remembered.
pub const RATED_ACCOUNTS: usize = 100_000;
/// Attachments that wait to be taken over.
pub const ATTACHING: usize = 256;
/// How long an ATRN waits for its place among those.
pub const ATTACH_TIMEOUT: Duration = Duration::from_secs(30);
/// Inboxes or domains that one ATRN may name.
pub const ATRN_NAMES: usize = 32;
/// Octets of a reply line with CRLF that we read: 512 in RFC 5321 §4.5.3.1.5; others write more.
pub const REPLY_LINE_OCTETS: usize = 2048;
/// Lines of a reply that we read.
pub const REPLY_LINES: usize = 128;
/// Octets of a line of text with CRLF, in an entity that is not BINARYMIME (RFC 5321 §4.5.3.1.6).
pub const TEXT_LINE_OCTETS: usize = 1000;
/// Recipients of one transaction (RFC 5321 §4.5.3.1.8 asks for at least 100).
pub const RECIPIENTS: usize = 1000;
/// Octets of a document of rules.
pub const RULES_OCTETS: usize = 64 * 1024;
/// Depth of the elements of a document of rules.
pub const RULES_DEPTH: usize = 64;
/// Octets of all documents of rules that are held.
pub const RULES_IN_ALL: u64 = 256 * 1024 * 1024;
/// Octets of the value of a field `Presence`, folds included.
pub const PRESENCE_FIELD_OCTETS: usize = 4 * 1024;
/// Octets of the name of an event.
pub const EVENT_OCTETS: usize = 64;
/// Octets of a presence document, published or composed; a view has no more.
pub const PIDF_OCTETS: usize = 64 * 1024;
/// Octets of the signed publications that go along with a view.
pub const SIGNED_OCTETS: usize = 128 * 1024;
/// Octets of a list of watchers, or of one's subscriptions: some 10,000 of them.
pub const LIST_OCTETS: usize = 8 * 1024 * 1024;
/// Attributes of an element, declarations of namespaces among them, in any document that is XML.
pub const XML_ATTRIBUTES: usize = 64;
/// Depth of the elements of a presence document or a list.
pub const PIDF_DEPTH: usize = 64;
/// Namespaces that are declared for one element of a presence document.
pub const PIDF_NAMESPACES: usize = 64;
/// Octets of the name of a namespace in a presence document.
pub const NAMESPACE_OCTETS: usize = 1024;
/// Tuples, persons and devices of a presence document.
pub const PIDF_COMPONENTS: usize = 256;
/// Octets of an entity.
pub const ENTITY_OCTETS: u64 = 10 * 1024 * 1024;
/// Octets of the header section of an entity.
pub const HEADER_OCTETS: usize = 128 * 1024;
/// Fields of the header section of an entity.
pub const HEADER_FIELDS: usize = 1000;
/// Depth of multipart and message nesting.
pub const MIME_DEPTH: usize = 32;
/// Parts of an entity in all.
pub const MIME_PARTS: usize = 1000;
/// Octets of one BDAT chunk that we send, so that NOOP and small entities pass between.
pub const CHUNK_OCTETS: usize = 64 * 1024;
/// Received fields after which a message is in a loop (RFC 5321 §6.3).
pub const HOPS: usize = 100;
/// Commands of one connection that were refused for their syntax before it is closed.
pub const BAD_COMMANDS: usize = 20;
/// Transactions of one connection that may wait for the disk at once.
pub const TRANSACTIONS_IN_FLIGHT: usize = 256;
/// How long a server waits for the next command (RFC 5321 §4.5.3.2.7).
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);
/// How long the whole of one chunk or message may take from its first octet.
pub const ENTITY_TIMEOUT: Duration = Duration::from_secs(600);
/// Characters of an ENVID before it is encoded (RFC 3461 §4.4).
pub const ENVID_CHARS: usize = 100;
/// Octets of an original recipient (RFC 3461 §4.2).
pub const ORCPT_OCTETS: usize = 500;
/// How long a dedup key is kept; one day more than the longest stay in a spool.
pub const DEDUP_RETENTION: Duration = Duration::from_secs(8 * 86_400);
/// The longest stay of a message in a spool.
pub const LONGEST_STAY: Duration = Duration::from_secs(7 * 86_400);
/// Contacts, and watchers, that a person's client keeps in its lists.
pub const CLIENT_CONTACTS: usize = 10_000;
/// Messages that become one mail.
pub const GATHERED: usize = 50;
/// Domains whose policy about their mail exchangers is remembered.
pub const POLICIES: usize = 10_000;
/// Octets of such a policy (RFC 8461 §3.3).
pub const POLICY_OCTETS: usize = 64 * 1024;
/// Mail exchangers that such a policy may name.
pub const POLICY_EXCHANGERS: usize = 100;
/// How long fetching such a policy may take (RFC 8461 §3.3); mail waits for it.
pub const POLICY_TIMEOUT: Duration = Duration::from_secs(30);
/// Policies that are fetched at one time.
pub const POLICIES_FETCHING: usize = 32;
/// Messages of a person's history that a client holds in memory; all others are in the file.
pub const CLIENT_MESSAGES: usize = 10_000;
/// Octets of the messages that a client holds in memory.
pub const CLIENT_OCTETS: usize = 64 * 1024 * 1024;
/// Messages, signatures and notices of which a client remembers that they were there: some 40 octets each.
pub const CLIENT_REMEMBERED: usize = 1_000_000;
/// Attachments of one account at a time.
pub const ATTACHED: usize = 32;
/// Answers of attached clients that may wait for the disk, from all of them; with more nothing is offered.
pub const SETTLING: usize = 10_000;
/// How long an attachment may last for whose account others vouch; then its client has to log in again. They say nothing
/// when a password changes or somebody leaves.
pub const VOUCHED: Duration = Duration::from_secs(3600);
/// Devices of one inbox that have a list of their own.
pub const DEVICES: usize = 16;
/// How long a device keeps its list without being attached.
pub const DEVICE_RETENTION: Duration = Duration::from_secs(14 * 86_400);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long deliveries under way may take when the daemon stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets after which an entity that is coming in counts as large.
pub const LARGE_OCTETS: u64 = 64 * 1024;
/// Large entities that may be coming in at once, from all connections; with [`ENTITY_OCTETS`] they bound the memory that
/// entities take before they are complete.
pub const LARGE_ENTITIES: usize = 64;
/// Of those, what one address has at most: others find room.
pub const LARGE_ENTITIES_PER_ADDRESS: usize = 8;
/// KiB of complete entities that may wait for the disk, from all connections.
pub const WAITING_KIBIS: usize = 256 * 1024;
/// Depth of BER elements of indefinite length, and of strings in pieces.
pub const BER_DEPTH: usize = 32;
/// Layers of S/MIME around each other.
pub const SMIME_DEPTH: usize = 8;
/// Octets of a certificate.
pub const CERTIFICATE_OCTETS: usize = 64 * 1024;
/// Octets of a public key that somebody asks to be certified: RSA of 4096 bits.
pub const REQUESTED_SPKI_OCTETS: usize = 600;
/// Octets of a certificate to which a watcher has views encrypted.
pub const READER_OCTETS: usize = 8 * 1024;
/// Views that are encrypted for one list of contacts.
pub const VIEWS_ENCRYPTED: usize = 50;
/// Octets of all certificates to which watchers have views encrypted.
pub const READERS_OCTETS: usize = 256 * 1024 * 1024;
/// Certificates that a domain's authority issues to one address in a day, when it is asked over the network.
pub const ISSUED_IN_A_DAY: usize = 10;
/// Requests of certificates and revocations that are worked on at one time: a key in a token may be slow.
pub const CERTIFYING: usize = 4;
/// Certificates of one address that hold at one time, when they are asked for over the network.
pub const CERTIFICATES_HELD: usize = 50;
/// Certificates in one message, or in one file of an identity.
pub const CMS_CERTIFICATES: usize = 64;
/// Revocation lists in one message.
pub const CMS_LISTS: usize = 16;
/// Signers of one message.
pub const CMS_SIGNERS: usize = 8;
/// Signed attributes of one signer, and capabilities that they list.
pub const CMS_ATTRIBUTES: usize = 64;
/// Recipients that one message is encrypted to.
pub const CMS_RECIPIENTS: usize = 2000;
/// Rounds of the derivation of a key from a pass phrase that are still done.
pub const PASS_PHRASE_ROUNDS: u32 = 10_000_000;
/// Addresses of a certificate that are looked at.
pub const CERTIFICATE_NAMES: usize = 256;
/// Authorities, and revocation lists, that may be configured.
pub const TRUSTED_CERTIFICATES: usize = 4096;
/// Authorities in a chain, the root not counted.
pub const CHAIN_LENGTH: usize = 8;
/// Certificates of a message that are looked at for a chain.
pub const CHAIN_OFFERED: usize = 16;
/// Certificates that are put into a chain, and taken out again, in the search for one.
pub const CHAIN_STEPS: usize = 64;
/// Chains of one signer that are validated.
pub const CHAINS_TRIED: usize = 8;
/// Chains that held and are kept.
pub const CHAINS_CACHED: usize = 10_000;
/// Octets of a signer's certificate that is kept after its chain held.
pub const REMEMBERED_OCTETS: usize = 4096;
/// Octets of all revocation lists that are fetched.
pub const LISTS_OCTETS: usize = 64 * 1024 * 1024;
/// Places from which revocation lists are fetched.
pub const LISTS_FETCHED: usize = 256;
/// Octets of a revocation list.
pub const CRL_OCTETS: usize = 16 * 1024 * 1024;
/// SMIMEA records of one name that are looked at.
pub const SMIMEA_RECORDS: usize = 16;
/// Characters of an authority's name that are shown.
pub const NAME_CHARS: usize = 100;
/// Domains that have shown life, until somebody looks.
pub const ALIVE: usize = 64;
/// Publications of one presentity.
pub const PUBLICATIONS: usize = 32;
/// Presentities whose documents are kept composed.
pub const COMPOSED: usize = 10_000;
/// Fetches of one account that wait for their answers.
pub const FETCHES: usize = 100;
/// Fetches and refusals that wait to be answered at one domain.
pub const ANSWERS_AT_DOMAIN: usize = 1_000;
/// Watchers of one presentity that have not authenticated.
pub const UNPROVEN_WATCHERS: usize = 50;
/// Fetches and refusals in all that wait to be answered, or for their answers.
pub const PRESENCE_ANSWERS: usize = 10_000;
/// Presentities that somebody who has only mail watches, or is asked about.
pub const MAILED_CONTACTS: usize = 200;
/// Presentities in one mail about presence.
pub const MAILED_TOGETHER: usize = 50;
/// How long somebody who has only mail watches before they have to ask again.
pub const MAILED_FOR: Duration = Duration::from_secs(90 * 86_400);
/// Requests about presence by mail of one author within an hour; each is answered by a mail.
pub const MAILED_REQUESTS: usize = 30;
/// Answers kept for a watcher none of whose devices is attached.
pub const ANSWERS_KEPT: usize = 16;
/// Notices that wait for one device.
pub const NOTICES: usize = 20_000;
/// Watchers in one list of those that have changed; the rest follows in the next.
pub const WATCHERS_LISTED: usize = 1_000;
/// Watchers in the answer to who asks for all of them; the rest follows.
pub const WATCHERS_ANSWERED: usize = 10_000;
/// Signatures of DKIM that are examined in one mail (RFC 6376 §6.1 leaves the bound to whoever verifies).
pub const SIGNATURES: usize = 8;
/// Sets of ARC that are examined in one mail.
pub const SEALS: usize = 10;
/// How long the examination of one mail may take, with all that it asks of DNS.
pub const EXAMINATION: Duration = Duration::from_secs(20);
