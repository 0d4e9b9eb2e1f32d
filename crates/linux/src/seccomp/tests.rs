//! The whole table against `golden.txt`, and the compiler against a literal reading of its decisions.
//!
//! `UPDATE=1 cargo test -p linux golden` rewrites the golden file; its diff is then what to review.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::bpf::{self, Action, Word};
use super::interpreter::{Call, decide, run};
use super::tree::Node;
use super::{Arch, Policy, Program};

const X32: u32 = 0x4000_0000;
const FOREIGN: [(u32, &str); 7] = [
    (0x4000_0003, "i386"),
    (0x4000_0028, "arm"),
    (0x14, "32-bit ppc"),
    (0x3e, "x86_64 without its 64-bit mark"),
    (0, "nonsense"),
    (1, "nonsense"),
    (u32::MAX, "nonsense"),
];
const LARGE: [u32; 8] = [1000, 4095, 0xffff, X32 - 1, X32, X32 + 59, 0x8000_0000, u32::MAX];

const HIGH: u64 = 1 << 32;
const POINTER: u64 = 0x7fff_1234_5678;

/// Arguments that matter, for the calls that are judged by theirs. Other arguments are noise.
fn cases(name: &str) -> Vec<(String, [u64; 6])> {
    let mut cases = Vec::new();
    let mut case = |label: String, places: &[(usize, u64)]| {
        for noise in [0, POINTER] {
            let mut args = [noise; 6];
            places.iter().for_each(|(index, value)| args[*index] = *value);
            cases.push((label.clone(), args));
        }
    };
    match name {
        "socket" => {
            // Every family; then, of those that are let in, every kind and protocol.
            for domain in (0..48).chain([HIGH + 1, HIGH + 17]) {
                case(format!("{domain:#x},0x3,0x3"), &[(0, domain), (1, 3), (2, 3)]);
            }
            for domain in [1, 2, 10, 16, HIGH + 2] {
                for kind in [1, 2, 3, 5, 10, 0x801, 0x80002, 0x80803, HIGH + 3] {
                    for protocol in [0, 6, 9, 17, 132, 262, HIGH + 262] {
                        case(format!("{domain:#x},{kind:#x},{protocol:#x}"), &[(0, domain), (1, kind), (2, protocol)]);
                    }
                }
            }
        }
        "socketpair" => (0..46).chain([HIGH + 30]).for_each(|family| case(format!("{family:#x}"), &[(0, family)])),
        "setsockopt" => {
            for level in [0, 1, 6, 17, 41, 255, 282, HIGH + 6] {
                for option in [0, 1, 25, 26, 27, 31, 32, 49, 50, 51, 52, 53, HIGH + 31] {
                    case(format!("{level:#x},{option:#x}"), &[(1, level), (2, option)]);
                }
            }
        }
        "sendto" | "sendmmsg" | "sendmsg" => {
            for flags in [0, 1, 0x4000, 0x4001, HIGH + 1, 0x0400_0000] {
                case(format!("{flags:#x}"), &[(if name == "sendmsg" { 2 } else { 3 }, flags)]);
            }
        }
        "ioctl" => {
            let commands =
                [0x5401, 0x5410, 0x5411, 0x5412, 0x5413, 0x541b, 0x541c, 0x541d, 0x541e, 0x5422, 0x5423, 0x5424];
            for command in commands.into_iter().chain([0x5421, 0x8912, 0x4004_6602]) {
                case(format!("{command:#x}"), &[(1, command)]);
                case(format!("{:#x}", HIGH + command), &[(1, HIGH + command)]);
            }
        }
        "clone" => {
            // fork, vfork, a thread, and each flag on its own.
            for flags in [0x11, 0x4111, 0x003d_0f00, HIGH + 0x1000_0000] {
                case(format!("{flags:#x}"), &[(0, flags)]);
            }
            (0..32).for_each(|bit| case(format!("{:#x}", 1_u64 << bit), &[(0, 1 << bit)]));
        }
        "mmap" => [0x2, 0x22, 0x40022, 0x5c04_0022, 0x1, 0x2_0022, 0x8_0022]
            .into_iter()
            .for_each(|flags: u64| case(format!("{flags:#x}"), &[(3, flags)])),
        "memfd_create" => (0..=16).for_each(|flags| case(format!("{flags:#x}"), &[(1, flags)])),
        "shmget" => {
            [0, 0o1600, 0o4000, 0o5600].into_iter().for_each(|flags: u64| case(format!("{flags:#x}"), &[(2, flags)]))
        }
        "mknod" | "mknodat" => {
            for kind in (0..16).map(|kind| kind << 12).chain([0x1_2000, HIGH + 0x2000, 0xffff_ffff_0000_2000]) {
                case(format!("{:#x}", kind | 0o644), &[(if name == "mknod" { 1 } else { 2 }, kind | 0o644)]);
            }
        }
        "setrlimit" => (0..17).chain([HIGH + 4]).for_each(|limit| case(format!("{limit:#x}"), &[(0, limit)])),
        "prlimit64" => {
            for limit in [0, 3, 4, 5, 7, HIGH + 4] {
                for new in [0, 8, POINTER, 1 << 32] {
                    for old in [0, 8, POINTER, 1 << 32] {
                        case(format!("{limit:#x},{new:#x},{old:#x}"), &[(1, limit), (2, new), (3, old)]);
                    }
                }
            }
        }
        "personality" => {
            for persona in [0, 8, 0x2_0000, 0x4_0000, 0x40_0000, 0xffff_ffff, u64::MAX, HIGH, HIGH + 8] {
                case(format!("{persona:#x}"), &[(0, persona)]);
            }
        }
        "sched_setscheduler" => {
            for policy in (0..8).chain([0x4000_0000, 0x4000_0001, HIGH + 1, 0x8000_0001]) {
                case(format!("{policy:#x}"), &[(1, policy)]);
            }
        }
        "seccomp" => {
            for operation in [0, 1, 2, 3, 4, HIGH + 3] {
                for flags in [0, 1, 2, 4, 5, 8, 16, 32, 64, HIGH + 8] {
                    case(format!("{operation:#x},{flags:#x}"), &[(0, operation), (1, flags)]);
                }
            }
        }
        "prctl" => {
            for option in (0..90).chain([HIGH + 35, 0x5356_4d40, 0x5356_4d41, 0x5961_6d61, 0x5961_6d62, 0xffff_ffff]) {
                case(format!("{option:#x}"), &[(0, option)]);
            }
        }
        "arch_prctl" => {
            for option in (0x1000..0x1006).chain(0x1010..0x1014).chain(0x1020..0x1028) {
                case(format!("{option:#x}"), &[(0, option)]);
            }
            for option in [0, 0x2001, 0x2003, 0x3001, 0x4001, 0x4002, 0x5001, 0x5005, 0x5006, HIGH + 0x4002] {
                case(format!("{option:#x}"), &[(0, option)]);
            }
        }
        _ => {}
    }
    cases
}

