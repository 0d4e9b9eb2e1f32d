//! The first process of a sandbox that a fork server made: reaps everything until the runtime ends, reports its status,
//! exits. Some hundred bytes without any library, since every start runs it.
//!
//! What it relies on is the driver's (`namespace::fork_server`), and tried at the start of every fork server: the runtime is
//! the sandbox's second process, and the pipe to the spawner is at the number that follows the streams.

#![no_main]
// With the standard library where it is checked and not run: without it, a program cannot unwind.
#![cfg_attr(hearth_init, no_std)]

use core::arch::{asm, global_asm};

const RUNTIME: isize = 2;
const STATUS: usize = 5;

/// The numbers of Linux, which crates have beside the standard library only.
#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const CLOSE_RANGE: usize = 436;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const SIGPROCMASK: usize = 135;
    pub const PRCTL: usize = 167;
    pub const WAIT4: usize = 260;
    pub const CLOSE_RANGE: usize = 436;
}
const PR_SET_DUMPABLE: usize = 4;
const SIG_SETMASK: usize = 2;
const WALL: usize = 0x4000_0000;
const EINTR: isize = 4;

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "and rsp, -16", "call {run}", "ud2", run = sym run);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "bl {run}", "brk 1", run = sym run);

/// A system call.
fn call(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the callers' pointers are to what lives, or null.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            options(nostack));
    }
    result
}

extern "C" fn run() -> ! {
    // Nobody in here may look at it, as nobody may read its program.
    call(number::PRCTL, [PR_SET_DUMPABLE, 0, 0, 0]);
    // The streams must end when the runtime ends.
    call(number::CLOSE_RANGE, [0, STATUS - 1, 0, 0]);
    let none = 0_u64;
    call(number::SIGPROCMASK, [SIG_SETMASK, &raw const none as usize, 0, size_of_val(&none)]);
    loop {
        let mut status = 0_i32;
        let ended = call(number::WAIT4, [usize::MAX, &raw mut status as usize, WALL, 0]);
        if ended == RUNTIME {
            let [a, b, c, d] = status.to_le_bytes();
            let report = [2, 0, a, b, c, d, 0, 0, 0];
            call(number::WRITE, [STATUS, &raw const report as usize, report.len(), 0]);
            exit(0);
        }
        if ended < 0 && ended != -EINTR {
            exit(1);
        }
    }
}

fn exit(status: usize) -> ! {
    loop {
        call(number::EXIT_GROUP, [status, 0, 0, 0]);
    }
}

#[cfg(hearth_init)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(1)
}
