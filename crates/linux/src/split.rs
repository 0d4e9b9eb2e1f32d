//! A process that splits: its child goes on with everything, and it runs another program itself.
//!
//! ```text
//! first process ─► clone, sharing memory ─┬─► first process: execve, with nothing in its hands but registers
//!                                         └─► child: returns, and has the memory to itself once that is done
//! ```
//!
//! So the second process of a sandbox costs no second copy of an interpreter's memory, and the first keeps none. Between
//! clone and execve both have the same stack and the same thread's variables: the parent writes to neither, which only
//! assembly can promise. Signals stay blocked meanwhile, or handlers would run on that stack.
//!
//! Then the child is made what the C library's own `fork` would have made it: its thread's number in the library's
//! notes, robust mutexes, restartable sequences. Handlers of `pthread_atfork` do not run.

use std::arch::asm;
use std::ffi::CStr;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the first process becomes.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    pub path: &'a CStr,
    /// A list of texts that ends with a null pointer. The environment is empty.
    pub args: &'a [*const libc::c_char],
    /// Where it says why it could not: a descriptor, and nine bytes, of which the second to the fifth become the error.
    pub report: (i32, *mut u8),
}

/// What is known of the calling thread before it splits, for its copies to be put right.
#[derive(Debug, Clone, Copy)]
pub struct Thread {
    /// Where the C library notes the thread's number.
    number: *mut i32,
    robust: (*const libc::c_void, usize),
    sequences: Option<*mut Sequences>,
}

/// The beginning of `struct rseq`.
#[repr(C, align(32))]
struct Sequences {
    cpu_id_start: u32,
    cpu_id: i32,
    critical: u64,
    flags: u32,
    more: [u32; 3],
}

/// 1 until the parent has another memory: the kernel writes the 0, as it does when a thread ends.
static TOGETHER: AtomicU32 = AtomicU32::new(0);

/// How far from the thread's pointer its number may be noted: glibc has it at 0x2d0 on x86-64, as in 2.4 so in 2.42.
const NEAR: usize = 0x700;

// === impl Thread ===

impl Thread {
    /// Finds it out. `None`: this C library is not one that is known here.
    ///
    /// # Safety
    /// The process must have one thread.
    pub unsafe fn of_self() -> Option<Self> {
        // SAFETY: asked of the calling thread.
        let own = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        let start = thread_structure();
        let here = |at: usize| (start + at) as *mut i32;
        // SAFETY: the thread's own structure is longer than this in every glibc since 2.4, and nobody else writes.
        let noted = |at: usize| unsafe { here(at).read_volatile() };
        let known: Vec<usize> = (0..NEAR).step_by(4).filter(|&at| noted(at) == own).collect();
        // Which of those follows the thread is seen in a process that the library itself forked.
        // SAFETY: by this function's contract; the child only reads, and ends.
        let mut right = 0;
        for &at in &known {
            // SAFETY: as above.
            match unsafe { libc::fork() } {
                0 => {
                    // SAFETY: asked of the calling thread.
                    let child = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
                    crate::sys::exit_now(i32::from(noted(at) == child))
                }
                child if child > 0 => {
                    let mut status = 0;
                    // SAFETY: status outlives the call.
                    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
                    if waited == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 1 {
                        right = if right == 0 { at } else { return None };
                    }
                }
                _ => return None,
            }
        }
        if right == 0 {
            return None;
        }
        let mut robust = (std::ptr::null(), 0);
        // SAFETY: both places outlive the call.
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut robust.0, &raw mut robust.1) };
        Some(Self { number: here(right), robust, sequences: sequences() })
    }

    /// In the child of [`split`], first thing.
    ///
    /// # Safety
    /// `self` must be of the thread that called [`split`].
    pub unsafe fn adopt(&self) {
        // SAFETY: the library's own notes, and what the kernel is told of them is what the library told it of the
        // thread that this is a copy of.
        unsafe {
            self.number.write_volatile(libc::syscall(libc::SYS_set_tid_address, self.number) as i32);
            if !self.robust.0.is_null() {
                libc::syscall(libc::SYS_set_robust_list, self.robust.0, self.robust.1);
            }
            if let Some(area) = self.sequences {
                (*area).critical = 0;
                let size = size_of::<Sequences>();
                if libc::syscall(libc::SYS_rseq, area, size, 0, SIGNATURE) != 0 {
                    const REGISTRATION_FAILED: i32 = -2;
                    (*area).cpu_id = REGISTRATION_FAILED;
                }
            }
        }
    }
}

/// Where the C library registered restartable sequences, if it did.
fn sequences() -> Option<*mut Sequences> {
    // SAFETY: glibc documents both symbols, a ptrdiff_t and an unsigned int.
    unsafe {
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        let registered = !size.is_null() && !offset.is_null() && *size > 0;
        registered.then(|| thread_pointer().wrapping_add_signed(*offset) as *mut Sequences)
    }
}

