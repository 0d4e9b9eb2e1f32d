//! The signals that ask for the end, as something to read.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// A socket that becomes readable when SIGTERM, SIGINT or SIGHUP arrives.
pub fn pipe() -> io::Result<UnixStream> {
    static WRITE_END: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);
    extern "C" fn note(_signal: libc::c_int) {
        let fd = WRITE_END.load(std::sync::atomic::Ordering::Relaxed);
        // SAFETY: write is async-signal-safe; the descriptor is never closed. errno is put back for the code
        // that was interrupted.
        unsafe {
            let errno = *libc::__errno_location();
            libc::write(fd, c"s".as_ptr().cast(), 1);
            *libc::__errno_location() = errno;
        }
    }
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    WRITE_END.store(write.as_raw_fd(), std::sync::atomic::Ordering::Relaxed);
    // Lives as long as the process, like the handler that writes to it.
    let _ = std::os::fd::IntoRawFd::into_raw_fd(write);
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: the handler does only what a handler may; the structure is zeroed, then filled.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(read)
}

pub fn drain(signals: &UnixStream) {
    let mut buffer = [0; 16];
    while matches!(rustix::io::read(signals, &mut buffer), Ok(n) if n == buffer.len()) {}
}
