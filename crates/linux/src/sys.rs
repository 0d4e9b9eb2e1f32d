//! The system calls that no safe crate wraps the way a sandbox needs them: one thin function each, errors as
//! errno. Everything with `unsafe` in this crate that is not seccomp or a signal is here.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Result of [`clone`].
pub enum Cloned {
    /// In the new process.
    Child,
    /// In the parent: the new process, as a pidfd and by its number here.
    Parent { pidfd: OwnedFd, pid: i32 },
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// libc's constant of this name is too narrow for its value.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `clone3` in the manner of fork, with new namespaces and optionally into a cgroup (v2).
///
/// # Safety
/// The caller's process must have one thread only: the child goes on with a copy of its memory, where another
/// thread's locks would stay locked for ever.
pub unsafe fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // A sibling has its parent told as its maker does.
    let exit_signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD } else { 0 };
    let mut args = libc::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: exit_signal as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(group) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: args outlives the call; without CLONE_VM the child has its own copy of everything, and by this
    // function's contract no other thread existed.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pidfd, pid: pid as i32 })
}

/// The number of the process behind a pidfd, in the caller's eyes.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

/// Does `what` in the mount namespace of the process behind `pidfd`, and comes back. Afterwards the working directory
/// is that of `home`'s root. A process that cannot come back must not go on.
///
/// `home` is a descriptor of the caller's own mount namespace. The caller must have one thread and share its
/// root and working directory with nobody (setns(2)).
pub fn inside_mounts<T>(
    pidfd: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
    what: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    // SAFETY: plain numbers; moving one thread between mount namespaces touches no memory.
    check(unsafe { libc::setns(pidfd.as_raw_fd(), libc::CLONE_NEWNS) }.into())?;
    let result = what();
    // SAFETY: as above.
    if unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWNS) } < 0 {
        // What is done next would be done to a sandbox's files, with the spawner's privilege.
        std::process::abort();
    }
    result
}

/// Does `what` with another effective user id and all capabilities, and comes back. A process that cannot come back
/// must not go on.
pub fn owned_by(uid: Option<u32>, what: impl FnOnce() -> io::Result<Cloned>) -> io::Result<Cloned> {
    let Some(uid) = uid else { return what() };
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // The raw calls: glibc's wrappers signal other threads, of which there are none.
    // SAFETY: plain numbers; -1 leaves an id as it is.
    let set = |uid: u32| check(unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) });
    prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)?;
    let result = set(uid).and_then(|_| what());
    // In the child, the new user namespace has reset the bits, and `become_user` sets the ids. (Not told apart by
    // its number: that is 1 in there, and may be ours too, in a container.)
    if !matches!(result, Ok(Cloned::Child)) && (set(0).is_err() || prctl(libc::PR_SET_SECUREBITS, 0).is_err()) {
        std::process::abort();
    }
    result
}

/// A detached copy of a mount (with what is mounted below it), to be attached elsewhere, perhaps by another
/// process in another mount namespace.
pub fn open_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: path is NUL-terminated and outlives the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a detached mount at a path, relative to the working directory.
pub fn move_mount(tree: BorrowedFd<'_>, to: &CStr) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
    // SAFETY: both paths are NUL-terminated and outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// Attaches a detached mount onto an open folder, whatever its path leads to by now.
pub fn move_mount_onto(tree: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
    const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
    // SAFETY: both paths are static.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            folder.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// Adds attributes (`MOUNT_ATTR_*`) to a mount, and to those below it if asked, and cuts it off from the mount that it
/// was copied from: what the host mounts there later must not appear here, without these attributes.
pub fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, set: u64) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: path and attr outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of_val(&attr),
        )
    })?;
    Ok(())
}

/// Shows the ids of a mount that is attached nowhere yet as a user namespace maps them: from what is on disk to what is
/// seen.
pub fn mount_idmap(tree: BorrowedFd<'_>, ids: BorrowedFd<'_>) -> io::Result<()> {
    let userns_fd = ids.as_raw_fd() as u64;
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    // SAFETY: path and attr outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of_val(&attr),
        )
    })?;
    Ok(())
}

/// `mount(2)`. `data` is the file system's own options.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong, data: &CStr) -> io::Result<()> {
    // SAFETY: all texts are NUL-terminated and outlive the call.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) }
        as libc::c_long)?;
    Ok(())
}

/// Makes the working directory the root, and lets go of the old one.
pub fn pivot_into_cwd() -> io::Result<()> {
    // SAFETY: both paths are static. The old root comes to lie over the new one, and is what "." unmounts.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: the path is static.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) } as libc::c_long)?;
    // SAFETY: the path is static.
    check(unsafe { libc::chdir(c"/".as_ptr()) } as libc::c_long)?;
    Ok(())
}

/// Gives up every capability for good: none is held, none can be regained by running a program.
pub fn drop_capabilities() -> io::Result<()> {
    bound_capabilities();
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [0u32; 6];
    // SAFETY: version 3 reads two structures of three u32 each, which `none` is.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })?;
    Ok(())
}

