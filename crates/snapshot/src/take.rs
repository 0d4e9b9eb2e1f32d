//! Writing an image: the process goes through its own address space and takes no memory meanwhile, since what it took
//! would be in the image half done.
//!
//! ```text
//! registers ─► stack ─► mappings: what is in none but memory ─► pages ─► table
//! ```

use std::arch::global_asm;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::os::fd::RawFd;

use crate::format::{self, HALF, Kind, PAGE, PAGES, REGION, Region, SIGNALS, at};
use crate::maps::{self, Mapping};

// What a called function has to keep is put on the stack; who goes on from the image takes it from there, gives back
// the memory that it came by (rdi, rsi), and returns 1 to the same caller.
global_asm!(
    ".globl hearth_snapshot_enter",
    ".hidden hearth_snapshot_enter",
    "hearth_snapshot_enter:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "stmxcsr [rsp]",
    "fnstcw [rsp + 4]",
    "mov [rdi], rsp",
    "call {write}",
    "jmp 2f",
    ".globl hearth_snapshot_resume",
    ".hidden hearth_snapshot_resume",
    "hearth_snapshot_resume:",
    "ldmxcsr [rsp]",
    "fldcw [rsp + 4]",
    "cld",
    "mov eax, 11", // munmap
    "syscall",
    "mov eax, 1",
    "2:",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    write = sym write_image,
);

unsafe extern "C" {
    fn hearth_snapshot_enter(job: *mut c_void) -> c_int;
    fn hearth_snapshot_resume();
}

/// The stack pointer comes first: the assembly writes it.
#[repr(C)]
struct Job<'a> {
    stack: u64,
    image: RawFd,
    why: &'a mut [u8],
}

/// Memory of nobody's, in which the table is made: left out of the image.
struct Scratch {
    start: u64,
    numbers: &'static mut [u64],
    texts: &'static mut [u8],
    used: usize,
}

/// What is shorter than this and empty is written too: a mapping more costs more than its pages.
const GAP: u64 = 16 * PAGE;

static EMPTY: [u64; PAGE as usize / 8] = [0; PAGE as usize / 8];

/// Why not.
type Refused = ();

/// See [`crate::hearth_snapshot_take`].
///
/// # Safety
/// The process must have one thread.
pub unsafe fn take(image: RawFd, why: &mut [u8]) -> c_int {
    let mut job = Job { stack: 0, image, why };
    // SAFETY: the job outlives the call, also in who goes on from the image: it lies above the stack that is kept.
    unsafe { hearth_snapshot_enter((&raw mut job).cast()) }
}

unsafe extern "C" fn write_image(job: *mut Job<'_>) -> c_int {
    // SAFETY: from `take`, which waits.
    let job = unsafe { &mut *job };
    match job.write() {
        Ok(()) => 0,
        Err(()) => -1,
    }
}

fn errno() -> i32 {
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() }
}

// === impl Scratch ===

impl Scratch {
    fn new() -> Option<Self> {
        let length = 2 * HALF;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a mapping of its own. Shared, so that it is not joined with a neighbour in the list.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: two halves of the mapping, which is never taken away while they are used.
        unsafe {
            Some(Self {
                start: start as u64,
                numbers: std::slice::from_raw_parts_mut(start.cast(), HALF / 8),
                texts: std::slice::from_raw_parts_mut(start.cast::<u8>().add(HALF), HALF),
                used: 0,
            })
        }
    }

    fn region(&mut self, number: usize, region: &Region) {
        let from = at::TABLE + number * REGION;
        self.numbers[from..from + REGION].copy_from_slice(&region.encode());
    }

    /// The place of a text, which is the one before if that is the same.
    fn text(&mut self, text: &[u8], before: (u32, u32)) -> Option<(u32, u32)> {
        let last = before.0 as usize..before.0 as usize + before.1 as usize;
        if self.texts.get(last) == Some(text) {
            return Some(before);
        }
        let to = self.used + text.len() + 1;
        self.texts.get_mut(self.used..to)?[..text.len()].copy_from_slice(text);
        self.texts[to - 1] = 0;
        let place = (self.used as u32, text.len() as u32);
        self.used = to;
        Some(place)
    }
}

// === impl Job ===

