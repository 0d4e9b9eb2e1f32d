//! Finds the controllers, and says what is missing. Looks only.

use std::fs;
use std::path::{Path, PathBuf};

use driver::{Finding, Severity};
use rustix::fs::{Access, AtFlags, CWD};

use super::Enforced;
use super::mounts::{Mount, under};
use super::tree::SUPERVISOR;

/// Where a machine describes itself. Its mount table says where the trees are.
#[derive(Debug, Clone)]
pub struct Roots {
    pub mountinfo: PathBuf,
    pub own_cgroup: PathBuf,
    /// Whether this is root decides what to advise.
    pub root: bool,
    /// A made-up machine of plain files: control files that are missing are made, and nothing is remounted.
    pub fake: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// What a tree is used for. Each duty has at most one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Duties {
    pub memory: bool,
    pub cpu: bool,
    pub pids: bool,
    /// Counting processor time.
    pub usage: bool,
    pub freeze: bool,
    pub kill: bool,
}

/// A place in a hierarchy where the installation's group shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub version: Version,
    pub duties: Duties,
    pub base: PathBuf,
    /// Processes may be in `base` itself, and have to move aside before it can have limited children.
    pub crowded: bool,
}

/// Which sites to use.
#[derive(Debug)]
pub struct Plan {
    pub sites: Vec<Site>,
    pub fake: bool,
    /// The version 2 mount, if there is one.
    pub unified: Option<Mount>,
    root: bool,
}

/// The controllers of version 1, each with the duty it is wanted for.
const CONTROLLERS: [(&str, Duty); 5] = [
    ("memory", |duties| &mut duties.memory),
    ("cpu", |duties| &mut duties.cpu),
    ("pids", |duties| &mut duties.pids),
    ("cpuacct", |duties| &mut duties.usage),
    ("freezer", |duties| &mut duties.freeze),
];

type Duty = fn(&mut Duties) -> &mut bool;

// === impl Roots ===

impl Default for Roots {
    fn default() -> Self {
        Self {
            mountinfo: "/proc/self/mountinfo".into(),
            own_cgroup: "/proc/self/cgroup".into(),
            root: rustix::process::geteuid().is_root(),
            fake: false,
        }
    }
}

// === impl Plan ===

impl Plan {
    pub fn look(roots: &Roots) -> Self {
        let mounts = Mount::table(&fs::read_to_string(&roots.mountinfo).unwrap_or_default());
        let own = fs::read_to_string(&roots.own_cgroup).unwrap_or_default();
        let unified = mounts.iter().find(|mount| mount.version == Version::V2).cloned();
        let mut sites: Vec<Site> = Vec::new();
        let mut found = Duties::default();
        if let Some(site) = unified.as_ref().and_then(|mount| Site::v2(mount, &own)) {
            found = site.duties;
            sites.push(site);
        }
        for (controller, duty) in CONTROLLERS {
            if *duty(&mut found) {
                continue;
            }
            let Some(base) = mounts.iter().find_map(|mount| v1_base(mount, &own, controller)) else { continue };
            *duty(&mut found) = true;
            // Controllers may share a tree: cpu and cpuacct mostly do.
            let shared = sites.iter().position(|site| site.base == base).unwrap_or_else(|| {
                let duties = Duties::default();
                sites.push(Site { version: Version::V1, duties, base, crowded: false });
                sites.len() - 1
            });
            *duty(&mut sites[shared].duties) = true;
        }
        if !found.kill
            && let Some(site) = sites.first_mut()
        {
            site.duties.kill = true;
        }
        Self { sites, fake: roots.fake, unified, root: roots.root }
    }

    pub fn enforced(&self) -> Enforced {
        let any = |duty: fn(&Duties) -> bool| self.sites.iter().any(|site| duty(&site.duties));
        Enforced { memory: any(|d| d.memory), cpu: any(|d| d.cpu), pids: any(|d| d.pids) }
    }

    /// Whether groups are joined by migration, in trees of version 1.
    pub fn joins_slowly(&self) -> bool {
        self.sites.iter().any(|site| site.version == Version::V1)
    }

