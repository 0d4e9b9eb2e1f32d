//! Texts from anywhere: names, paths, quantities, routes, schedules. Whatever is given, a type refuses it or takes it, without
//! panicking; and what it takes it writes in a form that it takes again, as the same.
//!
//! `HEARTH_FUZZ_CASES=1000000 cargo test -p model --test hostile` goes on for longer; what fails is kept by proptest and tried
//! first from then on.

#![forbid(unsafe_code)]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use model::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Pieces that the languages of these texts are made of, and such as have broken parsers before.
const PIECES: &[&str] = &[
    "*",
    "/",
    "-",
    ",",
    "0",
    "1",
    "59",
    "60",
    "99999999999999999999",
    "MON",
    "SUN",
    "JAN",
    "L",
    "W",
    "#",
    "?",
    "cron(",
    "rate(",
    ")",
    " ",
    "minutes",
    "5 minutes",
    "@daily",
    "GET ",
    "/{a}",
    "/{a+}",
    "{",
    "}",
    "*.",
    "..",
    "/../",
    "%2e",
    "%00",
    "\0",
    "\n",
    "\r\n",
    "\u{202e}",
    "\u{fffd}",
    "İ",
    "\u{0456}",
    "/mnt/",
    "/srv",
    ":ro",
    "10.0.0.0/8",
    ":443",
    "internet",
    "lan",
    "none",
    "MB",
    "GB",
    "KiB",
    "1e999",
    "NaN",
    "-1",
    "+1",
    "0x",
    "s",
    "ms",
    "h",
    "@sha256:",
    "0123456789abcdef",
    "namespace=90",
    "gvisor",
    "=",
    "%",
    "$LATEST",
    "docker",
    "Europe/Berlin",
    "github:",
    "keys:",
    "{\"",
    "\"",
    "\\",
    "ｆｕｌｌ",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![6 => prop::sample::select(PIECES).prop_map(str::to_owned), 1 => "\\PC{0,4}", 1 => ".{0,3}"];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

fn cases() -> u32 {
    std::env::var("HEARTH_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

fn check<T>(what: &str, hold: impl Fn(&T, &str))
where
    T: FromStr + Display + Debug + PartialEq,
    T::Err: Display,
{
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&text(), |text| {
        match text.parse::<T>() {
            Ok(taken) => {
                let written = taken.to_string();
                let again = written.parse::<T>();
                prop_assert!(again.as_ref().ok() == Some(&taken), "{text:?} is written {written:?}, which is not it");
                hold(&taken, &text);
            }
            // It is shown to people, and kept in logs: short, whatever was given.
            Err(error) => prop_assert!(error.to_string().len() < 4096, "a long error for {text:?}"),
        }
        Ok(())
    });
    assert!(ran.is_ok(), "{what}: {}", ran.unwrap_err());
}

fn any<T>(_: &T, _: &str) {}

/// A name becomes a folder, a host name, a part of a path.
fn plain(text: &str) {
    assert!(!text.is_empty() && text.len() <= 255, "{text:?}");
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.$".contains(&byte)), "{text:?}");
    assert!(text != "." && text != "..", "{text:?}");
}

#[test]
fn names_are_names() {
    check("function", |name: &FunctionName, _| plain(name.as_str()));
    check("secret", |name: &SecretName, _| plain(name.as_str()));
    check("queue", |name: &QueueName, _| plain(name.as_str()));
    check("instance", |name: &InstanceId, _| plain(name.as_str()));
    check("code", |name: &CodeHash, _| plain(name.as_str()));
    check("image", |name: &ImageDigest, _| plain(name.as_str()));
    check("alias", |name: &AliasName, _| plain(&name.to_string()));
    check("qualifier", |name: &Qualifier, _| plain(&name.to_string()));
}

#[test]
fn paths_lead_where_they_say() {
    check("folder", |folder: &HostFolder, _| {
        let text = folder.to_string();
        assert!(text.starts_with('/') && text.len() > 1 && !text.contains('\0'), "{text:?}");
        assert!(text[1..].split('/').all(|part| !part.is_empty() && part != "." && part != ".."), "{text:?}");
    });
    check("mount", |path: &MountPath, _| {
        let text = path.to_string();
        plain(text.strip_prefix("/mnt/").expect("below /mnt"));
    });
    check("allowed", any::<AllowedMount>);
}

#[test]
fn quantities_and_choices_read_what_they_write() {
    check("memory", any::<Memory>);
    check("cpu", any::<Cpu>);
    check("runtime", any::<Runtime>);
    check("isolation", any::<Isolation>);
    check("version", any::<Version>);
    check("request", any::<RequestId>);
}

#[test]
fn destinations_read_what_they_write() {
    check("destination", any::<Destination>);
}

#[test]
fn a_schedule_is_refused_or_ticks() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let texts = (text(), prop::sample::select(&["UTC", "Europe/Berlin", "Nowhere/Else", ""][..]));
    let ran = TestRunner::new(config).run(&texts, |(text, zone)| {
        for cron in [text.clone(), format!("cron({text})"), format!("rate({text})"), format!("0 {text} * * *")] {
            let mut schedule = Schedule::new("x", &cron);
            schedule.timezone = zone.to_owned();
            // Refused or not: it neither panics nor goes on for ever, and time only goes forward.
            if let Ok(table) = schedule.timetable() {
                let mut at = Timestamp(1_700_000_000_000);
                for _ in 0..3 {
                    let Some(next) = table.next(at) else { break };
                    prop_assert!(next > at, "{cron:?} in {zone}: {next:?} after {at:?}");
                    at = next;
                }
            }
        }
        Ok(())
    });
    assert!(ran.is_ok(), "{}", ran.unwrap_err());
}
