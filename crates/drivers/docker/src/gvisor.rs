//! gVisor as one of Docker's runtimes: which of them it is, whether it is set up so that the agent in a sandbox can meet
//! the host, and a trial that shows whose kernel is in there.
//!
//! Runs nothing but what Docker says its runtime is; changes nothing of Docker's settings, but says what to put there.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::SystemInfo;
use driver::{Capability, ExitCause, Finding, Limits, RootFs, Sandbox, SandboxSpec, Severity, User};
use linux::sentry::{self, NEWER, SNAG};
use model::{Cpu, InstanceId, Isolation, Memory};
use serde::{Deserialize, Serialize};

use crate::capability::{self, finding, has, missing};
use crate::wall::{Kind, Wall};
use crate::{Inner, cgroup};

/// How long runsc may take to tell about itself.
const ASK_LIMIT: Duration = Duration::from_secs(3);

/// No trial takes longer, on a machine that is busy.
const TRIAL_LIMIT: Duration = Duration::from_secs(10);

/// Most of what is read of a program's words.
const MAX_TEXT: usize = 64 * 1024;

/// Where a runtime is that Docker names without a folder.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Lets sandboxes connect to sockets that are mounted into them; what releases before 2023 call it.
const MEETS: &str = "--host-uds=open";
const MEETS_BEFORE: &str = "--fsgofer-host-uds";

/// Which of Docker's runtimes makes gVisor's sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GvisorRuntime {
    /// The one that is runsc.
    Found,
    Named(String),
}

/// One of Docker's runtimes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Runtime {
    name: String,
    /// None for one that containerd brings: then there is no program to ask.
    path: Option<String>,
    args: Vec<String>,
}

/// What runsc tells about itself.
#[derive(Debug, Default)]
struct Told {
    version: String,
    flags: String,
}

/// The isolation `gvisor` as this engine offers it, and what makes it; tried, if it is worth a trial.
pub async fn offer(inner: &Arc<Inner>, info: &SystemInfo, wanted: &GvisorRuntime) -> (Capability, Wall) {
    let (wall, mut findings) = match look(info, wanted).await {
        Err(findings) => (None, findings),
        Ok((runtime, told, mut findings)) => {
            findings.extend(around(inner, info));
            let wall = Wall::Gvisor(runtime.name.as_str().into());
            match trial(inner, &wall).await {
                Ok(more) => findings.extend(more),
                Err(why) => findings.push(missing("a trial sandbox", &why, &advice(&runtime, &told))),
            }
            (Some(wall), findings)
        }
    };
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let works = wall.is_some() && findings.iter().all(|finding| finding.severity != Severity::Missing);
    (capability(works, findings), wall.unwrap_or(Wall::Gvisor("".into())))
}

/// As [`offer`], where Docker itself does not work.
pub fn without_engine(findings: &[Finding]) -> (Capability, Wall) {
    let missing = findings.iter().filter(|finding| finding.severity == Severity::Missing);
    (capability(false, missing.cloned().collect()), Wall::Gvisor("".into()))
}

/// The network is there when the container has begun, and this kernel looks for one only when it starts.
pub const NO_NETWORK: &str = "Docker starts the sandbox's kernel before it could be given one: let Hearth run runsc itself \
                          (hearth up --gvisor-through runsc)";

fn capability(works: bool, findings: Vec<Finding>) -> Capability {
    Capability {
        isolation: Isolation::Gvisor,
        works,
        overhead: sentry::WAITING,
        no_mounts: None,
        no_egress: Some(NO_NETWORK.into()),
        findings,
    }
}

/// What can be told without a trial; an error where it is not worth one.
async fn look(info: &SystemInfo, wanted: &GvisorRuntime) -> Result<(Runtime, Told, Vec<Finding>), Vec<Finding>> {
    let runtime = pick(&runtimes(info), wanted).map_err(|finding| vec![finding])?;
    let told = match &runtime.path {
        None => Told::default(),
        Some(path) => ask(path).await.map_err(|why| {
            let state = format!("Docker's runtime `{}` is {path}: {why}", runtime.name);
            vec![missing("runtime", &state, "name another one: --gvisor-through docker=RUNTIME")]
        })?,
    };
    let what = match &runtime.path {
        Some(path) => format!("{} at {path}", told.version),
        None => "one that containerd brings".to_owned(),
    };
    let found = finding(Severity::Ok, "runsc", &format!("Docker's runtime `{}`: {what}", runtime.name), "");
    // What containerd brings has its settings elsewhere: the trial shows.
    if runtime.path.is_some() && !meets(&runtime.args) {
        let state = format!(
            "Docker's runtime `{}` lets no sandbox connect to a socket of the host, where Hearth waits for it: \
             {} is not among its runtimeArgs",
            runtime.name,
            told.meets()
        );
        return Err(vec![missing("runtime", &state, &advice(&runtime, &told)), found]);
    }
    let platform = told.platform(&runtime.args).map(|name| match name.as_str() {
        "ptrace" => finding(
            Severity::Weaker,
            "platform",
            "ptrace: system calls are caught as a debugger does, 20 to 50 µs each: slow for functions with many",
            NEWER,
        ),
        other => finding(Severity::Ok, "platform", other, ""),
    });
    Ok((runtime, told, platform.into_iter().chain([found]).collect()))
}

