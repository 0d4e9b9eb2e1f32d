//! Control groups: what a sandbox's processes together may use, what they have used, and one handle on all.
//!
//! ```text
//! <where the controllers are>/hearth-1a2b3c4d            the installation's group: the ceiling for all
//!                            └── 0123456789abcdef        one group for each sandbox: its limits
//! ```
//!
//! Version 2 has one tree for everything. Version 1 has a tree for each controller, often with a version 2 tree
//! beside them that has no controllers (hybrid) but still kills, freezes and counts processor time. So a group
//! is a folder in each of several trees, and each tree has its duties. Where a controller is not to be had,
//! the group does without, and [`Cgroups::detect`] says so: a limit is never dropped in silence.
//!
//! Nothing here waits, but [`Cgroups::sweep`] and [`Cgroups::close`]: they run before the first and after the
//! last sandbox.

mod detect;
mod files;
mod group;
mod kill;
mod mounts;
mod tree;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::{Finding, Limits};
use model::{InstanceId, Memory};

pub use detect::Roots;
pub use group::Group;
pub use tree::cpu_shares;

use detect::Plan;
use mounts::Mount;
use tree::Tree;

/// This installation's part of the host's control groups. Looks only, until the first [`Cgroups::sweep`] or
/// [`Cgroups::create`].
#[derive(Debug)]
pub struct Cgroups {
    name: String,
    plan: Plan,
    ceiling: Option<Memory>,
    trees: Option<Arc<[Tree]>>,
    /// Whether it is for us to undo that joining groups is quick.
    hurried: bool,
    /// Whether processes are moved into groups on version 2 too, instead of being born there.
    joined: bool,
}

/// Which limits hold here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Enforced {
    pub memory: bool,
    pub cpu: bool,
    pub pids: bool,
}

/// How long killed processes are waited for before their group counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

// === impl Cgroups ===

impl Cgroups {
    /// Looks where the controllers are and what is missing. `name` becomes a folder's name: `hearth-1a2b3c4d`.
    pub fn detect(name: &str) -> (Self, Vec<Finding>) {
        Self::detect_in(name, &Roots::default())
    }

    /// [`Cgroups::detect`] on a machine that may be made up.
    pub fn detect_in(name: &str, roots: &Roots) -> (Self, Vec<Finding>) {
        assert!(
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "{name:?} is no name for a control group"
        );
        let plan = Plan::look(roots);
        let findings = plan.findings();
        (Self { name: name.to_owned(), plan, ceiling: None, trees: None, hurried: false, joined: false }, findings)
    }

    pub fn enforced(&self) -> Enforced {
        self.plan.enforced()
    }

    /// Processes will be moved into groups ([`Group::add`]) on every start, wherever the controllers are. False where
    /// each would now have to wait some 8 ms for that, and had not to before. Called before the first [`Cgroups::create`].
    pub fn expect_joins(&mut self) -> bool {
        self.joined = true;
        self.hurry();
        // Version 1 is joined in any case.
        let Plan { fake, sites, unified, .. } = &self.plan;
        let quick = self.hurried || unified.as_ref().is_some_and(Mount::is_quick);
        *fake || sites.is_empty() || self.plan.joins_slowly() || quick
    }

    /// Bounds the memory of all sandboxes together. Holds from the next [`Cgroups::sweep`] or first
    /// [`Cgroups::create`] on; at once, when those have been.
    pub fn set_ceiling(&mut self, memory: Memory) -> io::Result<()> {
        self.ceiling = Some(memory);
        self.trees.iter().flat_map(|trees| trees.iter()).try_for_each(|tree| tree.limit_all(memory))
    }

    /// Makes the group of one sandbox, with its limits, and nobody in it yet.
    ///
    /// `limits.memory` bounds all that the kernel charges to the processes: `/tmp` and other files in memory too.
    pub fn create(&mut self, id: &InstanceId, limits: &Limits) -> io::Result<Group> {
        let trees = self.prepare()?;
        Group::create(trees, id, limits)
    }

    /// Makes the installation's group in every tree.
    fn prepare(&mut self) -> io::Result<Arc<[Tree]>> {
        if let Some(trees) = &self.trees {
            return Ok(Arc::clone(trees));
        }
        let mut trees = Vec::new();
        for site in &self.plan.sites {
            let tree = Tree::open(site, &self.name, self.plan.fake)?;
            if let Some(memory) = self.ceiling {
                tree.limit_all(memory)?;
            }
            trees.push(tree);
        }
        self.hurry();
        let trees: Arc<[Tree]> = trees.into();
        self.trees = Some(Arc::clone(&trees));
        Ok(trees)
    }

    /// Kills and removes what earlier processes left in groups of this name. Waits for the killed, up to 5 s.
    pub fn sweep(&mut self) -> io::Result<()> {
        let trees = self.prepare()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut left = Vec::new();
            for tree in trees.iter() {
                for name in tree.groups()? {
                    tree.kill(&name);
                    tree.let_die(&name);
                    if !tree.remove(&name)? {
                        left.push(name);
                    }
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text = format!("processes in {} do not die", left.join(", "));
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Removes the installation's groups. All sandboxes' groups must be gone; what is not stays, for the next
    /// start's [`Cgroups::sweep`].
    pub fn close(&mut self) {
        if self.trees.take().is_none() {
            return;
        }
        for site in &self.plan.sites {
            if let Err(error) = site.close(&self.name) {
                tracing::warn!(folder = %site.base.display(), name = self.name, %error, "control group left behind");
            }
        }
        // Not while another installation profits from it: the last one does.
        if std::mem::take(&mut self.hurried)
            && !self.has_company()
            && let Some(unified) = &self.plan.unified
            && let Err(error) = unified.make_quick(false)
        {
            tracing::warn!(%error, "control groups stay mounted with favordynmods");
        }
    }

    fn has_company(&self) -> bool {
        self.plan.sites.iter().any(|site| site.has_another(&self.name))
    }

    /// Joining a group waits some 8 ms for all processors, unless the kernel (since 6.0) is told that it happens often.
    fn hurry(&mut self) {
        let often = self.joined || self.plan.joins_slowly();
        let Some(unified) = self.plan.unified.as_ref().filter(|_| often && !self.plan.fake) else {
            return;
        };
        if self.hurried {
            return;
        }
        if unified.is_quick() {
            // The administrator's choice, or another installation's, which we then inherit.
            self.hurried = self.has_company();
            return;
        }
        match unified.make_quick(true) {
            Ok(()) => self.hurried = true,
            Err(error) => tracing::warn!(%error, "cold starts wait some 8 ms each to join their control groups"),
        }
    }
}
