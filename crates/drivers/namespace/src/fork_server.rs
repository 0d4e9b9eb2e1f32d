//! The native half of a fork server: what a Python that has imported much and knows nothing does, over and over.
//!
//! ```text
//! Python: bootstrap ─► imports ─► serve ─► trial ─► Ready ─► order ─► clone ─► answer ─► order …
//!                                            │ refused: Broken, exit   │ sandbox's first process: prepare
//!                                            ▼                         ▼
//!                                                              split ─► init, a program of its own: waits
//!                                                                    └► runtime: goes on as if just started
//! ```
//!
//! It is compiled into a library of its own, which Hearth's bootstrap loads; all of it runs in a process with one thread
//! that holds no capability and no secret. What a function has comes in descriptors, which are only passed on: the
//! server has closed them before it answers. `prepare` is what sandboxes that the spawner clones go through too.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use linux::{seccomp, split, sys};
use rustix::process::{WaitId, WaitIdOptions};

use crate::child::{self, Rlimit};
pub use crate::fork_arenas::AsPython;
use crate::fork_pages;
use crate::order::{self, Answer, Order};
use crate::report::{Report, Step};

/// Where a fork server finds its connection to the spawner; there is nothing at the next number, which tells the
/// bootstrap what it is.
pub const CONTROL: RawFd = 3;

/// What a sandbox's first process becomes: nobody inside may read it, and so look at what runs it.
pub const INIT: &CStr = c"/var/runtime/python/_hearth/hearth_init";
/// Where it tells of that one's end, behind `/dev/null`, the log twice, control and one invoke stream.
pub const STATUS: RawFd = 5;

/// Resource limits that the kernel counts for whoever made a user namespace, too: one fork server makes all of them, so
/// it has these without a bound, and each sandbox has them as ever.
pub const SHARED_LIMITS: [libc::__rlimit_resource_t; 4] =
    [libc::RLIMIT_NPROC, libc::RLIMIT_MSGQUEUE, libc::RLIMIT_SIGPENDING, libc::RLIMIT_MEMLOCK];

/// The first thing that the spawner says.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    pub put_back: Vec<Rlimit>,
}

/// What a copy is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// Of a function, whose code is there, and which a call waits for.
    Instance,
    /// Nobody's yet.
    Stem,
}

/// Serves until the spawner is gone, which ends the process; returns in each new sandbox's runtime. `None`: it cannot
/// serve, which the spawner was told.
///
/// # Safety
/// The process must have one thread.
pub unsafe fn serve() -> Option<Copied> {
    // SAFETY: this is the descriptor's one user, for as long as the process is a fork server.
    let control = unsafe { BorrowedFd::borrow_raw(CONTROL) };
    // SAFETY: by this function's contract.
    match unsafe { obey(control) } {
        Ok(Some(copied)) => Some(copied),
        Ok(None) => sys::exit_now(0),
        Err(why) => {
            let _ = order::send(control, &Answer::Broken(why), &[]);
            None
        }
    }
}

/// # Safety
/// As [`serve`].
unsafe fn obey(control: BorrowedFd<'_>) -> Result<Option<Copied>, String> {
    let welcome = match order::receive::<Welcome>(control, true) {
        Ok(Some((welcome, _))) => welcome,
        Ok(None) => return Ok(None),
        Err(error) => return Err(format!("understand the spawner: {error}")),
    };
    own_alone()?;
    // OpenSSL knows a forked process by its number, and every runtime is the second of its sandbox.
    if rustix::process::getpid().as_raw_nonzero().get() <= 2 {
        return Err("its process has a number that its children will have".into());
    }
    // SAFETY: by this function's contract.
    let thread = unsafe { split::Thread::of_self() }.ok_or("its C library is not one that can be forked here")?;
    // SAFETY: as above.
    unsafe { trial(&thread) }?;
    let seccomp = seccomp::Program::compile(&seccomp::Policy::default());
    fork_pages::hand_down();
    // SAFETY: nobody closes it.
    let dev_null = unsafe { BorrowedFd::borrow_raw(0) };
    order::send(control, &Answer::Ready, &[]).map_err(|error| error.to_string())?;
    loop {
        let (order, fds) = match order::receive::<Order>(control, true) {
            Ok(Some(order)) => order,
            Ok(None) => return Ok(None),
            Err(error) => return Err(format!("understand an order: {error}")),
        };
        let (plan, group) = order
            .plan(fds, dev_null, &seccomp, welcome.put_back.clone())
            .map_err(|error| format!("understand an order: {error}"))?;
        let flags = child::NEW | libc::CLONE_PARENT as u64;
        // SAFETY: by this function's contract.
        let cloned = unsafe { sys::clone(flags, group.as_ref().map(AsFd::as_fd)) };
        let (answer, pidfd) = match cloned {
            Ok(sys::Cloned::Child) => {
                let copied = if plan.code.is_some() { Copied::Instance } else { Copied::Stem };
                let status = child::prepare(&plan);
                // Its descriptors are elsewhere now, and their old numbers others'.
                let _kept = std::mem::ManuallyDrop::new((plan, group));
                // SAFETY: by this function's contract.
                unsafe { become_two(status, &thread) };
                return Ok(Some(copied));
            }
            Ok(sys::Cloned::Parent { pidfd, pid }) => (Answer::Cloned(pid), Some(pidfd)),
            Err(error) => (Answer::Refused(error.raw_os_error().unwrap_or(libc::EINVAL)), None),
        };
        drop((plan, group));
        let fds: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
        order::send(control, &answer, &fds).map_err(|error| error.to_string())?;
    }
}