/// What is so for every sandbox.
fn around(inner: &Inner, info: &SystemInfo) -> Vec<Finding> {
    let ids = match has(info, "rootless") {
        true => "each sandbox's kernel and its file server run under the id of the user whom Docker runs as",
        false => {
            "each sandbox's kernel runs as the host's `nobody`, in namespaces and an empty root of its own; its file \
             server as root, with the read-only files of the sandbox for its root folder"
        }
    };
    let mut found = vec![
        finding(Severity::Weaker, "user ids", ids, "nothing to do: runsc chooses the ids"),
        sentry::memory_of_its_own(),
        finding(Severity::Ok, "pids limit", "enforced by each sandbox's own kernel", ""),
        capability::stems(inner.slots.as_ref().err()),
        capability::freezing(cgroup::freezes()),
    ];
    found.extend(capability::limits(info).into_iter().filter(|one| one.subject != "pids limit"));
    found
}

fn runtimes(info: &SystemInfo) -> Vec<Runtime> {
    let known = info.runtimes.iter().flatten().map(|(name, one)| Runtime {
        name: name.clone(),
        path: one.path.clone().filter(|path| !path.is_empty()),
        args: one.runtime_args.clone().unwrap_or_default(),
    });
    let mut known: Vec<_> = known.collect();
    known.sort_by(|one, other| one.name.cmp(&other.name));
    known
}

fn pick(known: &[Runtime], wanted: &GvisorRuntime) -> Result<Runtime, Finding> {
    let found = match wanted {
        GvisorRuntime::Named(name) => known.iter().find(|one| one.name == *name),
        GvisorRuntime::Found => {
            let program =
                |one: &Runtime| one.path.as_deref().and_then(|path| path.rsplit('/').next().map(str::to_owned));
            let is = |one: &&Runtime| one.name.contains("runsc") || program(one).is_some_and(|it| it.contains("runsc"));
            // Of several, one that will do.
            let all = || known.iter().filter(is);
            all().find(|one| meets(&one.args)).or_else(|| all().next())
        }
    };
    found.cloned().ok_or_else(|| {
        let names = known.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let state = match wanted {
            GvisorRuntime::Found => format!("none of Docker's runtimes is runsc: {names}"),
            GvisorRuntime::Named(name) => format!("Docker has no runtime `{name}`, but {names}"),
        };
        let path = program("runsc").unwrap_or_else(|| "/usr/bin/runsc".into());
        let example = Runtime { name: String::new(), path: Some(path), args: vec![] };
        missing("runtime", &state, &advice(&example, &Told::default()))
    })
}

/// Whether sandboxes may connect to sockets of the host.
fn meets(args: &[String]) -> bool {
    let value = |name: &str| flag(args, name);
    value("host-uds").is_some_and(|value| matches!(value, "open" | "all"))
        || value("fsgofer-host-uds").is_some_and(|value| matches!(value, "" | "true"))
}

/// A flag's value, empty if it has none; as Go's flags are written: one dash or two, the value behind `=` or a blank.
fn flag<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(word) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else { continue };
        match word.split_once('=') {
            Some((word, value)) if word == name => return Some(value),
            None if word == name => {
                return Some(args.as_slice().first().filter(|next| !next.starts_with('-')).map_or("", |next| next));
            }
            _ => {}
        }
    }
    None
}

/// What to put into Docker's settings: a runtime beside the one that is there, which other containers may use.
fn advice(runtime: &Runtime, told: &Told) -> String {
    let mut args = runtime.args.clone();
    if !meets(&args) {
        args.push(told.meets().into());
    }
    // Functions have no network; and releases of 2022 take none over on newer kernels.
    if flag(&args, "network").is_none() {
        args.push("--network=none".into());
    }
    let path = runtime.path.as_deref().unwrap_or("/usr/bin/runsc");
    if args == runtime.args {
        return "look at Docker's log, or name another runtime: --gvisor-through docker=RUNTIME".into();
    }
    let entry = serde_json::json!({ "runtimes": { "runsc-hearth": { "path": path, "runtimeArgs": args } } });
    format!(
        "put {entry} into /etc/docker/daemon.json, beside what is there; then `systemctl reload docker`, and start \
         Hearth again"
    )
}

