//! `hearth-agent run SOCKET`, or `run fd:NUMBER` where the socket is inherited: the first process in a container.
//!
//! ```text
//! call the host ─► Launch ─► descriptors, filter ─► fork ─► runtime: exec
//!                    │ any step fails                 └──► reap everything until the runtime ends ─► Report ─► exit
//!                    └──► Report, exit
//! ```
//!
//! Or `hearth-agent guest`: what a sandbox runs for a program that does not speak Hearth's protocol ([`guest`]).
//!
//! When the first process exits, the kernel kills whatever else is in its pid namespace. It is linked statically, so that it runs in
//! any image, and it is the whole of Hearth that is in one.

mod guest;

use std::ffi::{CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::ptr;

use agent::{Launch, MAX_FDS, MAX_PACKET, Report, Step};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.len() == 2 && args[1] == "guest" {
        return guest::main();
    }
    let [_, command, socket] = &args[..] else { return usage() };
    if command != "run" {
        return usage();
    }
    let (host, launch, streams) = match call(socket) {
        Ok(called) => called,
        Err(error) => {
            eprintln!("hearth-agent: {}: {error}", socket.display());
            return ExitCode::FAILURE;
        }
    };
    let mut status = host.as_raw_fd();
    let Err((step, error)) = run(launch, streams, &mut status);
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    leave(status, Report::Setup { step, errno }, 1)
}

fn usage() -> ExitCode {
    eprintln!("hearth-agent is started by Hearth: hearth-agent run SOCKET|fd:NUMBER, or hearth-agent guest");
    ExitCode::from(2)
}

/// Finds the host, and is told what to run.
fn call(socket: &OsStr) -> io::Result<(OwnedFd, Option<Launch>, Vec<OwnedFd>)> {
    let host = match socket.as_bytes().strip_prefix(b"fd:") {
        Some(number) => inherited(number)?,
        None => {
            let host = connect(socket)?;
            // Whoever started the agent opened something harmless here; but in gVisor it is a descriptor of the host's.
            nothing_at(0)?;
            host
        }
    };
    let (packet, streams) = receive(&host)?;
    Ok((host, Launch::decode(&packet), streams))
}

/// The socket at that number, in whose place `/dev/null` comes to be.
fn inherited(number: &[u8]) -> io::Result<OwnedFd> {
    let number = std::str::from_utf8(number).ok().and_then(|text| text.parse::<RawFd>().ok());
    let number = number.ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: plain numbers; the result is checked and owned.
    let host = unsafe { OwnedFd::from_raw_fd(check(libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3))?) };
    nothing_at(number)?;
    Ok(host)
}

/// Has `/dev/null` take the place of a descriptor that was left for the agent alone.
fn nothing_at(number: RawFd) -> io::Result<()> {
    let opened = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    // A copy, at 3 or above: where nothing was left, it would sit at that number itself, and be closed at the end.
    let nothing = opened.try_clone()?;
    drop(opened);
    // SAFETY: plain numbers; nothing in here owns this one.
    check(unsafe { libc::dup2(nothing.as_raw_fd(), number) }).map(drop)
}

fn connect(path: &OsStr) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; the result is checked and owned.
    let host = unsafe {
        let fd = check(libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0))?;
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: all zeroes is a valid address structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_bytes();
    if bytes.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: `address` is a whole sockaddr_un of that length, and its path ends with a zero.
    check(unsafe { libc::connect(host.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(host)
}

/// One packet with the descriptors beside it.
fn receive(host: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    const SPACE: usize = MAX_FDS * size_of::<RawFd>() + 64;
    #[repr(C, align(8))]
    struct Control([u8; SPACE]);

    let mut packet = vec![0u8; MAX_PACKET];
    let mut control = MaybeUninit::<Control>::zeroed();
    let mut part = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
    // SAFETY: all zeroes is a valid msghdr, filled in below.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = SPACE as _;
    let got = loop {
        // SAFETY: `message` points at buffers that outlive the call, with their true lengths.
        let got = unsafe { libc::recvmsg(host.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) } as i64;
        match check(got) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    let mut streams = Vec::new();
    // SAFETY: the CMSG macros walk what the kernel wrote into `control`, within msg_controllen; every descriptor in an
    // SCM_RIGHTS message is new and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for index in 0..bytes / size_of::<RawFd>() {
                    streams.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the packet was cut"));
    }
    packet.truncate(got as usize);
    Ok((packet, streams))
}

enum Never {}

/// Comes back only with the step that failed. `status` is where the socket to the host is.
fn run(launch: Option<Launch>, streams: Vec<OwnedFd>, status: &mut RawFd) -> Result<Never, (Step, io::Error)> {
    let at = |step| move |error| (step, error);
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let launch = launch.ok_or_else(|| (Step::Launch, invalid()))?;
    let c = |texts: &[String]| -> Result<Vec<CString>, (Step, io::Error)> {
        texts.iter().map(|text| CString::new(text.as_bytes()).map_err(|_| (Step::Launch, invalid()))).collect()
    };
    let (args, env) = (c(&launch.args)?, c(&launch.env)?);
    let work_dir = CString::new(launch.work_dir.as_bytes()).map_err(|_| (Step::Launch, invalid()))?;
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arg_list, env_list) = (pointers(&args), pointers(&env));

    let count = arrange(streams, status).map_err(at(Step::Descriptors))?;
    // SAFETY: a text that ends with a zero.
    check(unsafe { libc::chdir(work_dir.as_ptr()) }).map_err(at(Step::WorkDir))?;
    // SAFETY: plain numbers. Docker has set it already where it was told to; the filter needs it.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map_err(at(Step::NoNewPrivs))?;
    // Rust's runtime ignores it, and an ignored signal stays ignored over exec.
    // SAFETY: sets the default, no handler of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if !launch.filter.is_empty() {
        install(&launch.filter).map_err(at(Step::Seccomp))?;
    }

    // SAFETY: this process has one thread.
    match check(unsafe { libc::fork() }).map_err(at(Step::Fork))? {
        0 => {
            // SAFETY: both lists end with a null pointer, and all texts outlive the call.
            unsafe { libc::execve(arg_list[0], arg_list.as_ptr(), env_list.as_ptr()) };
            Err((Step::Exec, io::Error::last_os_error()))
        }
        runtime => reap(runtime, *status, count),
    }
}

