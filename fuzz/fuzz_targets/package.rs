//! The zip of a function's code or of a layer: unpacked whole, or refused with nothing written; never outside its folder.
#![no_main]

use std::os::fd::AsFd;

use libfuzzer_sys::fuzz_target;
use store::Limits;

fuzz_target!(|zip: &[u8]| {
    let limits = Limits { unpacked: 1 << 20, entries: 200, names_bytes: 64 << 10, ..Limits::default() };
    let place = fuzz::Place::default();
    match store::unpack::unpack(zip, &limits, place.open().as_fd()) {
        Ok(unpacked) => {
            assert!(unpacked.bytes <= limits.unpacked);
            // Links are none of its files.
            assert!(unpacked.files <= place.entries());
        }
        Err(_) => assert_eq!(place.entries(), 0, "refused, and yet something was written"),
    }
});
