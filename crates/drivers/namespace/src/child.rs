//! What happens inside a new sandbox before the function's runtime runs, and its first process afterwards.
//!
//! ```text
//! clone ─► wait for go ─► user ─► root ─► own mounts ─► pivot ─► host name, lo, limits ─► no capabilities
//!            │ parent gone     └──────────────── any step fails ───────────────┐            ─► seccomp ─► fork
//!            ▼                                                                 ▼                           │
//!          exit                                                   report step, errno; exit                 │
//!                   runtime: exec; or, cloned by a fork server, Python goes on ◄──────────────────────────┤
//!                   init: reap everything until the runtime ends, report its status, exit ◄───────────────┘
//! ```
//!
//! The order is the point, so it is straight-line code, and the same for a sandbox that the spawner cloned and for one
//! that a fork server did. The process is a fork of either: it must not log, and it leaves by `_exit` only. When it
//! exits, the kernel kills everything else in its pid namespace.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use driver::GuestStreams;
use driver::{Limits, User};

use crate::marks::Marks;
use crate::report::{Report, Step};
use linux::folders::Folder;
use linux::seccomp::Program;
use linux::sys;
use wire::SetUp;

/// Which namespaces are new, all of them.
pub const NEW: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Everything the sandbox's first process needs, allocated before it exists.
pub struct Plan<'a> {
    /// Read end: one byte says go, end of file says that the parent is gone.
    pub go: OwnedFd,
    /// Write end for the [`Report`].
    pub status: OwnedFd,
    /// The parent's ends of these two, if the child has copies of them: closed first, or no end of the parent's would be seen.
    pub parents: Option<[RawFd; 2]>,
    /// Detached copy of the template root.
    pub root: OwnedFd,
    /// Detached mount of the code; none in a stem.
    pub code: Option<OwnedFd>,
    /// Detached mount of the layers, if there are any.
    pub layers: Option<OwnedFd>,
    pub dev_null: BorrowedFd<'a>,
    pub streams: GuestStreams,
    pub host_name: CString,
    pub limits: Limits,
    pub user: User,
    pub work_dir: CString,
    /// Folders of the host's, for `/mnt`.
    pub folders: Vec<Folder>,
    /// Whether there is to be a `/run/secrets`.
    pub secret_files: bool,
    pub seccomp: &'a Program,
    /// Without root: the process limit has no cgroup to hold it, and supplementary groups cannot be cleared.
    pub rootless: bool,
    /// Resource limits that are to be put back to what they are for the spawner.
    pub put_back: Vec<Rlimit>,
    /// Only after the word to go: whom a fork server cloned and the spawner never heard of is told by its session.
    pub own_session_late: bool,
}

/// What is run in it.
pub struct Command {
    pub program: CString,
    pub args: Vec<CString>,
    pub env: Vec<CString>,
}

/// Where `docs/wire.md` has the control stream.
const CONTROL: RawFd = 3;

/// A resource limit: which, soft, hard.
pub type Rlimit = (u32, u64, u64);

/// Runs in the spawner's child; never returns. `arguments`: the spawner's command line, which init is to hide.
pub fn run(plan: &Plan<'_>, command: &Command, arguments: Option<sys::ArgumentArea>) -> ! {
    // Own session first: a Ctrl-C on Hearth's terminal must reach Hearth alone.
    if let Err(error) = rustix::process::setsid() {
        fail(plan.status.as_raw_fd(), Step::Leash, &error.into());
    }
    let status = prepare(plan);
    // SAFETY: this process is a fork of a single-threaded one and has started no thread.
    match unsafe { sys::fork() } {
        Ok(0) => fail(status, Step::Exec, &exec(command)),
        Ok(runtime) => init(runtime, status, plan.streams.invoke.len(), arguments),
        Err(error) => fail(status, Step::Fork, &error),
    }
}

/// Reports and ends.
pub fn fail(status: RawFd, step: Step, error: &io::Error) -> ! {
    Report::Setup { step, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }.send(status);
    sys::exit_now(1)
}

