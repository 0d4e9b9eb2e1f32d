//! What every driver that lives in the spawner must do, as claims that are tried on this machine; no driver is in here.
//!
//! A driver's `tests/sandbox.rs` calls [`run`] with a driver to try, and with claims of its own. Not libtest: its threads
//! would be copied into sandboxes. Functions are shell commands, and the spawner's one thread is the test's.

#![forbid(unsafe_code)]

mod bed;
mod cases;

use std::path::Path;
use std::process::ExitCode;

use driver::{Finding, Severity};

pub use bed::{Bed, CODE, Folders, Run, limits, readable, spec, wait};

/// `Err("skip: …")`: it cannot be tried here, for that reason.
pub type Outcome = Result<(), String>;

/// A claim, and what tries it.
pub type Case = (&'static str, fn(&mut Bed) -> Outcome);

/// What a claim that does not hold says: how the run ended, and what it printed.
pub fn check(ok: bool, run: &Run) -> Outcome {
    if ok { Ok(()) } else { Err(format!("{:?}\n{}", run.exit, run.output)) }
}

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Tries all claims that hold the first argument's text, the driver's `own` last but for those about its end. `excused` says of
/// what a machine lacks whether the driver may then be skipped; otherwise it has to work.
pub fn run(make: bed::Make, own: &[Case], excused: fn(&Finding) -> bool) -> ExitCode {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    if !Path::new("/bin/sh").exists() {
        return skipped("there is no /bin/sh");
    }
    let mut bed = match Bed::new(make) {
        Ok(bed) => bed,
        Err(error) => {
            println!("FAILED: prepare the driver: {error}");
            return ExitCode::FAILURE;
        }
    };
    let capability = bed.driver.capability();
    for finding in &capability.findings {
        println!("{:?} {}: {} {}", finding.severity, finding.subject, finding.state, finding.advice);
    }
    if !capability.works {
        let missing = capability.findings.iter().find(|one| one.severity == Severity::Missing);
        if missing.is_some_and(excused) {
            return skipped("the driver does not work here");
        }
        println!("FAILED: the driver does not work here: {missing:?}");
        return ExitCode::FAILURE;
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let all = cases::BEGINNING.iter().chain(own).chain(cases::END);
    for (claim, case) in all.filter(|(claim, _)| filter.as_ref().is_none_or(|text| claim.contains(text.as_str()))) {
        match case(&mut bed) {
            Ok(()) => {
                println!("ok      {claim}");
                passed += 1;
            }
            Err(why) if why.starts_with("skip: ") => {
                println!("SKIPPED {claim}: {why}");
                skipped += 1;
            }
            Err(why) => {
                println!("FAILED  {claim}\n{why}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// None of it can be tried here.
pub fn skipped(why: impl std::fmt::Display) -> ExitCode {
    println!("SKIPPED: {why}");
    ExitCode::SUCCESS
}