    pub fn findings(&self) -> Vec<Finding> {
        let Enforced { memory, cpu, pids } = self.enforced();
        let mut findings = Vec::new();
        let limits = [
            ("memory", memory, "one function can take all memory of this machine"),
            ("cpu", cpu, "one function can take all processors of this machine"),
            ("pids", pids, "one function can start processes without end"),
        ];
        for (controller, _, so) in limits.iter().filter(|(_, enforced, _)| !enforced) {
            findings.push(Finding {
                severity: Severity::Weaker,
                subject: format!("{controller} limit"),
                state: format!("not enforced, {so}: {}", self.reason()),
                advice: self.advice(controller),
            });
        }
        if findings.is_empty() {
            let trees: Vec<_> = self.sites.iter().map(|site| site.base.display().to_string()).collect();
            findings.push(Finding {
                severity: Severity::Ok,
                subject: "resource limits".into(),
                state: format!("memory, cpu and pids are enforced by control groups in {}", trees.join(", ")),
                advice: String::new(),
            });
        }
        if self.joins_slowly() && self.unified.is_none() {
            findings.push(Finding {
                severity: Severity::Weaker,
                subject: "cold starts".into(),
                state: "each waits some 8 ms to join its control groups: this machine has version 1 of them only"
                    .into(),
                advice: "boot with systemd.unified_cgroup_hierarchy=1, or mount version 2 beside: \
                         mkdir /sys/fs/cgroup/unified; mount -t cgroup2 none /sys/fs/cgroup/unified"
                    .into(),
            });
        }
        findings
    }

    fn reason(&self) -> &'static str {
        match (self.sites.is_empty(), self.root) {
            (true, true) => "no control group tree is mounted here that can be written to",
            (true, false) => "no control group is delegated to this user",
            (false, true) => "the kernel offers no such controller here",
            (false, false) => "this controller is not delegated to this user",
        }
    }

    fn advice(&self, controller: &str) -> String {
        match (self.sites.is_empty(), self.root, self.unified.is_some()) {
            (true, false, true) => {
                "start it with `systemd-run --user --scope -p Delegate=yes hearth up`, or as root".into()
            }
            (true, false, false) => "start Hearth as root: version 1 control groups are root's alone".into(),
            (true, true, _) => "mount them: mount -t cgroup2 none /sys/fs/cgroup. In a container, have them mounted \
                                writable: docker run --cgroupns=private -v /sys/fs/cgroup:/sys/fs/cgroup:rw, or \
                                --privileged"
                .into(),
            (false, false, _) => format!(
                "let systemd delegate it: `systemctl edit user@.service`, write [Service] and \
                 Delegate=cpu memory pids, log in again; {controller} is missing"
            ),
            (false, true, _) if controller == "memory" => {
                "boot with cgroup_enable=memory (Raspberry Pi: append it to cmdline.txt)".into()
            }
            (false, true, _) => format!("use a kernel with the {controller} controller"),
        }
    }
}

// === impl Site ===

impl Site {
    /// Where to be in the version 2 tree. Not below a delegated group if we may be at the top: other starts of
    /// this installation must find what this one leaves behind.
    fn v2(mount: &Mount, own: &str) -> Option<Self> {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let own = under(&mount.point, &mount.root, path);
        let own = own.map(|own| match own.parent() {
            // Where an earlier start moved everyone to.
            Some(parent) if own.ends_with(SUPERVISOR) && writable(mount, parent) => parent.to_owned(),
            _ => own,
        });
        let base = match own {
            Some(own) if delegated(&own) && writable(mount, &own) => own,
            _ if writable(mount, &mount.point) => mount.point.clone(),
            Some(own) if writable(mount, &own) => own,
            _ => return None,
        };
        let controllers = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        let has = |name| controllers.split_whitespace().any(|controller| controller == name);
        let duties =
            Duties { memory: has("memory"), cpu: has("cpu"), pids: has("pids"), usage: true, freeze: true, kill: true };
        // The root alone has no type.
        let crowded = base.join("cgroup.type").exists();
        Some(Self { version: Version::V2, duties, base, crowded })
    }
}

/// systemd's mark upon a group that is another's to divide.
fn delegated(group: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0; 8];
        rustix::fs::getxattr(group, name, &mut value[..]).is_ok_and(|length| value[..length].starts_with(b"1"))
    };
    marked("trusted.delegate") || marked("user.delegate")
}

fn v1_base(mount: &Mount, own: &str, controller: &str) -> Option<PathBuf> {
    let has = |list: &str| list.split(',').any(|one| one == controller);
    if mount.version != Version::V1 || !has(&mount.options) {
        return None;
    }
    if writable(mount, &mount.point) {
        return Some(mount.point.clone());
    }
    let path = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        has(controllers).then_some(path)
    })?;
    under(&mount.point, &mount.root, path).filter(|own| writable(mount, own))
}

fn writable(mount: &Mount, group: &Path) -> bool {
    let may = |path: &Path, access| rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
    !mount.read_only
        && may(group, Access::WRITE_OK | Access::EXEC_OK)
        && may(&group.join("cgroup.procs"), Access::WRITE_OK)
}