fn program(name: &str) -> Option<String> {
    FOLDERS.iter().map(|folder| format!("{folder}/{name}")).find(|path| std::path::Path::new(path).exists())
}

/// Runs it, to be told what it is. Docker runs it as root too.
async fn ask(path: &str) -> Result<Told, String> {
    let absolute = if path.contains('/') { Some(path.to_owned()) } else { program(path) };
    let path = absolute.ok_or("there is no such program")?;
    let (version, flags) = tokio::join!(output(&path, "--version"), output(&path, "flags"));
    let (version, flags) = (version?, flags?);
    let first = version.lines().next().unwrap_or_default();
    let version = first.strip_prefix("runsc version ").ok_or_else(|| format!("that is not runsc, but {first:?}"))?;
    Ok(Told { version: version.to_owned(), flags })
}

async fn output(path: &str, what: &str) -> Result<String, String> {
    let mut command = tokio::process::Command::new(path);
    command.arg(what).env_clear().current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    let ran = tokio::time::timeout(ASK_LIMIT, command.output()).await;
    let ran = ran.map_err(|_| format!("`{what}` takes longer than {ASK_LIMIT:?}"))?;
    let ran = ran.map_err(|error| format!("it does not run: {error}"))?;
    // `runsc flags` prints to standard error.
    let mut text = [ran.stdout, ran.stderr].concat();
    text.truncate(MAX_TEXT);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

// === impl Told ===

impl Told {
    fn has(&self, name: &str) -> bool {
        self.about(name).is_some()
    }

    /// What is said about a flag, from its own line on.
    fn about(&self, name: &str) -> Option<&str> {
        let of = |at: usize| self.flags[at..].trim_start_matches([' ', '-']);
        let line = |at: &usize| of(*at).split([' ', '\n']).next() == Some(name);
        let starts = || self.flags.match_indices("  -").map(|(at, _)| at);
        starts().find(line).map(of)
    }

    /// The argument that lets the agent in a sandbox call, in this release's words.
    fn meets(&self) -> &'static str {
        if self.has("host-uds") || !self.has("fsgofer-host-uds") { MEETS } else { MEETS_BEFORE }
    }

    /// The one that was chosen, or else the release's own choice.
    fn platform(&self, args: &[String]) -> Option<String> {
        let own = || {
            let (_, rest) = self.about("platform")?.split_once("(default \"")?;
            rest.split_once('"').map(|(name, _)| name.to_owned())
        };
        flag(args, "platform").map(str::to_owned).or_else(own)
    }
}

/// Runs something in a sandbox of its own, as functions will run, and looks whose kernel answered.
async fn trial(inner: &Arc<Inner>, wall: &Wall) -> Result<Vec<Finding>, String> {
    // A task of its own: what Docker has begun with must be seen to its end, see `Offered::start`.
    let (inner, wall, busy) = (inner.clone(), wall.clone(), inner.busy());
    let trial = tokio::spawn(async move {
        let Sandbox { streams, handle, .. } =
            inner.launch(example(), Kind { wall, bare: true }, busy).await.map_err(|error| error.to_string())?;
        let exit = handle.exited().await;
        // Whoever could write to it is gone.
        let mut text = vec![0; 4096];
        let length = rustix::io::read(&streams.log, &mut text).map_err(|error| error.to_string())?;
        Ok::<_, String>((exit.cause, String::from_utf8_lossy(&text[..length]).into_owned()))
    });
    let (cause, said) = match tokio::time::timeout(TRIAL_LIMIT, trial).await {
        Ok(Ok(ended)) => ended?,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("it did not end within {TRIAL_LIMIT:?}")),
    };
    let smooth = match cause {
        ExitCause::Status(0) => true,
        ExitCause::Status(1) => false,
        ExitCause::Setup(why) => return Err(why),
        cause => return Err(format!("it ended with {cause:?}")),
    };
    let version = said.lines().next().unwrap_or_default();
    let of_host = std::fs::read_to_string("/proc/version").unwrap_or_default();
    if !is_gvisors(version, &of_host) {
        return Err(format!("the kernel in it is not gVisor's, but says that it is {version:?}"));
    }
    let mut found =
        vec![finding(Severity::Ok, "kernel", &format!("a trial sandbox ran on one of its own: {version}"), "")];
    if !smooth {
        found.push(finding(Severity::Weaker, "programs", SNAG, NEWER));
    }
    Ok(found)
}

