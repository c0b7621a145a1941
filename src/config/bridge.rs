//! The section about mail. In: the table. Out: plain data.

use super::build::Problems;
use super::read::Table;
use super::{Bridge, keys};
use crate::policy::identity::mail::Believed;

/// The section bridge.
pub(super) fn bridge(table: &Table<'_>, problems: &mut Problems) -> Option<Bridge> {
    let authserv_ids = table.value(&keys::BRIDGE_AUTHSERV_IDS, problems);
    let hops = table.value(&keys::BRIDGE_HOPS, problems);
    let spam = table.value(&keys::BRIDGE_SPAM, problems);
    Some(Bridge { believed: Believed { authserv_ids: authserv_ids?, hops: hops? }, spam: spam? })
}
