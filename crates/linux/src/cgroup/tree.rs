//! One hierarchy, and the installation's folder in it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use driver::Limits;
use model::{Cpu, Memory};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::detect::{Duties, Site, Version};
use super::{files, kill};

/// A hierarchy with the installation's group in it.
#[derive(Debug)]
pub struct Tree {
    pub version: Version,
    pub duties: Duties,
    /// The installation's group.
    pub dir: OwnedFd,
    /// Version 1: whether swap is counted.
    memsw: bool,
    fake: bool,
}

/// The leaf that processes move to where a group shall have children: version 2 allows either, not both.
pub const SUPERVISOR: &str = "supervisor";

/// How long ending threads may keep a group in use.
const LEAVING: Duration = Duration::from_secs(1);

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

fn make(dir: impl std::os::fd::AsFd, name: &str) -> io::Result<()> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(files::at("make", name)(errno)),
    }
}

// === impl Site ===

impl Site {
    fn open(&self) -> io::Result<OwnedFd> {
        rustix::fs::openat(CWD, &self.base, FOLDER, Mode::empty())
            .map_err(files::at("open", &self.base.to_string_lossy()))
    }

    /// Whether another installation has its group here.
    pub fn has_another(&self, own: &str) -> bool {
        let groups = self.open().and_then(|base| folders(&base));
        groups.is_ok_and(|groups| groups.iter().any(|name| name != own && name.starts_with("hearth-")))
    }

    /// Removes the installation's group.
    pub fn close(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(self.open()?, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(files::at("remove", name)(errno)),
        }
    }
}

/// `cpu.shares` of version 1 for a share; also what container engines are told.
pub fn cpu_shares(share: Cpu) -> u64 {
    weight(share, 1024).clamp(2, 262_144)
}

/// A share as the kernel's number, where `usual` is what every other group of the host has. The smallest of AWS's
/// sizes, 128 MB with 0.072 cores, weighs as much as one of those: with less, a busy neighbour on the host would
/// stretch every cold start. Above it, shares stay in proportion.
fn weight(share: Cpu, usual: u64) -> u64 {
    const SMALLEST: u64 = 72;
    u64::from(share.as_millis()) * usual / SMALLEST
}

// === impl Tree ===

impl Tree {
    /// Makes the installation's group and hands the controllers down to it.
    pub fn open(site: &Site, name: &str, fake: bool) -> io::Result<Self> {
        let base = site.open()?;
        if site.version == Version::V2 {
            empty_and_hand_down(&base, site, fake)?;
        }
        make(&base, name)?;
        let dir = rustix::fs::openat(&base, name, FOLDER, Mode::empty()).map_err(files::at("open", name))?;
        match site.version {
            Version::V2 => hand_down(&dir, site.duties, fake)?,
            // Before Linux 5.11, a group bounds its children only if told so while it has none.
            Version::V1 if site.duties.memory => {
                let _ = files::write(&dir, "memory.use_hierarchy", "1", false);
            }
            Version::V1 => {}
        }
        let memsw = files::exists(&dir, "memory.memsw.limit_in_bytes");
        Ok(Self { version: site.version, duties: site.duties, dir, memsw, fake })
    }

    /// Bounds all groups together.
    pub fn limit_all(&self, memory: Memory) -> io::Result<()> {
        if self.duties.memory { self.limit_memory("", memory) } else { Ok(()) }
    }

