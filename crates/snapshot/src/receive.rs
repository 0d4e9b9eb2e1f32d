//! The image's way into a sandbox: the IMAGE frame on the control stream, with a descriptor beside it.

use std::os::fd::RawFd;

/// IMAGE, which has no body (`docs/wire.md`).
const FRAME: [u8; 5] = [0, 0, 0, 0, 8];

/// Waits for the frame and takes the descriptor. None: something else came.
pub fn image(control: RawFd) -> Option<RawFd> {
    let mut bytes = [0u8; FRAME.len()];
    // Room for one descriptor, aligned as a header wants it.
    let mut space = [0u64; 8];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all-zero is a message without anything; then it names buffers that outlive the call, with their lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&space) as _;
    let got = loop {
        // SAFETY: as above.
        let got = unsafe { libc::recvmsg(control, &raw mut message, libc::MSG_WAITALL | libc::MSG_CMSG_CLOEXEC) };
        if got >= 0 || std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            break got;
        }
    };
    if got != bytes.len() as isize || bytes != FRAME || message.msg_flags & libc::MSG_CTRUNC != 0 {
        return None;
    }
    // SAFETY: the kernel filled the buffer; the macros read within its length.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let fits = !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len as usize >= libc::CMSG_LEN(4) as usize;
        fits.then(|| libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned())
    }
}
