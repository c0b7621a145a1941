//! Somebody with a client here, for whom others have only mail: between them a mail system.

use std::net::SocketAddr;
use std::path::Path;

use super::names::certificate;
use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::nobody::Nobody;
use crate::common::person::{Listening, Person};

/// An Impart for a.test whose mail goes `via`.
pub fn setup(nobody: &Nobody, directory: &Path, via: &str) -> Setup {
    let setup = nobody.asked_by(Setup::new(directory).with(&format!("[bridge]\nvia = {via:?}\n")));
    setup.key("name = \"a.test\"", "bridge = \"im.a.test\"")
}

/// An Impart for a.test, whose bridge is im.a.test; alice is attached.
pub struct Bridged {
    pub daemon: Daemon,
    pub setup: Setup,
    pub person: Person,
    pub alice: Listening,
    _nobody: Nobody,
}

impl Bridged {
    /// Starts it: its mail goes to `mail`, and what mx.a.test finds of mail that comes to `bridge` is believed.
    pub fn start(directory: &Path, mail: SocketAddr, bridge: SocketAddr) -> Bridged {
        let (nobody, client) = (Nobody::new(), free_address());
        let named = certificate(directory, "a.test");
        let sections = format!(
            "[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n\
             [[listen]]\nservice = \"mail\"\naddress = \"{bridge}\"\nsenders = \"world\"\n"
        );
        let setup = setup(&nobody, directory, &format!("smtp:{mail}")).with(&named.section()).with(&sections);
        let setup = setup.key("[bridge]", "authserv_ids = [\"mx.a.test\"]\nhops = 0");
        setup.write();
        setup.account("alice@a.test", "secret");
        let daemon = setup.start();
        let person = Person::new("alice@a.test", &directory.join("alice"), client, &named.chain).log_in("secret");
        let alice = person.listen();
        Bridged { daemon, setup, person, alice, _nobody: nobody }
    }
}