/// Linux always tells who built it, and with which compiler, in parentheses; gVisor never does.
fn is_gvisors(version: &str, of_host: &str) -> bool {
    version.starts_with("Linux version ") && !version.contains('(') && version != of_host.trim_end()
}

/// Prints whose kernel it runs on, and tries what some releases cannot do ([`SNAG`]).
fn example() -> SandboxSpec {
    SandboxSpec {
        id: InstanceId::random(),
        root: RootFs::Host,
        command: ["/bin/sh", "-c", "cat /proc/version && exec /usr/bin/stat --format= /"].map(String::from).to_vec(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        work_dir: "/var/task".into(),
        user: User::SANDBOX,
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_2022: &str = "  -fsgofer-host-uds\n    \tDEPRECATED: use host-uds=all\n  -host-uds value\n    \tcontrols \
                           permission\n  -platform string\n    \tspecifies which platform to use: ptrace (default), \
                           kvm. (default \"ptrace\")\n";

    fn texts(args: &[&str]) -> Vec<String> {
        args.iter().map(|text| (*text).to_owned()).collect()
    }

    fn runtime(name: &str, path: &str, args: &[&str]) -> Runtime {
        Runtime { name: name.into(), path: Some(path.into()), args: texts(args) }
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        for args in [&["--host-uds=open"][..], &["-host-uds=all"], &["--debug", "--host-uds", "open"], &[MEETS_BEFORE]]
        {
            assert!(meets(&texts(args)), "{args:?}");
        }
        for args in
            [&[][..], &["--host-uds=none"], &["--host-uds=create"], &["--host-uds"], &["--fsgofer-host-uds=false"]]
        {
            assert!(!meets(&texts(args)), "{args:?}");
        }
    }

    #[test]
    fn of_several_the_one_that_will_do_is_taken_and_a_named_one_always() {
        let known = [
            runtime("gvisor", "/opt/runsc-2024", &[]),
            runtime("runc", "runc", &[]),
            runtime("runsc", "/usr/bin/runsc", &["--host-uds=open"]),
        ];
        assert_eq!(pick(&known, &GvisorRuntime::Found).unwrap().name, "runsc");
        assert_eq!(pick(&known[..2], &GvisorRuntime::Found).unwrap().name, "gvisor");
        assert_eq!(pick(&known, &GvisorRuntime::Named("gvisor".into())).unwrap().name, "gvisor");
        let none = pick(&known[1..2], &GvisorRuntime::Found).unwrap_err();
        assert!(none.state.ends_with("is runsc: runc") && none.advice.contains("daemon.json"), "{none:?}");
        let other = pick(&known, &GvisorRuntime::Named("kata".into())).unwrap_err();
        assert!(other.state.contains("no runtime `kata`, but gvisor, runc, runsc"), "{other:?}");
    }

    #[test]
    fn the_advice_is_a_runtime_beside_the_one_that_is_there() {
        let told = Told { version: "1".into(), flags: OF_2022.into() };
        let said = advice(&runtime("runsc", "/opt/runsc", &["--platform=kvm"]), &told);
        let entry = r#""runsc-hearth":{"path":"/opt/runsc","runtimeArgs":["--platform=kvm","--host-uds=open","--network=none"]}"#;
        assert!(said.contains(entry), "{said}");
        let older = Told { flags: "  -fsgofer-host-uds\n    \tallow it\n".into(), ..told };
        assert_eq!(older.meets(), MEETS_BEFORE);
        assert_eq!(Told::default().meets(), MEETS);
    }

    #[test]
    fn the_platform_is_the_chosen_one_or_the_releases_own() {
        let told = Told { version: "1".into(), flags: OF_2022.into() };
        assert_eq!(told.platform(&[]).as_deref(), Some("ptrace"));
        assert_eq!(told.platform(&texts(&["-platform=kvm"])).as_deref(), Some("kvm"));
        assert_eq!(Told::default().platform(&[]), None);
    }

    #[test]
    fn a_kernel_that_linux_built_is_not_gvisors() {
        let linux = "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org) (gcc-12) #1 SMP";
        let gvisor = "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016";
        assert!(is_gvisors(gvisor, linux));
        for not in [linux, "", "Linux version 5.15.0 (builder@elsewhere) #1"] {
            assert!(!is_gvisors(not, linux), "{not}");
        }
        assert!(!is_gvisors(gvisor, &format!("{gvisor}\n")), "the host's own");
    }
}
