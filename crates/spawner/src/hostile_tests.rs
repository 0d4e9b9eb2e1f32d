//! Whatever a server that was taken over may say: no packet makes the spawner panic, and what passes for a start names no
//! path, no user and no size that it may not.
//!
//! `HEARTH_FUZZ_CASES=1000000 cargo test -p spawner hostile` goes on for longer. What goes wrong is shown as the packet that it
//! was, which then belongs into `KNOWN`.

use driver::{Limits, RootFs, SandboxSpec, User};
use model::{CodeHash, Cpu, InstanceId, Isolation, Memory};
use serde_json::{Value, json};

use crate::protocol::Request;

/// What was worth trying by name.
const KNOWN: &[&str] = &[
    "",
    "null",
    "[]",
    "{}",
    r#"{"do":"start"}"#,
    r#"{"do":"kill","id":"../../../sys/fs/cgroup"}"#,
    r#"{"do":"adopt","id":"x","code":"/etc"}"#,
    r#"{"do":"exec","program":"/bin/sh"}"#,
    r#"{"do":"ready","ready":true}"#,
    "\u{feff}{\"do\":\"ready\"}",
];

const TEXTS: &[&str] = &[
    "",
    ".",
    "..",
    "/",
    "../../etc",
    "/mnt/../etc",
    "/mnt/x/y",
    "\0",
    "a\0b",
    "\n",
    "0",
    "root",
    "*",
    "internet",
    "0.0.0.0/0",
    "127.0.0.1",
    "gvisor",
    "LD_PRELOAD=/x",
    "=",
    "/proc/self/exe",
    "%s%n",
    "\u{202e}",
    "0123456789abcdef0123456789abcdef",
];

const NUMBERS: &[i64] = &[0, 1, -1, 7, 8, 64, 65, 65_535, 65_536, 65_537, 0x7fff_ffff, 0xffff_ffff, i64::MAX, i64::MIN];

/// Numbers that look like chance and are the same each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut one = self.0;
        one = (one ^ (one >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        one = (one ^ (one >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        one ^ (one >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn start() -> Value {
    let spec = SandboxSpec {
        id: InstanceId::random(),
        root: RootFs::Host,
        command: vec!["/usr/bin/python3".into(), "/var/runtime/x.py".into()],
        env: vec![("LANG".into(), "C.UTF-8".into())],
        work_dir: "/var/task".into(),
        user: User::SANDBOX,
        code: Some(CodeHash::from_digest(&[7; 32])),
        layers: Some(CodeHash::from_digest(&[8; 32])),
        limits: Limits {
            memory: Memory::mib(128),
            cpu_cap: Cpu::millis(1000),
            cpu_share: Cpu::millis(72),
            pids: 256,
            tmp: Memory::mib(512),
        },
        secret_files: false,
        mounts: vec![],
        invoke_streams: 1,
        egress: model::Egress::default(),
    };
    let mut packet = serde_json::to_value(Request::Start { isolation: Isolation::Namespace, spec }).expect("a packet");
    packet["spec"]["mounts"] = json!([{ "host": "/srv/photos", "path": "/mnt/photos", "read_only": true }]);
    packet
}

fn junk(dice: &mut Dice) -> Value {
    match dice.below(6) {
        0 => Value::Null,
        1 => json!(dice.of(NUMBERS)),
        2 => json!(1e300),
        3 => json!("x".repeat(dice.below(70_000))),
        4 => json!([dice.of(TEXTS), dice.of(NUMBERS)]),
        _ => json!(dice.of(TEXTS)),
    }
}

/// Changes one thing somewhere in it.
fn change(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(members) if !members.is_empty() && dice.below(8) != 0 => {
            let name = members.keys().nth(dice.below(members.len())).cloned().unwrap_or_default();
            match dice.below(12) {
                0 => drop(members.remove(&name)),
                1 => drop(members.insert((*dice.of(TEXTS)).to_owned(), junk(dice))),
                _ => change(members.get_mut(&name).expect("it is there"), dice),
            }
        }
        Value::Array(items) if !items.is_empty() && dice.below(8) != 0 => {
            let at = dice.below(items.len());
            match dice.below(6) {
                0 => drop(items.remove(at)),
                1 => (0..dice.below(100)).for_each(|_| items.push(items[at].clone())),
                _ => change(&mut items[at], dice),
            }
        }
        // What still looks like itself gets further.
        Value::String(text) if dice.below(2) == 0 => text.push_str(dice.of::<&str>(TEXTS)),
        other => *other = junk(dice),
    }
}

/// What must be true of whatever is obeyed.
fn obeyed(packet: &[u8]) -> bool {
    let request = match serde_json::from_slice::<Request>(packet) {
        Ok(request) => request,
        Err(_) => return false,
    };
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Request::Start { spec, .. } = request else { return true };
    if spec.validate().is_err() {
        return false;
    }
    let shown = || String::from_utf8_lossy(packet).into_owned();
    assert!(hex(spec.id.as_str()), "{}", shown());
    for code in [&spec.code, &spec.layers].into_iter().flatten() {
        assert!(code.as_str().len() == 64 && hex(code.as_str()), "{}", shown());
    }
    assert!(spec.user.uid != 0 && spec.user.gid != 0, "{}", shown());
    assert!(spec.work_dir.starts_with('/') && !spec.work_dir.contains('\0'), "{}", shown());
    assert!(spec.command[0].starts_with('/'), "{}", shown());
    let texts = spec.command.iter().chain(spec.env.iter().flat_map(|(name, value)| [name, value]));
    assert!(texts.into_iter().all(|text| !text.contains('\0')), "{}", shown());
    assert!((8..=65_536).contains(&spec.limits.pids), "{}", shown());
    for mount in &spec.mounts {
        let name = mount.path.to_string();
        let name = name.strip_prefix("/mnt/").unwrap_or_default();
        assert!(!name.is_empty() && !name.contains('/') && name != "." && name != "..", "{}", shown());
        let host = mount.host.to_string();
        assert!(host.starts_with('/') && !host.split('/').any(|part| part == ".." || part == "."), "{}", shown());
    }
    true
}

fn cases() -> u64 {
    std::env::var("HEARTH_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

#[test]
fn no_hostile_message_names_more_than_it_may() {
    KNOWN.iter().for_each(|packet| assert!(!obeyed(packet.as_bytes()), "{packet}"));
    assert!(obeyed(start().to_string().as_bytes()), "as it is, it is obeyed");
    let (mut dice, mut taken) = (Dice(1), 0u64);
    for _ in 0..cases() {
        let mut packet = start();
        (0..=dice.below(3)).for_each(|_| change(&mut packet, &mut dice));
        let mut bytes = packet.to_string().into_bytes();
        if dice.below(4) == 0 {
            let at = dice.below(bytes.len());
            bytes[at] = dice.next() as u8;
        }
        taken += u64::from(obeyed(&bytes));
    }
    // Otherwise it would only be a test of the JSON parser.
    assert!(taken > cases() / 100, "only {taken} were understood");
}
