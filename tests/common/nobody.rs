//! A DNS in which nobody speaks IMPP.

use std::net::Ipv4Addr;

use impart::dns::authority::{Authority, Zone};
use tokio::runtime::{Builder, Runtime};

use super::daemon::Setup;

/// A zone `test` without names; it answers until it is dropped.
pub struct Nobody {
    _runtime: Runtime,
    authority: Authority,
}

impl Nobody {
    /// Starts it.
    pub fn new() -> Nobody {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let zone = Zone::new("test.").expect("a name");
        let authority = runtime.block_on(Authority::bind((Ipv4Addr::LOCALHOST, 0).into(), zone)).expect("a port");
        Nobody { _runtime: runtime, authority }
    }

    /// Whom a daemon asks.
    pub fn asked_by(&self, setup: Setup) -> Setup {
        let servers = format!("\"{}\"", self.authority.local_addr());
        Setup { sections: setup.sections.replace("\"127.0.0.1:1\"", &servers), ..setup }
    }
}
