//! `shim.c`, built and put before the daemon.

use std::fs;

use crate::common::daemon::Setup;
use crate::common::preload::Library;
use crate::power;

/// When at a call the daemon ends.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// Before it.
    Before,
    /// With half of a write written.
    Torn,
    /// After it.
    After,
}

/// The library.
pub struct Shim(Library);

impl Shim {
    /// Compiles it.
    pub fn build() -> Shim {
        Shim(Library::build("tests/crash/shim.c"))
    }

    /// The setup with its daemon watched, to end at the given call.
    pub fn watch(&self, mut setup: Setup, end: Option<(u64, When)>) -> Setup {
        self.0.load_into(&mut setup);
        let mut set = |name: &str, value: String| setup.environment.insert(name.to_owned(), value);
        if let Some((number, when)) = end {
            set("CRASH_AT", number.to_string());
            set("CRASH_WHEN", format!("{when:?}").to_lowercase());
        }
        set("CRASH_DIRECTORY", setup.directory.join("spool").display().to_string());
        set("CRASH_COUNTER", setup.directory.join("calls").display().to_string());
        let durable = power::durable(&setup);
        fs::create_dir_all(&durable).expect("a directory");
        setup.environment.insert("CRASH_DURABLE".to_owned(), durable.display().to_string());
        let mut set = |name: &str, value: String| setup.environment.insert(name.to_owned(), value);
        set("CRASH_FAULT", setup.directory.join("fault").display().to_string());
        setup
    }

    /// The calls so far.
    pub fn count(&self, setup: &Setup) -> u64 {
        let octets = fs::read(setup.directory.join("calls")).expect("the counter of the shim");
        u64::from_ne_bytes(octets.try_into().expect("eight octets"))
    }

    /// Lets writes and syncs fail from now on, or succeed again.
    pub fn fail(&self, setup: &Setup, error: Option<&str>) {
        let file = setup.directory.join("fault");
        match error {
            Some(error) => fs::write(file, error).expect("the fault file"),
            None => fs::remove_file(file).expect("the fault file"),
        }
    }
}
