//! What happens inside a new sandbox before the function's runtime runs, and its first process afterwards.
//!
//! ```text
//! clone ─► wait for go ─► user ─► root ─► own mounts ─► pivot ─► host name, lo, limits ─► no capabilities
//!            │ parent gone     └──────────────── any step fails ───────────────┐            ─► seccomp ─► fork
//!            ▼                                                                 ▼                           │
//!          exit                                                   report step, errno; exit                 │
//!                   runtime: descriptors ─► exec ◄────────────────────────────────────────────────────────┤
//!                   init: reap everything until the runtime ends, report its status, exit ◄───────────────┘
//! ```
//!
//! The order is the point, so it is straight-line code. The process is a fork of the spawner: it must not log,
//! and it leaves by `_exit` only. When it exits, the kernel kills everything else in its pid namespace.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use driver::GuestStreams;
use driver::{Limits, User};

use crate::marks::Marks;
use crate::report::{Report, Step};
use linux::seccomp::Program;
use linux::sys;
use wire::SetUp;

/// Everything the child needs, allocated before it exists.
pub struct Plan<'a> {
    /// Read end: one byte says go, end of file says that the parent is gone.
    pub go: OwnedFd,
    /// Write end for the [`Report`].
    pub status: OwnedFd,
    /// Detached copy of the template root.
    pub root: OwnedFd,
    /// Detached mount of the code; none in a stem.
    pub code: Option<OwnedFd>,
    pub dev_null: BorrowedFd<'a>,
    pub streams: GuestStreams,
    pub host_name: CString,
    pub limits: Limits,
    pub user: User,
    pub work_dir: CString,
    pub seccomp: &'a Program,
    pub program: CString,
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    /// The spawner's command line, which init is to hide.
    pub arguments: Option<sys::ArgumentArea>,
    /// Without root: the process limit has no cgroup to hold it, and supplementary groups cannot be cleared.
    pub rootless: bool,
}

/// Runs in the child; never returns.
pub fn run(plan: Plan<'_>) -> ! {
    let mut status = plan.status.as_raw_fd();
    // By reference: the descriptors in the plan are moved about below, and must not be closed by their owners.
    match set_up(&plan, &mut status) {
        Ok(never) => match never {},
        Err((step, error)) => {
            Report::Setup { step, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }.send(status);
            sys::exit_now(1)
        }
    }
}

enum Never {}

/// Where `docs/wire.md` has the control stream.
const CONTROL: RawFd = 3;

fn set_up(plan: &Plan<'_>, status: &mut RawFd) -> Result<Never, (Step, io::Error)> {
    let at = |step| move |error| (step, error);

    // Own session first: a Ctrl-C on Hearth's terminal must reach Hearth alone. And die with the spawner, from
    // the first moment on.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _).map_err(at(Step::Leash))?;
    rustix::process::setsid().map_err(|e| (Step::Leash, e.into()))?;
    let mut go = [0u8];
    match rustix::io::read(&plan.go, &mut go) {
        Ok(1) => {}
        _ => sys::exit_now(1),
    }
    let mut marks = Marks::begin();

    // The ids are mapped now. Files must be made as an id that exists here, and capabilities in this user
    // namespace stay, because the id left is not this namespace's root.
    sys::become_user(plan.user.uid, plan.user.gid, !plan.rootless).map_err(at(Step::User))?;
    // Changing ids cleared the leash. If the spawner died in between, nobody reads the status pipe any more.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _).map_err(at(Step::Leash))?;
    if !sys::reader_lives(plan.status.as_raw_fd()) {
        sys::exit_now(1);
    }
    marks.end(SetUp::User);

    // The new root is hung over /usr, a folder every host has; in this mount namespace nobody looks at it.
    sys::move_mount(plan.root.as_fd(), c"/usr").map_err(at(Step::Root))?;
    rustix::process::chdir("/usr").map_err(|e| (Step::Root, e.into()))?;
    marks.end(SetUp::Root);
    own_mounts(plan).map_err(at(Step::Mounts))?;
    marks.end(SetUp::Mounts);
    // After the mount of proc, which the kernel allows only while the host's own is still in sight.
    sys::pivot_into_cwd().map_err(at(Step::Pivot))?;
    marks.end(SetUp::Pivot);

    rustix::system::sethostname(plan.host_name.as_bytes()).map_err(|e| (Step::HostName, e.into()))?;
    sys::loopback_up().map_err(at(Step::Loopback))?;
    marks.end(SetUp::Network);
    limits(plan).map_err(at(Step::Limits))?;
    // No user namespace can be made inside, even if the system call filter had a hole. Not every kernel has the
    // switch.
    let _ = std::fs::write("/proc/sys/user/max_user_namespaces", "0");
    // inotify's limits are for each user, and for whoever made the user namespace: without root, that is everybody.
    let _ = std::fs::write("/proc/sys/user/max_inotify_instances", "32");
    let _ = std::fs::write("/proc/sys/user/max_inotify_watches", "8192");
    marks.end(SetUp::Limits);

    // Last of what needs capabilities is done.
    sys::drop_capabilities().map_err(at(Step::Capabilities))?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(at(Step::NoNewPrivs))?;
    marks.end(SetUp::Privileges);
    *status = arrange(plan).map_err(at(Step::Descriptors))?;
    // AWS Lambda's 1,024 descriptors. Only now: up to here there are the spawner's too, several for each sandbox of the
    // whole machine, and with the limit set none could be opened beside them.
    sys::set_rlimit(libc::RLIMIT_NOFILE, 1024).map_err(at(Step::Limits))?;
    marks.end(SetUp::Descriptors);
    plan.seccomp.install().map_err(|e| (Step::Seccomp, io::Error::other(e)))?;

    rustix::process::chdir(plan.work_dir.as_c_str()).map_err(|e| (Step::WorkDir, e.into()))?;
    marks.end(SetUp::Seccomp);
    // SAFETY: `arrange` put the control stream there, and nothing else has been opened or closed since.
    marks.tell(unsafe { BorrowedFd::borrow_raw(CONTROL) });
    // SAFETY: this process is a fork of a single-threaded one and has started no thread.
    match unsafe { sys::fork() }.map_err(at(Step::Fork))? {
        0 => {
            let error = exec(plan);
            Err((Step::Exec, error))
        }
        runtime => {
            if let Some(area) = plan.arguments {
                // SAFETY: what follows is a loop of waits, which reads neither.
                unsafe { area.overwrite(b"init") };
            }
            init(runtime, *status, 4 + plan.streams.invoke.len() as u32)
        }
    }
}