/// Whether the parent of [`split`] has let go of the memory; waits for that, a second at most.
pub fn alone() -> bool {
    let limit = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    for _ in 0..4 {
        if TOGETHER.load(Ordering::Acquire) == 0 {
            return true;
        }
        let word = TOGETHER.as_ptr();
        // Not private: the kernel wakes for a thread that ended in the manner of all.
        // SAFETY: word and limit outlive the call.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 1, &raw const limit) };
    }
    TOGETHER.load(Ordering::Acquire) == 0
}

/// Returns in a new child, and runs a program in the calling process. An error: there is no child. Every signal is
/// blocked from here on, in both: `unblock` in the child.
///
/// # Safety
/// The process must have one thread, and be of one that [`Thread`] knows. What the program is told must live as long as the
/// child does not say [`alone`].
pub unsafe fn split(program: &Program<'_>) -> io::Result<libc::sigset_t> {
    debug_assert!(program.args.last().is_some_and(|arg| arg.is_null()));
    let (status, report) = program.report;
    let told = [program.path.as_ptr() as usize, program.args.as_ptr() as usize, status as usize, report as usize];
    // SAFETY: sets of signals are plain numbers, and both outlive the calls.
    let before = unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        before
    };
    TOGETHER.store(1, Ordering::Release);
    // SAFETY: a static place; only when this process has let go of the memory does the kernel write there.
    unsafe { libc::syscall(libc::SYS_set_tid_address, TOGETHER.as_ptr()) };
    // SAFETY: the parent leaves within the assembly and touches no stack and no memory there but the report; the child comes
    // out of it with all that Rust expects to be kept. The parent reads nothing of this frame, which the child leaves
    // meanwhile: `told` is in registers before the first call, and what that leads to is the caller's.
    let result = unsafe { divide(&told) };
    if result == 0 {
        return Ok(before);
    }
    TOGETHER.store(0, Ordering::Release);
    unblock(&before);
    Err(io::Error::from_raw_os_error(-result as i32))
}

/// Has signals blocked as they were.
pub fn unblock(before: &libc::sigset_t) {
    // SAFETY: the set outlives the call.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

/// What x86-64's restartable sequences are signed with.
#[cfg(target_arch = "x86_64")]
const SIGNATURE: u32 = 0x5305_3053;
#[cfg(target_arch = "aarch64")]
const SIGNATURE: u32 = 0xd428_bc00;

#[cfg(target_arch = "x86_64")]
fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: the first word of a thread's structure is its own address.
    unsafe { asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags)) };
    pointer
}

#[cfg(target_arch = "aarch64")]
fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags)) };
    pointer
}

#[cfg(target_arch = "x86_64")]
fn thread_structure() -> usize {
    thread_pointer()
}

/// glibc has it right before what the pointer leads to.
#[cfg(target_arch = "aarch64")]
fn thread_structure() -> usize {
    thread_pointer() - NEAR
}

/// What the child shares, and how its end is told. Not clone3: the system-call filter is there already.
const SHARING: usize = (libc::CLONE_VM | libc::SIGCHLD) as usize;

/// clone, and in the parent: execve, or else a report, and the end.
///
/// # Safety
/// See [`split`].
#[cfg(target_arch = "x86_64")]
unsafe fn divide(told: &[usize; 4]) -> isize {
    let result: isize;
    // SAFETY: by this function's contract. A system call keeps every register but rax, rcx and r11.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jle 2f",
            "mov rdi, r12",
            "mov rsi, r13",
            "mov eax, 59",
            "syscall",
            "neg eax",
            "mov [r15 + 2], eax",
            "mov rdi, r14",
            "mov rsi, r15",
            "mov edx, 9",
            "mov eax, 1",
            "syscall",
            "mov edi, 1",
            "mov eax, 231",
            "syscall",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") SHARING,
            in("rsi") 0,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            in("r12") told[0],
            in("r13") told[1],
            in("r14") told[2],
            in("r15") told[3],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// As above.
///
/// # Safety
/// See [`split`].
#[cfg(target_arch = "aarch64")]
unsafe fn divide(told: &[usize; 4]) -> isize {
    let result: isize;
    // SAFETY: by this function's contract. A system call keeps every register but x0.
    unsafe {
        asm!(
            "svc 0",
            "cmp x0, 0",
            "b.le 2f",
            "mov x0, x9",
            "mov x1, x10",
            "mov x8, 221",
            "svc 0",
            "neg w0, w0",
            "stur w0, [x12, 2]",
            "mov x0, x11",
            "mov x1, x12",
            "mov x2, 9",
            "mov x8, 64",
            "svc 0",
            "mov x0, 1",
            "mov x8, 94",
            "svc 0",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone,
            inlateout("x0") SHARING as isize => result,
            in("x1") 0,
            in("x2") 0,
            in("x3") 0,
            in("x4") 0,
            in("x9") told[0],
            in("x10") told[1],
            in("x11") told[2],
            in("x12") told[3],
        );
    }
    result
}
