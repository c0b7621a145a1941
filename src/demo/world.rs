//! What the demonstration stands on: a directory, free ports, certificates, a DNS authority, and two daemons in processes of
//! their own.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::DemoError;
use crate::accounts::{self, Change};
use crate::address::{Domain, Mailbox};
use crate::control::client::Client;
use crate::dns::Srv;
use crate::dns::authority::{Authority, Data, Zone};
use crate::timestamp::Timestamp;
use crate::tls::make;

/// How long a daemon may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time to live of the records, in seconds: short, for they go with the demonstration.
const TTL: u32 = 5;

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DemoError {
    let what = what.into();
    move |fault| DemoError::System(what, fault)
}

/// One domain and its daemon.
pub struct Site {
    /// `a.test`.
    pub domain: &'static str,
    /// The local part of its inbox.
    pub user: &'static str,
    /// Where other domains' servers come.
    pub relay: SocketAddr,
    /// Where mail programs come.
    pub mail: SocketAddr,
    /// Where clients come.
    pub client: SocketAddr,
    /// Runs `impart` as the user.
    pub command: PathBuf,
    /// The administration socket.
    pub control: PathBuf,
    /// The configuration.
    pub config: PathBuf,
    /// The log.
    pub log: PathBuf,
    process: Option<Child>,
}

/// Everything.
pub struct World {
    /// Where it is.
    pub directory: PathBuf,
    /// The authority's address.
    pub dns: SocketAddr,
    /// The first domain.
    pub a: Site,
    /// The second.
    pub b: Site,
    _authority: Authority,
    /// Whether the directory is ours to remove.
    temporary: bool,
}

impl World {
    /// Makes it; no daemon runs yet.
    pub async fn make(directory: Option<PathBuf>) -> Result<World, DemoError> {
        let temporary = directory.is_none();
        let directory =
            directory.unwrap_or_else(|| std::env::temp_dir().join(format!("impart-demo-{}", std::process::id())));
        std::fs::create_dir_all(&directory).map_err(system(directory.display().to_string()))?;
        let directory = directory.canonicalize().map_err(system(directory.display().to_string()))?;
        let ports = free_ports(6)?;
        let zone = zone([ports[0], ports[3]], [ports[2], ports[5]])?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let authority = Authority::bind(loopback, zone).await.map_err(system("the DNS authority"))?;
        let dns = authority.local_addr();
        let now = Timestamp::from(SystemTime::now());
        let ca = make::Authority::root(&make::AuthorityOptions::new("Impart demonstration", now))?;
        let roots = directory.join("ca.pem");
        make::write_pem(&roots, &ca.pem()).map_err(system(roots.display().to_string()))?;
        let a = site(&directory, "a.test", "alice", &ports[..3]);
        let b = site(&directory, "b.test", "bob", &ports[3..]);
        for site in [&a, &b] {
            furnish(site, &directory, &ca, &roots, dns, now)?;
        }
        Ok(World { directory, dns, a, b, _authority: authority, temporary })
    }

