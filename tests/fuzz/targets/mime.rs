//! Entities: inspection, digest, reports.
#![no_main]

use impart::envelope::Body;
use impart::mime::{Rules, digest, inspect, report};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|entity: &[u8]| {
    for body in [Body::SevenBit, Body::EightBitMime, Body::BinaryMime] {
        for utf8 in [false, true] {
            match inspect(entity, Rules { body, utf8 }) {
                Ok(facts) => {
                    assert!(!facts.from.is_empty());
                    assert!(facts.header_octets <= entity.len());
                    let traced = [b"Received: from x by y; Mon, 23 Nov 2026 10:00:00 +0000\r\n", entity].concat();
                    assert_eq!(digest(&traced), digest(entity));
                }
                Err(defect) => assert!(defect.reply().is_permanent()),
            }
        }
    }
    let _ = report::parse(entity);
});
