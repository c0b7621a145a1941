//! C that is loaded into the daemon (LD_PRELOAD) to stand between it and the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::Setup;

/// A library; removed when it is dropped.
pub struct Library(PathBuf);

impl Library {
    /// Compiles a source of the package; once for each process, since tests run in processes of their own.
    pub fn build(source: &str) -> Library {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.so", std::process::id()));
        let mut command = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(source);
        let built = command.arg("-ldl").output().expect("a C compiler, which the build needs as well");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Library(library)
    }

    /// Loads it into the daemon.
    pub fn load_into(&self, setup: &mut Setup) {
        setup.environment.insert("LD_PRELOAD".to_owned(), self.0.display().to_string());
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