fn show(action: Action) -> String {
    match action {
        Action::Allow => "allow".into(),
        Action::KillProcess => "kill".into(),
        Action::Errno(0) => "pretend".into(),
        Action::Errno(errno) => match i32::from(errno) {
            libc::EPERM => "EPERM".into(),
            libc::ENOENT => "ENOENT".into(),
            libc::ENOMEM => "ENOMEM".into(),
            libc::EINVAL => "EINVAL".into(),
            libc::ENOSYS => "ENOSYS".into(),
            libc::EPROTONOSUPPORT => "EPROTONOSUPPORT".into(),
            libc::EOPNOTSUPP => "EOPNOTSUPP".into(),
            libc::EAFNOSUPPORT => "EAFNOSUPPORT".into(),
            other => other.to_string(),
        },
    }
}

/// Every verdict of one machine's program, as text. What holds for a run of cases is said once.
fn table(arch: Arch) -> String {
    let program = Program::compile(&Policy::sandbox(arch));
    let verdict = |number, arch, args| run(program.instructions(), &Call { number, arch, args }).0;
    let mut text = String::new();
    let known = [(Arch::X86_64.audit(), "x86_64"), (Arch::Aarch64.audit(), "aarch64")];
    for (foreign, what) in FOREIGN.into_iter().chain(known).filter(|(foreign, _)| *foreign != arch.audit()) {
        for number in (0..600).chain(LARGE) {
            assert_eq!(verdict(number, foreign, [0; 6]), Action::KillProcess, "{foreign:#x} {number}");
        }
        writeln!(text, "architecture {foreign:#010x}, {what}: kill").unwrap();
    }
    // Held below, number by number: none of them has a name.
    writeln!(text, "numbers from {X32:#x}, x32's: ENOSYS").unwrap();
    let names: BTreeMap<u32, &str> = arch.numbers().map(|(name, number)| (number, name)).collect();
    for number in (0..600).chain((0..600).map(|n| n + X32)).chain(LARGE) {
        let Some(name) = names.get(&number) else {
            for noise in [0, POINTER, u64::MAX] {
                assert_eq!(verdict(number, arch.audit(), [noise; 6]), Action::Errno(libc::ENOSYS as u16), "{number}");
            }
            continue;
        };
        let cases = cases(name);
        if cases.is_empty() {
            let verdicts = [0, 1, POINTER, u64::MAX].map(|noise| verdict(number, arch.audit(), [noise; 6]));
            assert!(verdicts.iter().all(|other| *other == verdicts[0]), "{name} is judged by its arguments: add cases");
            writeln!(text, "{number} {name} {}", show(verdicts[0])).unwrap();
            continue;
        }
        let mut by_verdict: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (label, args) in cases {
            let labels = by_verdict.entry(show(verdict(number, arch.audit(), args))).or_default();
            if labels.last() != Some(&label) {
                labels.push(label);
            }
        }
        for (verdict, labels) in by_verdict {
            writeln!(text, "{number} {name} {verdict}: {}", labels.join(" ")).unwrap();
        }
    }
    text
}

