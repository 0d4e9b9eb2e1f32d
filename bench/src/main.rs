//! One command that measures Hearth on this machine: arguments → its own Hearth → arms → report → stop.
//!
//! README.md tells the method. The full run reports and judges nothing but correctness; only `--quick`, which CI
//! runs, fails on figures, and only on ones that no noise explains.

mod bare;
mod baseline;
mod cold;
mod hearth;
mod http;
mod load;
mod noop;
mod proxy;
mod report;
mod sock;
mod stats;
mod stems;
mod tree;
mod usage;
mod warm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use hearth::{Folder, Hearth, Language};
use noop::Server;
use report::{Gate, Machine, Report, Side};
use stats::Random;

const USAGE: &str = "\
Measures Hearth against the bare interpreters and a no-op HTTP server.

usage: bench [--quick] [--json] [--only TEXT] [--hearth PATH]

  --quick        few measurements, and very wide gates: for CI
  --json         a JSON document instead of tables
  --only TEXT    only arms whose name holds TEXT: cold, warm, python, node, '16 clients'
  --hearth PATH  the hearth to measure; default: the one beside this program
";

#[derive(Debug)]
struct Options {
    quick: bool,
    json: bool,
    only: String,
    hearth: PathBuf,
}

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("noop") => noop::main(std::env::args().skip(2)).map(|()| true),
        Some("proxy") => proxy::main(std::env::args().skip(2)).map(|()| true),
        Some("--help" | "-h") => {
            print!("{USAGE}");
            Ok(true)
        }
        _ => Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)),
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

/// Runs the arms and prints the report; false when a gate of the quick run is missed.
fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::this();
    let mut hearth = Hearth::start(&options.hearth, Folder::make()?, 0)?;
    let arms = hearth.find_meter().and_then(|()| arms(options, &hearth)).map_err(|error| hearth.explain(error))?;
    hearth.stop()?;
    if arms.is_empty() {
        bail!("no arm's name holds {:?}", options.only);
    }
    let mut report = Report { machine, arms, gates: Vec::new() };
    report.gates = gates(options.quick, &report);
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(!options.quick || report.gates.iter().all(Gate::met))
}

fn arms(options: &Options, hearth: &Hearth) -> anyhow::Result<Vec<report::Arm>> {
    let cold_plan =
        if options.quick { cold::Plan { pairs: 20, block: 5 } } else { cold::Plan { pairs: 200, block: 10 } };
    let (slots, slot, warm_up) = if options.quick { (4, 500, 500) } else { (10, 1000, 2000) };
    let warm_plan = warm::Plan { slots, slot: Duration::from_millis(slot), warm_up: Duration::from_millis(warm_up) };

    let mut random = Random::from_clock();
    let mut arms = Vec::new();
    for language in Language::ALL {
        let title = language.title();
        if options.wants(&format!("cold {title}")) {
            let baseline = cold::baseline(language, hearth.folder())?;
            eprintln!("bench: cold {title}, {} pairs", cold_plan.pairs);
            let arm = cold::measure(hearth, language, &baseline, cold_plan, &mut random);
            arms.push(arm.with_context(|| format!("cold {title}"))?);
        }
    }
    let noop = Server::noop()?;
    for clients in [1, 16] {
        for language in Language::ALL {
            let title = warm::title(language, clients);
            if options.wants(&title) {
                eprintln!("bench: {title}, {slots} pairs of slots of {slot} ms");
                warm::deploy(hearth, language)?;
                let arm = warm::measure(hearth, language, &noop, clients, warm_plan, &mut random);
                arms.push(arm.context(title)?);
            }
        }
    }
    arms.extend(stem_arms(options, hearth, &mut random)?);
    Ok(arms)
}

