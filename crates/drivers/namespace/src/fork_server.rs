//! The native half of a fork server: what a Python that has imported much and knows nothing does, over and over.
//!
//! ```text
//! Python: bootstrap ─► imports ─► serve ─► trial ─► Ready ─► order ─► clone ─► answer ─► order …
//!                                            │ refused: Broken, exit   │ sandbox's first process: prepare
//!                                            ▼                         ▼
//!                                                       Python: fork ─► init: waits for ever
//!                                                                    └► runtime: goes on as if just started
//! ```
//!
//! It is compiled into a library of its own, which Hearth's bootstrap loads; all of it runs in a process with one thread
//! that holds no capability and no secret. What a function has comes in descriptors, which are only passed on: the
//! server has closed them before it answers. `prepare` is what sandboxes that the spawner clones go through too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use linux::{seccomp, sys};
use rustix::process::{WaitId, WaitIdOptions};

use crate::child::{self, Rlimit};
use crate::order::{self, Answer, Order};
use crate::report::Step;

/// Where a fork server finds its connection to the spawner; there is nothing at the next number, which tells the
/// bootstrap what it is.
pub const CONTROL: RawFd = 3;

/// A new sandbox, in whose first process this is.
pub struct Forked {
    status: RawFd,
    arguments: Option<sys::ArgumentArea>,
}

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

/// Serves until the spawner is gone, which ends the process; returns in each new sandbox's first process, set up. `None`: it
/// cannot serve, which the spawner was told.
///
/// # Safety
/// The process must have one thread.
pub unsafe fn serve() -> Option<Forked> {
    // SAFETY: this is the descriptor's one user, for as long as the process is a fork server.
    let control = unsafe { BorrowedFd::borrow_raw(CONTROL) };
    // SAFETY: by this function's contract.
    match unsafe { obey(control) } {
        Ok(Some(forked)) => Some(forked),
        Ok(None) => sys::exit_now(0),
        Err(why) => {
            let _ = order::send(control, &Answer::Broken(why), &[]);
            None
        }
    }
}

/// # Safety
/// As [`serve`].
unsafe fn obey(control: BorrowedFd<'_>) -> Result<Option<Forked>, String> {
    let welcome = match order::receive::<Welcome>(control, true) {
        Ok(Some((welcome, _))) => welcome,
        Ok(None) => return Ok(None),
        Err(error) => return Err(format!("understand the spawner: {error}")),
    };
    // OpenSSL knows a forked process by its number, and every runtime is the second of its sandbox.
    if rustix::process::getpid().as_raw_nonzero().get() <= 2 {
        return Err("its process has a number that its children will have".into());
    }
    // SAFETY: by this function's contract.
    unsafe { trial() }?;
    let seccomp = seccomp::Program::compile(&seccomp::Policy::default());
    let arguments = sys::ArgumentArea::of_self();
    hand_down_pages();
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
                let status = child::prepare(&plan);
                // Its descriptors are elsewhere now, and their old numbers others'.
                let _kept = std::mem::ManuallyDrop::new((plan, group));
                return Ok(Some(Forked { status, arguments }));
            }
            Ok(sys::Cloned::Parent { pidfd, pid }) => (Answer::Cloned(pid), Some(pidfd)),
            Err(error) => (Answer::Refused(error.raw_os_error().unwrap_or(libc::EINVAL)), None),
        };
        drop((plan, group));
        let fds: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
        order::send(control, &answer, &fds).map_err(|error| error.to_string())?;
    }
}

/// Has forked processes begin with the pages of programs and libraries that this one has in sight, instead of asking for
/// each anew: a third of all page faults of a start. The kernel copies the page tables of a private mapping only once
/// something in it was written, so one byte of each is, as it is; where that is refused, starts are slower.
fn hand_down_pages() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Ok(memory) = std::fs::File::options().read(true).write(true).open("/proc/self/mem") else { return };
    let private =
        |line: &&str| line.contains(" /") && line.split(' ').nth(1).is_some_and(|rights| rights.ends_with('p'));
    for line in maps.lines().filter(private) {
        let start = line.split('-').next().and_then(|start| u64::from_str_radix(start, 16).ok());
        let mut byte = [0];
        if let Some(start) = start
            && memory.read_exact_at(&mut byte, start).is_ok()
        {
            let _ = memory.write_all_at(&byte, start);
        }
    }
}

/// Whether this process may make what sandboxes are made of: not everywhere may one without privilege.
///
/// # Safety
/// As [`serve`].
unsafe fn trial() -> Result<(), String> {
    let refused = |error: io::Error| format!("make namespaces without privilege: {error}");
    // SAFETY: by this function's contract.
    let pidfd = match unsafe { sys::clone(child::NEW, None) }.map_err(refused)? {
        sys::Cloned::Child => {
            let mounted = sys::mount(c"proc", c"/proc", c"proc", libc::MS_NOSUID, c"");
            sys::exit_now(mounted.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL)))
        }
        sys::Cloned::Parent { pidfd, .. } => pidfd,
    };
    match status_of(&pidfd)? {
        0 => Ok(()),
        errno => Err(format!("mount /proc in a namespace: {}", io::Error::from_raw_os_error(errno))),
    }
}

fn status_of(pidfd: &OwnedFd) -> Result<i32, String> {
    let ended = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    let ended = ended.map_err(|error| error.to_string())?.ok_or("no status")?;
    ended.exit_status().ok_or_else(|| "a trial was killed".into())
}

/// Has the spawner told that this interpreter cannot be a fork server.
pub fn give_up(why: &str) {
    // SAFETY: as in `serve`.
    let control = unsafe { BorrowedFd::borrow_raw(CONTROL) };
    let _ = order::send(control, &Answer::Broken(why.to_owned()), &[]);
}

// === impl Forked ===

impl Forked {
    /// In the first process, when it has forked the runtime: what it does for the rest of its life.
    pub fn init(&self, runtime: i32) -> ! {
        child::init(runtime, self.status, 1, self.arguments)
    }

    /// In the first process, when it could not.
    pub fn no_runtime(&self, errno: i32) -> ! {
        child::fail(self.status, Step::Fork, &io::Error::from_raw_os_error(errno))
    }

    /// In the runtime: takes away what its program would have, had it been run.
    pub fn runtime(&self) {
        // Changing ids had made it secret, and running a program makes it readable for its user again.
        let _ = sys::prctl(libc::PR_SET_DUMPABLE, 1);
        // Close-on-exec otherwise.
        let _ = sys::close_range(self.status as u32, self.status as u32);
    }
}
