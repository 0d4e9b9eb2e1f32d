//! `hearth up`: prepares the data directory, then becomes the spawner, which starts the server.
//!
//! config → data directory → lock → namespaces → drivers → spawner (→ server). Everything that needs privilege
//! happens here; the server is a child without it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use linux::{inotify, net};
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use spawner::{Ended, HelperOptions, ServerUser};

use crate::bootstraps;
use crate::chosen_key::ChosenKey;
use crate::cli::{ForkServers, GvisorThrough, UpArgs};
use crate::docker_host;
use crate::server::ServerConfig;

/// Whom the server runs as when there is no user named `hearth`: systemd keeps 61184 to 65519 for services without
/// an entry in the password file, and takes them from the top.
const SERVER_ID: u32 = 61_500;

/// A budget below this starts no function.
const LEAST_MEMORY: model::Memory = model::Memory::mib(64);

/// How long a Hearth that is ending on the same data directory is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// Runs until told to end.
pub fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    if args.listen == args.ingress && args.listen.port() != 0 {
        bail!("--listen and --ingress are both {}: they must differ", args.listen);
    }
    if let Some(memory) = args.memory.filter(|memory| *memory < LEAST_MEMORY) {
        bail!("--memory {memory} is too little to run any function: expected {LEAST_MEMORY} or more");
    }
    // Refused before anything is made. The server reads it again: it is a secret, and no argument.
    ChosenKey::from_environment(args.listen)?;
    let through_docker = match &args.gvisor_through {
        GvisorThrough::Runsc => None,
        GvisorThrough::Docker(_) if args.runsc.is_some() => {
            bail!("--runsc names a program for Hearth to run: with --gvisor-through docker, Docker's settings name it")
        }
        GvisorThrough::Docker(runtime) => Some(runtime.clone()),
    };
    // By its name as it is now: once another file has that, this one has none.
    let program = std::env::current_exe().context("find this program")?;
    // The same: the server reads it again, since there are keys in it.
    otlp::Config::from_environment(args.otlp.as_deref())?;
    let root = rustix::process::geteuid().is_root();
    let data_dir = match args.data_dir {
        Some(dir) => dir,
        None => crate::cli::default_data_dir().context("find a data directory: set HEARTH_DATA_DIR")?,
    };
    let user = if root { Some(server_user()) } else { None };
    let data_dir = make_data_dir(&data_dir, user)?;
    let allowed_mounts = crate::mounts::allowed(args.allow_mount, &data_dir)?;
    // Kept by the spawner and, inherited, by the server: free only when both are gone.
    let lock = lock(&data_dir)?;
    // Above the numbers at which children expect their sockets.
    let lock = rustix::io::fcntl_dupfd_cloexec(lock, 16)?;
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())?;

    let name = installation_name(&data_dir);
    let run_dir = run_dir(&data_dir, &name, root)?;
    // What Docker is to mount must be named as Docker sees it.
    let host_mounts = if root { Some(File::open("/proc/self/ns/mnt")?.into()) } else { None };
    namespace::enter()?;
    // Root's data directory may lie where the server's user may not search, like /root.
    let store_dir = if root { run_dir.join("data") } else { data_dir.clone() };
    if root {
        namespace::bind(&data_dir, &store_dir)?;
    }
    let tls = match (args.tls_cert, args.tls_key) {
        (Some(cert), Some(key)) => {
            let files = gateway::TlsFiles { cert: std::path::absolute(&cert)?, key: std::path::absolute(&key)? };
            Some((files, args.tls_only))
        }
        // The command line sees to it that there are both or none.
        _ => None,
    };
    let config = ServerConfig {
        data_dir: data_dir.clone(),
        store_dir,
        listen: args.listen,
        ingress: args.ingress,
        stems: args.stems.into(),
        image_space: args.image_space,
        insecure_registries: args.insecure_registry,
        trusted_proxies: args.trusted_proxy,
        tls,
        secret_keys: args.secret_key_file.map(|path| std::path::absolute(&path)).transpose()?,
        metrics_open: args.metrics_open,
        lambda_egress: args.lambda_egress,
        otlp: args.otlp,
        api_rate: args.api_rate,
        region: args.region,
        account: args.account_id,
        allowed_mounts: allowed_mounts.clone(),
        memory_budget: memory_budget(args.memory.map(model::Memory::bytes)),
    };
    // SQLite's temporary files belong where the data is, and the server may write nowhere else.
    let temporary = config.store_dir.join("tmp").display().to_string();
    let environment = vec![("SQLITE_TMPDIR".to_owned(), temporary)];
    let server = ["/proc/self/exe", "server", "--config", &serde_json::to_string(&config)?].map(String::from);

    let runtime_dir = bootstraps::unpack(&run_dir, &data_dir).context("unpack the bootstraps")?;
    let docker = docker::Options {
        socket: docker_host::socket(),
        name: name.clone(),
        run_dir: run_dir.join("docker"),
        code_dir: data_dir.join("code"),
        data_dir: data_dir.clone(),
        runtime_dir: runtime_dir.clone(),
        allowed_mounts: allowed_mounts.clone(),
        rootless: !root,
        network: net::Options {
            name: format!("{name}-docker"),
            range: args.network_range,
            state: run_dir.join("network-docker"),
            rootless: !root,
        },
        gvisor: through_docker.clone(),
    };
    let docker = ["/proc/self/exe", "docker-host", "--config", &serde_json::to_string(&docker)?].map(String::from);
    let helper = HelperOptions { command: docker.to_vec(), mount_namespace: host_mounts };

    let direct = gvisor::Options {
        name: format!("{name}-gvisor"),
        run_dir: run_dir.join("gvisor"),
        code_dir: data_dir.join("code"),
        data_dir: data_dir.clone(),
        runtime_dir: runtime_dir.clone(),
        allowed_mounts: allowed_mounts.clone(),
        rootless: !root,
        runsc: args.runsc,
    };
    let network = net::Network::new(net::Options {
        name: name.clone(),
        range: args.network_range,
        state: run_dir.join("network"),
        rootless: !root,
    });
    let options = namespace::Options {
        name,
        run_dir: run_dir.clone(),
        code_dir: data_dir.join("code"),
        data_dir: data_dir.clone(),
        runtime_dir,
        allowed_mounts,
        fork_servers: if args.fork_servers == ForkServers::Off { Vec::new() } else { fork_servers() },
    };
    let mut namespace = namespace::Namespace::new(&options, !root).context("prepare the namespace isolation")?;
    let raised = raise_limits(args.fork_servers, root, &mut namespace);
    let namespace = namespace.with_network(network.clone());
    let mut hosts: Vec<Box<dyn driver::Host>> = vec![Box::new(namespace)];
    if through_docker.is_none() {
        hosts.push(Box::new(gvisor::Gvisor::new(direct).with_network(network.clone())));
    }
    let leash = if args.until_stdin_closes { Some(io::stdin().as_fd().try_clone_to_owned()?) } else { None };
    let (door, server) = (run_dir.join(spawner::DOOR), server.to_vec());
    let options = spawner::Options { hosts, server, environment, helper: Some(helper), user, leash, door, program };
    let ended = spawner::run(options)?;
    drop(raised);
    network.close();
    if root {
        // Before anything below is removed: this is the data itself.
        namespace::unbind(&run_dir.join("data"))?;
    }
    // Nothing recursive but what was unpacked: a mount that could not be taken away must not be emptied.
    let _ = fs::remove_dir_all(run_dir.join("runtime"));
    let _ = fs::remove_dir(run_dir.join("root"));
    let _ = fs::remove_dir(&run_dir);
    Ok(match ended {
        Ended::Drained => ExitCode::SUCCESS,
        Ended::ServerFailed => {
            let _ = writeln!(io::stderr(), "hearth: the server cannot start; its message is above");
            ExitCode::FAILURE
        }
    })
}