/// Puts the descriptors where `docs/wire.md` says, the socket to the host behind them; how many they are.
fn arrange(streams: Vec<OwnedFd>, status: &mut RawFd) -> io::Result<RawFd> {
    let mut streams = streams.into_iter().map(IntoRawFd::into_raw_fd);
    let log = streams.next().ok_or(io::ErrorKind::InvalidInput)?;
    // 0 is /dev/null already: see `call`.
    let mut wanted = vec![log, log];
    wanted.extend(streams);
    if wanted.len() < 4 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    wanted.push(*status);
    let count = wanted.len() as RawFd;
    // Out of the way first: a wanted descriptor may sit at a number that another one is to have.
    for fd in &mut wanted {
        // SAFETY: plain numbers.
        *fd = check(unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, count + 1) })?;
    }
    for (at, fd) in (1..).zip(&wanted) {
        let flags = if at == count { libc::O_CLOEXEC } else { 0 };
        // SAFETY: plain numbers.
        check(unsafe { libc::dup3(*fd, at, flags) })?;
    }
    *status = count;
    for fd in count + 1..3 * count + 16 {
        // SAFETY: no number above `count` is used from here on; one that is not open is an error, ignored.
        unsafe { libc::close(fd) };
    }
    Ok(count)
}

fn install(filter: &[u8]) -> io::Result<()> {
    let (instructions, rest) = filter.as_chunks::<8>();
    let len = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    if !rest.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let half = |bytes: &[u8; 8], at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let list: Vec<libc::sock_filter> = instructions
        .iter()
        .map(|bytes| libc::sock_filter {
            code: half(bytes, 0),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let program = libc::sock_fprog { len, filter: list.as_ptr().cast_mut() };
    // SAFETY: `program` points at `len` instructions that outlive the call; the kernel copies them.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0 as libc::c_ulong, &raw const program)
    };
    check(result).map(drop)
}

/// Adopts and reaps, so that the runtime is an ordinary process that signals can kill and that need not know of
/// orphans.
fn reap(runtime: libc::pid_t, status: RawFd, count: RawFd) -> ! {
    for fd in 0..count {
        // The streams must end when the runtime ends.
        // SAFETY: nothing here uses them.
        unsafe { libc::close(fd) };
    }
    // SAFETY: plain numbers. Nobody in here has a reason to look into this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    loop {
        let mut wait_status = 0;
        // SAFETY: `wait_status` is ours to be written.
        let pid = unsafe { libc::waitpid(-1, &raw mut wait_status, 0) };
        if pid == runtime {
            leave(status, Report::Exit { wait_status }, 0);
        }
        if pid < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            leave(status, Report::Setup { step: Step::Fork, errno: libc::ECHILD }, 1);
        }
    }
}

/// Tells the host; nothing can be done if that fails.
fn leave(status: RawFd, report: Report, code: i32) -> ! {
    let packet = report.encode();
    // SAFETY: the packet is as long as is said, and _exit ends the process without running anything.
    unsafe {
        libc::send(status, packet.as_ptr().cast(), packet.len(), libc::MSG_NOSIGNAL);
        libc::_exit(code)
    }
}

fn check<T: Into<i64> + Copy>(result: T) -> io::Result<T> {
    if result.into() < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
