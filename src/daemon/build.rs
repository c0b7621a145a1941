//! From the configuration to each module's own options; nothing else reads the whole of it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::accounts::file::FileError;
use crate::accounts::{self, Accounts, LocalDomain, Rules, Users};
use crate::address::Domain;
use crate::config::{self, Config, Issuer};
use crate::control::authority::online;
use crate::deliver::TlsCounts;
use crate::dns::{self, SetupError};
use crate::policy::identity::mail::Examination;
use crate::policy::{Senders, Service};
use crate::receive::examine::Examiner;
use crate::route::{Configured, MailHop, MailWay, Rule, Table};
use crate::smime::{Certificate, Identity, Key, trust};
use crate::smtp::extension::Services;
use crate::smtp::server;
use crate::spool::Spool;
use crate::{deliver, limits, queue, receive, tls};

/// The least time that a sender may give for delivery (RFC 2852 §2).
const DELIVER_BY_MIN: Duration = Duration::from_secs(1);

/// Who lives here; `users` are those of the mail system, `before` the rules that were read before. What is of no use is
/// said.
pub fn accounts(config: &Config, users: Option<Arc<Users>>, before: &Rules) -> Result<Accounts, FileError> {
    let mut entries = accounts::file::load(&config.accounts.file)?;
    if let Some(path) = &config.accounts.passwd_file {
        let text = accounts::file::read(path)?;
        let (more, faults) = entries.with_passwd(&text, config.accounts.domain.as_ref());
        entries = more;
        faults.iter().for_each(|fault| tracing::warn!("{}: {fault}", path.display()));
    }
    let local = |domain: &config::LocalDomain| {
        let inboxes: HashSet<String> = domain.mailboxes().map(|mailbox| mailbox.key()).collect();
        let presentities = domain.presentities().map(|all| all.map(|mailbox| mailbox.key()).collect());
        (domain.name.clone(), LocalDomain { im: domain.im, inboxes, presence: domain.presence, presentities })
    };
    let aliases = config.domains.iter().flat_map(|domain| &domain.aliases);
    let aliases = aliases.map(|(alias, members)| (alias.key(), members.clone())).collect();
    let accounts = Accounts::new(config.domains.iter().map(local).collect::<HashMap<_, _>>());
    let (rules, faults) = Rules::load(&config.accounts.rules, before)?;
    faults.iter().for_each(|fault| tracing::error!("{fault}"));
    let judges = config.accounts.dovecot_auth.is_some() || config.accounts.ldap.is_some();
    let accounts = accounts
        .with_judges(judges)
        .with_aliases(aliases)
        .with_entries(entries)
        .with_users(users)
        .with_signers(signers(config)?)
        .with_rules(Arc::new(rules));
    for (alias, member) in accounts.lost_members() {
        tracing::warn!("the alias {alias} has a member without an inbox, {member}: add its account or its inbox");
    }
    Ok(accounts)
}

/// The authorities that issue by themselves.
pub fn issuers(config: &Config) -> Vec<online::Options> {
    let one = |issuer: &Issuer| online::Options {
        domain: issuer.domain.clone(),
        directory: config.authorities(),
        pass_phrase: online::PassPhrases {
            file: issuer.passphrase_file.clone(),
            credential: issuer.credential.clone(),
        },
        days: issuer.days,
    };
    config.issuers.iter().map(one).collect()
}

/// What the domains sign with. A certificate that does not say so is of no use, and that is said.
fn signers(config: &Config) -> Result<HashMap<Domain, Identity>, FileError> {
    let fault = |path: &Path, fault: &dyn std::fmt::Display| FileError::Change(format!("{}: {fault}", path.display()));
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| fault(path, &error));
    let mut signers = HashMap::new();
    for signer in &config.signers {
        let (chain, key) = (read(&signer.chain)?, Zeroizing::new(read(&signer.key)?));
        let chain = Certificate::from_pem(&chain).map_err(|error| fault(&signer.chain, &error))?;
        let key = Key::from_pem(&key, None).map_err(|error| fault(&signer.key, &error))?;
        let identity = Identity::new(key, chain).map_err(|error| fault(&signer.chain, &error))?;
        let wanted = trust::domain_mailbox(&signer.domain);
        let names = trust::names_of(identity.certificate()).map_err(|error| fault(&signer.chain, &error))?;
        if let Some(wanted) = wanted.filter(|wanted| !names.names(wanted)) {
            tracing::warn!("{}: it does not name {wanted}: nobody will believe it", signer.chain.display());
        }
        signers.insert(signer.domain.clone(), identity);
    }
    Ok(signers)
}