/// Has inotify's limits fit for sandboxes that all have one owner; where they do not, none is forked unless that was asked
/// for.
fn raise_limits(wanted: ForkServers, root: bool, namespace: &mut namespace::Namespace) -> Option<inotify::Raised> {
    let raised = match (wanted, root) {
        (ForkServers::Off, _) => return None,
        (_, true) => inotify::raise().map_err(|error| error.to_string()),
        (_, false) => Err("that takes root".to_owned()),
    };
    raised
        .map_err(|why| {
            let why = format!("inotify's limits for one user cannot be raised for all sandboxes together: {why}");
            match wanted {
                ForkServers::On => tracing::warn!(why, "one function can keep others from having inotify"),
                _ => namespace.never_fork(&format!("{why} (--fork-servers on does without)")),
            }
        })
        .ok()
}

/// What fork servers are made of: every runtime here that can be forked.
fn fork_servers() -> Vec<namespace::ForkKind> {
    let bases = crate::runtimes::pythons().into_iter().filter_map(|found| engine::runtime_base(&found));
    bases.map(|base| namespace::ForkKind { command: base.command, env: base.env }).collect()
}

/// The user `hearth` if this machine has one.
fn server_user() -> ServerUser {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().find_map(|line| line.strip_prefix("hearth:"));
    let ids = entry.and_then(|rest| {
        let mut fields = rest.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let (uid, gid) = ids.unwrap_or((SERVER_ID, SERVER_ID));
    ServerUser { uid, gid }
}

/// Makes the data directory and gives it to the server, for nobody else to read.
fn make_data_dir(path: &Path, user: Option<ServerUser>) -> anyhow::Result<PathBuf> {
    let subject = || format!("make the data directory {}", path.display());
    fs::create_dir_all(path).with_context(subject)?;
    let path = fs::canonicalize(path).with_context(subject)?;
    // That it is there is as durable as what is in it.
    if let Some(parent) = path.parent() {
        fs::File::open(parent).and_then(|parent| parent.sync_all()).with_context(subject)?;
    }
    fs::create_dir_all(path.join("code")).with_context(subject)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).with_context(subject)?;
    if let Some(user) = user {
        let owner = fs::metadata(&path).with_context(subject)?.uid();
        if owner != user.uid {
            give(&path, user).with_context(|| format!("give {} to the server's user {}", path.display(), user.uid))?;
        }
    }
    Ok(path)
}

/// Changes the owner of everything below, without following links.
fn give(path: &Path, user: ServerUser) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    // The folder itself last: an interrupted run is noticed and done again.
    std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))
}

fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("hearth.lock");
    // The folder is the server's: a link in it could have root make or open a file anywhere.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
    let file = File::options().create(true).truncate(false).write(true).custom_flags(flags).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    let until = Instant::now() + LOCK_LIMIT;
    let mut told = false;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                if !told {
                    let dir = data_dir.display();
                    let _ = writeln!(
                        io::stderr(),
                        "hearth: another Hearth runs on {dir}: waiting for it to end, up to 10 s"
                    );
                    told = true;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("another Hearth runs on {}: end it, or choose another --data-dir", data_dir.display())
            }
            Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

/// Names this installation on the host, the same at every start: by its data directory.
fn installation_name(data_dir: &Path) -> String {
    format!("hearth-{}", installation_number(data_dir))
}

/// The number in it.
pub fn installation_number(data_dir: &Path) -> String {
    let digest = Sha256::digest(data_dir.as_os_str().as_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Where the Hearth that runs on a data directory, as this user, can be told something.
pub fn door(data_dir: &Path) -> PathBuf {
    run_path(data_dir, &installation_name(data_dir), rustix::process::geteuid().is_root()).join(spawner::DOOR)
}

/// A folder of the spawner's own, which the server cannot write.
fn run_dir(data_dir: &Path, name: &str, root: bool) -> anyhow::Result<PathBuf> {
    let path = run_path(data_dir, name, root);
    fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    // The server goes through it, to its data.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
    Ok(path)
}

fn run_path(data_dir: &Path, name: &str, root: bool) -> PathBuf {
    let base = match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        _ if root => PathBuf::from("/run"),
        Some(dir) if Path::new(&dir).is_dir() => PathBuf::from(dir),
        _ => data_dir.join("run"),
    };
    base.join(OsStr::new(name))
}

/// What functions may use together: given, or three quarters of what is free now.
fn memory_budget(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = available.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kib.map_or(512 << 20, |kib| kib * 1024 / 4 * 3)
    })
}
