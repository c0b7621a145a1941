//! The values of a spool record, as they are encoded.
#![no_main]

use impart::envelope::Envelope;
use impart::spool::{Origin, Record, State};
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
});