/// The mail system's users.
pub fn users(config: &Config) -> Option<Arc<Users>> {
    config.accounts.dovecot_users.clone().map(|socket| Arc::new(Users::new(socket)))
}

/// The files of accounts as they are now: when one changes, they are read again.
pub fn accounts_stamp(config: &Config) -> [Option<accounts::file::Stamp>; 3] {
    let passwd = config.accounts.passwd_file.as_deref().and_then(accounts::file::stamp);
    [accounts::file::stamp(&config.accounts.file), passwd, accounts::rules::state(&config.accounts.rules)]
}

/// Who judges whoever logs in.
pub fn authority(
    config: &Config,
    connector: &tls::Connector,
    spool: &Spool,
) -> Result<accounts::Options, tls::roots::RootsError> {
    let people = &config.accounts;
    let authorities = match &people.client_authorities[..] {
        [] => tls::Roots::none(),
        files => tls::Roots::from_files(files)?,
    };
    Ok(accounts::Options {
        domain: people.domain.clone(),
        dovecot: people.dovecot_auth.clone(),
        ldap: people.ldap.clone(),
        tokens: people.oauth.clone(),
        authorities,
        revocations: people.client_revocations.clone(),
        connector: Some(connector.clone()),
        secret: Some(spool.secret("accounts that do not exist")),
        ..accounts::Options::new(config.host.clone())
    })
}

/// The configured routes.
pub fn table(config: &Config) -> Table {
    let mut rules = Vec::new();
    for route in config.routes.iter().filter(|route| !route.via.is_empty()) {
        let hop = Arc::new(Configured {
            name: route.name.clone(),
            targets: route.via.clone(),
            tls: route.tls,
            socks5: route.socks5,
        });
        for pattern in &route.domains {
            rules.push(Rule { pattern: pattern.clone(), class: route.class, hop: hop.clone() });
        }
    }
    let bridges = Arc::new(bridges(config));
    let fallback = |domain: &config::LocalDomain| Some((domain.name.clone(), domain.fallback?));
    Table::new(config.domains.iter().map(|domain| domain.name.clone()), rules)
        .with_mail(config.bridge.via.as_ref().map(|via| outlet(&bridges, via)))
        .with_store(
            config.bridge.store.as_ref().map(|store| mail(&bridges, store)),
            config.domains.iter().filter_map(fallback).collect(),
        )
}

/// The domains of bridge addresses, by the domain served here that they belong to.
fn bridges(config: &Config) -> HashMap<Domain, Domain> {
    let bridge = |domain: &config::LocalDomain| {
        let bridge = domain.bridge.clone().unwrap_or_else(|| domain.name.clone());
        (domain.name.clone(), bridge)
    };
    config.domains.iter().map(bridge).collect()
}

/// A way for mail to domains elsewhere.
fn outlet(bridges: &Arc<HashMap<Domain, Domain>>, via: &config::Via) -> MailWay {
    match via {
        config::Via::Route(route) => MailWay::Hop(mail(bridges, route)),
        config::Via::Exchangers => MailWay::Exchangers(bridges.clone()),
    }
}

/// A way into the mail system.
fn mail(bridges: &Arc<HashMap<Domain, Domain>>, route: &config::MailRoute) -> Arc<MailHop> {
    let config::MailRoute { lmtp, server, tls } = route.clone();
    Arc::new(MailHop { server, lmtp, tls, bridges: bridges.clone() })
}

/// The sessions of one listener.
pub fn session(config: &Config, service: Service, starttls: bool) -> server::Options {
    let offers_im = config.domains.iter().any(|domain| domain.im);
    let offers_presence = config.domains.iter().any(|domain| domain.presence) || !config.routes.is_empty();
    let takes_presence = matches!(service, Service::Relay | Service::Client);
    let require_tls = matches!(service, Service::Relay | Service::Client);
    server::Options {
        greeting_name: config.host.clone(),
        service,
        starttls,
        impp: Services { im: offers_im || !config.routes.is_empty(), pres: offers_presence && takes_presence },
        impp_noop: None,
        require_tls,
        size: config.limits.message_size,
        recipients: config.limits.recipients,
        in_flight: config.limits.in_flight,
        deliver_by_min: DELIVER_BY_MIN,
        postmaster: config.postmaster(),
    }
}

