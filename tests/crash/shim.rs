//! `shim.c`, built and put before the daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::daemon::Setup;

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
pub struct Shim(PathBuf);

impl Shim {
    /// Compiles it; once for each process, since tests run in processes of their own.
    pub fn build() -> Shim {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-shim-{}.so", std::process::id()));
        let mut command = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(source);
        let built = command.arg("-ldl").output().expect("a C compiler, which the build needs as well");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Shim(library)
    }

    /// The setup with its daemon watched, to end at the given call.
    pub fn watch(&self, mut setup: Setup, end: Option<(u64, When)>) -> Setup {
        let mut set = |name: &str, value: String| setup.environment.insert(name.to_owned(), value);
        set("LD_PRELOAD", self.0.display().to_string());
        if let Some((number, when)) = end {
            set("CRASH_AT", number.to_string());
            set("CRASH_WHEN", format!("{when:?}").to_lowercase());
        }
        set("CRASH_DIRECTORY", setup.directory.join("spool").display().to_string());
        set("CRASH_COUNTER", setup.directory.join("calls").display().to_string());
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

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
