//! The command `impart` as people use it: in a terminal (tmux is one), in pipes, with its exit codes; two domains, real
//! daemons, DNS and certificates made for each test.

#[path = "terminal/chat.rs"]
mod chat;
#[path = "terminal/command.rs"]
mod command;
mod common;
#[allow(dead_code)] // The tests of RFC 2779 use the rest.
#[path = "terminal/people.rs"]
mod people;
#[path = "terminal/presence.rs"]
mod presence;
#[path = "terminal/programs.rs"]
mod programs;
#[path = "terminal/signed.rs"]
mod signed;
#[path = "terminal/tmux.rs"]
mod tmux;
#[allow(dead_code)] // The tests of RFC 2779 use the rest.
#[path = "rfc2779/world.rs"]
mod world;