/// Receiving.
pub fn receive(config: &Config) -> receive::Options {
    receive::Options {
        host: config.host.clone(),
        retention: config.queue.retention,
        connections: config.limits.connections,
        connections_per_address: config.limits.connections_per_address,
        identity: receive::identity::Options {
            policy: config.policy.peer_identity,
            ..receive::identity::Options::default()
        },
        inbox_messages: config.limits.inbox_messages,
        inbox_octets: config.limits.inbox_octets,
        upstreams: config.routes.iter().flat_map(|route| &route.upstream).cloned().collect(),
    }
}

/// How mail becomes messages, on a listener that takes everybody's.
pub fn bridge(
    config: &Config,
    senders: Senders,
    spool: &Spool,
) -> Result<Option<Arc<receive::bridge::Options>>, SetupError> {
    if senders != Senders::World {
        return Ok(None);
    }
    let examiner = match config.bridge.believed.examination {
        Examination::Upstream => None,
        Examination::Either | Examination::Own => {
            let (resolver, sealers) = (dns::library(&config.dns)?, config.bridge.sealers.clone());
            Some(Arc::new(Examiner::new(resolver, sealers, config.host.clone())))
        }
    };
    let named = config.domains.iter().filter_map(|domain| Some((domain.bridge.clone()?, domain.name.clone())));
    let options = receive::bridge::Options {
        domains: named.collect(),
        believed: config.bridge.believed.clone(),
        examiner,
        spam: config.bridge.spam.clone(),
        secret: spool.secret("mail bridge"),
    };
    Ok(Some(Arc::new(options)))
}

/// TLS of the connections that come in.
pub fn accept(config: &Config, service: Service) -> tls::accept::Options {
    // Programs of people send whatever name they were given; RFC 7672 §8.1.
    let unknown_names = match service.authenticates() {
        true => tls::accept::UnknownName::Fallback,
        false => tls::accept::UnknownName::Refuse,
    };
    let domains = config.domains.iter().map(|domain| domain.name.clone());
    tls::accept::Options {
        min_version: config.tls.min_version,
        names: std::iter::once(config.host.clone()).chain(domains).collect(),
        timeout: limits::HANDSHAKE_TIMEOUT,
        unknown_names,
        ..tls::accept::Options::default()
    }
}

/// TLS of the connections that go out.
pub fn connect(config: &Config) -> tls::connect::Options {
    tls::connect::Options { min_version: config.tls.min_version, ..tls::connect::Options::default() }
}

/// The queue.
pub fn queue(config: &Config) -> queue::Options {
    let schedule = queue::schedule::Options {
        retry: config.queue.retry.clone(),
        in_flight: config.queue.in_flight,
        ..queue::schedule::Options::default()
    };
    queue::Options { host: config.host.clone(), schedule, delay_notice: config.queue.delay_notice }
}

/// Delivery.
pub fn deliver(config: &Config, spool: &Spool, tls_counts: Option<TlsCounts>) -> deliver::Options {
    deliver::Options {
        tls_counts,
        bridge_secret: spool.secret("mail bridge"),
        connections: config.queue.connections,
        connections_per_destination: config.queue.connections_per_destination,
        ..deliver::Options::new(config.host.clone())
    }
}

/// Delivery to devices.
pub fn devices(config: &Config) -> deliver::DeviceOptions {
    deliver::DeviceOptions::new(config.host.clone())
}

/// Whom to believe.
pub fn roots(config: &Config) -> Result<tls::Roots, tls::roots::RootsError> {
    match &config.tls.roots {
        config::Roots::System => tls::Roots::system(),
        config::Roots::Files(files) if files.is_empty() => Ok(tls::Roots::none()),
        config::Roots::Files(files) => tls::Roots::from_files(files),
    }
}

/// A service, in the word of the configuration.
pub fn service(service: Service) -> &'static str {
    match service {
        Service::Relay => "relay",
        Service::Mail => "mail",
        Service::Client => "client",
        Service::Odmr => "odmr",
        Service::Device => "device",
    }
}

/// What a listener is for, in words.
pub fn purpose(service: Service) -> &'static str {
    match service {
        Service::Relay => "other domains' servers",
        Service::Mail => "the mail system",
        Service::Client => "clients",
        Service::Odmr => "mail relay on demand",
        Service::Device => "a device",
    }
}
