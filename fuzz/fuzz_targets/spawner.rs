//! What a server that was taken over may tell the spawner: what passes names no path, user or size that it may not.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the spawner's own file, of which this uses one type")]

#[path = "../../crates/spawner/src/protocol.rs"]
mod protocol;

use libfuzzer_sys::fuzz_target;
use protocol::{Event, Request};

fuzz_target!(|packet: &[u8]| {
    let _ = serde_json::from_slice::<Event>(packet);
    let _ =
        agent::Launch::decode(packet).map(|launch| assert_eq!(agent::Launch::decode(&launch.encode()), Some(launch)));
    let _ =
        agent::Report::decode(packet).map(|report| assert_eq!(agent::Report::decode(&report.encode()), Some(report)));
    let Ok(request) = serde_json::from_slice::<Request>(packet) else { return };
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let spec = match request {
        Request::Start { spec, .. } if spec.validate().is_ok() => spec,
        Request::Adopt { id, code } => {
            return assert!(hex(id.as_str()) && hex(code.as_str()) && code.as_str().len() == 64);
        }
        Request::Kill { id } | Request::Socket { id } | Request::Give { id, .. } => return assert!(hex(id.as_str())),
        // The rest names nothing.
        _ => return,
    };
    assert!(hex(spec.id.as_str()) && spec.user.uid != 0 && spec.user.gid != 0);
    for code in [&spec.code, &spec.layers].into_iter().flatten() {
        assert!(code.as_str().len() == 64 && hex(code.as_str()));
    }
    assert!(spec.work_dir.starts_with('/') && spec.command[0].starts_with('/'));
    let texts =
        spec.command.iter().chain(spec.env.iter().flat_map(|(name, value)| [name, value])).chain([&spec.work_dir]);
    assert!(texts.into_iter().all(|text| !text.contains('\0')));
    for mount in &spec.mounts {
        let (path, host) = (mount.path.to_string(), mount.host.to_string());
        let name = path.strip_prefix("/mnt/").expect("below /mnt");
        assert!(!name.is_empty() && !name.contains('/') && name != "." && name != "..");
        assert!(host.starts_with('/') && host[1..].split('/').all(|part| !["", ".", ".."].contains(&part)));
    }
});
