//! What S3's clients send beside an object's bytes: the XML of deletions and of uploads' parts, and ranges.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "files of the API's, of which this uses what reads")]

#[path = "../../crates/control/src/companions/s3/input.rs"]
mod input;
#[path = "../../crates/control/src/companions/s3/range.rs"]
mod range;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(read) = input::Element::parse(data) {
        let parts = read.all("Part").filter_map(|part| Some((part.text_of("PartNumber")?, part.text_of("ETag")?)));
        assert!(parts.count() <= data.len());
    }
    let Some([text, size]) = fuzz::texts(data) else { return };
    let Ok(size) = size.parse::<u64>() else { return };
    if let Ok(Some((from, length))) = range::range_of(text, size) {
        assert!(length > 0 && from.checked_add(length).is_some_and(|end| end <= size), "{from}+{length} of {size}");
    }
});