    /// Makes a sandbox's group and sets its limits.
    pub fn create(&self, name: &str, limits: &Limits) -> io::Result<()> {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&self.dir, name, mode).map_err(files::at("make the group", name))?;
        let prefix = format!("{name}/");
        let Duties { memory, cpu, pids, .. } = self.duties;
        if memory {
            self.limit_memory(&prefix, limits.memory)?;
            if self.version == Version::V1 {
                // Version 1 counts what TCP and UDP sockets hold only where it is limited, and by itself.
                let buffers = limits.memory.bytes() / 4;
                optional(self.number(&prefix, "memory.kmem.tcp.limit_in_bytes", buffers))?;
            }
        }
        if cpu {
            self.limit_cpu(&prefix, limits)?;
        }
        if pids {
            self.number(&prefix, "pids.max", u64::from(limits.pids))?;
        }
        Ok(())
    }

    fn text(&self, prefix: &str, file: &str, text: &str) -> io::Result<()> {
        files::write(&self.dir, &format!("{prefix}{file}"), text, self.fake)
    }

    fn number(&self, prefix: &str, file: &str, number: u64) -> io::Result<()> {
        files::write_number(&self.dir, &format!("{prefix}{file}"), number, self.fake)
    }

    /// No swap: a function that swaps makes its neighbours wait for the disk, and pages of one tenant's memory
    /// have no business there. Over the limit, all of the sandbox dies, not the process that was next in line.
    fn limit_memory(&self, prefix: &str, memory: Memory) -> io::Result<()> {
        match self.version {
            Version::V2 => {
                self.number(prefix, "memory.max", memory.bytes())?;
                // Not there in kernels without swap, or before 4.19.
                optional(self.number(prefix, "memory.swap.max", 0))?;
                if prefix.is_empty() { Ok(()) } else { optional(self.number(prefix, "memory.oom.group", 1)) }
            }
            Version::V1 => {
                // The sum's limit may not lie below memory's: down, memory goes first; up, the sum does.
                let limits = |file| self.number(prefix, file, memory.bytes());
                if !self.memsw {
                    return limits("memory.limit_in_bytes");
                }
                limits("memory.limit_in_bytes").or_else(|_| {
                    limits("memory.memsw.limit_in_bytes").and_then(|()| limits("memory.limit_in_bytes"))
                })?;
                limits("memory.memsw.limit_in_bytes")
            }
        }
    }

    fn limit_cpu(&self, prefix: &str, limits: &Limits) -> io::Result<()> {
        let Quota { quota, period } = Quota::of(limits.cpu_cap.as_millis());
        match self.version {
            Version::V2 => {
                self.text(prefix, "cpu.max", &format!("{quota} {period}"))?;
                self.number(prefix, "cpu.weight", weight(limits.cpu_share, 100).clamp(1, 10_000))
            }
            Version::V1 => {
                self.number(prefix, "cpu.cfs_period_us", period)?;
                self.number(prefix, "cpu.cfs_quota_us", quota)?;
                self.number(prefix, "cpu.shares", cpu_shares(limits.cpu_share))
            }
        }
    }

    pub fn add(&self, name: &str, pid: i32) -> io::Result<()> {
        let path = format!("{name}/cgroup.procs");
        files::write_number(&self.dir, &path, u64::from(pid.unsigned_abs()), self.fake)
    }

    pub fn open_group(&self, name: &str) -> io::Result<OwnedFd> {
        rustix::fs::openat(&self.dir, name, FOLDER, Mode::empty()).map_err(files::at("open", name))
    }

    /// Names of the groups that are there.
    pub fn groups(&self) -> io::Result<Vec<String>> {
        folders(&self.dir)
    }

    /// Kills whoever is in a group. What hinders that shows when the group cannot be removed.
    pub fn kill(&self, name: &str) {
        let all_at_once = format!("{name}/cgroup.kill");
        if self.version == Version::V2 && files::write(&self.dir, &all_at_once, "1", false).is_ok() {
            return;
        }
        let list = format!("{name}/cgroup.procs");
        kill::each(|| files::read(&self.dir, &list));
    }

    /// Thaws a group of version 1, in which the killed live on while they are frozen.
    pub fn let_die(&self, name: &str) {
        if self.version == Version::V1 && self.duties.freeze {
            let _ = files::write(&self.dir, &format!("{name}/freezer.state"), "THAWED", false);
        }
    }

    /// Whether the group is gone; false while processes are still in it.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::BUSY) => Ok(false),
            Err(errno) => Err(files::at("remove the group", name)(errno)),
        }
    }
}

fn folders(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::new(rustix::fs::openat(dir, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Processor time for each period, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub quota: u64,
    pub period: u64,
}

impl Quota {
    /// Whoever has used up a period's time stands still until the next: with the kernel's usual 100 ms, half a
    /// core's function does for 50 ms, in the midst of a request. So 20 ms, as on AWS: 10 ms at most. Not less:
    /// time is dealt to processors in slices of 5 ms, and the kernel takes no quota below 1 ms, for which small
    /// caps get longer periods.
    pub fn of(millicores: u32) -> Self {
        let millicores = u64::from(millicores.max(1));
        let period = (1_000_000_u64.div_ceil(millicores)).clamp(20_000, 1_000_000);
        Self { quota: (period * millicores / 1000).max(1_000), period }
    }
}

/// Makes controllers available to a group's children.
fn hand_down(dir: &OwnedFd, duties: Duties, fake: bool) -> io::Result<()> {
    const FILE: &str = "cgroup.subtree_control";
    let on = files::read(dir, FILE).unwrap_or_default();
    let wanted = [("memory", duties.memory), ("cpu", duties.cpu), ("pids", duties.pids)];
    for (controller, _) in wanted.iter().filter(|(name, wanted)| *wanted && !on.split_whitespace().any(|c| c == *name))
    {
        files::write(dir, FILE, &format!("+{controller}"), fake)?;
    }
    Ok(())
}

/// [`move_aside`] where that is needed, then [`hand_down`].
fn empty_and_hand_down(base: &OwnedFd, site: &Site, fake: bool) -> io::Result<()> {
    let deadline = Instant::now() + LEAVING;
    loop {
        if site.crowded {
            move_aside(base, fake)?;
        }
        match hand_down(base, site.duties, fake) {
            // A thread that is just ending stays behind when its process moves, and is on no list, until it is
            // gone: the kernel still finds the group in use.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && site.crowded && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// Moves the processes of a group into a leaf below it.
fn move_aside(base: &OwnedFd, fake: bool) -> io::Result<()> {
    make(base, SUPERVISOR)?;
    let into = format!("{SUPERVISOR}/cgroup.procs");
    // Processes fork while they are being moved.
    for _ in 0..100 {
        let list = files::read(base, "cgroup.procs")?;
        if list.is_empty() || fake {
            return Ok(());
        }
        for pid in list.lines() {
            // Gone meanwhile: ESRCH.
            if let Err(error) = files::write(base, &into, pid, fake)
                && error.kind() == io::ErrorKind::PermissionDenied
            {
                return Err(error);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "processes keep appearing in Hearth's own control group"))
}
