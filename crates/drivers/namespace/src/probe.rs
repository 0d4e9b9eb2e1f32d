//! Whether the isolation works on this machine, and what is weaker than it should be: in words for people, and
//! by trying.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use driver::{ExitCause, Finding, GuestStreams, Host, Limits, SandboxSpec, Severity};
use model::{Cpu, InstanceId, Memory};

use crate::Namespace;
use crate::forks::State;

/// For error messages where user namespaces are refused.
pub const USER_NAMESPACE_ADVICE: &str = ". Hearth needs user namespaces, or root: start it with sudo, or allow them \
     (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)";

/// A finding that makes the isolation unusable.
pub fn missing(subject: &str, state: &str, advice: &str) -> Finding {
    finding(Severity::Missing, subject, state, advice)
}

fn finding(severity: Severity, subject: &str, state: &str, advice: &str) -> Finding {
    Finding { severity, subject: subject.into(), state: state.into(), advice: advice.into() }
}

/// Without a pids controller, an ordinary user's sandboxes still have a limit: on processes of their user namespace.
pub fn limit_processes_without_cgroups(findings: &mut [Finding]) {
    for found in findings.iter_mut().filter(|f| f.severity != Severity::Ok && f.subject == "pids limit") {
        *found =
            finding(Severity::Ok, "pids limit", "enforced by a resource limit on each sandbox's user namespace", "");
    }
}

/// What can be told without trying.
pub fn findings(rootless: bool) -> Vec<Finding> {
    let mut found = vec![];
    found.push(if rootless {
        finding(
            Severity::Weaker,
            "user ids",
            "started as an ordinary user: all sandboxes run under that user's id on the host",
            "start Hearth as root, and each sandbox gets an id of its own",
        )
    } else {
        finding(Severity::Ok, "user ids", "each sandbox has an id of its own on the host", "")
    });
    let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let limit: u64 = limit.trim().parse().unwrap_or(u64::MAX);
    found.push(match limit {
        0 => missing("user namespaces", "the host allows none", "sysctl -w user.max_user_namespaces=65536"),
        few if few < 1024 => finding(
            Severity::Weaker,
            "user namespaces",
            &format!("the host allows {few}, one for each instance"),
            "sysctl -w user.max_user_namespaces=65536",
        ),
        _ => finding(Severity::Ok, "user namespaces", "available", ""),
    });
    found
}

/// How sandboxes of each runtime start that could be forked.
pub fn fork_servers(states: &[(String, State)]) -> Vec<Finding> {
    let told = |(program, state): &(String, State)| match state {
        State::Never(why) => finding(
            Severity::Ok,
            "fork server",
            &format!("none for {program}, whose cold starts are slower for it: {why}"),
            "",
        ),
        _ => finding(
            Severity::Ok,
            "fork server",
            &format!("instances of {program} are copies of one that waits, and share its layout in memory"),
            "",
        ),
    };
    states.iter().map(told).collect()
}

/// Makes one sandbox that runs `/usr/bin/true`, waits for its end, and tells what went wrong.
pub fn trial(driver: &mut Namespace) -> Result<(), String> {
    let say = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let spec = SandboxSpec {
        root: driver::RootFs::Host,
        work_dir: "/var/task".into(),
        user: driver::User::SANDBOX,
        id: InstanceId::random(),
        command: vec!["/usr/bin/true".into()],
        env: vec![],
        code: None,
        limits: Limits {
            memory: Memory::mib(64),
            cpu_cap: Cpu::millis(1000),
            cpu_share: Cpu::millis(100),
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
    let (_log_read, log) = io::pipe().map_err(say("make a pipe"))?;
    let streams = GuestStreams { control: control.into(), invoke: vec![invoke.into()], log: log.into() };

    let started =
        driver.spawn(&spec, streams, [None, None], driver::Steps::begin()).map_err(|error| error.to_string())?;
    let mut poll = [rustix::event::PollFd::new(&started.pidfd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec::try_from(Duration::from_secs(5)).map_err(|e| e.to_string())?;
    let ended = rustix::event::poll(&mut poll, Some(&limit)).map_err(|e| e.to_string())? > 0;
    if !ended {
        driver.kill(&spec.id);
    }
    let exit = driver.reap(&spec.id, started.pidfd.as_fd());
    match exit.cause {
        ExitCause::Status(0) => Ok(()),
        ExitCause::Setup(why) => Err(format!("failed to {why}")),
        _ if !ended => Err("did not end within 5 s".into()),
        cause => Err(format!("ended with {cause:?}")),
    }
}