#[test]
fn the_table_is_the_golden_one() {
    let mut text = String::from(
        "# What the filter answers to every system call, by arguments where they matter (numbers as the kernel has\n\
         # them: see cases() in tests.rs). Calls without a row are ENOSYS. UPDATE=1 cargo test -p linux golden\n",
    );
    for (name, arch) in [("x86_64", Arch::X86_64), ("aarch64", Arch::Aarch64)] {
        write!(text, "\n[{name}]\n{}", table(arch)).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/seccomp/golden.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    for (line, (golden, now)) in golden.lines().zip(text.lines()).enumerate() {
        assert_eq!(golden, now, "line {} of golden.txt", line + 1);
    }
    assert_eq!(golden.len(), text.len(), "golden.txt ends elsewhere");
}

#[test]
fn every_known_call_is_judged_on_purpose() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let policy = Policy::sandbox(arch);
        let forgotten: Vec<_> = arch.numbers().filter(|(_, number)| !policy.calls.contains_key(number)).collect();
        assert!(forgotten.is_empty(), "{forgotten:?}");
    }
}

#[test]
fn every_name_is_a_call() {
    let known: BTreeSet<&str> =
        [Arch::X86_64, Arch::Aarch64].iter().flat_map(|arch| arch.numbers()).map(|row| row.0).collect();
    for name in super::policy::groups().iter().flat_map(|(names, _)| names.split_whitespace()) {
        assert!(known.contains(name), "{name} is not in numbers.txt");
    }
}

#[test]
fn numbers_are_the_systems_own() {
    let arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };
    let numbers: BTreeMap<&str, u32> = arch.numbers().collect();
    for (name, number) in [
        ("read", libc::SYS_read),
        ("openat", libc::SYS_openat),
        ("mount", libc::SYS_mount),
        ("clone3", libc::SYS_clone3),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("memfd_secret", libc::SYS_memfd_secret),
        ("mseal", libc::SYS_mseal),
    ] {
        assert_eq!(numbers.get(name).map(|known| i64::from(*known)), Some(number), "{name}");
    }
}