/// The file systems that are this sandbox's own, relative to the new root.
fn own_mounts(plan: &Plan<'_>) -> io::Result<()> {
    let quiet = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(c"proc", c"proc", c"proc", quiet | libc::MS_NOEXEC, c"")?;
    for hidden in [c"proc/kcore", c"proc/keys", c"proc/sysrq-trigger", c"proc/timer_list", c"proc/kmsg", c"proc/locks"]
    {
        hide(hidden)?;
    }
    // Anybody may write triggers into its files, each of which the host's kernel then watches.
    let nothing = c"size=0,nr_inodes=1,mode=555";
    match sys::mount(c"none", c"proc/pressure", c"tmpfs", quiet | libc::MS_RDONLY, nothing) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // An inode for every 4 KiB, so that neither bytes nor empty files get past the size.
    let tmp = plan.limits.tmp.bytes();
    let options = c_format(format!("size={tmp},nr_inodes={},mode=1777", (tmp / 4096).max(1024)))?;
    sys::mount(c"tmp", c"tmp", c"tmpfs", quiet, &options)?;
    // AWS Lambda has no /dev/shm, and Python's multiprocessing fails there for want of it. Counted as memory.
    let options = c_format(format!("size={},nr_inodes=1024,mode=1777", plan.limits.memory.bytes() / 2))?;
    sys::mount(c"shm", c"dev/shm", c"tmpfs", quiet, &options)?;
    plan.code.as_ref().map_or(Ok(()), |code| sys::move_mount(code.as_fd(), c"var/task"))
}

fn c_format(text: String) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Covers a file that tells about the host.
fn hide(path: &CStr) -> io::Result<()> {
    match sys::mount(c"dev/null", path, c"", libc::MS_BIND, c"") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn limits(plan: &Plan<'_>) -> io::Result<()> {
    // One byte, not none: where the host's core_pattern is a pipe, the kernel runs its handler, as the host's root,
    // for every limit but one (core(5)).
    sys::set_rlimit(libc::RLIMIT_CORE, 1)?;
    // As inotify's.
    sys::set_rlimit(libc::RLIMIT_SIGPENDING, 4096)?;
    if plan.rootless {
        // Counted for each user namespace by itself since Linux 5.14, so it is this sandbox's own.
        sys::set_rlimit(libc::RLIMIT_NPROC, u64::from(plan.limits.pids))?;
    }
    Ok(())
}

/// Puts the descriptors where `docs/wire.md` says, the status pipe behind them, and closes all others.
fn arrange(plan: &Plan<'_>) -> io::Result<RawFd> {
    let log = plan.streams.log.as_raw_fd();
    let mut wanted = vec![plan.dev_null.as_raw_fd(), log, log, plan.streams.control.as_raw_fd()];
    wanted.extend(plan.streams.invoke.iter().map(|fd| fd.as_raw_fd()));
    wanted.push(plan.status.as_raw_fd());
    let count = wanted.len() as RawFd;
    // Out of the way first: a wanted descriptor may sit at a number that another one is to have.
    for fd in &mut wanted {
        *fd = sys::raise_fd(*fd, count)?;
    }
    let status = count - 1;
    for (at, fd) in (0..).zip(&wanted) {
        sys::place_fd(*fd, at, at == status)?;
    }
    sys::close_range(count as u32, u32::MAX)?;
    Ok(status)
}

fn exec(plan: &Plan<'_>) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    sys::exec(&plan.program, &pointers(&plan.args), &pointers(&plan.env))
}

/// The first process of the pid namespace: adopts and reaps, so that the runtime is an ordinary process that
/// signals can kill and that need not know of orphans.
fn init(runtime: i32, status: RawFd, streams: u32) -> ! {
    // Its memory is a copy of the spawner's: nobody in here may look at it.
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0);
    // The streams must end when the runtime ends.
    let _ = sys::close_range(0, streams - 1);
    loop {
        match sys::wait_any() {
            Ok(Some((pid, wait_status))) if pid == runtime => {
                Report::Exit { wait_status }.send(status);
                sys::exit_now(0)
            }
            Ok(Some(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => sys::exit_now(1),
        }
    }
}
