//! The daemon and what is around it: systemd, the package, files that are replaced, disks, the clock, hops that fall over a message.

#[path = "daemon/clock.rs"]
mod clock;
#[allow(dead_code)] // The tests of RFC 2779 use the rest.
mod common;
#[path = "daemon/disk.rs"]
mod disk;
#[path = "daemon/files.rs"]
mod files;
#[path = "daemon/package.rs"]
mod package;
#[path = "daemon/poison.rs"]
mod poison;
#[path = "daemon/systemd.rs"]
mod systemd;
#[path = "daemon/watched.rs"]
mod watched;
#[allow(dead_code)] // The tests of RFC 2779 use the rest.
#[path = "rfc2779/world.rs"]
mod world;
