//! Plays with engines of several domains, on a wire that the test holds.

mod edges;
mod encrypted;
mod mailed;
mod net;
mod plays;
mod simulation;
mod told;
