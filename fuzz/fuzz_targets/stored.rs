//! What the databases keep in forms of our own: sums of figures, functions, waterfalls, records. A backup may bring any.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::metric::Aggregate;
use model::{Function, FunctionSpec, waterfall};

fuzz_target!(|data: &[u8]| {
    if let Some(sums) = Aggregate::from_bytes(data) {
        assert_eq!(Aggregate::from_bytes(&sums.to_bytes()).as_ref(), Some(&sums));
    }
    if let Ok(spec) = serde_json::from_slice::<FunctionSpec>(data) {
        let text = serde_json::to_string(&spec).expect("it can be written");
        assert_eq!(serde_json::from_str::<FunctionSpec>(&text).ok(), Some(spec));
    }
    let _ = serde_json::from_slice::<Function>(data);
    let _ = serde_json::from_slice::<waterfall::Compact>(data);
});
