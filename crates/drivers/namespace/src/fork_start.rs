//! How a fork server comes to be: an interpreter in a root of its own, which the spawner has taken everything from.
//!
//! ```text
//! clone ─► wait for go ─► root, the host's /proc ─► pivot ─► no capabilities, own id ─► no_new_privs ─► exec
//! ```
//!
//! It is in the host's user and process namespaces, since what it clones are the spawner's children, and since whoever
//! made a user namespace is who the kernel charges for it. Its mounts, network, System V objects and host name are its
//! own. The host's `/proc` is in there for one reason: the kernel lets an unprivileged process mount a new one only
//! where a whole one is in sight.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use driver::Limits;
use linux::cgroup::Cgroups;
use linux::sys;
use model::{Cpu, InstanceId, Memory};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use crate::child::{self, Command};
use crate::fork_server::{CONTROL, SHARED_LIMITS, Welcome};
use crate::forks::{ForkKind, Server};
use crate::order;
use crate::report::Step;

/// Its own memory is some 20 MiB. But page tables and the like of all that it clones are charged to it too, half a
/// MiB for each: thousands must fit.
const LIMITS: Limits = Limits {
    memory: Memory::mib(4096),
    cpu_cap: Cpu::millis(4000),
    cpu_share: Cpu::millis(1000),
    pids: 4096,
    tmp: Memory::mib(1),
};

/// Where its command starts: where its sandboxes' do.
const WORK_DIR: &std::ffi::CStr = c"/var/task";

/// What the spawner has for it.
pub struct Ground<'a> {
    pub root: io::Result<OwnedFd>,
    pub cgroups: &'a mut Cgroups,
    pub dev_null: BorrowedFd<'a>,
    /// See [`Plan::id`].
    pub id: Option<u32>,
}

/// Which namespaces a fork server has of its own.
pub const NEW: u64 = (libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS) as u64;

/// Everything the new process needs.
struct Plan<'a> {
    go: OwnedFd,
    status: OwnedFd,
    /// The spawner's ends of the two.
    parents: Option<[RawFd; 2]>,
    root: OwnedFd,
    /// Detached copy of the host's `/proc`.
    proc: OwnedFd,
    dev_null: BorrowedFd<'a>,
    control: OwnedFd,
    log: OwnedFd,
    /// Its id on the host; none without root, where there is but one.
    id: Option<u32>,
    command: Command,
}