/// Makes the process the first of a sandbox, in which nothing runs yet; ends it if that fails. Returns the number of the
/// status pipe: the plan's descriptors are moved about, and must not be used or closed by their owners any more.
pub fn prepare(plan: &Plan<'_>) -> RawFd {
    let mut status = plan.status.as_raw_fd();
    match set_up(plan, &mut status) {
        Ok(()) => status,
        Err((step, error)) => fail(status, step, &error),
    }
}

/// Waits for the word that ids are mapped and the control group is joined.
pub fn wait_for_go(plan: &Plan<'_>) {
    let mut go = [0u8];
    match rustix::io::read(&plan.go, &mut go) {
        Ok(1) => {}
        _ => sys::exit_now(1),
    }
}

/// Closes what belongs to the parent. Its owners in this process's memory are never dropped.
pub fn close(fds: Option<[RawFd; 2]>) -> io::Result<()> {
    fds.into_iter().flatten().try_for_each(|fd| sys::close_range(fd.cast_unsigned(), fd.cast_unsigned()))
}

fn set_up(plan: &Plan<'_>, status: &mut RawFd) -> Result<(), (Step, io::Error)> {
    let at = |step| move |error| (step, error);

    // Die with the spawner, from the first moment on.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _).map_err(at(Step::Leash))?;
    // It may have died before that moment: then the word to go never comes.
    close(plan.parents).map_err(at(Step::Leash))?;
    wait_for_go(plan);
    if plan.own_session_late {
        rustix::process::setsid().map_err(|e| (Step::Leash, e.into()))?;
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
    Ok(())
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
    if plan.secret_files {
        // In memory alone, and the function's: its bootstrap writes them.
        let options = c_format(format!("size={},nr_inodes=256,mode=700", linux::root::SECRETS_SIZE))?;
        sys::mount(c"secrets", c"run/secrets", c"tmpfs", quiet | libc::MS_NOEXEC, &options)?;
    }
    folders(plan)?;
    plan.layers.as_ref().map_or(Ok(()), |layers| sys::move_mount(layers.as_fd(), c"opt"))?;
    plan.code.as_ref().map_or(Ok(()), |code| sys::move_mount(code.as_fd(), c"var/task"))
}

/// Folders of the host's, in a folder that holds nothing else and into which nothing can be put.
fn folders(plan: &Plan<'_>) -> io::Result<()> {
    if plan.folders.is_empty() {
        return Ok(());
    }
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount(c"mnt", c"mnt", c"tmpfs", quiet, c"size=4k,nr_inodes=32,mode=755")?;
    for folder in &plan.folders {
        let at = c_format(format!("mnt/{}", folder.name.to_string_lossy()))?;
        rustix::fs::mkdir(&*at, rustix::fs::Mode::from_raw_mode(0o755))?;
        sys::move_mount(folder.tree.as_fd(), &at)?;
    }
    sys::mount(c"mnt", c"mnt", c"", quiet | libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, c"")
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
    plan.put_back.iter().try_for_each(|&(resource, soft, hard)| sys::set_rlimits(resource as _, soft, hard))?;
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
    place(&wanted, plan.status.as_raw_fd())
}

/// Has these descriptors at 0, 1 and so on, and the status pipe at the next number, where exec closes it; closes all
/// others.
pub fn place(wanted: &[RawFd], status: RawFd) -> io::Result<RawFd> {
    let mut wanted = wanted.to_vec();
    wanted.push(status);
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

pub fn exec(command: &Command) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    sys::exec(&command.program, &pointers(&command.args), &pointers(&command.env))
}

/// The first process of the pid namespace: adopts and reaps, so that the runtime is an ordinary process that
/// signals can kill and that need not know of orphans.
pub fn init(runtime: i32, status: RawFd, invoke: usize, arguments: Option<sys::ArgumentArea>) -> ! {
    // Its memory is a copy of the spawner's, or of a fork server's: nobody in here may look at it.
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0);
    if let Some(area) = arguments {
        // SAFETY: what follows is a loop of waits, which reads neither.
        unsafe { area.overwrite(b"init") };
    }
    // The streams must end when the runtime ends.
    let _ = sys::close_range(0, 3 + invoke as u32);
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
