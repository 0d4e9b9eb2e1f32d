//! Java on this machine: which virtual machines there are, the bootstrap's jar, and an archive of its classes for each.
//!
//! ```text
//! up ─► jar (from the binary, else compiled once) ─► /var/runtime/java/bootstrap.jar
//!    ─► an archive for each machine (made once, and kept) ─► its file of options names it
//! ```
//!
//! A machine takes an archive only with the jar it was made of, at the same path and with the same time: so it is made where
//! `/var/runtime` is what sandboxes see, and the jar's time is always the same. One that does not fit costs its start, no more.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use driver::InstalledRuntime;
use model::Runtime;
use sha2::{Digest, Sha256};

use crate::{bootstraps, javac};

/// The jar, where the machine that built this binary had a Java compiler.
const JAR: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/java_bootstrap.rs"));

/// What the jar cannot do by itself, beside it.
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hearth_java.so"));

/// Folders below which installations are, each in its own.
const HOMES: [&str; 3] = ["/usr/lib/jvm", "/usr/local/lib/jvm", "/usr/java"];

/// Programs that lead to one.
const PROGRAMS: [&str; 2] = ["/usr/bin/java", "/usr/local/bin/java"];

/// Majors that the bootstrap runs on.
const MAJORS: std::ops::RangeInclusive<u32> = javac::OLDEST..=25;

/// What making an archive takes at most; half a second is usual.
const ARCHIVE_LIMIT: Duration = Duration::from_secs(60);

/// For the jar: any that never changes.
const JAR_TIME: Duration = Duration::from_secs(1_000_000_000);

const SLOWER: &str = "no archive of the Java bootstrap's classes: cold starts will be slower";

/// A virtual machine of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Jvm {
    major: u32,
    program: PathBuf,
    /// The text that an installation describes itself with.
    release: String,
}

/// Every version, once, oldest first; none where the bootstrap can be neither had nor made.
pub fn installed() -> Vec<InstalledRuntime> {
    let jvms = jvms();
    if !jvms.is_empty() && JAR.is_none() && javac::find().is_none() {
        tracing::warn!(
            "Java functions need a Java compiler once: this Hearth was built without one, and here is none (Debian: apt \
             install openjdk-17-jdk-headless)"
        );
        return Vec::new();
    }
    let runtime = |jvm: Jvm| InstalledRuntime {
        runtime: Runtime::java(&jvm.major.to_string()),
        program: jvm.program.to_string_lossy().into_owned(),
    };
    jvms.into_iter().map(runtime).collect()
}

fn jvms() -> Vec<Jvm> {
    let homes = HOMES.iter().flat_map(|folder| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut homes: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        homes.sort();
        homes
    });
    // What `java` is comes first where there are several of one version.
    let named =
        PROGRAMS.iter().filter_map(|program| Some(fs::canonicalize(program).ok()?.parent()?.parent()?.to_owned()));
    let mut found: Vec<Jvm> = Vec::new();
    for home in named.chain(homes) {
        if let Some(jvm) = look(&home)
            && !found.iter().any(|known| known.major == jvm.major)
        {
            found.push(jvm);
        }
    }
    found.sort_by_key(|jvm| jvm.major);
    found
}

/// An installation says what it is in a file; running it would take a twentieth of a second each.
fn look(home: &Path) -> Option<Jvm> {
    let home = fs::canonicalize(home).ok().filter(|home| home.starts_with("/usr"))?;
    let program = home.join("bin/java");
    let release = fs::read_to_string(home.join("release")).ok().filter(|_| program.is_file())?;
    let major = major_of(&release).filter(|major| MAJORS.contains(major))?;
    Some(Jvm { major, program, release })
}

/// `JAVA_VERSION="17.0.15"` → 17
fn major_of(release: &str) -> Option<u32> {
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    version.trim_matches('"').split(['.', '-', '+']).next()?.parse().ok()
}

/// Puts the bootstrap into `folder`, where sandboxes see it, and archives beside it. What takes long to make is kept in the
/// user's cache, for every Hearth of theirs; without a home in `data_dir`.
pub fn unpack(folder: &Path, data_dir: &Path) -> io::Result<()> {
    let jvms = jvms();
    if jvms.is_empty() {
        return Ok(());
    }
    let kept = cache().unwrap_or_else(|| data_dir.to_owned()).join("java");
    fs::create_dir_all(folder)?;
    fs::create_dir_all(&kept)?;
    let Some(jar) = jar(&kept)? else { return Ok(()) };
    let path = folder.join("bootstrap.jar");
    fs::write(&path, &jar)?;
    File::options().append(true).open(&path)?.set_modified(SystemTime::UNIX_EPOCH + JAR_TIME)?;
    fs::write(folder.join("hearth_java.so"), LIBRARY)?;
    let mut making = Vec::new();
    for jvm in jvms {
        // It is named on every command line.
        fs::write(folder.join(format!("java{}.options", jvm.major)), "")?;
        let archive = kept.join(format!("{}.jsa", name(&jvm, &jar)));
        if !archive.is_file() {
            tracing::info!(java = jvm.major, "making an archive of the Java bootstrap's classes, once");
            making.push((start(&jvm, folder), jvm, archive));
        } else if let Err(error) = publish(&jvm, &archive, folder) {
            tracing::warn!(java = jvm.major, %error, "{SLOWER}");
        }
    }
    for (child, jvm, archive) in making {
        let made = child.and_then(|child| finish(child, &jvm, &archive, folder));
        if let Err(error) = made.and_then(|()| publish(&jvm, &archive, folder)) {
            tracing::warn!(java = jvm.major, %error, "{SLOWER}");
        }
    }
    Ok(())
}