impl Job<'_> {
    fn refuse<T>(&mut self, why: fmt::Arguments<'_>) -> Result<T, Refused> {
        format::say(self.why, why);
        Err(())
    }

    fn write(&mut self) -> Result<(), Refused> {
        self.no_timers()?;
        // The C library asks for more of the heap from where it ends, which is somewhere else in another process. Told
        // that there is no more, it takes its memory elsewhere (in `sbrk`, an overflow).
        // SAFETY: the C library's own variable, which nobody uses meanwhile.
        unsafe {
            let end = libc::dlsym(libc::RTLD_DEFAULT, c"__curbrk".as_ptr()).cast::<u64>();
            if end.is_null() {
                return self.refuse(format_args!("its C library is not glibc"));
            }
            *end = PAGE.wrapping_neg();
        }
        let Some(mut scratch) = Scratch::new() else { return self.refuse(format_args!("there is no memory left")) };
        let written = self.fill(&mut scratch);
        // SAFETY: nothing refers to it any more.
        unsafe { libc::munmap(scratch.start as *mut libc::c_void, 2 * HALF) };
        written
    }

    /// Those that this process set would not go off in another.
    fn no_timers(&mut self) -> Result<(), Refused> {
        for which in [0, 1, 2] {
            // SAFETY: all-zero is a timer that is off; the structure outlives the call.
            let mut timer: libc::itimerval = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_getitimer, which, &raw mut timer) };
            if timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0 {
                return self.refuse(format_args!("a timer runs (signal.setitimer, signal.alarm)"));
            }
        }
        let mut some = [0u8; 1];
        // Not every kernel has the file.
        // SAFETY: a static path, a buffer of one byte.
        let got = unsafe {
            let file = libc::open(c"/proc/self/timers".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            let got = libc::read(file, some.as_mut_ptr().cast(), 1);
            libc::close(file);
            got
        };
        if got > 0 {
            return self.refuse(format_args!("a timer of timer_create(2) is set"));
        }
        Ok(())
    }

    fn fill(&mut self, scratch: &mut Scratch) -> Result<(), Refused> {
        self.registers(scratch)?;
        let stack = self.stack;
        // SAFETY: a static path.
        let pagemap = unsafe { libc::open(c"/proc/self/pagemap".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if pagemap < 0 {
            return self.refuse(format_args!("it cannot read which of its pages are there: errno {}", errno()));
        }
        let (mut regions, mut specials, mut offset, mut below) = (0, 0, PAGES, 0);
        let mut name = (0, 0);
        let mut said = Ok(());
        let whole = maps::each(|mapping| {
            if mapping.start == scratch.start || mapping.name == b"[vsyscall]" {
                return true;
            }
            let place = at::TABLE + (regions + 2) * REGION + (specials + 1) * REGION;
            if place + REGION > scratch.numbers.len() {
                said = self.refuse(format_args!("it has too many mappings"));
                return false;
            }
            if mapping.name.starts_with(b"[v") {
                // At the table's end, from the last one backwards.
                let Some(text) = scratch.text(mapping.name, (0, 0)) else {
                    said = self.refuse(format_args!("it has too many files mapped"));
                    return false;
                };
                let region = self.region(mapping, Kind::Empty, 0, text);
                let end = scratch.numbers.len() - specials * REGION;
                scratch.numbers[end - REGION..end].copy_from_slice(&region.encode());
                specials += 1;
                return true;
            }
            if (mapping.start..mapping.end).contains(&stack) {
                // It would grow; in another process there may be something below it. So it has all it may have.
                let longest = 8 << 20;
                let from = mapping.end.saturating_sub(longest).max(below + (1 << 20)) & !(PAGE - 1);
                if from < mapping.start {
                    let mut region = self.region(mapping, Kind::Empty, 0, (0, 0));
                    (region.start, region.end) = (from, mapping.start);
                    scratch.region(regions, &region);
                    regions += 1;
                }
            }
            below = mapping.end;
            match self.classify(mapping, pagemap) {
                Ok(Kind::Image) => {
                    let put = split(mapping, pagemap, |start, end, full| {
                        if at::TABLE + (regions + 2 + specials) * REGION > scratch.numbers.len() {
                            return Err(libc::E2BIG);
                        }
                        let kind = if full { Kind::Image } else { Kind::Empty };
                        let mut region = self.region(mapping, kind, offset, (0, 0));
                        (region.start, region.end) = (start, end);
                        scratch.region(regions, &region);
                        regions += 1;
                        if full {
                            self.pages(mapping, start, end, offset)?;
                            offset += end - start;
                        }
                        Ok(())
                    });
                    if let Err(error) = put {
                        said = self.refuse(format_args!("its image cannot be written: errno {error}"));
                    }
                    said.is_ok()
                }
                Ok(kind) => {
                    let mut region = self.region(mapping, kind, mapping.offset, (0, 0));
                    if matches!(kind, Kind::File | Kind::SharedFile) {
                        match scratch.text(mapping.name, name) {
                            Some(text) => (name, region.name) = (text, text),
                            None => {
                                said = self.refuse(format_args!("it has too many files mapped"));
                                return false;
                            }
                        }
                        // SAFETY: all-zero is no file's; texts end with NUL.
                        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
                        let path = scratch.texts[name.0 as usize..].as_ptr();
                        // SAFETY: as above.
                        if unsafe { libc::stat(path.cast(), &raw mut stat) } != 0 {
                            said = self.refuse(format_args!("{} is mapped and gone", Shown(mapping.name)));
                            return false;
                        }
                        region.file = format::identity(&stat);
                    }
                    scratch.region(regions, &region);
                    regions += 1;
                    true
                }
                Err(()) => {
                    said = Err(());
                    false
                }
            }
        });
        // SAFETY: opened above.
        unsafe { libc::close(pagemap) };
        said?;
        if !whole {
            return self.refuse(format_args!("its mappings cannot be read"));
        }
        // Special ones come behind the others.
        let end = scratch.numbers.len();
        let to = at::TABLE + regions * REGION;
        scratch.numbers.copy_within(end - specials * REGION..end, to);
        scratch.numbers[at::REGIONS] = regions as u64;
        scratch.numbers[at::SPECIALS] = specials as u64;
        let numbers = to + specials * REGION;
        let texts = (scratch.texts.as_ptr() as u64, scratch.used as u64, HALF as u64);
        for (from, length, at) in [texts, (scratch.start, numbers as u64 * 8, 0)] {
            if let Err(error) = self.put(from, length, at) {
                return self.refuse(format_args!("its image cannot be written: errno {error}"));
            }
        }
        Ok(())
    }

    fn region(&self, mapping: &Mapping<'_>, kind: Kind, offset: u64, name: (u32, u32)) -> Region {
        let right = |has: bool, right: c_int| if has { right as u64 } else { 0 };
        let protection = right(mapping.readable, libc::PROT_READ)
            | right(mapping.writable, libc::PROT_WRITE)
            | right(mapping.executable, libc::PROT_EXEC);
        Region { start: mapping.start, end: mapping.end, protection, kind, offset, file: [0; 4], name }
    }

    fn registers(&mut self, scratch: &mut Scratch) -> Result<(), Refused> {
        let numbers = &mut *scratch.numbers;
        let (mut thread, mut robust, mut length) = (0u64, 0u64, 0u64);
        const ARCH_GET_FS: c_int = 0x1003;
        // SAFETY: each call fills structures of the length that it is told, or that it always has.
        unsafe {
            libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut thread);
            libc::syscall(libc::SYS_get_robust_list, 0, &raw mut robust, &raw mut length);
            libc::syscall(libc::SYS_sigaltstack, 0, &raw mut numbers[at::ALTSTACK]);
            libc::syscall(libc::SYS_rt_sigprocmask, 0, 0, &raw mut numbers[at::SIGMASK], 8);
            libc::prctl(libc::PR_GET_NAME, &raw mut numbers[at::NAME]);
            for signal in 1..=SIGNALS {
                let action = &raw mut numbers[at::ACTIONS + 4 * (signal - 1)];
                libc::syscall(libc::SYS_rt_sigaction, signal, 0, action, 8);
            }
        }
        // Where the C library has the thread's number, which the kernel and it change in a new process: right before
        // the list of locks, in every version for this processor.
        let tid = robust.wrapping_sub(16);
        let inside = length == 24 && (thread..thread + 4096).contains(&robust);
        // SAFETY: the list is in the thread's block, and not at its beginning.
        if !inside || unsafe { *(tid as *const i32) != libc::gettid() } {
            return self.refuse(format_args!("its C library keeps the thread's number in an unknown place"));
        }
        // SAFETY: symbols of the C library, if it has them: numbers that never change.
        let rseq = unsafe {
            let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
            let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
            if offset.is_null() || size.is_null() || *size == 0 {
                0
            } else {
                thread.wrapping_add_signed(*offset as i64)
            }
        };
        numbers[at::MAGIC] = format::MAGIC;
        numbers[at::RESUME] = hearth_snapshot_resume as *const () as u64;
        numbers[at::STACK] = self.stack;
        numbers[at::THREAD] = thread;
        numbers[at::ROBUST] = robust;
        numbers[at::TID] = tid;
        numbers[at::RSEQ] = rseq;
        Ok(())
    }

    /// Where a mapping's pages will come from.
    fn classify(&mut self, mapping: &Mapping<'_>, pagemap: RawFd) -> Result<Kind, Refused> {
        let of_file = mapping.name.first() == Some(&b'/');
        if mapping.shared {
            if of_file && !mapping.writable && !mapping.name.ends_with(b" (deleted)") {
                return Ok(Kind::SharedFile);
            }
            return self.refuse(format_args!(
                "it shares memory with other processes, or could ({}): mmap, multiprocessing, shared_memory",
                Shown(mapping.name)
            ));
        }
        if mapping.wiped || mapping.droppable {
            return Ok(if mapping.wiped { Kind::Wiped } else { Kind::Droppable });
        }
        let mut own = false;
        runs(mapping, pagemap, |_, _| {
            own = true;
            Ok(())
        })
        .or_else(|error| self.refuse(format_args!("it cannot read which of its pages are there: errno {error}")))?;
        if own && !mapping.readable {
            return self.refuse(format_args!("it has memory that it may not read itself"));
        }
        if of_file && !own && !mapping.writable {
            if mapping.name.ends_with(b" (deleted)") || mapping.name.starts_with(b"/tmp/") {
                return self.refuse(format_args!("{} is mapped, which new instances do not have", Shown(mapping.name)));
            }
            return Ok(Kind::File);
        }
        Ok(if own || (of_file && mapping.readable) { Kind::Image } else { Kind::Empty })
    }

    /// Writes a part of a mapping.
    fn pages(&self, mapping: &Mapping<'_>, start: u64, end: u64, to: u64) -> Result<(), i32> {
        if mapping.name.first() != Some(&b'/') {
            return self.put(start, end - start, to);
        }
        for page in (start..end).step_by(PAGE as usize) {
            match self.put(page, PAGE, to + page - start) {
                // Behind the file's end.
                Err(libc::EFAULT) => self.put((&raw const EMPTY) as u64, PAGE, to + page - start)?,
                result => result?,
            }
        }
        Ok(())
    }

    fn put(&self, mut from: u64, mut length: u64, mut at: u64) -> Result<(), i32> {
        while length > 0 {
            // SAFETY: the kernel reads, and says so if it cannot.
            let put =
                unsafe { libc::pwrite(self.image, from as *const libc::c_void, length as usize, at as libc::off_t) };
            match put {
                -1 if errno() == libc::EINTR => {}
                -1 => return Err(errno()),
                put => (from, length, at) = (from + put as u64, length - put as u64, at + put as u64),
            }
        }
        Ok(())
    }
}

