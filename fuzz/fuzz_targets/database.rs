//! A catalogue of anybody's, as a backup may bring one: opened, and moved to what it is today, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::{Options, SqliteStore};

fuzz_target!(|data: &[u8]| {
    let place = fuzz::Place::default();
    let file = place.root().join("catalogue.db");
    std::fs::write(&file, data).expect("there is room");
    let _ = store::sqlite::check_database(&file);
    if let Ok(store) = SqliteStore::open(Options::new(place.root())) {
        store.close();
    }
});
