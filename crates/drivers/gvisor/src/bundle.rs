//! What runsc is told about one sandbox: an OCI bundle, which is a folder with a `config.json`.
//!
//! Neither the function's command nor its environment is in it: the agent is told those over its socket. Refuses
//! nothing: what it is given has been validated.

use std::path::Path;

use driver::SandboxSpec;
use linux::root::SECRETS_SIZE;
use linux::sentry::NO_DEVICE;
use serde_json::{Value, json};

/// Where the agent is in the root file system.
pub const AGENT: &str = "/hearth/agent";

/// Where on the host a sandbox's files are.
#[derive(Debug)]
pub struct Files<'a> {
    /// The template.
    pub root: &'a Path,
    /// Folders of the template's `/var` that the slot would hide.
    pub in_var: &'a [String],
    /// The folder that becomes `/var`.
    pub slot: &'a Path,
    /// What becomes `/var/runtime`.
    pub runtimes: &'a Path,
    /// What becomes `/opt`.
    pub layers: Option<&'a Path>,
    /// What becomes `/mnt`, with the folders of the host's that are mounted in it, each as it may be used.
    pub shelf: Option<&'a Path>,
}

/// The `config.json`.
///
/// `network`: the network namespace, if it is to be in one that is there.
pub fn config(spec: &SandboxSpec, files: &Files<'_>, network: Option<&Path>) -> Value {
    let SandboxSpec { id, limits, user, .. } = spec;
    let &Files { root, in_var, slot, runtimes, layers, shelf } = files;
    let rlimit = |name: &str, value: u64| json!({ "type": name, "soft": value, "hard": value });
    let none: [&str; 0] = [];
    let mut namespaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind })).to_vec();
    namespaces.push(match network {
        None => json!({ "type": "network" }),
        Some(path) => json!({ "type": "network", "path": path }),
    });
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"] }),
        // runsc would mount a made-up one.
        own("/sys", "size=4096", &["ro"]),
        own("/tmp", &format!("size={}", limits.tmp.bytes()), &["mode=1777"]),
        own("/dev/shm", &format!("size={}", limits.memory.bytes() / 2), &["mode=1777"]),
        // Made by the sentry itself, and of no use without capabilities; still, nobody in here need reach that code.
        bound(NO_DEVICE, &root.join(NO_DEVICE.trim_start_matches('/')), "rprivate"),
        own("/dev/net", "size=4096", &["ro"]),
        // Slave: the code that is mounted in the slot later appears inside.
        bound("/var", slot, "rslave"),
        bound("/var/runtime", runtimes, "rprivate"),
    ];
    let more = in_var.iter().map(|name| bound(&format!("/var/{name}"), &root.join("var").join(name), "rprivate"));
    mounts.extend(more);
    mounts.extend(layers.map(|layers| bound("/opt", layers, "rprivate")));
    if spec.secret_files {
        mounts.push(own("/run/secrets", &format!("size={}", SECRETS_SIZE), &["noexec", "mode=1777"]));
    }
    mounts.extend(shelf.map(|shelf| {
        // To be written to, where one of its folders is: each says so itself, on the host. What it holds beside them is root's.
        json!({
            "destination": "/mnt",
            "type": "bind",
            "source": shelf,
            "options": ["rw", "rbind", "rprivate", "nosuid", "nodev", "noexec"],
        })
    }));
    json!({
        "ociVersion": "1.0.2",
        "hostname": id.as_str(),
        "root": { "path": root, "readonly": true },
        "process": {
            "args": [AGENT, "run", "fd:0"],
            "env": none,
            "cwd": "/",
            "user": { "uid": user.uid, "gid": user.gid },
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none,
            },
            "rlimits": [
                // AWS Lambda's 1,024 descriptors.
                rlimit("RLIMIT_NOFILE", 1024),
                rlimit("RLIMIT_CORE", 1),
                rlimit("RLIMIT_SIGPENDING", 4096),
                // The sentry counts for each user, and all in it are one.
                rlimit("RLIMIT_NPROC", u64::from(limits.pids)),
            ],
        },
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
        },
    })
}

