//! Starting the spawner's two children: the server, without privileges, and the helper, with them.
//!
//! Both are tied to the spawner's life. What runs between fork and exec is straight-line code: the order matters.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Pid;

/// The server finds its end of the spawner's socketpair here, and the helper its end of the server's.
pub const SPAWNER_FD: RawFd = 3;

/// The server finds its end of the helper's socketpair here, where there is a helper.
pub const HELPER_FD: RawFd = 4;

/// Whom the server runs as.
#[derive(Debug, Clone, Copy)]
pub struct ServerUser {
    pub uid: u32,
    pub gid: u32,
}

/// A helper process, which holds a privilege that neither the spawner's loop can use nor the server may have.
#[derive(Debug)]
pub struct HelperOptions {
    /// Program and arguments. It inherits [`SPAWNER_FD`].
    pub command: Vec<String>,
    /// Where it lives, if not in the spawner's.
    pub mount_namespace: Option<OwnedFd>,
}

/// Starts the server with its ends of the sockets, without privileges, tied to this process's life.
pub fn server(
    command: &[String],
    environment: &[(String, String)],
    user: Option<ServerUser>,
    socket: OwnedFd,
    helper: Option<OwnedFd>,
) -> io::Result<OwnedFd> {
    let (socket, helper) = (raised(&socket)?, helper.as_ref().map(raised).transpose()?);
    let fds = (socket.as_raw_fd(), helper.as_ref().map(AsRawFd::as_raw_fd));
    start(command, environment, move || {
        prepare_server(user)?;
        place(fds.0, SPAWNER_FD)?;
        fds.1.map_or(Ok(()), |fd| place(fd, HELPER_FD))
    })
}

/// Starts the helper with its end of the server's socketpair.
pub fn helper(options: &HelperOptions, socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let socket = raised(&socket)?;
    let (fd, mounts) = (socket.as_raw_fd(), options.mount_namespace.as_ref().map(AsRawFd::as_raw_fd));
    start(&options.command, &[], move || {
        if let Some(mounts) = mounts {
            // SAFETY: plain numbers; the new process has one thread and shares nothing.
            check(unsafe { libc::setns(mounts, libc::CLONE_NEWNS) })?;
        }
        // To be told, not killed: it has things on the host to remove. It ends when the server has, too, which dies
        // with this process for certain.
        leash(libc::SIGTERM)?;
        place(fd, SPAWNER_FD)
    })
}

fn start(
    command: &[String],
    environment: &[(String, String)],
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<OwnedFd> {
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(args).envs(environment.iter().map(|(name, value)| (name, value)));
    // SAFETY: the closures make system calls on plain numbers only, and the process has one thread anyway.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    // Reaped through the pidfd, by the spawner's loop.
    Ok(rustix::process::pidfd_open(Pid::from_child(&child), rustix::process::PidfdFlags::empty())?)
}

/// A copy whose number is none of those that children expect: so that placing one does not close another.
fn raised(fd: &impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 16)?)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn place(fd: RawFd, at: RawFd) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::dup2(fd, at) })
}

/// This signal comes when the spawner dies; those of the terminal do not.
fn leash(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0))?;
        if libc::getppid() == 1 {
            return Err(io::Error::other("the spawner is gone"));
        }
        // A Ctrl-C reaches the whole group; the children hear of it from the spawner.
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
    Ok(())
}

/// As many descriptors as may be had. Makes system calls only: it is also called between fork and exec.
pub fn raise_descriptors() -> io::Result<()> {
    // SAFETY: plain structures, which outlive the calls.
    unsafe {
        let most = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most) == 0 {
            return Ok(());
        }
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))
    }
}

/// In the new process, before exec.
fn prepare_server(user: Option<ServerUser>) -> io::Result<()> {
    // Thousands of instances, up to seven descriptors each.
    raise_descriptors()?;
    // SAFETY: plain numbers throughout; `none` is what capset's version 3 reads.
    unsafe {
        // The bounding set first: it takes a capability to drop it.
        for capability in 0..64 {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                break;
            }
        }
        if let Some(ServerUser { uid, gid }) = user {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(gid, gid, gid))?;
            check(libc::setresuid(uid, uid, uid))?;
        }
        // An ordinary user's spawner is root in its own user namespace: those capabilities go too.
        let header = [0x2008_0522u32, 0];
        let none = [0u32; 6];
        check(libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) as libc::c_int)?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    }
    // Changing ids clears it, so after them.
    leash(libc::SIGKILL)
}
