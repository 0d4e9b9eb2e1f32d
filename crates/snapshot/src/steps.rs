//! The last part: system calls written down, and the loop that makes them when nothing else is there.

use std::arch::global_asm;

use hearth_snapshot::format::PAGE;

// rdi: the steps. It is copied to where it runs, so nothing in it says where it is.
global_asm!(
    ".globl hearth_restore_run",
    ".hidden hearth_restore_run",
    "hearth_restore_run:",
    "mov r12, rdi",
    "2:",
    "mov rax, [r12]",
    "cmp rax, -1",
    "je 5f",
    "cmp rax, -2",
    "je 4f",
    "mov rdi, [r12 + 8]",
    "mov rsi, [r12 + 16]",
    "mov rdx, [r12 + 24]",
    "mov r10, [r12 + 32]",
    "mov r8, [r12 + 40]",
    "mov r9, [r12 + 48]",
    "syscall",
    "mov rcx, [r12 + 56]",
    "cmp rcx, 1",
    "jb 3f",
    "ja 6f",
    "cmp rax, -4095",
    "jae 7f",
    "jmp 3f",
    "6:",
    "cmp rax, [r12 + 64]",
    "jne 7f",
    "3:",
    "add r12, 72",
    "jmp 2b",
    "4:", // a number into memory
    "mov rax, [r12 + 8]",
    "mov rcx, [r12 + 16]",
    "mov [rax], ecx",
    "jmp 3b",
    "5:", // the end: stack, where to go on, what to give back there
    "mov rsp, [r12 + 8]",
    "mov rdi, [r12 + 24]",
    "mov rsi, [r12 + 32]",
    "jmp [r12 + 16]",
    "7:", // it cannot go on
    "lea rsi, [rip + 8f]",
    "mov edi, 2",
    "mov edx, 69",
    "mov eax, 1",
    "syscall",
    "mov edi, 70",
    "mov eax, 231",
    "syscall",
    "8:",
    ".ascii \"hearth: an instance could not go on from its fork point: a late step\\n\"",
    ".globl hearth_restore_run_end",
    ".hidden hearth_restore_run_end",
    "hearth_restore_run_end:",
);

unsafe extern "C" {
    fn hearth_restore_run();
    fn hearth_restore_run_end();
}

/// One thing to do, as the loop reads it.
#[repr(C)]
pub struct Step {
    number: u64,
    args: [u64; 6],
    check: u64,
    expected: u64,
}

/// What a system call may answer.
pub enum Expect {
    Anything,
    Success,
    Exactly(u64),
}

/// Where it all lies.
pub struct Area {
    start: u64,
    length: u64,
    steps: u64,
    used: usize,
    room: usize,
    copies: u64,
    slots: u64,
}

const STEP: usize = size_of::<Step>();
/// For structures that calls refer to.
const COPIES: u64 = 2 * PAGE;

// === impl Step ===

impl Step {
    pub fn new(number: libc::c_long, args: [u64; 6], expect: Expect) -> Self {
        let (check, expected) = match expect {
            Expect::Anything => (0, 0),
            Expect::Success => (1, 0),
            Expect::Exactly(value) => (2, value),
        };
        Self { number: number as u64, args, check, expected }
    }

    /// Writes four bytes.
    pub fn poke(address: u64, value: u32) -> Self {
        Self { number: -2i64 as u64, args: [address, value.into(), 0, 0, 0, 0], check: 0, expected: 0 }
    }
}

// === impl Area ===

impl Area {
    /// Somewhere that nobody has: room for so many steps, and so much beside.
    pub fn make(taken: &[(u64, u64)], steps: usize, slots: u64) -> Option<Self> {
        let steps_length = ((steps * STEP) as u64).next_multiple_of(PAGE);
        let length = PAGE + steps_length + COPIES + slots;
        let overlaps = |start: u64| taken.iter().any(|(from, to)| start < *to && *from < start + length);
        // Between a program that is linked to low addresses and those that the kernel gives out.
        for start in (1..512).map(|n| n << 33).filter(|start| !overlaps(*start)) {
            let (protection, flags) = (
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            );
            // SAFETY: a mapping of its own, in the place of none.
            let made = unsafe { libc::mmap(start as *mut libc::c_void, length as usize, protection, flags, -1, 0) };
            if made as u64 != start {
                continue;
            }
            let from = hearth_restore_run as *const u8;
            let code = hearth_restore_run_end as *const () as usize - from as usize;
            assert!(code <= PAGE as usize, "the loop is longer than a page");
            // SAFETY: the first page of the mapping, and the loop as it is linked.
            unsafe { std::ptr::copy_nonoverlapping(from, start as *mut u8, code) };
            let steps_at = start + PAGE;
            let copies = steps_at + steps_length;
            return Some(Self { start, length, steps: steps_at, used: 0, room: steps, copies, slots: copies + COPIES });
        }
        None
    }

    pub fn range(&self) -> (u64, u64) {
        (self.start, self.start + self.length)
    }

    pub fn step(&mut self, step: Step) {
        assert!(self.used < self.room, "more steps than were counted");
        // SAFETY: within the part of the mapping that is for steps.
        unsafe { ((self.steps as usize + self.used * STEP) as *mut Step).write(step) };
        self.used += 1;
    }

    /// Has numbers where a call finds them.
    pub fn copy(&mut self, numbers: &[u64]) -> u64 {
        let at = self.copies;
        self.copies += size_of_val(numbers) as u64;
        assert!(self.copies <= self.slots_begin(), "more structures than were counted");
        // SAFETY: within the part of the mapping that is for them.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), at as *mut u64, numbers.len()) };
        at
    }

    fn slots_begin(&self) -> u64 {
        self.steps + ((self.room * STEP) as u64).next_multiple_of(PAGE) + COPIES
    }

    /// A place for pages that are moved.
    pub fn slot(&mut self, length: u64) -> u64 {
        let at = self.slots;
        self.slots += length;
        assert!(self.slots <= self.start + self.length, "more slots than were counted");
        at
    }

    /// Does it all, and goes on at `resume`.
    pub fn leave(mut self, stack: u64, resume: u64) -> ! {
        let args = [stack, resume, self.start, self.length, 0, 0];
        self.step(Step { number: u64::MAX, args, check: 0, expected: 0 });
        // SAFETY: the loop that was copied there; it never comes back.
        let run: unsafe extern "C" fn(*const u64) -> ! = unsafe { std::mem::transmute(self.start as *const ()) };
        // SAFETY: as above; all that this program owned is given back in there.
        unsafe { run(self.steps as *const u64) }
    }
}