/// Has no program regain a capability; those that are held stay.
pub fn bound_capabilities() {
    // The last capability that the kernel knows is found by asking until it says no.
    for capability in 0..64 {
        // SAFETY: plain numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            break;
        }
    }
}

/// `prctl` with one argument.
pub fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: used with options that take plain numbers only.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) } as libc::c_long)?;
    Ok(())
}

/// Sets real, effective and saved ids, supplementary groups (where allowed) first.
pub fn become_user(uid: u32, gid: u32, clear_groups: bool) -> io::Result<()> {
    // SAFETY: plain numbers; an empty list needs no pointer.
    unsafe {
        // The raw calls: glibc's wrappers signal other threads, of which there are none.
        if clear_groups {
            check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()))?;
        }
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Sets a soft and hard limit.
pub fn set_rlimit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    set_rlimits(resource, value, value)
}

/// Sets a limit, soft and hard each.
pub fn set_rlimits(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: limit outlives the call.
    check(unsafe { libc::setrlimit(resource, &raw const limit) } as libc::c_long)?;
    Ok(())
}

/// A limit, soft and hard.
pub fn rlimits(resource: libc::__rlimit_resource_t) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit outlives the call.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) } as libc::c_long)?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Brings the loopback interface of the current network namespace up.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: a socket of our own; the request structure is zeroed, filled as SIOCSIFFLAGS reads it, and
    // outlives both calls.
    unsafe {
        let socket = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) as libc::c_long)?;
        let socket = OwnedFd::from_raw_fd(socket as RawFd);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) as libc::c_long)?;
    }
    Ok(())
}

/// Plain `fork`.
///
/// # Safety
/// As [`clone`].
pub unsafe fn fork() -> io::Result<i32> {
    // SAFETY: by this function's contract there is one thread.
    check(unsafe { libc::fork() } as libc::c_long).map(|pid| pid as i32)
}

/// Replaces the program. Returns only on failure.
pub fn exec(program: &CStr, args: &[*const libc::c_char], env: &[*const libc::c_char]) -> io::Error {
    debug_assert!(args.last().is_some_and(|p| p.is_null()) && env.last().is_some_and(|p| p.is_null()));
    // SAFETY: both lists end with a null pointer, and all texts outlive the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once: no destructors, no buffers of the copied parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(status) }
}

/// Waits for any child. `Ok(None)`: there is none left.
pub fn wait_any() -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: status outlives the call.
    match check(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) } as libc::c_long) {
        Ok(pid) => Ok(Some((pid as i32, status))),
        Err(e) if e.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Moves `fd` to the given number. The result survives exec, unless asked otherwise.
pub fn place_fd(fd: RawFd, at: RawFd, cloexec: bool) -> io::Result<()> {
    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: plain numbers; what was at the number before is meant to be replaced.
    check(unsafe { libc::dup3(fd, at, flags) } as libc::c_long)?;
    Ok(())
}

/// A copy of `fd` at a number no lower than `from`.
pub fn raise_fd(fd: RawFd, from: RawFd) -> io::Result<RawFd> {
    // SAFETY: plain numbers.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, from) } as libc::c_long).map(|fd| fd as RawFd)
}

/// Closes every descriptor from `first` up to `last`.
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: only used in a sandbox's own process, where no owner of those descriptors lives on.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Whether the other end of a pipe's write end is still open.
pub fn reader_lives(pipe: RawFd) -> bool {
    let mut poll = libc::pollfd { fd: pipe, events: 0, revents: 0 };
    // SAFETY: one structure, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
    poll.revents & (libc::POLLERR | libc::POLLNVAL) == 0
}

/// Where the process's command line and environment lie in its own memory.
#[derive(Debug, Clone, Copy)]
pub struct ArgumentArea {
    args: (usize, usize),
    env: (usize, usize),
}

impl ArgumentArea {
    /// As the kernel tells it (`/proc/self/stat`, fields 48 to 51).
    pub fn of_self() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field may hold spaces and parentheses; the third follows the last of them.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(48 - 3).map(|field| field.parse::<usize>());
        let mut next = || fields.next()?.ok().filter(|&address| address != 0);
        let area = Self { args: (next()?, next()?), env: (next()?, next()?) };
        (area.args.0 < area.args.1 && area.env.0 <= area.env.1).then_some(area)
    }

    /// Overwrites both: others see `name` as the command line and nothing as the environment.
    ///
    /// # Safety
    /// Nobody in this process may use its arguments or environment any more, and the area must be this process's
    /// or, after fork, its parent's.
    pub unsafe fn overwrite(self, name: &[u8]) {
        for (start, end) in [self.args, self.env] {
            // SAFETY: the kernel put the texts there, writable, and by this function's contract nobody reads them.
            unsafe { std::ptr::write_bytes(start as *mut u8, 0, end - start) };
        }
        let len = name.len().min(self.args.1 - self.args.0 - 1);
        // SAFETY: as above, and shorter than the area.
        unsafe { std::ptr::copy_nonoverlapping(name.as_ptr(), self.args.0 as *mut u8, len) };
    }
}
