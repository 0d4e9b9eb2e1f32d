//! A source's pattern and an event that it is held against.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::EventPattern;

fuzz_target!(|data: &[u8]| {
    let Some([pattern, event]) = fuzz::texts(data) else { return };
    let Ok(pattern) = EventPattern::parse(pattern) else { return };
    let again = EventPattern::parse(pattern.text()).expect("its own text");
    let _ = pattern.fields().into_iter().filter(|field| pattern.is_leaf(field)).count();
    if let Ok(event) = serde_json::from_str(event) {
        assert_eq!(pattern.matches(&event), again.matches(&event));
    }
});