/// Divides a mapping into what is written and what is empty, and need not be.
fn split(
    mapping: &Mapping<'_>,
    pagemap: RawFd,
    mut each: impl FnMut(u64, u64, bool) -> Result<(), i32>,
) -> Result<(), i32> {
    if mapping.name.first() == Some(&b'/') {
        return each(mapping.start, mapping.end, true);
    }
    let (mut done, mut full) = (mapping.start, (mapping.start, mapping.start));
    let mut flush = |done: &mut u64, full: (u64, u64)| {
        if full.0 == full.1 {
            return Ok(());
        }
        if *done < full.0 {
            each(*done, full.0, false)?;
        }
        *done = full.1;
        each(full.0, full.1, true)
    };
    runs(mapping, pagemap, |start, end| {
        // SAFETY: present and readable, as the kernel and the mapping say.
        let zero = |page: u64| unsafe { std::slice::from_raw_parts(page as *const u64, 512) }.iter().all(|n| *n == 0);
        for page in (start..end).step_by(PAGE as usize).filter(|page| !zero(*page)) {
            if full.0 == full.1 || page - full.1 > GAP {
                flush(&mut done, full)?;
                full.0 = page;
            }
            full.1 = page + PAGE;
        }
        Ok(())
    })?;
    flush(&mut done, full)?;
    if done < mapping.end { each(done, mapping.end, false) } else { Ok(()) }
}

