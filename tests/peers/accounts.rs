//! The accounts that a mail system has already: somebody logs in by `impart` with the password that Dovecot or the directory
//! knows, sends, and receives.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::person::Person;
use crate::common::tools::{find, have, leave_out, root, run, said};
use crate::common::wait;
use crate::dovecot::Dovecot;
use crate::names::certificate;

/// A daemon with a listener for clients and no accounts of its own.
struct Home {
    directory: tempfile::TempDir,
    client: SocketAddr,
    setup: Setup,
    _daemon: Daemon,
}

impl Home {
    fn new(directory: tempfile::TempDir, sections: &str) -> Home {
        let client = free_address();
        let named = certificate(directory.path(), "a.test");
        let listener = format!("[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n");
        let setup = Setup::new(directory.path()).with(&named.section()).with(&listener).with(sections);
        let daemon = setup.start();
        Home { directory, client, setup, _daemon: daemon }
    }

    fn person(&self, address: &str) -> Person {
        let home = self.directory.path().join(address);
        Person::new(address, &home, self.client, &self.directory.path().join("a.test.pem"))
    }

    /// Who has this password elsewhere has an account here; who has another has none.
    fn knows(&self, address: &str, password: &str) {
        let person = self.person(address);
        let words = person.login("another");
        let output = person.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(77), "{}", said(&output));
        let person = person.log_in(password);
        person.done(&["send", address, "-m", "to myself"]);
        person.listen().wait_for(&[("event", "message"), ("text", "to myself")]);
    }
}

#[test]
fn who_is_known_to_dovecot_has_an_account() {
    const NAME: &str = "who_is_known_to_dovecot_has_an_account";
    if !have(NAME, &["dovecot"]) {
        return;
    }
    if !root() {
        return leave_out(&format!("{NAME} (Dovecot's daemon needs root)"));
    }
    let directory = tempfile::tempdir().unwrap();
    let dovecot = Dovecot::start(directory.path());
    let [auth, users] = ["auth-client", "auth-userdb"].map(|name| dovecot.socket(name));
    let home = Home::new(directory, &format!("[accounts]\ndovecot_auth = {auth:?}\ndovecot_users = {users:?}\n"));
    home.knows("alice@a.test", "pw");
    // Nobody needs to be named here: which inboxes there are, Dovecot says as well.
    let alice = home.person("alice@a.test");
    let output = alice.run(&["send", "nobody@a.test", "-m", "hello"]);
    assert_eq!(output.status.code(), Some(67), "{}", said(&output));
}

/// OpenLDAP with a database of its own; stopped when it is dropped.
struct Directory(Child);

impl Directory {
    fn start(place: &Path, address: SocketAddr) -> Directory {
        let (file, data) = (place.join("slapd.conf"), place.join("people.ldif"));
        fs::create_dir(place.join("people")).unwrap();
        let at = place.display();
        let text = format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             pidfile {at}/slapd.pid\nargsfile {at}/slapd.args\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             database mdb\nsuffix \"dc=a,dc=test\"\nrootdn \"cn=admin,dc=a,dc=test\"\ndirectory {at}/people\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by * none\n"
        );
        fs::write(&file, text).unwrap();
        let people = "dn: dc=a,dc=test\nobjectClass: dcObject\nobjectClass: organization\no: a\ndc: a\n\n\
            dn: ou=people,dc=a,dc=test\nobjectClass: organizationalUnit\nou: people\n\n\
            dn: uid=alice,ou=people,dc=a,dc=test\nobjectClass: inetOrgPerson\nuid: alice\ncn: Alice\nsn: A\n\
            userPassword: pass, word\n";
        fs::write(&data, people).unwrap();
        let [config, data] = [&file, &data].map(|path| path.to_str().expect("a path in UTF-8"));
        let loaded = run("slapadd", &["-f", config, "-l", data], b"");
        assert!(loaded.status.success(), "{}", said(&loaded));
        let mut command = Command::new(find("slapd").expect("slapd is installed"));
        command.args(["-d", "0", "-f", config, "-h", &format!("ldap://{address}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let directory = Directory(command.spawn().expect("slapd starts"));
        wait::until("slapd listens", || std::net::TcpStream::connect(address).ok());
        directory
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

#[test]
fn who_is_in_the_directory_has_an_account() {
    const NAME: &str = "who_is_in_the_directory_has_an_account";
    if !have(NAME, &["slapd", "slapadd"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let _directory = Directory::start(directory.path(), address);
    let section =
        format!("[ldap]\nserver = \"ldap://{address}\"\nbind_dn = \"uid={{local}},ou=people,dc=a,dc=test\"\n");
    let home = Home::new(directory, &section);
    home.knows("alice@a.test", "'pass, word'");
    let bob = home.person("bob@a.test");
    let words = bob.login("anything");
    let output = bob.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(77), "who is not there has none: {}", said(&output));
    assert!(home.setup.log().contains("authentication as bob@a.test by PLAIN failed"), "{}", home.setup.log());
}
