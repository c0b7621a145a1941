//! Alice at a.test and Bob at b.test: two daemons that meet by DNS, each with an account and a listener for clients.

use std::net::SocketAddr;

use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::person::Person;
use crate::world::World;

/// The domains, and the people.
pub struct People {
    /// Where clients come, at a.test and at b.test.
    clients: [SocketAddr; 2],
    pub a: Setup,
    pub b: Setup,
    pub alice: Person,
    pub bob: Person,
    pub daemons: Vec<Daemon>,
    /// DNS answers until the end, and the logs are there.
    pub world: World,
}

impl People {
    /// Both are running and have logged in.
    pub fn new() -> People {
        let world = World::new();
        let (a, at_a) = home(&world, "a.test", "alice");
        let (b, at_b) = home(&world, "b.test", "bob");
        let daemons = vec![a.start(), b.start()];
        let alice = person(&world, "alice@a.test", &a, at_a).log_in("secret");
        let bob = person(&world, "bob@b.test", &b, at_b).log_in("secret");
        People { world, clients: [at_a, at_b], a, b, alice, bob, daemons }
    }
}

impl People {
    /// One more account, logged in.
    pub fn also(&self, address: &str) -> Person {
        let (setup, client) = match address.ends_with("@a.test") {
            true => (&self.a, self.clients[0]),
            false => (&self.b, self.clients[1]),
        };
        setup.account(address, "secret");
        let authorities = self.world.home("a.test").with_file_name("ca.pem");
        Person::new(address, &setup.directory.join(address), client, &authorities).log_in("secret")
    }
}

/// A domain with one account, whose password is `secret`.
fn home(world: &World, domain: &str, name: &str) -> (Setup, SocketAddr) {
    let client = free_address();
    let listener = format!("[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n");
    let setup = world.domain(domain, name).with(&listener);
    setup.write();
    setup.account(&format!("{name}@{domain}"), "secret");
    (setup, client)
}

fn person(world: &World, address: &str, setup: &Setup, server: SocketAddr) -> Person {
    let authorities = world.home("a.test").with_file_name("ca.pem");
    Person::new(address, &setup.directory.join("person"), server, &authorities)
}
