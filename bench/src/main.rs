//! One command that measures Hearth on this machine: arguments → arms, each with its Hearth → report → goals.
//!
//! README.md tells the method. The full run reports and judges nothing but correctness; only `--quick`, which CI
//! runs, fails on figures, and only on ones that no noise explains.

mod api;
mod arms;
mod bare;
mod baseline;
mod cold;
mod floor;
mod goals;
mod guest;
mod hearth;
mod http;
mod load;
mod noop;
mod proxy;
mod report;
mod sock;
mod stats;
mod stems;
mod suite;
mod tree;
mod usage;
mod warm;

use std::process::ExitCode;

use anyhow::{Context, bail};

use goals::Judged;
use report::{Machine, Report};
use suite::{Choice, Suite};

const USAGE: &str = "\
Measures Hearth against the bare interpreters, a no-op HTTP server, the least proxy, and tools of Debian's.

usage: bench [--quick] [--json] [--only TEXT|NUMBER] [--hearth PATH]

  --quick        few measurements, and very wide gates: for CI
  --json         a JSON document instead of tables
  --only TEXT    only arms whose name holds TEXT: cold, warm, python, node, '16 clients'
  --only NUMBER  only arms that this goal of the table is judged by
  --hearth PATH  the hearth to measure; default: the one beside this program

yardsticks, which say on their first line where they listen and end with their parent:
  bench noop [--unix PATH]               an HTTP server that does nothing
  bench proxy http PATH                  the least proxy, before an HTTP server on a Unix socket
  bench proxy wire RUNTIME TASK HANDLER  the same, before a function's own process
";

#[derive(Debug)]
struct Options {
    json: bool,
    choice: Choice,
}

fn main() -> ExitCode {
    let rest = || std::env::args().skip(2);
    let result = match std::env::args().nth(1).as_deref() {
        Some("noop") => noop::main(rest()).map(|()| true),
        Some("proxy") => proxy::main(rest()).map(|()| true),
        Some("guest") => guest::main().map(|()| true),
        Some("floor") => floor::main(rest()).map(|()| true),
        Some("hog") => arms::tail::hog().map(|()| true),
        Some("--help" | "-h") => {
            print!("{USAGE}");
            Ok(true)
        }
        _ => Options::parse(std::env::args().skip(1)).and_then(run),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the arms and prints the report; false when one failed, or a gate of the quick run is missed.
fn run(Options { json, choice }: Options) -> anyhow::Result<bool> {
    let (quick, only) = (choice.quick, choice.only.clone());
    let report = Report { machine: Machine::this(), quick, arms: Suite::run(choice) };
    if report.arms.is_empty() {
        bail!("no arm's name holds {only:?}, and no goal has that number");
    }
    if json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    let missed: Vec<_> = report.goals().iter().filter_map(Judged::gate).collect();
    for gate in missed.iter().filter(|_| quick) {
        eprintln!("bench: {gate}");
    }
    Ok(report.sound() && (!quick || missed.is_empty()))
}

// === impl Options ===

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        // Cargo puts both programs into one folder.
        let beside = std::env::current_exe().context("find this program")?.with_file_name("hearth");
        let mut options = Self { json: false, choice: Choice { quick: false, only: String::new(), hearth: beside } };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg}: expected a value"));
            match arg.as_str() {
                "--quick" => options.choice.quick = true,
                "--json" => options.json = true,
                "--only" => options.choice.only = value()?.to_lowercase(),
                "--hearth" => options.choice.hearth = value()?.into(),
                _ => bail!("unknown argument {arg}\n\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<Options> {
        Options::parse(args.iter().map(|arg| arg.to_string()))
    }

    #[test]
    fn arguments_choose_what_runs() {
        let options = parse(&["--quick", "--only", "Python", "--hearth", "/h"]).unwrap();
        assert!(options.choice.quick && !options.json && *options.choice.hearth == *"/h");
        assert_eq!(options.choice.only, "python");
    }

    #[test]
    fn refuses_arguments_that_it_does_not_know() {
        assert!(parse(&["--fast"]).unwrap_err().to_string().contains("unknown argument --fast"));
        assert!(parse(&["--only"]).unwrap_err().to_string().contains("expected a value"));
    }
}