    /// Stops both daemons and removes the directory if it was made here.
    pub async fn end(&mut self) {
        self.a.stop().await;
        self.b.stop().await;
        if self.temporary {
            // What cannot be removed from a temporary directory is the system's to clean.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// Ports that nobody listens on at the moment.
fn free_ports(count: usize) -> Result<Vec<SocketAddr>, DemoError> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: Result<Vec<_>, _> = std::iter::repeat_with(bind).take(count).collect();
    let listeners = listeners.map_err(system("a loopback port"))?;
    listeners.iter().map(|listener| listener.local_addr().map_err(system("a loopback port"))).collect()
}

/// `test.`: both domains by SRV, and one that has mail only.
fn zone(relays: [SocketAddr; 2], clients: [SocketAddr; 2]) -> Result<Zone, DemoError> {
    let mut zone = Zone::new("test.")?;
    for (at, domain) in ["a.test", "b.test"].into_iter().enumerate() {
        let host = format!("mx.{domain}");
        let srv = |address: SocketAddr| {
            let target = Domain::parse(&host).ok();
            Data::Srv(Srv { priority: 0, weight: 0, port: address.port(), target })
        };
        for service in ["_im", "_pres"] {
            zone.add(&format!("{service}._impp.{domain}."), TTL, srv(relays[at]))?;
        }
        zone.add(&format!("_impp-client._tcp.{domain}."), TTL, srv(clients[at]))?;
        zone.add(&format!("{host}."), TTL, Data::A(Ipv4Addr::LOCALHOST))?;
    }
    zone.add("mail.test.", TTL, Data::Mx { preference: 10, host: "mx.mail.test.".to_owned() })?;
    Ok(zone)
}

/// `ports`: of the relay, for mail programs, for clients.
fn site(directory: &Path, domain: &'static str, user: &'static str, ports: &[SocketAddr]) -> Site {
    let home = directory.join(domain);
    Site {
        domain,
        user,
        relay: ports[0],
        mail: ports[1],
        client: ports[2],
        command: directory.join(user),
        control: home.join("control.sock"),
        config: home.join("impart.toml"),
        log: home.join("impartd.log"),
        process: None,
    }
}

fn furnish(
    site: &Site,
    directory: &Path,
    ca: &make::Authority,
    roots: &Path,
    dns: SocketAddr,
    now: Timestamp,
) -> Result<(), DemoError> {
    let home = directory.join(site.domain);
    std::fs::create_dir_all(&home).map_err(system(home.display().to_string()))?;
    let host = format!("mx.{}", site.domain);
    let files = ca.issue(&make::Leaf::new(&[&host, site.domain], now))?.write(&home, "tls");
    let files = files.map_err(system(home.display().to_string()))?;
    let text = format!(
        "# Made by `impartd demo`.\nhost = {host:?}\nspool = {spool:?}\ncontrol = {control:?}\n\n\
         [[domain]]\nname = {domain:?}\ninboxes = [\"bulk\"]\n\n\
         [accounts]\nfile = {accounts:?}\n\n\
         [[listen]]\nservice = \"relay\"\naddress = \"{relay}\"\n\n\
         [[listen]]\nservice = \"mail\"\naddress = \"{mail}\"\n\n\
         [[listen]]\nservice = \"client\"\naddress = \"{client}\"\n\n\
         [[certificate]]\nchain = {chain:?}\nkey = {key:?}\n\n\
         [tls]\nroots = [{roots:?}]\n\n\
         [dns]\nservers = [\"{dns}\"]\n\n\
         [queue]\nretry = [\"1s\", \"2s\", \"5s\", \"15s\", \"1m\"]\n",
        spool = home.join("spool"),
        control = site.control,
        domain = site.domain,
        accounts = home.join("accounts.toml"),
        relay = site.relay,
        mail = site.mail,
        client = site.client,
        chain = files.chain,
        key = files.key,
    );
    std::fs::write(&site.config, text).map_err(system(site.config.display().to_string()))?;
    enrol(site, &home, roots)
}

/// The user's account, and a command that has it: `impart` with a configuration and a history of its own.
fn enrol(site: &Site, home: &Path, roots: &Path) -> Result<(), DemoError> {
    let address = format!("{}@{}", site.user, site.domain);
    let password = accounts::generated()?;
    let add = Change::Add {
        password: Some(password.clone()),
        odmr: None,
        inbox: true,
        presentity: true,
        addresses: Vec::new(),
        fallback: None,
        delegates: Vec::new(),
    };
    let name = Mailbox::parse(&address).map_err(|fault| DemoError::Refused(format!("{address}: {fault}")))?;
    accounts::change(&home.join("accounts.toml"), &name, add)?;
    let (secret, config) = (home.join("password"), home.join("client.toml"));
    let text = format!(
        "[[account]]\naddress = {address:?}\nserver = \"{}\"\nca = {roots:?}\ndevice = \"demo\"\n\
         password-command = {:?}\n",
        site.client,
        format!("cat '{}'", secret.display()),
    );
    let script = format!(
        "#!/bin/sh\nIMPART_CONFIG='{}' XDG_DATA_HOME='{}' exec {} \"$@\"\n",
        config.display(),
        home.join("client").display(),
        program("impart"),
    );
    for (file, text, mode) in
        [(&secret, password.reveal(), 0o600), (&config, &text, 0o600), (&site.command, &script, 0o755)]
    {
        let mut options = File::options();
        let options = options.create(true).write(true).truncate(true).mode(mode);
        let written = options.open(file).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(system(file.display().to_string()))?;
    }
    Ok(())
}

impl Site {
    fn fault(&self, what: impl Into<String>) -> DemoError {
        DemoError::Daemon { site: self.domain.to_owned(), what: what.into(), log: self.log.clone() }
    }

    /// Starts the daemon, and waits until it answers.
    pub async fn start(&mut self) -> Result<(), DemoError> {
        let program = std::env::current_exe().map_err(system("this program"))?;
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(system(self.log.display().to_string()))?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // ^C in the terminal is for the demonstration, which then stops its daemons in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(system("the daemon"))?;
        let start = Instant::now();
        while Client::connect(&self.control).await.is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.fault(format!("ended ({status})")));
            }
            if start.elapsed() > PATIENCE {
                return Err(self.fault("did not become ready"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.process = Some(child);
        Ok(())
    }

    /// Stops the daemon as systemd does: SIGTERM, and what remains after a while is killed.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.process.take() else { return };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}

/// How another program of Impart is called: the one beside this, else by cargo.
pub fn program(name: &str) -> String {
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name(name));
    match beside.filter(|program| program.exists()) {
        Some(program) => program.display().to_string(),
        None => {
            let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
            format!("cargo run --release --quiet --manifest-path '{manifest}' --bin {name} --")
        }
    }
}
