//! The program: where it is, what its release can do, and how it is started.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use linux::cgroup::Group;
use linux::sys;
use model::InstanceId;
use rustix::process::{Pid, PidfdFlags};

/// Where distributions and gVisor's own instructions put it. Not the `PATH`: it is run as root.
pub const PLACES: [&str; 4] = ["/usr/local/bin/runsc", "/usr/bin/runsc", "/usr/local/sbin/runsc", "/usr/sbin/runsc"];

/// Most of what it prints that is read.
const MAX_OUTPUT: u64 = 64 * 1024;

/// Most of a failed start's log that is told.
const MAX_WORDS: u64 = 600;

/// How the sentry catches the function's system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Signals that a filter raises: quick, and works everywhere. Releases since 2023.
    Systrap,
    /// The processor's virtualisation: quick on bare metal.
    Kvm,
    /// As a debugger does: works everywhere, slowly.
    Ptrace,
}

/// An installed runsc.
#[derive(Debug, Clone)]
pub struct Runsc {
    program: PathBuf,
    /// As it says: `release-20240807.0`.
    pub version: String,
    /// What `runsc flags` prints.
    flags: String,
    /// An ordinary user runs it, as root of a user namespace.
    rootless: bool,
}

/// A sandbox's folder: the bundle, what runsc writes down about it, its log.
#[derive(Debug)]
pub struct Place<'a> {
    pub folder: &'a Path,
    pub id: &'a InstanceId,
    /// It is to have one: the network stack of gVisor's own, on what is in its namespace.
    pub network: bool,
}

// === impl Platform ===

impl Platform {
    /// The best first.
    pub const ALL: [Platform; 3] = [Platform::Systrap, Platform::Kvm, Platform::Ptrace];

    pub fn name(self) -> &'static str {
        match self {
            Self::Systrap => "systrap",
            Self::Kvm => "kvm",
            Self::Ptrace => "ptrace",
        }
    }
}

// === impl Runsc ===

impl Runsc {
    /// Looks for it; none where there is none.
    pub fn find<'a>(places: impl IntoIterator<Item = &'a Path>, rootless: bool) -> Option<io::Result<Self>> {
        let program = places.into_iter().find(|path| path.exists())?.to_owned();
        Some(Self::ask(program, rootless))
    }

    fn ask(program: PathBuf, rootless: bool) -> io::Result<Self> {
        // Both at once: each takes a few hundredths of a second.
        let [version, flags] = ["--version", "flags"].map(|what| output(&program, what));
        let (version, flags) = (read(version?)?, read(flags?)?);
        let first = version.lines().next().unwrap_or_default();
        let version = first.strip_prefix("runsc version ").unwrap_or(first).to_owned();
        Ok(Self { program, version, flags, rootless })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.lines().any(|line| line.trim_start().trim_start_matches('-').split([' ', '=']).next() == Some(flag))
    }

    /// The platforms that this release knows, the best first.
    pub fn platforms(&self) -> Vec<Platform> {
        let mut lines = self.flags.lines().skip_while(|line| !line.trim_start().starts_with("-platform "));
        let about: String = lines.by_ref().take(3).collect();
        Platform::ALL.into_iter().filter(|platform| about.contains(platform.name())).collect()
    }

    /// The arguments before the subcommand.
    fn options(&self, platform: Platform, place: &Place<'_>) -> Vec<String> {
        let file = |name: &str| place.folder.join(name).to_string_lossy().into_owned();
        let mut options = vec![
            // One for each sandbox: runsc locks it, and what is left of one is removed with it.
            format!("--root={}", file("state")),
            format!("--log={}", file("log")),
            format!("--platform={}", platform.name()),
            format!("--network={}", if place.network { "sandbox" } else { "none" }),
            // Hearth's own hold it already.
            "--ignore-cgroups".to_owned(),
        ];
        if self.rootless {
            // There are no other ids here for it to change to.
            options.push("--rootless".to_owned());
        }
        // Newer releases put a writable layer over the root, and let the sentry open the host's files itself. Neither
        // is wanted: nothing but /tmp is written to, and only the file server shall reach files.
        for (flag, value) in [("overlay2", "none"), ("directfs", "false")] {
            if self.has(flag) {
                options.push(format!("--{flag}={value}"));
            }
        }
        options
    }

    /// Starts `runsc run`, in its control group from the first moment on and tied to this process's life. What it starts
    /// is tied to its own. `socket` becomes the agent's descriptor 0.
    pub fn run(
        &self,
        platform: Platform,
        place: &Place<'_>,
        group: Arc<Group>,
        socket: OwnedFd,
    ) -> io::Result<OwnedFd> {
        let errors = File::options().create(true).append(true).open(place.folder.join("log"))?;
        let mut command = Command::new(&self.program);
        command.args(self.options(platform, place)).arg("run").arg("--bundle").arg(place.folder).arg(place.id.as_str());
        command.env_clear().current_dir("/").stdin(socket).stdout(Stdio::null()).stderr(errors);
        let parent = rustix::process::getpid();
        let network = place.network;
        // SAFETY: this process has one thread, so that the new one may do what any process may.
        unsafe {
            command.pre_exec(move || {
                if network {
                    hide_settings()?;
                }
                // What is open here is nobody else's business, whether it was marked so or not.
                check(libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC))?;
                rustix::process::setsid()?;
                sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _)?;
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                group.add(std::process::id().cast_signed())
            });
        }
        let child = command.spawn()?;
        Ok(rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?)
    }
}

