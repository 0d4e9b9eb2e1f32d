//! What a container is made with. Pure: from a specification to the body of a request.
//!
//! Nothing here is newer than API 1.41. Refuses nothing: the specification has been validated.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, ResourcesUlimits,
};
use driver::{SandboxSpec, User};
use linux::sentry;
use model::SECRETS_FOLDER;

use crate::image::AGENT;
use crate::wall::Wall;

/// Names the installation that a container belongs to.
pub const INSTALLATION: &str = "hearth.installation";

/// Names its sandbox.
pub const SANDBOX: &str = "hearth.sandbox";

/// Where a container finds the folder in which it meets the host.
pub const MEETING: &str = "/hearth/host";

/// What of `/proc` and `/sys` a container does not see: all that Docker's releases hide by themselves, for naming some takes
/// their place, and what the `namespace` isolation hides. Anybody may write triggers into the files of `/proc/pressure`,
/// each of which the host's kernel then watches.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/locks",
    "/proc/pressure",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Something of the host that a container sees, read-only unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub source: String,
    pub target: String,
    /// What the host mounts below the source later appears inside, too.
    follows: bool,
    /// Whether it is for writing is for the mounts below it to say; it is root's itself.
    open: bool,
}

// === impl Bind ===

impl Bind {
    pub fn of(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Self { source: text(source.as_ref()), target: text(target.as_ref()), follows: false, open: false }
    }

    /// One that follows what the host mounts below its source.
    pub fn following(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        Self { follows: true, ..Self::of(source, target) }
    }

    /// One that holds other mounts, each read-only or not.
    pub fn holding(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        Self { open: true, ..Self::of(source, target) }
    }

    fn mount(&self) -> Mount {
        // A mount, not one of the older `binds`: those make a folder where there is no source.
        Mount {
            typ: Some(MountType::BIND),
            source: Some(self.source.clone()),
            target: Some(self.target.clone()),
            read_only: Some(!self.open),
            bind_options: Some(MountBindOptions {
                propagation: Some(match self.follows {
                    true => MountBindOptionsPropagationEnum::RSLAVE,
                    false => MountBindOptionsPropagationEnum::RPRIVATE,
                }),
                ..MountBindOptions::default()
            }),
            ..Mount::default()
        }
    }
}

