//! Whether the isolation works on this machine, and how: in words for people, and by trying.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use driver::{ExitCause, Finding, GuestStreams, Host, Limits, SandboxSpec, Severity, Started};
use linux::sentry::{self, NEWER, SNAG};
use model::{Cpu, InstanceId, Memory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::runsc::{self, PLACES, Platform, Runsc};
use crate::{Gvisor, Options};

/// No trial takes longer.
const TRIAL_LIMIT: Duration = Duration::from_secs(3);

/// Once one platform has shown that it works, better ones are waited for this long: they began together, and one that
/// works well is not slower. Every start of Hearth waits for it.
const GRACE: Duration = Duration::from_millis(100);

/// A finding that makes the isolation unusable.
pub fn missing(subject: &str, state: &str, advice: &str) -> Finding {
    finding(Severity::Missing, subject, state, advice)
}

fn finding(severity: Severity, subject: &str, state: &str, advice: &str) -> Finding {
    Finding { severity, subject: subject.into(), state: state.into(), advice: advice.into() }
}

/// Without a pids controller on the host, the sandbox's kernel still counts.
pub fn processes_are_limited(findings: &mut [Finding]) {
    for found in findings.iter_mut().filter(|one| one.severity != Severity::Ok && one.subject == "pids limit") {
        *found = finding(Severity::Ok, "pids limit", "enforced by each sandbox's own kernel", "");
    }
}

/// What can be told without trying; an error where it is not worth a trial.
pub fn look(options: &Options) -> Result<(Runsc, Vec<Finding>), Vec<Finding>> {
    let install = "apt install runsc, or as https://gvisor.dev/docs/user_guide/install/ says; then start Hearth again";
    let places = match &options.runsc {
        Some(said) => vec![said.as_path()],
        None => PLACES.iter().map(Path::new).collect(),
    };
    let runsc = match Runsc::find(places, options.rootless) {
        None => match &options.runsc {
            Some(said) => {
                let state = format!("{} does not exist", said.display());
                return Err(vec![missing("runsc", &state, "name another one with --runsc, or none")]);
            }
            None => return Err(vec![missing("runsc", "not installed", install)]),
        },
        Some(Err(error)) => return Err(vec![missing("runsc", &format!("it does not run: {error}"), install)]),
        Some(Ok(runsc)) => runsc,
    };
    let state = format!("{} at {}", runsc.version, runsc.program().display());
    let found = finding(Severity::Ok, "runsc", &state, "");
    let (state, advice) = match options.rootless {
        true => (
            "started as an ordinary user: each sandbox's kernel and its file server run under that user's id",
            "start Hearth as root, and the kernel runs as `nobody`",
        ),
        false => (
            "each sandbox's kernel runs as the host's `nobody`, in namespaces and an empty root of its own; its file \
             server as root, with the read-only files of the sandbox for its root folder; and runsc, which waits for \
             both, as root",
            "nothing to do: runsc chooses the ids",
        ),
    };
    let ids = finding(Severity::Weaker, "user ids", state, advice);
    Ok((runsc, vec![found, ids, sentry::memory_of_its_own()]))
}

/// One platform's trial sandbox.
struct Trial {
    platform: Platform,
    id: InstanceId,
    started: Started,
    /// Nobody reads what it prints, but it shall be able to.
    _log: io::PipeReader,
    /// Whether programs that it runs get along with this release's [`SNAG`].
    result: Option<Result<bool, String>>,
}

/// Finds the best platform that works, trying all at once, and has the driver use it.
pub fn choose(driver: &mut Gvisor) -> Vec<Finding> {
    let Some(works) = &driver.works else { return vec![] };
    let known = works.runsc.platforms();
    let known = if known.is_empty() { Platform::ALL.to_vec() } else { known };
    let mut trials = Vec::new();
    let mut failed = Vec::new();
    for platform in known.iter().copied().filter(|platform| *platform != Platform::Kvm || runsc::has_kvm()) {
        let id = InstanceId::random();
        match begin(driver, &id, platform) {
            Ok((started, _log)) => trials.push(Trial { platform, id, started, _log, result: None }),
            Err(why) => failed.push((platform, why)),
        }
    }
    watch(driver, &mut trials);
    let (mut chosen, mut smooth) = (None, true);
    for trial in trials {
        match trial.result {
            Some(Ok(fine)) => {
                chosen = chosen.or(Some(trial.platform));
                smooth &= fine;
            }
            Some(Err(why)) => failed.push((trial.platform, why)),
            None => {
                driver.kill(&trial.id);
                driver.reap(&trial.id, trial.started.pidfd.as_fd());
                failed.push((trial.platform, "its trial did not end in time".to_owned()));
            }
        }
    }
    let (Some(platform), Some(works)) = (chosen, &mut driver.works) else {
        let why = failed.iter().map(|(platform, why)| format!("{}: {why}", platform.name())).collect::<Vec<_>>();
        return vec![missing("a trial sandbox", &why.join("; "), "")];
    };
    works.platform = platform;
    let mut findings = vec![report(platform, &known, &failed)];
    if !smooth {
        findings.push(finding(Severity::Weaker, "programs", SNAG, NEWER));
    }
    findings
}

fn report(platform: Platform, known: &[Platform], failed: &[(Platform, String)]) -> Finding {
    let others: String =
        failed.iter().map(|(one, why)| format!("; {} does not work here: {why}", one.name())).collect();
    let what = match platform {
        Platform::Systrap => "system calls are caught by a filter's signals",
        Platform::Kvm => "system calls are caught by the processor's virtualisation",
        Platform::Ptrace => {
            "system calls are caught as a debugger does, 20 to 50 µs each: slow for functions with many"
        }
    };
    let state = format!("{}: {what}{others}", platform.name());
    match platform {
        Platform::Ptrace if !known.contains(&Platform::Systrap) => finding(Severity::Weaker, "platform", &state, NEWER),
        _ => finding(Severity::Ok, "platform", &state, ""),
    }
}

/// Until the best has succeeded, all have ended, or time is up.
fn watch(driver: &mut Gvisor, trials: &mut [Trial]) {
    let mut until = Instant::now() + TRIAL_LIMIT;
    loop {
        let first_open = trials.iter().position(|trial| trial.result.is_none());
        let first_good = trials.iter().position(|trial| matches!(trial.result, Some(Ok(_))));
        let Some(open) = first_open.filter(|open| first_good.is_none_or(|good| *open < good)) else { return };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        debug_assert!(trials[open].result.is_none());
        let waiting: Vec<usize> = (0..trials.len()).filter(|index| trials[*index].result.is_none()).collect();
        let mut fds: Vec<_> =
            waiting.iter().map(|index| PollFd::new(&trials[*index].started.pidfd, PollFlags::IN)).collect();
        let limit = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let _ = poll(&mut fds, Some(&limit));
        let ended: Vec<usize> =
            waiting.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(index, _)| *index).collect();
        drop(fds);
        for index in ended {
            let trial = &mut trials[index];
            let exit = driver.reap(&trial.id, trial.started.pidfd.as_fd());
            trial.result = Some(match exit.cause {
                ExitCause::Status(status @ (0 | 1)) => Ok(status == 0),
                ExitCause::Setup(why) => Err(why),
                cause => Err(format!("ended with {cause:?}")),
            });
            if matches!(trial.result, Some(Ok(_))) {
                until = until.min(Instant::now() + GRACE);
            }
        }
    }
}

