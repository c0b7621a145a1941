//! File descriptors: each connection has one.
//!
//! In: how many the configuration can need. Out: the process's limit as high as the system lets it be, and a warning where
//! that is too low. Fails: never; with too few, connections wait.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside those of connections: spool, listeners, DNS, log.
const OTHERS: usize = 200;

/// Raises the soft limit to the hard one, and warns if the limit is lower than what `connections` of all kinds can need.
pub(super) fn raise(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    if let Some(warning) = warning(limit, connections) {
        tracing::warn!("{warning}");
    }
}

/// What is wrong with a limit; no limit is right.
fn warning(limit: Option<u64>, connections: usize) -> Option<String> {
    let wanted = connections.saturating_add(OTHERS) as u64;
    let limit = limit.filter(|limit| *limit < wanted)?;
    Some(format!(
        "this process may open {limit} files, and the connections that are configured can need {wanted}: set \
         LimitNOFILE={wanted} in its systemd unit (ulimit -n elsewhere), or lower `connections` in [limits] and [queue]"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(warning(None, 5000), None);
        assert_eq!(warning(Some(5200), 5000), None);
        let warning = warning(Some(5199), 5000).unwrap();
        assert!(warning.contains("may open 5199 files") && warning.contains("LimitNOFILE=5200"), "{warning}");
    }

    #[test]
    fn the_soft_limit_is_raised() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        raise(0);
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: maximum, maximum });
    }
}
