//! Fork points: a process writes an image of itself, and other processes, in sandboxes of their own, go on from it.
//!
//! ```text
//! interpreter, one thread ─► hearth_snapshot_take ─► pages and table into a file in memory ─► returns 0, and ends
//!                                    ▲                          │ sealed by the host
//!                                    │ returns 1                ▼
//!                     hearth-restore, in a new sandbox: checks, maps, jumps      (as often as wanted)
//! ```
//!
//! Neither half has any privilege: the image is written by the process that it is of, under its own walls, and what is
//! made of it runs under the walls of the new sandbox, which were up before a byte of the image was looked at. So what a
//! function writes into its image it could as well have done in the new sandbox itself.
//!
//! The library is loaded by the interpreter; the program is `main.rs`.

pub mod format;
pub mod receive;

#[cfg(target_arch = "x86_64")]
mod maps;
#[cfg(target_arch = "x86_64")]
mod take;

use std::ffi::{c_char, c_int};

/// Writes this process's image into `image`. Returns 0 when it is written, 1 in each process that goes on from it, and
/// -1 when it cannot be, with the reason as a text that ends with NUL in `why`, of `size` bytes.
///
/// # Safety
/// The process must have one thread, and `why` must have `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearth_snapshot_take(image: c_int, why: *mut c_char, size: usize) -> c_int {
    // SAFETY: by this function's contract.
    let why = unsafe { std::slice::from_raw_parts_mut(why.cast::<u8>(), size) };
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by this function's contract.
    return unsafe { take::take(image, why) };
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = image;
        format::say(why, format_args!("processes can be copied on x86-64 only"));
        -1
    }
}

/// The image that the host sends on a control stream: its descriptor, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn hearth_snapshot_receive(control: c_int) -> c_int {
    receive::image(control).unwrap_or(-1)
}
