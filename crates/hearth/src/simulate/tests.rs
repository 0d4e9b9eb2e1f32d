//! A trace made up, with results by hand; what is refused; and the trace that the goal is about, where it is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::decide::roster::Keep;

use super::run::{Outcome, Settings, Spread, run};
use super::trace::Trace;

const TEN_MINUTES: Keep = Keep::For(Duration::from_secs(600));

fn settings(keep: Keep) -> Settings {
    Settings { keep, spread: Spread::Even, seed: 1, budget: None }
}

fn replay(trace: &Trace, keep: Keep) -> Outcome {
    run(trace, &settings(keep), |_| {})
}

fn made_up() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trace")
}

/// `once` (100 MB, 1 s) is called in minute 0 only; `steady` (50 MB, 2 s) in minutes 0, 5, and 30 of 60; `pair` (200 MB,
/// 30 s) twice in minute 10, half a minute apart.
#[test]
fn a_made_up_trace_comes_to_what_was_reckoned_by_hand() {
    let trace = Trace::read(&made_up()).unwrap();
    assert_eq!((trace.functions.len(), trace.minutes, trace.calls()), (3, 60, 6));
    let outcome = replay(&trace, TEN_MINUTES);
    // A start takes 0.1 s, and each idle instance is kept for 600 s.
    // once: cold; 600 s.
    // steady: cold; its call ends 2.1 s after it came, so 297.9 s until the one in minute 5, which is warm; 600 s; the
    // one in minute 30 is cold; 600 s.
    // pair: cold; the second call comes 30 s later, when the first has 0.1 s to go: cold too. Whichever instance serves
    // it, each of the two is idle for 600 s in the end.
    assert_eq!(outcome.functions, [(1, 1), (3, 2), (2, 2)]);
    let by_hand = 100.0 * 600.0 + 50.0 * (297.9 + 600.0 + 600.0) + 200.0 * 1200.0;
    let idle: f64 = outcome.idle.iter().sum();
    assert!((idle - by_hand).abs() < 1.0, "{idle} is not {by_hand}");
    assert!((outcome.wasted - (by_hand - 50.0 * 297.9)).abs() < 1.0, "{}", outcome.wasted);
    assert_eq!((outcome.cold, outcome.ahead, outcome.evicted, outcome.unserved), ([4, 1], 0, 0, 0));
}

#[test]
fn nothing_that_is_let_go_at_once_is_idle() {
    let outcome = replay(&Trace::read(&made_up()).unwrap(), Keep::For(Duration::ZERO));
    assert_eq!(outcome.cold.iter().sum::<u64>(), 6);
    assert!(outcome.idle.iter().sum::<f64>() < 0.01, "{:?}", outcome.idle);
}

#[test]
fn the_same_seed_gives_the_same_and_a_budget_is_kept() {
    let trace = Trace::read(&made_up()).unwrap();
    let spread = |seed, budget| Settings { keep: Keep::Auto, spread: Spread::Random, seed, budget };
    let run = |settings: &Settings| run(&trace, settings, |_| {});
    assert_eq!(run(&spread(7, None)), run(&spread(7, None)));
    let small = run(&spread(7, Some(210 << 20)));
    assert!(small.evicted > 0 && small.unserved == 0, "{small:?}");
    let none = run(&spread(7, Some(60 << 20)));
    assert_eq!(none.unserved, 3, "what never fits is told: {none:?}");
}

#[test]
fn what_is_wrong_with_a_trace_is_named() {
    let cases = [
        (
            "invocations.csv",
            "steady,timer,1,0",
            "steady,timer,one,0",
            "line 3, column 1: \"one\": expected a whole number",
        ),
        ("invocations.csv", "steady,timer,1,", "steady,timer,", "line 3: 61 columns: expected 62"),
        ("invocations.csv", "pair,", "other,", "line 4, column HashFunction: function other is not in"),
        ("invocations.csv", "HashFunction", "Function", "line 1: no column is named HashFunction"),
        (
            "durations.csv",
            "once,1000,1000",
            "once,1000,-3",
            "line 2, column percentile_Average_1: -3: expected milliseconds",
        ),
        ("durations.csv", "once,1000,1000", "once,1000,900", "less than the percentile before"),
        ("memory.csv", "pair,200", "pair,NaN", "line 4, column AverageAllocatedMb_pct50: NaN: expected megabytes"),
        ("memory.csv", "pair,200", "once,200", "line 4, column HashFunction: function once has a line already"),
    ];
    for (file, was, wrong, told) in cases {
        let folder = tempfile::tempdir().unwrap();
        for name in ["invocations.csv", "durations.csv", "memory.csv"] {
            let text = fs::read_to_string(made_up().join(name)).unwrap();
            assert!(name != file || text.contains(was), "{was}");
            let text = if name == file { text.replacen(was, wrong, 1) } else { text };
            fs::write(folder.path().join(name), text).unwrap();
        }
        let error = Trace::read(folder.path()).err().expect(told).to_string();
        assert!(error.contains(told) && error.contains(file), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let error = Trace::read(folder.path()).err().unwrap().to_string();
    assert!(error.contains("0 files end with invocations.csv: expected one"), "{error}");
}

/// SPEED.md, goal 14. What is random here is made of a seed, so that each figure is the same everywhere.
#[test]
fn on_azures_trace_it_takes_half_of_the_cold_starts_at_less_memory() {
    let Some(folder) = std::env::var_os("HEARTH_TRACE") else {
        eprintln!("skipped: HEARTH_TRACE is not set to the folder of the Azure trace (data/azure2019)");
        return;
    };
    let trace = Trace::read(Path::new(&folder)).unwrap();
    let ratios = |spread, seed| {
        let of = |keep| run(&trace, &Settings { keep, spread, seed, budget: None }, |_| {});
        let (fixed, auto) = (of(TEN_MINUTES), of(Keep::Auto));
        assert_eq!((fixed.unserved, auto.unserved), (0, 0));
        let cold = |outcome: &Outcome| outcome.cold.iter().sum::<u64>() as f64;
        let idle = |outcome: &Outcome| outcome.idle.iter().sum::<f64>();
        (cold(&auto) / cold(&fixed), idle(&auto) / idle(&fixed))
    };
    for seed in 1..=3 {
        let (cold, idle) = ratios(Spread::Even, seed);
        assert!(cold <= 0.45 && idle <= 0.8, "seed {seed}: {cold:.3} of the cold starts, {idle:.3} of the memory");
    }
    // Calls at random moments are what nobody could do well on; docs/keep-alive.md has the figures.
    let (cold, idle) = ratios(Spread::Random, 1);
    assert!(cold <= 0.5 && idle <= 0.9, "random: {cold:.3} of the cold starts, {idle:.3} of the memory");
}