/// Cold starts out of stems, in a Hearth of their own beside the one that keeps none.
fn stem_arms(options: &Options, without: &Hearth, random: &mut Random) -> anyhow::Result<Vec<report::Arm>> {
    let mut plan = Vec::new();
    for language in Language::ALL {
        let baseline = cold::baseline(language, without.folder())?;
        plan.push((language, hearth::NAMESPACE, Some(baseline)));
    }
    for isolation in ["docker", "gvisor"] {
        plan.extend(Language::ALL.map(|language| (language, isolation, None)));
    }
    let mut arms = Vec::new();
    let mut pooled: Option<Hearth> = None;
    for (language, isolation, baseline) in &plan {
        let other = match baseline {
            Some(baseline) => stems::Other::Interpreter(baseline),
            None => stems::Other::Unpooled(without),
        };
        let subject = stems::Subject { language: *language, isolation };
        let title = subject.title(other);
        if !options.wants(&title) {
            continue;
        }
        if let Some(why) = without.lacks(isolation)? {
            eprintln!("bench: SKIPPED {title}: {isolation} does not work here: {why}");
            continue;
        }
        let pairs = match (options.quick, baseline) {
            (true, _) => 5,
            (false, Some(_)) => 200,
            (false, None) => 50,
        };
        eprintln!("bench: {title}, {pairs} pairs");
        let hearth = match &mut pooled {
            Some(hearth) => hearth,
            none => none.insert(Hearth::start(&options.hearth, Folder::make()?, 8)?),
        };
        let arm = stems::measure(hearth, subject, other, pairs, random).context(title);
        arms.push(arm.map_err(|error| hearth.explain(error))?);
    }
    if let Some(hearth) = pooled {
        hearth.stop()?;
    }
    Ok(arms)
}

/// What the figures should reach: goals in the full run, in the quick one what only a fault can miss.
fn gates(quick: bool, report: &Report) -> Vec<Gate> {
    let (ratio, rate) = if quick { (6.0, 300.0) } else { (2.0, 3000.0) };
    let mut gates = Vec::new();
    if let Some(figure) = report.figure("cold Python", "p50") {
        let claim = format!("cold Python p50 at most {ratio} × python3 -c pass");
        gates.push(Gate { claim, value: figure.ratio.value, limit: ratio, side: Side::AtMost });
    }
    for isolation in ["docker", "gvisor"] {
        for language in Language::ALL.map(Language::title) {
            let goal = if quick { 0.5 } else { 0.10 };
            if let Some(figure) = report.figure(&format!("cold {language} on {isolation}, stems"), "p50") {
                let claim = format!("cold {language} with stems at most {goal} × {isolation} without");
                gates.push(Gate { claim, value: figure.ratio.value, limit: goal, side: Side::AtMost });
            }
        }
    }
    if let Some(figure) = report.figure("warm Python, 16 clients", "calls/s") {
        let claim = format!("warm Python at least {rate} calls/s from 16 clients");
        gates.push(Gate { claim, value: figure.ours, limit: rate, side: Side::AtLeast });
    }
    gates
}

// === impl Options ===

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        // Cargo puts both programs into one folder.
        let beside = std::env::current_exe().context("find this program")?.with_file_name("hearth");
        let mut options = Self { quick: false, json: false, only: String::new(), hearth: beside };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg}: expected a value"));
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = true,
                "--only" => options.only = value()?.to_lowercase(),
                "--hearth" => options.hearth = value()?.into(),
                _ => bail!("unknown argument {arg}\n\n{USAGE}"),
            }
        }
        Ok(options)
    }

    fn wants(&self, arm: &str) -> bool {
        arm.to_lowercase().contains(&self.only)
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
        assert!(options.quick && !options.json && *options.hearth == *"/h");
        assert!(options.wants("cold Python") && !options.wants("cold Node"));
        assert!(parse(&[]).unwrap().wants("warm Node, 16 clients"));
    }

    #[test]
    fn refuses_arguments_that_it_does_not_know() {
        assert!(parse(&["--fast"]).unwrap_err().to_string().contains("unknown argument --fast"));
        assert!(parse(&["--only"]).unwrap_err().to_string().contains("expected a value"));
    }
}
