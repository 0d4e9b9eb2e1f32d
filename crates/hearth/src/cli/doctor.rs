//! `hearth doctor`: what works on this machine. A Hearth that runs knows; without one, what can be seen from
//! here is told, and that it is not everything.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use control::{Doctor, FindingView, Severity};
use model::Isolation;

use super::client::{Client, ConnectArgs};
use super::{NO_HEARTH, out, text};

#[derive(Debug, Args)]
#[command(after_help = "Exit status 1: no function can run here, or not on the isolations asked for. \
                        4: no Hearth was there to ask.")]
pub struct DoctorArgs {
    /// Ask for this isolation: exit status 1 if it does not work here; may be given many times
    #[arg(long, value_name = "ISOLATION")]
    isolation: Vec<Isolation>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let asked = Client::new(&args.connect).and_then(|client| client.get::<Doctor>("/api/v1/doctor"));
    let report = match asked {
        Ok(report) => report,
        Err(error) if error.no_hearth() => return without_hearth(&args, &error.to_string()),
        Err(error) => return Err(error.into()),
    };
    let works = |asked: &Isolation| report.isolations.iter().any(|one| one.isolation == *asked && one.works);
    let code = match report.works && args.isolation.iter().all(works) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if args.json {
        out::json(&report)?;
        return Ok(code);
    }
    let paint = out::Paint::stdout();
    let asked = |isolation| args.isolation.is_empty() || args.isolation.contains(&isolation);
    out::line(&format!("Hearth {} at {}", text::one_line(&report.version), args.connect.endpoint()))?;
    for one in report.isolations.iter().filter(|one| asked(one.isolation)) {
        let state = if one.works { paint.green("works") } else { paint.red("does not work here") };
        out::line(&format!("\nisolation {}: {state}", paint.bold(one.isolation.as_str())))?;
        one.findings.iter().try_for_each(|finding| print(finding, paint))?;
    }
    out::line("\nmachine")?;
    report.machine.iter().try_for_each(|finding| print(finding, paint))?;
    out::line("")?;
    if report.runtimes.is_empty() {
        out::line(&format!("runtimes: {}: install python3 or nodejs, and start Hearth again", paint.red("none")))?;
    }
    for one in &report.runtimes {
        let state = if one.works { paint.green("works") } else { paint.red("does not work here") };
        out::line(&format!(
            "runtime {}: {state} ({})",
            paint.bold(&one.name.to_string()),
            text::one_line(&one.program)
        ))?;
    }
    if report.telemetry_dropped > 0 {
        let count = report.telemetry_dropped;
        out::line(&paint.yellow(&format!("\n{count} log lines or records came too fast to be kept since the start")))?;
    }
    Ok(code)
}

fn print(finding: &FindingView, paint: out::Paint) -> std::io::Result<()> {
    let mark = match finding.severity {
        Severity::Ok => paint.green("ok     "),
        Severity::Weaker => paint.yellow("weaker "),
        Severity::Missing => paint.red("missing"),
    };
    out::line(&format!("  {mark}  {}: {}", text::one_line(&finding.subject), text::one_line(&finding.state)))?;
    if finding.advice.is_empty() {
        return Ok(());
    }
    out::line(&format!("           {}", text::one_line(&finding.advice)))
}

/// What can be seen without a server. Looks only: changes nothing.
fn without_hearth(args: &DoctorArgs, why: &str) -> anyhow::Result<ExitCode> {
    let findings = look(args);
    if args.json {
        out::json(&serde_json::json!({
            "works": null, "reason": why, "isolations": [], "runtimes": [], "findings": findings,
        }))?;
        return Ok(ExitCode::from(NO_HEARTH));
    }
    let paint = out::Paint::stdout();
    out::line(&format!("{} {}", paint.yellow("no Hearth to ask:"), text::block(why)))?;
    out::line("What can be seen from here; a Hearth that runs tells the rest:")?;
    findings.iter().try_for_each(|finding| print(finding, paint))?;
    Ok(ExitCode::from(NO_HEARTH))
}

fn look(args: &DoctorArgs) -> Vec<FindingView> {
    let finding = |severity, subject: &str, state: String, advice: &str| FindingView {
        severity,
        subject: subject.to_owned(),
        state,
        advice: advice.to_owned(),
    };
    let mut found = Vec::new();
    found.push(match args.connect.token() {
        Ok(_) => finding(Severity::Ok, "token", "found".into(), ""),
        Err(why) => finding(Severity::Missing, "token", why, "`hearth up` makes one at its first start"),
    });
    let root = rustix::process::geteuid().is_root();
    let user = if root { "root: every limit can be set" } else { "an ordinary user: some limits may not be enforced" };
    found.push(finding(if root { Severity::Ok } else { Severity::Weaker }, "user", user.into(), ""));
    let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let forbidden = setting("/proc/sys/kernel/unprivileged_userns_clone").is_some_and(|value| value == "0")
        || setting("/proc/sys/user/max_user_namespaces").is_some_and(|value| value == "0");
    if !root {
        found.push(match forbidden {
            true => finding(
                Severity::Missing,
                "user namespaces",
                "forbidden by this kernel's settings".into(),
                "sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000, or start Hearth as root",
            ),
            false => finding(Severity::Ok, "user namespaces", "not forbidden by sysctl".into(), ""),
        });
    }
    found.push(match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => finding(Severity::Ok, "cgroups", "version 2".into(), ""),
        false if Path::new("/sys/fs/cgroup/memory").exists() => {
            finding(Severity::Ok, "cgroups", "version 1".into(), "")
        }
        false => finding(Severity::Missing, "cgroups", "not mounted".into(), "mount them: limits need them"),
    });
    for (program, package) in [("python3", "python3"), ("node", "nodejs"), ("pip", "python3-pip"), ("npm", "npm")] {
        let ran = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
        found.push(match ran {
            Ok(ran) if ran.status.success() => {
                let version = String::from_utf8_lossy(&ran.stdout).lines().next().unwrap_or_default().to_owned();
                finding(Severity::Ok, program, version, "")
            }
            _ => finding(
                Severity::Weaker,
                program,
                "not found".into(),
                &format!("apt install {package}, if you need it"),
            ),
        });
    }
    found
}
