//! The library that makes an interpreter a fork server: the namespace driver's own code behind five C functions.
//!
//! An interpreter calls `hearth_fork_serve` when it has imported all it wants to have, and is ready to be forked. That
//! returns in the runtime of each new sandbox, a copy that is to do what any forked one does, and that has to wait with
//! `hearth_fork_alone` before it runs code of others: 0 where a function's code is there, 1 in a stem. Anything else says
//! that this process cannot be a fork server, as the spawner has been told. It knows nothing of the interpreter but how
//! that can be told where to take memory.

use std::ffi::{CStr, c_char, c_int};

use namespace::fork_server::{self, AsPython, Copied};

/// Has Python take its memory for small objects where copies share it best, from now on. To be called before it imports
/// what its copies shall have, with `PyObject_SetArenaAllocator`.
///
/// # Safety
/// `set` is that function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearth_fork_arenas(set: unsafe extern "C" fn(*const AsPython)) {
    let arenas = AsPython::begin();
    // SAFETY: by this function's contract; it copies what it is given.
    unsafe { set(&raw const arenas) };
}

/// To be called before the interpreter does, once, what its copies will do first: they will have what that uses.
#[unsafe(no_mangle)]
pub extern "C" fn hearth_fork_shed() {
    fork_server::shed();
}

/// See above.
///
/// # Safety
/// The process must have one thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearth_fork_serve() -> c_int {
    // SAFETY: by this function's contract.
    match unsafe { fork_server::serve() } {
        Some(Copied::Instance) => 0,
        Some(Copied::Stem) => 1,
        None => 2,
    }
}

/// In the runtime: 0 when its memory is its own. Until then the sandbox's first process has it too, for some 0.1 ms.
#[unsafe(no_mangle)]
pub extern "C" fn hearth_fork_alone() -> c_int {
    c_int::from(!fork_server::alone())
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
