//! The bootstraps, which the binary carries, unpacked for sandboxes to see, and Python's compiled once: compiling
//! them at every cold start would cost more than the rest of the start.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Path below `/var/runtime`, and content; from the build script.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/runtime_files.rs"));

/// What makes a Python a fork server: beside the file that loads it.
const FORK_LIBRARY: &str = "python/_hearth/hearth_fork.so";
/// What the first process of a sandbox that was forked of it runs.
const FORK_INIT: &str = "python/_hearth/hearth_init";

/// Both halves of fork points: the one beside the file that loads it, the other where the engine says that it is.
const SNAPSHOT_LIBRARY: &str = "python/_hearth/hearth_snapshot.so";
const RESTORE_PROGRAM: &str = "hearth-restore";

/// Sources, of which sandboxes see the jar.
const JAVA: &str = "java/";

/// Compiling takes a tenth of a second for each Python; one that takes longer is left to compile at each start.
const COMPILE_LIMIT: Duration = Duration::from_secs(10);

/// Writes them into a folder below `run_dir`, and returns it. What takes long to make is kept below `data_dir`.
pub fn unpack(run_dir: &Path, data_dir: &Path) -> io::Result<PathBuf> {
    let folder = run_dir.join("runtime");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for (path, content) in FILES.iter().filter(|(path, _)| !path.starts_with(JAVA)) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(&path, content)?;
    }
    fs::write(folder.join(FORK_LIBRARY), fork_image::BYTES)?;
    fs::write(folder.join(FORK_INIT), fork_image::INIT)?;
    // Who may not read a program may not look at the process that runs it.
    fs::set_permissions(folder.join(FORK_INIT), fs::Permissions::from_mode(0o111))?;
    fs::write(folder.join(SNAPSHOT_LIBRARY), snapshot_image::LIBRARY)?;
    let restore = folder.join(RESTORE_PROGRAM);
    fs::write(&restore, snapshot_image::PROGRAM)?;
    fs::set_permissions(&restore, fs::Permissions::from_mode(0o755))?;
    let agent = folder.join("hearth-agent");
    fs::write(&agent, agent_image::BYTES)?;
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
    let compiling: Vec<_> = pythons().map(|python| (compile(&python, &folder.join("python")), python)).collect();
    for (child, python) in compiling {
        let ended = child.and_then(|child| wait(child, COMPILE_LIMIT));
        if !matches!(&ended, Ok(true)) {
            tracing::warn!(?python, ?ended, "could not compile the bootstrap: cold starts will be slower");
        }
    }
    // Python and Node do without it.
    if let Err(error) = crate::java::unpack(&folder.join("java"), data_dir) {
        tracing::error!(%error, "the Java bootstrap cannot be unpacked: Java functions will not start");
    }
    Ok(folder)
}

/// The Java bootstrap's sources, by their paths below its folder.
pub fn java_sources() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(|(path, text)| Some((path.strip_prefix(JAVA)?, *text)))
}

fn pythons() -> impl Iterator<Item = PathBuf> {
    let candidates =
        (9..=14).flat_map(|minor| ["/usr/bin", "/usr/local/bin"].map(|dir| format!("{dir}/python3.{minor}")));
    candidates.map(PathBuf::from).filter(|path| path.exists())
}

fn compile(python: &Path, folder: &Path) -> io::Result<std::process::Child> {
    // The compiled files name the path at which the sandbox sees the source, and are used unchecked: the
    // source beside them never changes.
    Command::new(python)
        .args([
            "-I",
            "-S",
            "-m",
            "compileall",
            "-q",
            "--invalidation-mode",
            "unchecked-hash",
            "-d",
            "/var/runtime/python",
        ])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
}

/// Whether it succeeded in time; a child that did not end is killed.
pub fn wait(mut child: std::process::Child, limit: Duration) -> io::Result<bool> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
