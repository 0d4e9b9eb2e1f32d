//! Whether there is a Docker Engine that can be used, and what is weaker with it than it should be, in words for
//! people.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bollard::ClientVersion;
use bollard::models::SystemInfo;
use driver::{Finding, Severity};

use crate::Options;

/// An engine that does not answer for this long is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// How long one request may take, in seconds: starting a container on a busy machine is the longest.
const REQUEST_LIMIT: u64 = 60;

/// Docker Engine 20.10's.
const OLDEST: (usize, usize) = (1, 41);

const INSTALL: &str = "install it (on Debian and Ubuntu: apt install docker.io), then start Hearth again";

/// An engine that answers.
pub struct Engine {
    pub api: bollard::Docker,
    pub findings: Vec<Finding>,
    /// What it tells about itself.
    pub info: SystemInfo,
}

/// A finding that makes the isolation unusable.
pub fn missing(subject: &str, state: &str, advice: &str) -> Finding {
    finding(Severity::Missing, subject, state, advice)
}

pub fn finding(severity: Severity, subject: &str, state: &str, advice: &str) -> Finding {
    Finding { severity, subject: subject.into(), state: state.into(), advice: advice.into() }
}

/// The engine, and what was found; or why there is none.
pub async fn look(options: &Options) -> Result<Engine, Finding> {
    let path = options.socket.display();
    // Bollard's own words for it are "client error (Connect)".
    UnixStream::connect(&options.socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound => missing("engine", &format!("there is no Docker here ({path} does not exist)"), INSTALL),
        ErrorKind::PermissionDenied => missing(
            "engine",
            &format!("Docker's socket {path} may not be used by this user"),
            "start Hearth as root, or join the group docker (which is as good as root) and log in again",
        ),
        _ => missing(
            "engine",
            &format!("Docker does not answer at {path}: {error}"),
            "start it (systemctl start docker), then start Hearth again",
        ),
    })?;
    let version = ClientVersion { major_version: OLDEST.0, minor_version: OLDEST.1 };
    let asked = tokio::time::timeout(ANSWER_LIMIT, async {
        let api = bollard::Docker::connect_with_unix(&options.socket.to_string_lossy(), REQUEST_LIMIT, &version)?;
        let told = api.version().await?;
        Ok::<_, bollard::errors::Error>((api.negotiate_version().await?, told))
    });
    let deaf = |why: String| missing("engine", &format!("Docker at {path} {why}"), "look at its log");
    let (api, told) = match asked.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(deaf(format!("gives an answer that is not understood: {error}"))),
        Err(_) => return Err(deaf(format!("does not answer within {ANSWER_LIMIT:?}"))),
    };
    let engine = told.version.unwrap_or_default();
    let spoken = api.client_version();
    if (spoken.major_version, spoken.minor_version) < OLDEST {
        let state = format!("Docker Engine {engine} is older than 20.10");
        return Err(missing("engine", &state, "install a newer one, then start Hearth again"));
    }
    let info = match tokio::time::timeout(ANSWER_LIMIT, api.info()).await {
        Ok(Ok(info)) => info,
        Ok(Err(error)) => return Err(deaf(format!("does not tell about itself: {error}"))),
        Err(_) => return Err(deaf(format!("does not tell about itself within {ANSWER_LIMIT:?}"))),
    };
    Ok(Engine { api, findings: findings(&engine, &info), info })
}

/// Whether this is among its security options. One that is `rootless` has mounts of its own, which the host's do not
/// reach.
pub fn has(info: &SystemInfo, name: &str) -> bool {
    let options = info.security_options.as_deref().unwrap_or_default();
    options.iter().any(|option| option.split(',').any(|part| part.strip_prefix("name=") == Some(name)))
}

