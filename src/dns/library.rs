//! A resolver for libraries that ask for themselves: that of hickory, made of the same options as ours.
//!
//! In: [`Options`]. Out: a resolver that asks the same servers, and validates where ours does. Invariant: nothing but those
//! servers is asked, over UDP and TCP; no file of hosts, no search list. What is bogus is a failure there too, by the
//! SERVFAIL of a server that validates or by its own validation. It has a cache of its own, since its answers are of
//! types that ours does not hold. RFC 1035 §4.2, RFC 2308 §5.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::options::{self, Options, SetupError, Validation};
use super::validate::{read_anchors, server};
use super::wire;

/// Answers in the cache.
const CACHED: u64 = 4096;

/// Builds it.
pub fn library(options: &Options) -> Result<TokioResolver, SetupError> {
    let addresses: Vec<SocketAddr> = options::resolvers(options)?.into_iter().map(|(address, _)| address).collect();
    let config = ResolverConfig::from_parts(None, Vec::new(), addresses.iter().map(server).collect());
    let mut opts = ResolverOpts::default();
    opts.ndots = 0;
    opts.timeout = options.timeout / 2;
    opts.attempts = 2;
    opts.use_hosts_file = ResolveHosts::Never;
    opts.cache_size = CACHED;
    opts.positive_max_ttl = Some(wire::LONGEST);
    opts.negative_max_ttl = Some(wire::LONGEST_ABSENCE);
    opts.edns_payload_len = wire::PAYLOAD;
    opts.validate = options.validation == Validation::InProcess;
    let broken = |error: &dyn std::fmt::Display| SetupError::Library(error.to_string());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(opts);
    if let (Validation::InProcess, Some(path)) = (options.validation, options.trust_anchor.as_deref()) {
        builder = builder.with_trust_anchor(Arc::new(read_anchors(Path::new(path))?));
    }
    builder.with_tls_config(no_tls().map_err(|error| broken(&error))?).build().map_err(|error| broken(&error))
}

/// TLS that trusts nobody, and is never used: made by itself, hickory would insist on certificates of the system.
pub(super) fn no_tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}
