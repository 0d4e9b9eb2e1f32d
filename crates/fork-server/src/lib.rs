//! The library that makes an interpreter a fork server: the namespace driver's own code behind four C functions.
//!
//! An interpreter calls `hearth_fork_serve` when it has imported all it wants to have. That returns 0 in the first
//! process of each new sandbox, which then forks: the child calls `hearth_fork_runtime` and goes on, the parent calls
//! `hearth_fork_init`, which never returns. Anything but 0 says that this process cannot be a fork server, as the spawner
//! has been told. It knows nothing of the interpreter, and calls nothing of it.

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use namespace::fork_server::{self, Forked};

/// Set in the first process of a sandbox.
static FORKED: OnceLock<Forked> = OnceLock::new();

/// See above.
///
/// # Safety
/// The process must have one thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearth_fork_serve() -> c_int {
    // SAFETY: by this function's contract.
    match unsafe { fork_server::serve() } {
        Some(forked) => match FORKED.set(forked) {
            Ok(()) => 0,
            Err(_) => 1,
        },
        None => 1,
    }
}

/// In the first process: what it does for the rest of its life. `runtime` is the forked process's number, or, negative,
/// why there is none.
#[unsafe(no_mangle)]
pub extern "C" fn hearth_fork_init(runtime: c_int) -> c_int {
    match FORKED.get() {
        Some(forked) if runtime > 0 => forked.init(runtime),
        Some(forked) => forked.no_runtime(-runtime),
        None => 1,
    }
}

/// In the runtime, first thing.
#[unsafe(no_mangle)]
pub extern "C" fn hearth_fork_runtime() -> c_int {
    FORKED.get().map_or(1, |forked| {
        forked.runtime();
        0
    })
}

/// Tells the spawner that this interpreter cannot be a fork server.
///
/// # Safety
/// `why` is a text that ends with a NUL byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearth_fork_give_up(why: *const c_char) {
    // SAFETY: by this function's contract.
    fork_server::give_up(&unsafe { CStr::from_ptr(why) }.to_string_lossy());
}