/// What the engine tells about itself, judged.
fn findings(engine: &str, info: &SystemInfo) -> Vec<Finding> {
    let mut found = vec![];
    let runtime = info.default_runtime.as_deref().unwrap_or("an unknown runtime");
    let groups = info.cgroup_version.map(|version| version.to_string()).unwrap_or_default();
    let state = format!("Docker Engine {engine}, {runtime}, cgroup version {groups}");
    found.push(match info.os_type.as_deref() {
        Some("linux") | None => finding(Severity::Ok, "engine", &state, ""),
        Some(other) => missing("engine", &format!("it runs containers of {other}"), "use one that runs Linux's"),
    });
    found.push(match has(info, "userns") || has(info, "rootless") {
        true => finding(Severity::Ok, "user ids", "containers have ids of their own on the host", ""),
        false => finding(
            Severity::Weaker,
            "user ids",
            &format!("all containers run under one id of the host, {}", linux::root::SANDBOX_ID),
            "the namespace isolation gives each sandbox an id of its own",
        ),
    });
    found.push(finding(
        Severity::Ok,
        "set-user-id programs",
        "the host's are visible inside; no_new_privs keeps them from gaining anything",
        "",
    ));
    found.extend(limits(info));
    found
}

/// Which limits the engine enforces.
pub fn limits(info: &SystemInfo) -> Vec<Finding> {
    let of = |(subject, here): (&str, Option<bool>)| match here {
        Some(false) => {
            let advice = "the kernel lacks the cgroup controller: `docker info` warns of it too";
            finding(Severity::Weaker, subject, "not enforced by this engine", advice)
        }
        _ => finding(Severity::Ok, subject, "enforced", ""),
    };
    let all = [
        ("memory limit", info.memory_limit),
        ("cpu limit", info.cpu_cfs_quota),
        ("pids limit", info.pids_limit),
        ("swap limit", info.swap_limit),
    ];
    all.map(of).into()
}

/// Whether containers can be started before it is known whose code they will run.
pub fn stems(hindrance: Option<&String>) -> Finding {
    match hindrance {
        None => finding(Severity::Ok, "stems", "code can be mounted into a container that runs", ""),
        Some(why) => {
            let state = format!("no container can be started ahead of its code: {why}");
            let advice = "start Hearth, and Docker, as root: else every cold start waits for a container";
            finding(Severity::Weaker, "stems", &state, advice)
        }
    }
}

/// Whether containers can be frozen between calls.
pub fn freezing(works: bool) -> Finding {
    match works {
        true => finding(Severity::Ok, "freezing", "containers can be frozen between calls", ""),
        false => finding(
            Severity::Weaker,
            "freezing",
            "the control groups of containers may not be written to: what a handler leaves running goes on",
            "start Hearth as root, where the freezer of control groups is mounted",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(socket: &std::path::Path) -> Options {
        let none = std::path::PathBuf::from("/nonexistent");
        Options {
            socket: socket.into(),
            name: "hearth-00".into(),
            run_dir: none.clone(),
            code_dir: none.clone(),
            data_dir: none.clone(),
            runtime_dir: none,
            allowed_mounts: vec![],
            rootless: false,
            network: linux::net::Options {
                name: "hearth-00-docker".into(),
                range: linux::net::Range::default(),
                state: "/nonexistent/network".into(),
                rootless: false,
            },
            gvisor: None,
        }
    }

    #[tokio::test]
    async fn no_engine_is_said_with_what_to_do() {
        let found = look(&options("/nonexistent/docker.sock".as_ref())).await.err().expect("there is none");
        assert_eq!(found.severity, Severity::Missing);
        assert!(found.state.contains("/nonexistent/docker.sock") && found.advice.contains("docker.io"), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_says_nothing_is_given_up_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let _deaf = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let found = look(&options(&path)).await.err().expect("it says nothing");
        assert!(found.state.contains("does not answer within 3s"), "{found:?}");
    }

    #[test]
    fn an_engine_without_root_is_recognised() {
        let info = |option: &str| SystemInfo { security_options: Some(vec![option.into()]), ..SystemInfo::default() };
        assert!(has(&info("name=rootless"), "rootless") && has(&info("name=seccomp,name=userns"), "userns"));
        assert!(!has(&info("name=seccomp,profile=default"), "rootless"));
    }

    #[test]
    fn a_limit_that_is_not_enforced_is_told() {
        let info = SystemInfo { pids_limit: Some(false), memory_limit: Some(true), ..SystemInfo::default() };
        let found = findings("20.10.24", &info);
        let of = |subject: &str| found.iter().find(|one| one.subject == subject).expect("a finding").severity;
        assert_eq!(of("pids limit"), Severity::Weaker);
        assert_eq!(of("memory limit"), Severity::Ok);
        assert_eq!(of("user ids"), Severity::Weaker);
    }
}
