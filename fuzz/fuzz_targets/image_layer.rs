//! What an image is made of: layers (the first byte says how they are packed), manifests, configurations, user files.
#![no_main]

use images::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 8 {
        packing @ 0..3 => {
            let place = fuzz::Place::default();
            let _ = fuzzing::apply(packing, bytes, &place.root().join("image"));
            place.entries();
        }
        3 => fuzzing::manifest(bytes),
        4 => fuzzing::config(bytes),
        5 => {
            if let Some([spec, files]) = fuzz::texts(bytes) {
                if let Ok(user) = images::run::user(spec, files, files) {
                    assert!(user.uid != u32::MAX && user.gid != u32::MAX, "nobody at all");
                }
            }
        }
        6 => {
            if let Some([registry, config]) = fuzz::texts(bytes) {
                let _ = images::Credentials::from_docker_config(config, registry);
            }
        }
        _ => {
            if let Some(reference) =
                std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<images::Reference>().ok())
            {
                assert!(reference.to_string().parse::<images::Reference>().is_ok(), "{reference}");
            }
        }
    }
});
