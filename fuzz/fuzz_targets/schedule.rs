//! cron(…), rate(…), at(…), with a zone, a start and an end: refused, or ticking forward.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Timestamp, Timetable};

fuzz_target!(|data: &[u8]| {
    let Some([text, zone, start, end]) = fuzz::texts(data) else { return };
    let given = |text| if str::is_empty(text) { None } else { Some(text) };
    let zone = if zone.is_empty() { "UTC" } else { zone };
    let Ok(table) = Timetable::parse(text, zone, given(start), given(end)) else { return };
    for from in [0, 1_700_000_000_000_000, 253_402_300_000_000_000, i64::MIN, i64::MAX] {
        let mut at = Timestamp(from);
        for _ in 0..3 {
            let Some(next) = table.next(at) else { break };
            assert!(next > at, "{next:?} after {at:?}");
            at = next;
        }
    }
});