/// Calls `each` with every run of a mapping's pages that are in memory only, not a file's.
fn runs(mapping: &Mapping<'_>, pagemap: RawFd, mut each: impl FnMut(u64, u64) -> Result<(), i32>) -> Result<(), i32> {
    const AT_ONCE: u64 = 512;
    let mut entries = [0u64; AT_ONCE as usize];
    let mut run = (mapping.start, mapping.start);
    let mut page = mapping.start;
    while page < mapping.end {
        let wanted = AT_ONCE.min((mapping.end - page) / PAGE) as usize;
        let at = (page / PAGE * 8) as libc::off_t;
        // SAFETY: a buffer of that length.
        let got = unsafe { libc::pread(pagemap, entries.as_mut_ptr().cast(), wanted * 8, at) };
        if got <= 0 {
            return Err(if got == 0 { libc::EIO } else { errno() });
        }
        for entry in &entries[..got as usize / 8] {
            // Present and no file's, or swapped out.
            let own = entry >> 61 & 0b101 == 0b100 || entry >> 62 & 1 == 1;
            if own {
                if run.1 != page {
                    if run.0 < run.1 {
                        each(run.0, run.1)?;
                    }
                    run.0 = page;
                }
                run.1 = page + PAGE;
            }
            page += PAGE;
        }
    }
    if run.0 < run.1 { each(run.0, run.1) } else { Ok(()) }
}

/// A name for people.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok("") => f.write_str("unnamed"),
            Ok(name) => f.write_str(name),
            Err(_) => f.write_str("a name that is no text"),
        }
    }
}
