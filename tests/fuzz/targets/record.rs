//! Records of the spool: what follows version and checksum.
#![no_main]

use impart::spool::{QueueId, read_record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(record) = read_record(QueueId(1), octets) {
        assert_eq!(record.id, QueueId(1));
        assert_eq!(record.envelope.recipients.len(), record.states.len());
        assert!(record.open().all(|index| index < record.states.len()));
        // What is read once is read again as the same.
        assert_eq!(read_record(QueueId(1), octets).ok(), Some(record));
    }
});