/// Starts a sandbox.
fn begin(driver: &mut Gvisor, id: &InstanceId, platform: Platform) -> Result<(Started, io::PipeReader), String> {
    let say = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let spec = SandboxSpec {
        root: driver::RootFs::Host,
        work_dir: "/var/task".into(),
        user: driver::User::SANDBOX,
        id: id.clone(),
        command: ["/usr/bin/stat", "--format=", "/"].map(String::from).to_vec(),
        env: vec![],
        code: None,
        limits: Limits {
            memory: Memory::mib(64),
            cpu_cap: Cpu::millis(2000),
            cpu_share: Cpu::millis(1000),
            pids: 16,
            tmp: Memory::mib(1),
        },
        layers: None,
        secret_files: false,
        mounts: vec![],
        invoke_streams: 1,
        egress: model::Egress::None,
    };
    let (control, _host_control) = std::os::unix::net::UnixStream::pair().map_err(say("make a socket pair"))?;
    let (invoke, _host_invoke) = std::os::unix::net::UnixStream::pair().map_err(say("make a socket pair"))?;
    let (log_read, log) = io::pipe().map_err(say("make a pipe"))?;
    let streams = GuestStreams { control: control.into(), invoke: vec![invoke.into()], log: log.into() };
    let started = driver.spawn(&spec, streams, Some(platform)).map_err(|error| error.to_string())?;
    Ok((started, log_read))
}
