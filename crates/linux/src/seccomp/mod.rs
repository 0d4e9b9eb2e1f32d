//! The system-call filter of every sandbox: an allow-list, compiled to a classic BPF program.
//!
//! ```text
//! policy.rs   what is answered, by name and reason ──► Policy      numbers.txt   name → number
//! tree.rs     Policy ──► balanced search over number ranges ──► Program
//! install     in the sandbox's first process, after no_new_privs, before the command
//! ```
//!
//! The kernel runs a new filter once for every system-call number, to remember which are always allowed, and
//! never runs it for those again. So loading costs (numbers × depth): 0.78 ms for a list, 0.05 ms for a tree;
//! and a call that is allowed whatever its arguments costs nothing afterwards.
//!
//! Refuses foreign ABIs (the process is killed: no honest program has one), denies what is known with `EPERM`,
//! and answers what is not known with `ENOSYS`, so that a C library newer than this table falls back.

mod bpf;
mod policy;
mod tree;

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;

pub use bpf::SockFilter;
pub use policy::{Arch, Policy};

/// A compiled filter. Made once, installed in many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<SockFilter>);

/// The kernel did not take the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("installing the seccomp filter failed: errno {errno}")]
pub struct Error {
    pub errno: i32,
}

// === impl Program ===

impl Program {
    pub fn compile(policy: &Policy) -> Self {
        Self(tree::compile(policy.root()))
    }

    pub fn instructions(&self) -> &[SockFilter] {
        &self.0
    }

    /// The instructions as the kernel reads them, for a process elsewhere that installs them.
    pub fn bytes(&self) -> Vec<u8> {
        let one = |i: &SockFilter| {
            let ([a, b], [e, f, g, h]) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
            [a, b, i.jt, i.jf, e, f, g, h]
        };
        self.0.iter().flat_map(one).collect()
    }

    /// Puts the calling thread, and all that it will start, under this filter, for good.
    ///
    /// Needs `no_new_privs` (or `CAP_SYS_ADMIN`). One system call, no allocation: fit for the time between fork
    /// and exec.
    ///
    /// No flags. `TSYNC` is for threads, and there is one. `SPEC_ALLOW` would leave the mitigations of Spectre
    /// v2 and v4 off on kernels before 5.16, which switch them on for every filtered process (JITs then lose 5
    /// to 20 %); since 5.16 the kernel does so only where its administrator asked for it. On an old kernel
    /// tenants share hyperthreads under its rules, and whoever asked for the mitigation meant us: so the
    /// kernel's choice stands.
    pub fn install(&self) -> Result<(), Error> {
        let len = u16::try_from(self.0.len()).map_err(|_| Error { errno: libc::EINVAL })?;
        let program = libc::sock_fprog { len, filter: self.0.as_ptr().cast_mut().cast() };
        // SAFETY: `program` points at `len` instructions, which live as long as `self` and have the layout of
        // `struct sock_filter` (asserted beside `SockFilter`); the kernel copies them and writes nothing.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0 as libc::c_ulong, &raw const program)
        };
        if result == 0 {
            return Ok(());
        }
        // SAFETY: errno is this thread's own, and was set by the call above.
        Err(Error { errno: unsafe { *libc::__errno_location() } })
    }
}