/// Starts one. It serves when it says so.
pub fn start(ground: Ground<'_>, kind: &ForkKind) -> io::Result<Server> {
    let c = |text: &str| CString::new(text).map_err(io::Error::from);
    let program = kind.command.first().ok_or(io::ErrorKind::InvalidInput)?;
    let command = Command {
        program: c(program)?,
        args: kind.command.iter().map(|arg| c(arg)).collect::<Result<_, _>>()?,
        env: kind.env.iter().map(|(name, value)| c(&format!("{name}={value}"))).collect::<Result<_, _>>()?,
    };
    let flags = SocketFlags::CLOEXEC;
    let (control, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let pipe = |flags| rustix::pipe::pipe_with(PipeFlags::CLOEXEC | flags);
    let (go_read, go) = pipe(PipeFlags::empty())?;
    let (log, log_write) = pipe(PipeFlags::empty())?;
    rustix::io::ioctl_fionbio(&log, true)?;
    let (report, status) = pipe(PipeFlags::NONBLOCK)?;
    let shared = SHARED_LIMITS.iter().filter(|_| ground.id.is_some());
    let put_back = shared.map(|&one| sys::rlimits(one).map(|(soft, hard)| (one, soft, hard)));
    let put_back = put_back.collect::<io::Result<_>>()?;
    let proc = sys::open_tree(File::open("/proc")?.as_fd(), c"", true)?;
    let root = ground.root?;
    // The last that can fail before somebody is there to remove it.
    let group = ground.cgroups.create(&InstanceId::random(), &LIMITS)?;
    let plan = Plan {
        go: go_read,
        status,
        parents: Some([go.as_raw_fd(), report.as_raw_fd()]),
        root,
        proc,
        dev_null: ground.dev_null,
        control: theirs,
        log: log_write,
        id: ground.id,
        command,
    };
    let into = group.dir_fd_for_clone();
    // SAFETY: the spawner has one thread.
    let (pidfd, pid) = match unsafe { sys::clone(NEW, into) } {
        Ok(sys::Cloned::Child) => run(&plan),
        Ok(sys::Cloned::Parent { pidfd, pid }) => (pidfd, pid),
        Err(error) => {
            let _ = group.remove();
            return Err(error);
        }
    };
    drop(plan);
    let in_group = into.is_some();
    let server = Server {
        pid,
        pidfd,
        control,
        log,
        report,
        group: Some(group),
        begun: Instant::now(),
        serving: false,
        reaped: false,
    };
    let released = (|| {
        if let Some(group) = server.group.as_ref().filter(|_| !in_group) {
            group.add(pid)?;
        }
        order::send(server.control.as_fd(), &Welcome { put_back }, &[])?;
        rustix::io::write(&go, b"g")?;
        io::Result::Ok(())
    })();
    if let Err(error) = released {
        // It ends by itself when `go` does, and is buried as one that ended.
        tracing::warn!(%error, "a fork server could not be let go");
    }
    Ok(server)
}

/// Runs in the spawner's child; never returns.
fn run(plan: &Plan<'_>) -> ! {
    let mut status = plan.status.as_raw_fd();
    match set_up(plan, &mut status) {
        Ok(()) => child::fail(status, Step::Exec, &child::exec(&plan.command)),
        Err((step, error)) => child::fail(status, step, &error),
    }
}

fn set_up(plan: &Plan<'_>, status: &mut RawFd) -> Result<(), (Step, io::Error)> {
    let at = |step| move |error| (step, error);
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _).map_err(at(Step::Leash))?;
    child::close(plan.parents).map_err(at(Step::Leash))?;
    rustix::process::setsid().map_err(|e| (Step::Leash, e.into()))?;
    let mut go = [0u8];
    match rustix::io::read(&plan.go, &mut go) {
        Ok(1) => {}
        _ => sys::exit_now(1),
    }
    if plan.id.is_some() {
        // What the kernel counts for it is what all of its sandboxes have together; each has its own limit below that.
        // Inside a container root may not be allowed to raise them: then they share what it has.
        for resource in SHARED_LIMITS {
            let _ = sys::set_rlimit(resource, libc::RLIM_INFINITY);
        }
    }
    sys::move_mount(plan.root.as_fd(), c"/usr").map_err(at(Step::Root))?;
    rustix::process::chdir("/usr").map_err(|e| (Step::Root, e.into()))?;
    sys::move_mount(plan.proc.as_fd(), c"proc").map_err(at(Step::Mounts))?;
    sys::pivot_into_cwd().map_err(at(Step::Pivot))?;

    // What it could regain goes first, since that takes a capability; becoming another user then takes what it has.
    sys::bound_capabilities();
    if let Some(id) = plan.id {
        sys::become_user(id, id, true).map_err(at(Step::User))?;
    }
    sys::drop_capabilities().map_err(at(Step::Capabilities))?;
    // Changing ids cleared the leash.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _).map_err(at(Step::Leash))?;
    if !sys::reader_lives(plan.status.as_raw_fd()) {
        sys::exit_now(1);
    }
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(at(Step::NoNewPrivs))?;
    let log = plan.log.as_raw_fd();
    let wanted = [plan.dev_null.as_raw_fd(), log, log, plan.control.as_raw_fd()];
    debug_assert_eq!(wanted.len() as RawFd, CONTROL + 1);
    *status = child::place(&wanted, plan.status.as_raw_fd()).map_err(at(Step::Descriptors))?;
    rustix::process::chdir(WORK_DIR).map_err(|e| (Step::WorkDir, e.into()))
}
