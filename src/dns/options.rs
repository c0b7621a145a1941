//! Which resolver is built.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Resolve;
use super::resolv_conf::ResolvConf;
use super::resolver::Resolver;
use super::stub::{Server, Stub};
use super::validate::Validating;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// Who validates DNSSEC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// The resolver that is asked; its AD bit is believed if it runs on this host, if it is listed in
    /// [`Options::trusted`], or if resolv.conf has `options trust-ad`.
    #[default]
    Trusted,
    /// This process, from the trust anchor down. Proves what there is; that something is absent stays unproven.
    InProcess,
    /// Nobody: every answer is insecure.
    Off,
}

/// What the resolver is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Recursive resolvers, in order; empty: those of /etc/resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// Servers beside those on this host whose AD bit is believed, because they validate and the way to them is safe.
    pub trusted: Vec<SocketAddr>,
    /// Who validates.
    pub validation: Validation,
    /// DNSKEY records in zone-file form for validation in this process; `None`: the root's keys as built in.
    pub trust_anchor: Option<PathBuf>,
    /// The time for one question, with all servers and CNAME.
    pub timeout: Duration,
    /// Entries of the cache; its memory is bounded by about 1 KiB for each.
    pub cache_entries: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            servers: Vec::new(),
            trusted: Vec::new(),
            validation: Validation::default(),
            trust_anchor: None,
            timeout: Duration::from_secs(10),
            cache_entries: 10_000,
        }
    }
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system's list of servers cannot be read.
    #[error("cannot read {RESOLV_CONF}: {0}; name the DNS servers in the configuration")]
    ResolvConf(io::Error),
    /// The trust anchor cannot be read.
    #[error("cannot read DNSKEY records from the trust anchor {path}: {reason}")]
    TrustAnchor {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Validation in this process cannot be set up.
    #[error("cannot set up DNSSEC validation: {0}")]
    Validation(String),
    /// The resolver of the library that examines mails.
    #[error("cannot set up DNS for the examination of mails: {0}")]
    Library(String),
}

/// Builds the resolver. Must be called within a runtime.
pub fn from_options(options: Options) -> Result<Arc<dyn Resolve>, SetupError> {
    let servers = servers(&options, Path::new(RESOLV_CONF))?;
    let resolver = match options.validation {
        Validation::Trusted | Validation::Off => {
            Resolver::new(Stub::new(servers, options.timeout), options.cache_entries)
        }
        Validation::InProcess => {
            let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
            let source = Validating::new(&addresses, options.trust_anchor.as_deref(), options.timeout)?;
            Resolver::new(source, options.cache_entries)
        }
    };
    Ok(Arc::new(resolver))
}

/// The recursive resolvers that the options lead to, and whether the AD bit of each is believed; for diagnosis.
pub fn resolvers(options: &Options) -> Result<Vec<(SocketAddr, bool)>, SetupError> {
    let servers = servers(options, Path::new(RESOLV_CONF))?;
    Ok(servers.iter().map(|server| (server.address, server.trusted)).collect())
}

fn servers(options: &Options, resolv_conf: &Path) -> Result<Vec<Server>, SetupError> {
    let (addresses, all_trusted) = if options.servers.is_empty() {
        let text = match std::fs::read_to_string(resolv_conf) {
            Ok(text) => text,
            // As the C library does it: without the file, the server on this host.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(SetupError::ResolvConf(error)),
        };
        let conf = ResolvConf::parse(&text);
        (conf.servers.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect(), conf.trust_ad)
    } else {
        (options.servers.clone(), false)
    };
    let believe = options.validation == Validation::Trusted;
    let server = |address: SocketAddr| {
        let trusted = all_trusted || address.ip().to_canonical().is_loopback() || options.trusted.contains(&address);
        Server { address, trusted: believe && trusted }
    };
    Ok(addresses.into_iter().map(server).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &Options, conf: &str, expected: &[(&str, bool)]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), conf).unwrap();
        let got: Vec<(String, bool)> =
            servers(options, file.path()).unwrap().iter().map(|s| (s.address.to_string(), s.trusted)).collect();
        let expected: Vec<(String, bool)> = expected.iter().map(|(text, on)| ((*text).to_owned(), *on)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn whose_ad_bit_is_believed() {
        let mut options = Options::default();
        check(&options, "nameserver 192.0.2.1\nnameserver ::1", &[("192.0.2.1:53", false), ("[::1]:53", true)]);
        check(&options, "nameserver 192.0.2.1\noptions trust-ad", &[("192.0.2.1:53", true)]);
        options.servers = vec!["192.0.2.1:53".parse().unwrap(), "127.0.0.53:5353".parse().unwrap()];
        check(&options, "options trust-ad", &[("192.0.2.1:53", false), ("127.0.0.53:5353", true)]);
        options.trusted = vec!["192.0.2.1:53".parse().unwrap()];
        check(&options, "", &[("192.0.2.1:53", true), ("127.0.0.53:5353", true)]);
        options.validation = Validation::Off;
        check(&options, "", &[("192.0.2.1:53", false), ("127.0.0.53:5353", false)]);
    }

    #[test]
    fn without_a_file_the_server_on_this_host() {
        let got = servers(&Options::default(), Path::new("/nonexistent/resolv.conf")).unwrap();
        assert_eq!(got, [Server { address: "127.0.0.1:53".parse().unwrap(), trusted: true }]);
    }
}