/// By the XDG specification.
fn cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?.join("hearth"))
}

/// The bootstrap's jar: the binary's own, else compiled here, once for this version of it.
fn jar(kept: &Path) -> io::Result<Option<Vec<u8>>> {
    if let Some(jar) = JAR {
        return Ok(Some(jar.to_vec()));
    }
    let sources: Vec<_> = bootstraps::java_sources().collect();
    let mut hash = Sha256::new();
    sources.iter().for_each(|(path, text)| hash.update(format!("{path}\0{text}\0")));
    let path = kept.join(format!("bootstrap-{}.jar", short(hash)));
    if let Ok(jar) = fs::read(&path) {
        return Ok(Some(jar));
    }
    let Some(tools) = javac::find() else { return Ok(None) };
    tracing::info!("compiling the Java bootstrap, once");
    let work = kept.join("sources");
    for (file, text) in sources {
        let file = work.join(file);
        fs::create_dir_all(file.parent().unwrap_or(&work))?;
        fs::write(file, text)?;
    }
    let new = kept.join("new.jar");
    javac::compile(&tools, &work, &new)?;
    fs::remove_dir_all(&work)?;
    fs::rename(&new, &path)?;
    fs::read(&path).map(Some)
}

/// What an archive depends on.
fn name(jvm: &Jvm, jar: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(jar);
    hash.update(LIBRARY);
    hash.update(jvm.program.as_os_str().as_encoded_bytes());
    hash.update(&jvm.release);
    // A package's new build of the same version.
    let library = jvm.program.with_file_name("../lib/server/libjvm.so");
    let modified = fs::metadata(library).and_then(|meta| meta.modified()).ok();
    let modified = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    hash.update(modified.as_nanos().to_le_bytes());
    format!("java{}-{}", jvm.major, short(hash))
}

fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Rehearses a life in a virtual machine that keeps its classes, in a mount namespace in which `/var/runtime` is what
/// sandboxes see.
fn start(jvm: &Jvm, folder: &Path) -> io::Result<Child> {
    const SCRIPT: &str = "set -e; mount --bind \"$1\" /mnt; mount -t tmpfs hearth /var; mkdir /var/runtime; \
                          mount --move /mnt /var/runtime; cd /tmp; shift; exec \"$@\"";
    let runtime = folder.parent().unwrap_or(folder);
    let (Some(runtime_text), Some(program)) = (runtime.to_str(), jvm.program.to_str()) else {
        return Err(io::Error::other("a path is not UTF-8"));
    };
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", SCRIPT, "sh", runtime_text, program]);
    // Of the flags that sandboxes give, those which an archive depends on.
    command.args([
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Xlog:disable",
        "-Xlog:all=error:stderr",
    ]);
    command.arg(format!("-XX:ArchiveClassesAtExit=/var/runtime/java/{}", new_name(jvm)));
    command.args(["-jar", engine::JAVA_BOOTSTRAP, "rehearse"]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
}

/// Keeps what was made, for this start and all later ones.
fn finish(mut child: Child, jvm: &Jvm, archive: &Path, folder: &Path) -> io::Result<()> {
    let new = folder.join(new_name(jvm));
    let stderr = child.stderr.take();
    if !bootstraps::wait(child, ARCHIVE_LIMIT)? || !new.is_file() {
        let mut said = String::new();
        if let Some(mut stderr) = stderr {
            stderr.read_to_string(&mut said)?;
        }
        let _ = fs::remove_file(&new);
        return Err(io::Error::other(format!("making it failed: {}", said.trim())));
    }
    let part = archive.with_extension("part");
    fs::copy(&new, &part)?;
    fs::remove_file(&new)?;
    fs::rename(part, archive)?;
    sweep(archive, jvm.major);
    Ok(())
}

fn new_name(jvm: &Jvm) -> String {
    format!("java{}.new", jvm.major)
}

/// Removes those of this version that fitted another jar or machine.
fn sweep(archive: &Path, major: u32) {
    let prefix = format!("java{major}-");
    for entry in archive.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) && entry.path() != archive {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Has every later start take the archive: first it is there whole, then it is named.
fn publish(jvm: &Jvm, archive: &Path, folder: &Path) -> io::Result<()> {
    let name = format!("java{}.jsa", jvm.major);
    fs::copy(archive, folder.join(&name))?;
    let options = folder.join(format!("java{}.options", jvm.major));
    let new = options.with_extension("options.new");
    // One that does not fit is passed over in silence: its words would be the function's.
    fs::write(&new, format!("-XX:SharedArchiveFile=/var/runtime/java/{name}\n-Xlog:cds=off\n-Xlog:cds+dynamic=off\n"))?;
    fs::rename(new, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_tells_its_major() {
        assert_eq!(major_of("IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.15\"\n"), Some(17));
        assert_eq!(major_of("JAVA_VERSION=\"21\"\n"), Some(21));
        assert_eq!(major_of("JAVA_VERSION=\"1.8.0_412\"\n"), Some(1));
        assert_eq!(major_of("x"), None);
    }

    #[test]
    fn a_version_is_there_once() {
        let mut majors: Vec<u32> = jvms().iter().map(|jvm| jvm.major).collect();
        majors.dedup();
        assert_eq!(majors.len(), jvms().len());
    }
}
