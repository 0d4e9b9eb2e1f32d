//! One sandbox's group.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use driver::{Freezer, FreezerKind, Limits, SandboxFiles, UsageFiles};
use model::InstanceId;

use super::detect::Version;
use super::files;
use super::tree::Tree;

/// The group of one sandbox. Dropping it leaves the folders: [`Group::remove`] takes them away.
#[derive(Debug)]
pub struct Group {
    id: InstanceId,
    trees: Arc<[Tree]>,
    /// Where one tree does everything: that folder.
    whole: Option<OwnedFd>,
}

impl Group {
    pub(super) fn create(trees: Arc<[Tree]>, id: &InstanceId, limits: &Limits) -> io::Result<Self> {
        let mut group = Self { id: id.clone(), trees, whole: None };
        for (index, tree) in group.trees.iter().enumerate() {
            if let Err(error) = tree.create(id.as_str(), limits) {
                for made in &group.trees[..=index] {
                    let _ = made.remove(id.as_str());
                }
                return Err(error);
            }
        }
        if let [tree] = &*group.trees
            && tree.version == Version::V2
        {
            group.whole = Some(tree.open_group(id.as_str())?);
        }
        Ok(group)
    }

    fn name(&self) -> &str {
        self.id.as_str()
    }

    /// For `CLONE_INTO_CGROUP`. Whoever is cloned into it is in the whole group and need not be added. None
    /// where there are several trees: there [`Group::add`] is the only way.
    pub fn dir_fd_for_clone(&self) -> Option<BorrowedFd<'_>> {
        self.whole.as_ref().map(AsFd::as_fd)
    }

    /// Moves a process, with all its threads, into the group; its children will be born there.
    ///
    /// It costs a few dozen microseconds; or, on kernels before 6.0 or where `favordynmods` could not be set, a
    /// wait for every processor to pass through the scheduler: some 8 ms.
    pub fn add(&self, pid: i32) -> io::Result<()> {
        self.trees.iter().try_for_each(|tree| tree.add(self.name(), pid))
    }

    /// Open files with its figures, and the one that freezes it.
    pub fn files(&self) -> SandboxFiles {
        SandboxFiles { usage: self.usage_files(), freezer: self.freezer() }
    }

    fn freezer(&self) -> Option<Freezer> {
        let tree = self.trees.iter().find(|tree| tree.duties.freeze)?;
        let (kind, file) = match tree.version {
            Version::V2 => (FreezerKind::V2, "cgroup.freeze"),
            Version::V1 => (FreezerKind::V1, "freezer.state"),
        };
        let file = files::open_to_write(&tree.dir, &format!("{}/{file}", self.name())).ok()?;
        Some(Freezer { kind, file })
    }

    /// Open files with its figures.
    pub fn usage_files(&self) -> UsageFiles {
        let open = |tree: &Tree, file: &str| files::open(&tree.dir, &format!("{}/{file}", self.name())).ok();
        let mut usage = UsageFiles::default();
        for tree in self.trees.iter() {
            if tree.duties.memory {
                usage.memory_peak = match tree.version {
                    Version::V2 => open(tree, "memory.peak"),
                    Version::V1 => open(tree, "memory.max_usage_in_bytes"),
                };
            }
            if tree.duties.usage {
                usage.cpu = match tree.version {
                    Version::V2 => open(tree, "cpu.stat"),
                    Version::V1 => open(tree, "cpuacct.usage"),
                };
            }
        }
        usage
    }

    /// A descriptor that becomes readable when the group runs out of memory, or vanishes; read eight bytes to
    /// arm it anew. Version 1 only: it kills one process, and the spawner must kill the rest. Version 2 kills
    /// all by itself: none.
    pub fn oom_eventfd(&self) -> Option<io::Result<OwnedFd>> {
        let tree = self.memory_tree().filter(|tree| tree.version == Version::V1)?;
        Some((|| {
            use rustix::event::{EventfdFlags, eventfd};
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let control = files::open(&tree.dir, &format!("{}/memory.oom_control", self.name()))?;
            let order = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
            files::write(&tree.dir, &format!("{}/cgroup.event_control", self.name()), &order, false)?;
            Ok(event)
        })())
    }

    /// Whether any of its processes was killed for lack of memory.
    pub fn oom_killed(&self) -> bool {
        let Some(tree) = self.memory_tree() else { return false };
        let read = |file: &str| files::read(&tree.dir, &format!("{}/{file}", self.name())).unwrap_or_default();
        let counted = match tree.version {
            Version::V2 => files::field(&read("memory.events"), "oom_kill"),
            Version::V1 => files::field(&read("memory.oom_control"), "oom_kill")
                // Before Linux 4.13: how often the limit was hit. Mostly that ended in a kill.
                .or_else(|| read("memory.failcnt").trim().parse().ok()),
        };
        counted.is_some_and(|count| count > 0)
    }

    fn memory_tree(&self) -> Option<&Tree> {
        self.trees.iter().find(|tree| tree.duties.memory)
    }

    /// Stops all its processes where they stand, or lets them go on. False where the host cannot.
    pub fn freeze(&self, frozen: bool) -> io::Result<bool> {
        let Some(tree) = self.trees.iter().find(|tree| tree.duties.freeze) else { return Ok(false) };
        let (file, text) = match (tree.version, frozen) {
            (Version::V2, true) => ("cgroup.freeze", "1"),
            (Version::V2, false) => ("cgroup.freeze", "0"),
            (Version::V1, true) => ("freezer.state", "FROZEN"),
            (Version::V1, false) => ("freezer.state", "THAWED"),
        };
        files::write(&tree.dir, &format!("{}/{file}", self.name()), text, false)?;
        Ok(true)
    }

    /// Kills whoever is in it. Frozen processes die too. Returns at once.
    pub fn kill_all(&self) {
        if let Some(tree) = self.trees.iter().find(|tree| tree.duties.kill) {
            tree.kill(self.name());
        }
        self.let_die();
    }

    /// Lets processes that were sent a SIGKILL while frozen die of it. Version 2 does by itself; version 1 keeps them
    /// until they thaw.
    pub fn let_die(&self) {
        self.trees.iter().for_each(|tree| tree.let_die(self.name()));
    }

    /// Takes the group away: true when it is gone from every tree, false while processes are still in it and it
    /// has to be tried again. Calling it again after that is no error.
    pub fn remove(&self) -> io::Result<bool> {
        let mut gone = true;
        for tree in self.trees.iter() {
            gone &= tree.remove(self.name())?;
        }
        Ok(gone)
    }
}
