//! A function's settings as the API takes them, and as they are in a hearth.toml of the same words.
#![no_main]

use control::FunctionWrite;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(write) = serde_json::from_slice::<FunctionWrite>(data) {
        let text = serde_json::to_string(&write).expect("it can be written");
        let again = serde_json::from_str::<FunctionWrite>(&text);
        assert_eq!(again.ok(), Some(write), "{text}");
    }
});
