//! Records of the spool: what follows version and checksum, and the values in it.
#![no_main]

use impart::envelope::Envelope;
use impart::spool::{Origin, QueueId, Record, State, read_record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    macro_rules! again {
        ($type:ty) => {
            if let Ok(value) = postcard::from_bytes::<$type>(octets) {
                let written = postcard::to_stdvec(&value).expect("a value that was read can be written");
                assert_eq!(postcard::from_bytes::<$type>(&written).expect("and read again"), value);
            }
        };
    }
    again!(Envelope);
    again!(Origin);
    again!(State);
    again!(Record);
    if let Ok(record) = read_record(QueueId(1), octets) {
        assert_eq!(record.id, QueueId(1));
        assert_eq!(record.envelope.recipients.len(), record.states.len());
    }
});