/// Memory of its own.
fn own(at: &str, size: &str, more: &[&str]) -> Value {
    let options = [&["nosuid", "nodev", size], more].concat();
    json!({ "destination": at, "type": "tmpfs", "source": "none", "options": options })
}

/// A folder of the host's, to be read.
fn bound(at: &str, folder: &Path, propagation: &str) -> Value {
    json!({
        "destination": at,
        "type": "bind",
        "source": folder,
        "options": ["ro", "rbind", propagation, "nosuid", "nodev"],
    })
}

#[cfg(test)]
mod tests {
    use driver::Limits;
    use linux::sentry::{OVERHEAD, host_limits};
    use model::{Cpu, InstanceId, Memory};

    use super::*;

    fn limits() -> Limits {
        Limits {
            memory: Memory::mib(128),
            cpu_cap: Cpu::millis(1000),
            cpu_share: Cpu::millis(72),
            pids: 256,
            tmp: Memory::mib(512),
        }
    }

    fn made() -> Value {
        let spec = SandboxSpec {
            id: InstanceId::random(),
            root: driver::RootFs::Host,
            command: vec!["/bin/true".into()],
            env: vec![],
            work_dir: "/".into(),
            user: driver::User::SANDBOX,
            code: None,
            limits: limits(),
            layers: None,
            secret_files: false,
            mounts: vec![],
            invoke_streams: 1,
            egress: model::Egress::None,
        };
        let (root, slot, runtimes) = (Path::new("/r"), Path::new("/s"), Path::new("/b"));
        let files = Files { root, in_var: &[], slot, runtimes, layers: None, shelf: None };
        config(&spec, &files, None)
    }

    #[test]
    fn there_is_no_capability_no_environment_and_no_root() {
        let process = &made()["process"];
        let sets = process["capabilities"].as_object().unwrap();
        assert_eq!(sets.len(), 5);
        assert!(sets.values().all(|set| set.as_array().unwrap().is_empty()));
        assert_eq!(process["env"], json!([]));
        assert_eq!(process["user"], json!({ "uid": 993, "gid": 993 }));
        assert_eq!(process["noNewPrivileges"], true);
        assert_eq!(process["args"], json!([AGENT, "run", "fd:0"]), "nothing of the function's");
    }

    #[test]
    fn all_of_the_host_is_to_be_read_only() {
        let made = made();
        assert_eq!(made["root"]["readonly"], true);
        let mounts = made["mounts"].as_array().unwrap();
        let of_host: Vec<_> = mounts.iter().filter(|mount| mount["type"] == "bind").collect();
        assert_eq!(of_host.len(), 3);
        assert!(of_host.iter().all(|mount| mount["options"].as_array().unwrap().contains(&json!("ro"))));
    }

    #[test]
    fn what_a_function_may_write_to_has_a_size() {
        let made = made();
        let mounts = made["mounts"].as_array().unwrap();
        for mount in mounts.iter().filter(|mount| mount["type"] == "tmpfs") {
            let options = mount["options"].as_array().unwrap();
            assert!(options.iter().any(|option| option.as_str().unwrap().starts_with("size=")), "{mount}");
        }
        let tmp = mounts.iter().find(|mount| mount["destination"] == "/tmp").unwrap();
        assert!(tmp["options"].as_array().unwrap().contains(&json!("size=536870912")));
    }

    #[test]
    fn the_function_has_its_limits_and_the_host_the_sentrys_on_top() {
        let made = made();
        let limits_inside = made["process"]["rlimits"].as_array().unwrap();
        let of = |name: &str| limits_inside.iter().find(|limit| limit["type"] == name).unwrap()["hard"].clone();
        assert_eq!((of("RLIMIT_NPROC"), of("RLIMIT_NOFILE")), (json!(256), json!(1024)));
        let host = host_limits(&limits());
        assert_eq!(host.memory.as_mib(), 128 + OVERHEAD.as_mib());
        assert!(host.pids > limits().pids);
        assert_eq!(host.cpu_cap, limits().cpu_cap);
    }
}