/// runsc takes the host's network away from no host: it refuses to use one where it finds settings that, when it was
/// written, only the host's own namespace had. Linux 6 has them in all. Covered in a mount namespace of its own, in which
/// what is mounted for its sandbox later still appears.
fn hide_settings() -> io::Result<()> {
    // SAFETY: a mount namespace is no memory and no descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
    // Not the folder that it is in: each network namespace has one of its own.
    sys::mount(c"none", c"/proc/sys/net", c"tmpfs", libc::MS_RDONLY | libc::MS_NOEXEC, c"size=0,nr_inodes=1")
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Some of it goes to standard error.
fn output(program: &Path, what: &str) -> io::Result<(std::process::Child, io::PipeReader)> {
    let (read, write) = io::pipe()?;
    let mut command = Command::new(program);
    command.arg(what).env_clear().stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
    Ok((command.spawn()?, read))
}

fn read((mut child, output): (std::process::Child, io::PipeReader)) -> io::Result<String> {
    let mut text = Vec::new();
    output.take(MAX_OUTPUT).read_to_end(&mut text)?;
    if !child.wait()?.success() {
        return Err(io::Error::other("it does not run"));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The end of what runsc wrote about a sandbox that never began.
pub fn last_words(folder: &Path) -> String {
    let text = File::open(folder.join("log")).and_then(|mut file| {
        let mut text = Vec::new();
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(length.saturating_sub(MAX_WORDS)))?;
        file.take(MAX_WORDS).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    });
    summary(&text.unwrap_or_default())
}

/// It says the same thing several times; once as JSON, for programs.
fn summary(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = |line| Some(serde_json::from_str::<serde_json::Value>(line).ok()?.get("msg")?.as_str()?.to_owned());
    match lines().rev().find_map(message) {
        Some(message) => format!("runsc: {message}"),
        None if lines().next().is_none() => "runsc ended without a word".into(),
        None => format!("runsc: {}", lines().collect::<Vec<_>>().join("; ")),
    }
}

/// Whether there is a device for [`Platform::Kvm`] at all.
pub fn has_kvm() -> bool {
    fs::metadata("/dev/kvm").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "  -platform string\n    \tspecifies which platform to use: ptrace (default), kvm. (default \
                       \"ptrace\")\n  -platform_device_path string\n    \tpath\n  -overlay2 value\n    \twrap mounts";
    const NEW: &str = "  -platform string\n    \tspecifies which platform to use: systrap (default), kvm, ptrace. \
                       (default \"systrap\")\n  -directfs\n    \tdirectly access the container filesystems";

    fn release(flags: &str) -> Runsc {
        Runsc { program: "/usr/bin/runsc".into(), version: "1".into(), flags: flags.into(), rootless: false }
    }

    #[test]
    fn platforms_are_those_of_the_release_the_best_first() {
        assert_eq!(release(OLD).platforms(), [Platform::Kvm, Platform::Ptrace]);
        assert_eq!(release(NEW).platforms(), Platform::ALL);
        assert_eq!(release("").platforms(), []);
    }

    #[test]
    fn only_flags_that_the_release_has_are_given() {
        let id = InstanceId::random();
        let options = |flags| {
            let place = Place { folder: Path::new("/run/x"), id: &id, network: false };
            release(flags).options(Platform::Ptrace, &place)
        };
        let has = |flags, flag: &str| options(flags).iter().any(|option| option == flag);
        assert!(has(OLD, "--overlay2=none") && !has(OLD, "--directfs=false"));
        assert!(has(NEW, "--directfs=false") && !has(NEW, "--overlay2=none"));
        assert!(has(OLD, "--network=none") && has(OLD, "--platform=ptrace"));
    }

    #[test]
    fn a_failure_is_told_once() {
        let said = "W1122 18:35 util.go:64] FATAL ERROR: no\nno\n{\"msg\":\"no way\",\"level\":\"error\"}\n";
        assert_eq!(summary(said), "runsc: no way");
        assert_eq!(summary("panic\n\n"), "runsc: panic");
        assert_eq!(summary(""), "runsc ended without a word");
    }

    #[test]
    fn where_there_is_none_none_is_found() {
        assert!(Runsc::find([Path::new("/no/such/runsc")], false).is_none());
    }
}