/// In a sandbox's first process: that becomes init, and this returns in the runtime alone.
///
/// # Safety
/// As [`serve`].
unsafe fn become_two(status: RawFd, thread: &split::Thread) {
    let failed = |step, error: &io::Error| child::fail(status, step, error);
    if status != STATUS {
        failed(Step::Descriptors, &io::ErrorKind::InvalidInput.into());
    }
    // Init keeps it; the runtime closes it.
    if let Err(error) = put_status(status) {
        failed(Step::Descriptors, &error);
    }
    // Both are read when this function is over.
    let report = Box::leak(Box::new(Report::Setup { step: Step::Init, errno: 0 }.encode()));
    let args = Box::leak(Box::new([c"init".as_ptr(), std::ptr::null()]));
    let program = split::Program { path: INIT, args, report: (status, report.as_mut_ptr()) };
    // SAFETY: by this function's contract; what the program is told is never freed.
    match unsafe { split::split(&program) } {
        Ok(signals) => {
            // SAFETY: it was of the thread that this one is a copy of.
            unsafe { thread.adopt() };
            split::unblock(&signals);
        }
        Err(error) => failed(Step::Fork, &error),
    }
    // Changing ids had made it secret, and running a program makes it readable for its user again.
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 1);
    let _ = sys::close_range(STATUS as u32, u32::MAX);
}

/// Whether nothing of this process would be shared by its copies: threads, which they would lack, descriptors, memory.
fn own_alone() -> Result<(), String> {
    let names = |path: &str| -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(path).map_err(|error| format!("read {path}: {error}"))?;
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    };
    let threads = names("/proc/self/task")?.len();
    if threads != 1 {
        return Err(format!("it has {threads} threads, and its copies would have one"));
    }
    // The one beyond is that of the folder which is being read.
    let mut extra: Vec<_> = names("/proc/self/fd")?.into_iter().filter(|fd| !OWN_FDS.contains(&fd.as_str())).collect();
    extra.retain(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    if !extra.is_empty() {
        return Err(format!("its copies would share descriptors with it: {}", extra.join(", ")));
    }
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| format!("read its mappings: {error}"))?;
    let shared =
        |line: &&str| line.split(' ').nth(1).is_some_and(|rights| rights.contains('w') && rights.ends_with('s'));
    match maps.lines().find(shared) {
        Some(line) => Err(format!("its copies would share memory with it: {line}")),
        None => Ok(()),
    }
}

/// `/dev/null`, the log twice, and [`CONTROL`].
const OWN_FDS: [&str; 4] = ["0", "1", "2", "3"];

/// Has the status pipe where init finds it, and kept when it is run.
fn put_status(from: RawFd) -> io::Result<()> {
    sys::place_fd(sys::raise_fd(from, STATUS + 1)?, STATUS, false)
}

/// Whether this process may make what sandboxes are made of, and can be split: not everywhere is an unprivileged one let.
///
/// # Safety
/// As [`serve`].
unsafe fn trial(thread: &split::Thread) -> Result<(), String> {
    const SPLIT: i32 = 42;
    let refused = |error: io::Error| format!("make namespaces without privilege: {error}");
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| refused(e.into()))?;
    // SAFETY: by this function's contract.
    let pidfd = match unsafe { sys::clone(child::NEW, None) }.map_err(refused)? {
        sys::Cloned::Child => {
            let mounted = sys::mount(c"proc", c"/proc", c"proc", libc::MS_NOSUID, c"");
            if let Err(error) = mounted.and_then(|()| put_status(tell.as_raw_fd())) {
                child::fail(tell.as_raw_fd(), Step::Mounts, &error);
            }
            // SAFETY: by this function's contract.
            unsafe { become_two(STATUS, thread) };
            sys::exit_now(if split::alone() { SPLIT } else { 1 })
        }
        sys::Cloned::Parent { pidfd, .. } => pidfd,
    };
    drop(tell);
    let status = status_of(&pidfd)?;
    match Report::receive(told.as_fd()) {
        Some(Report::Exit { wait_status }) if wait_status == SPLIT << 8 && status == 0 => Ok(()),
        Some(Report::Setup { step, errno }) => {
            Err(format!("{} in a namespace: {}", step.text(), io::Error::from_raw_os_error(errno)))
        }
        other => Err(format!("split a process in a namespace: {other:?}, and its first process ended with {status}")),
    }
}

fn status_of(pidfd: &OwnedFd) -> Result<i32, String> {
    let ended = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    let ended = ended.map_err(|error| error.to_string())?.ok_or("no status")?;
    ended.exit_status().ok_or_else(|| "a trial was killed".into())
}

/// Before the interpreter rehearses what its copies will do first: they will have what that uses.
pub fn shed() {
    fork_pages::shed();
}

/// Whether a runtime's memory is its own by now; waits for that.
pub fn alone() -> bool {
    split::alone()
}

/// Has the spawner told that this interpreter cannot be a fork server.
pub fn give_up(why: &str) {
    // SAFETY: as in `serve`.
    let control = unsafe { BorrowedFd::borrow_raw(CONTROL) };
    let _ = order::send(control, &Answer::Broken(why.to_owned()), &[]);
}