/// A container for `spec`, which starts the agent. Neither the command nor the environment is in it: what Docker is
/// told, it writes to disk and shows to everyone who may ask it; the agent is told over its socket.
pub fn body(
    spec: &SandboxSpec,
    installation: &str,
    image: &str,
    binds: &[Bind],
    processors: usize,
    wall: &Wall,
) -> ContainerCreateBody {
    let limits = spec.limits;
    // What the container's processes on the host may use: gVisor's kernel is one of them.
    let (runtime, of_host) = match wall {
        Wall::Host => (None, limits),
        Wall::Gvisor(runtime) => (Some(runtime.to_string()), sentry::host_limits(&limits)),
    };
    let memory = of_host.memory.bytes() as i64;
    let tmp = limits.tmp.bytes();
    // An inode for every 4 KiB, so that neither bytes nor empty files get past the size.
    let tmp = format!("rw,exec,nosuid,nodev,size={tmp},nr_inodes={},mode=1777", (tmp / 4096).max(1024));
    let cap = i64::from(limits.cpu_cap.as_millis());
    let limit =
        |name: &str, value: i64| ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) };
    // As in the `namespace` isolation, and for the same reasons.
    let mut ulimits = vec![limit("nofile", 1024), limit("core", 1)];
    // No terminals: Docker's own `/dev/pts` would make them for whoever opens `/dev/ptmx`.
    let nothing = "ro,nosuid,nodev,size=4096".to_owned();
    let mut tmpfs = HashMap::from([("/tmp".to_owned(), tmp), ("/dev/pts".to_owned(), nothing.clone())]);
    if spec.secret_files {
        let size = linux::root::SECRETS_SIZE;
        let User { uid, gid } = spec.user;
        // gVisor's knows of no owner: nobody else is in there.
        let owner = if runtime.is_some() { "mode=1777".to_owned() } else { format!("mode=700,uid={uid},gid={gid}") };
        tmpfs.insert(SECRETS_FOLDER.to_owned(), format!("rw,nosuid,nodev,noexec,size={size},{owner}"));
    }
    if runtime.is_some() {
        // Its kernel counts for each user, and all in it are one.
        ulimits.push(limit("nproc", i64::from(limits.pids)));
        // It would make up a `/sys`, and a network device: of no use without capabilities, and nobody need reach that code.
        tmpfs.extend(["/sys", "/dev/net"].map(|at| (at.to_owned(), nothing.clone())));
    }
    let host = HostConfig {
        runtime,
        // Memory and swap together: no swap.
        memory: Some(memory),
        memory_swap: Some(memory),
        // Docker refuses more than there are; a cap of all of them is none.
        nano_cpus: (cap < processors as i64 * 1000).then_some(cap * 1_000_000),
        cpu_shares: Some(linux::cgroup::cpu_shares(limits.cpu_share) as i64),
        pids_limit: Some(i64::from(of_host.pids)),
        ulimits: Some(ulimits),
        tmpfs: Some(tmpfs),
        shm_size: Some(limits.memory.bytes() as i64 / 2),
        mounts: Some(binds.iter().map(Bind::mount).collect()),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges:true".into()]),
        // What it may reach it is connected to later, by us.
        network_mode: Some("none".into()),
        dns: (!spec.egress.is_none()).then(|| vec![linux::net::GATEWAY.to_string()]),
        ipc_mode: Some("private".into()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        // What the function prints goes through the agent's pipe.
        log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
        init: Some(false),
        masked_paths: Some(MASKED.iter().map(|path| (*path).to_owned()).collect()),
        privileged: Some(false),
        publish_all_ports: Some(false),
        // Removed by us, once it has been asked how it ended.
        auto_remove: Some(false),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some(spec.id.to_string()),
        user: Some(format!("{}:{}", spec.user.uid, spec.user.gid)),
        entrypoint: Some(vec![AGENT.into(), "run".into(), format!("{MEETING}/socket")]),
        working_dir: Some("/".into()),
        labels: Some(HashMap::from([
            (INSTALLATION.to_owned(), installation.to_owned()),
            (SANDBOX.to_owned(), spec.id.to_string()),
        ])),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

#[cfg(test)]
mod tests {
    use driver::Limits;
    use model::{CodeHash, Cpu, InstanceId, Memory};

    use super::*;

    fn spec() -> SandboxSpec {
        SandboxSpec {
            root: driver::RootFs::Host,
            work_dir: "/var/task".into(),
            user: driver::User::SANDBOX,
            id: InstanceId::random(),
            command: vec!["/usr/bin/python3".into()],
            env: vec![("TOKEN".into(), "secret".into())],
            code: Some(CodeHash::from_digest(&[0; 32])),
            limits: Limits {
                memory: Memory::mib(128),
                cpu_cap: Cpu::millis(500),
                cpu_share: Cpu::millis(72),
                pids: 256,
                tmp: Memory::mib(512),
            },
            layers: None,
            secret_files: false,
            mounts: vec![],
            invoke_streams: 1,
            egress: model::Egress::None,
        }
    }

    #[test]
    fn a_container_has_no_way_out_and_every_limit() {
        let body = body(&spec(), "hearth-00", "image", &[Bind::of("/usr", "/usr")], 2, &Wall::Host);
        assert_eq!(body.user.as_deref(), Some("993:993"));
        assert!(body.exposed_ports.is_none() && body.env.is_none() && body.cmd.is_none());
        let host = body.host_config.expect("a host configuration");
        assert_eq!((host.memory, host.memory_swap), (Some(128 << 20), Some(128 << 20)));
        assert_eq!((host.nano_cpus, host.cpu_shares), (Some(500_000_000), Some(1024)));
        assert_eq!(host.pids_limit, Some(256));
        assert_eq!(host.cap_drop, Some(vec!["ALL".into()]));
        assert_eq!(host.cap_add, None);
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges:true".into()]));
        assert!(host.mounts.expect("mounts").iter().all(|mount| mount.read_only == Some(true)));
        assert!(host.binds.is_none() && host.port_bindings.is_none() && host.devices.is_none());
        assert_eq!(host.runtime, None);
    }

    #[test]
    fn gvisors_kernel_is_asked_for_by_name_and_its_memory_comes_on_top() {
        let wall = Wall::Gvisor("runsc-hearth".into());
        let host = body(&spec(), "hearth-00", "image", &[], 2, &wall).host_config.expect("a host configuration");
        assert_eq!(host.runtime.as_deref(), Some("runsc-hearth"));
        let memory = i64::from(i32::try_from(128 + sentry::OVERHEAD.as_mib()).expect("a small number")) << 20;
        assert_eq!((host.memory, host.memory_swap, host.shm_size), (Some(memory), Some(memory), Some(64 << 20)));
        assert!(host.pids_limit > Some(256), "the sentry's threads are processes of the host's");
        let inside = host.ulimits.expect("limits").into_iter().find(|one| one.name.as_deref() == Some("nproc"));
        assert_eq!(inside.and_then(|one| one.hard), Some(256));
        assert!(host.tmpfs.expect("mounts").contains_key("/sys"));
        assert_eq!((host.network_mode.as_deref(), host.readonly_rootfs), (Some("none"), Some(true)));
    }

    #[test]
    fn only_what_shall_follows_the_host() {
        let binds = [Bind::of("/usr", "/usr"), Bind::following("/run/slots/one", "/var")];
        let body = body(&spec(), "hearth-00", "image", &binds, 2, &Wall::Host);
        let host = body.host_config.expect("a host configuration");
        let propagation = |mount: Mount| mount.bind_options.and_then(|options| options.propagation);
        let found: Vec<_> = host.mounts.expect("mounts").into_iter().map(propagation).collect();
        let expected = [MountBindOptionsPropagationEnum::RPRIVATE, MountBindOptionsPropagationEnum::RSLAVE];
        assert_eq!(found, expected.map(Some));
    }

    #[test]
    fn a_cap_of_every_processor_is_none() {
        let mut spec = spec();
        spec.limits.cpu_cap = Cpu::millis(2000);
        let host = body(&spec, "hearth-00", "image", &[], 2, &Wall::Host).host_config.expect("a host configuration");
        assert_eq!(host.nano_cpus, None);
    }

    #[test]
    fn what_docker_is_told_holds_nothing_of_the_function() {
        let text = format!("{:?}", body(&spec(), "hearth-00", "image", &[], 2, &Wall::Host));
        assert!(!text.contains("secret") && !text.contains("TOKEN") && !text.contains("python"));
    }
}
