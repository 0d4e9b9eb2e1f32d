//! Network namespaces: making one, and doing something in one for a moment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A network namespace, held.
#[derive(Debug)]
pub struct Space(OwnedFd);

// === impl Space ===

impl Space {
    /// The calling thread's.
    pub fn current() -> io::Result<Self> {
        Ok(Self(File::open("/proc/thread-self/ns/net")?.into()))
    }

    /// A process's, which the caller holds, so that its number is no other's.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/ns/net"))?.into()))
    }

    /// A new one, with nothing in it. `home`: the caller's own.
    pub fn make(home: &Space) -> io::Result<Self> {
        // SAFETY: a network namespace is no memory and no descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        let made = Self::current();
        home.enter_again();
        made
    }

    /// Does `what` there, on this thread, and comes back. What is started or opened meanwhile belongs there.
    pub fn inside<T>(&self, home: &Space, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))?;
        let result = what();
        home.enter_again();
        result
    }

    /// By which another program finds it as long as it is held.
    pub fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    fn enter_again(&self) {
        if move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
            // What is done next would be done to another's network, with this process's privilege.
            std::process::abort();
        }
    }
}

impl AsFd for Space {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