#[test]
fn the_program_is_small_and_quick_to_load() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let policy = Policy::sandbox(arch);
        let program = Program::compile(&policy);
        let length = program.instructions().len();
        let conditional =
            |number: &u32| matches!(policy.calls.get(number), Some(node) if !matches!(node, Node::Return(_)));
        let (mut deepest, mut total) = (0, 0);
        for number in (0..480).filter(|number| !conditional(number)) {
            let (_, steps) = run(program.instructions(), &Call { number, arch: arch.audit(), args: [0; 6] });
            deepest = deepest.max(steps);
            total += steps;
        }
        println!("{arch:?}: {length} instructions, {deepest} deep, {} on average", total / 480);
        assert!(length <= 400, "{length} instructions");
        assert!(deepest <= 16, "{deepest} deep");
    }
}

#[test]
fn allowed_calls_are_decided_by_number_alone() {
    // So that the kernel remembers them and never runs the filter for them again.
    let program = Program::compile(&Policy::native());
    let policy = Policy::native();
    for (name, number) in Arch::X86_64.numbers().filter(|_| cfg!(target_arch = "x86_64")) {
        if policy.calls.get(&number) != Some(&Node::Return(Action::Allow)) {
            continue;
        }
        let (mut at, mut steps) = (0, 0);
        let accumulator = loop {
            let one = program.instructions()[at];
            at += 1;
            steps += 1;
            match one.code {
                bpf::LOAD => assert!(one.k <= 4, "{name} loads an argument"),
                bpf::AND => panic!("{name} computes"),
                bpf::RETURN => break one.k,
                bpf::JUMP => at += one.k as usize,
                code => {
                    // Before the number, the architecture, which matches.
                    let a = if steps == 2 { Arch::X86_64.audit() } else { number };
                    let holds = if code == bpf::JUMP_EQUAL { a == one.k } else { a >= one.k };
                    at += usize::from(if holds { one.jt } else { one.jf });
                }
            }
        };
        assert_eq!(accumulator, Action::Allow.encode(), "{name}");
    }
}

// === the compiler ===

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Allow), Just(Action::KillProcess), (0..200_u16).prop_map(Action::Errno)]
}

fn any_word() -> impl Strategy<Value = Word> {
    prop_oneof![Just(Word::Number), Just(Word::Arch), (0..6_u8).prop_map(Word::Low), (0..6_u8).prop_map(Word::High)]
}

/// Small numbers meet often.
fn any_number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..600_u32, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

fn any_node() -> impl Strategy<Value = Node> {
    any_action().prop_map(Node::Return).prop_recursive(4, 400, 120, |inner| {
        let mask = prop_oneof![3 => Just(u32::MAX), 1 => Just(0xf), 1 => any::<u32>()];
        let many = prop::collection::vec((any_number(), inner.clone()), 0..120);
        prop_oneof![
            (any_word(), mask, many, inner.clone()).prop_map(|(word, mask, mut cases, otherwise)| {
                cases.sort_by_key(|(value, _)| *value);
                cases.dedup_by_key(|(value, _)| *value);
                Node::cases(word, mask, cases, otherwise)
            }),
            (any_word(), any::<u32>(), inner.clone(), inner).prop_map(|(word, mask, yes, no)| Node::AnyBit {
                word,
                mask,
                yes: yes.into(),
                no: no.into()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_program_does_what_the_decisions_say(
        node in any_node(),
        calls in prop::collection::vec((any_number(), any_number(), any::<[u64; 6]>(), any::<[u16; 6]>()), 64),
    ) {
        let program = super::tree::compile(&node);
        for (number, arch, wild, tame) in calls {
            for args in [wild, tame.map(|low| u64::from(low % 600))] {
                let call = Call { number, arch, args };
                prop_assert_eq!(run(&program, &call).0, decide(&node, &call));
            }
        }
    }

    #[test]
    fn the_policy_does_what_its_decisions_say(number in 0..600_u32, args in any::<[u64; 6]>(), tame in any::<[u16; 6]>()) {
        let (policy, arch) = (Policy::native(), if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 });
        let program = Program::compile(&policy);
        for args in [args, tame.map(u64::from)] {
            let call = Call { number, arch: arch.audit(), args };
            let expected = policy.calls.get(&number).map_or(Action::Errno(libc::ENOSYS as u16), |node| decide(node, &call));
            prop_assert_eq!(run(program.instructions(), &call).0, expected);
        }
    }
}
