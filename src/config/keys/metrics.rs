//! The keys for programs that watch.

use std::net::SocketAddr;

use super::super::value;
use super::{Default, Key, Section, key};

pub(in crate::config) static METRICS_LISTEN: Key<SocketAddr> = key(
    "listen",
    value::LOOPBACK,
    Default::Derived("nowhere"),
    "\"127.0.0.1:9779\"",
    "Where /metrics, /healthz and /readyz are answered, over HTTP in the clear, to whoever asks; see impartd(8).",
);

pub(in crate::config) const METRICS: Section = Section {
    name: "metrics",
    repeated: false,
    commented: true,
    text: "For programs that watch this one, such as Prometheus.",
    keys: &[&METRICS_LISTEN.info],
};
