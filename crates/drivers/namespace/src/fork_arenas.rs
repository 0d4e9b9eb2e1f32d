//! Where a fork server's interpreter keeps its small objects: side by side, so that pages of 2 MiB can be made of them.
//!
//! Python takes memory for small objects in arenas of 1 MiB (`Objects/obmalloc.c`), each from `mmap`, which puts them
//! between the libraries that are loaded meanwhile. With [`AsPython`] it takes them out of one region instead: a copy of
//! the process then has a few entries to copy where it had thousands, and one mapping where it had a dozen. Where the
//! region is full, arenas come from `mmap` as ever. Copies of the process go on with the region, in small pages, so that
//! an instance has no more memory than it uses.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What Python asks for at once since 3.10.
const ARENA: usize = 1 << 20;
const ARENAS: usize = u32::BITS as usize;
/// What one entry of the next level of page tables covers.
pub const HUGE: usize = 2 << 20;

/// `PyObjectArenaAllocator` of Python's C API.
#[repr(C)]
pub struct AsPython {
    ctx: *mut c_void,
    alloc: extern "C" fn(*mut c_void, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

/// Interpreters with a lock of their own may call at the same time, so both are atomic.
struct Region {
    /// 0 before [`AsPython::begin`], and where there is none.
    base: AtomicUsize,
    /// A bit for each arena that is taken.
    taken: AtomicU32,
}

static REGION: Region = Region { base: AtomicUsize::new(0), taken: AtomicU32::new(0) };

// === impl AsPython ===

impl AsPython {
    /// Maps the region, once, and says how Python takes arenas from it.
    pub fn begin() -> Self {
        REGION.map();
        Self { ctx: ptr::null_mut(), alloc, free }
    }
}

extern "C" fn alloc(_: *mut c_void, size: usize) -> *mut c_void {
    if size == ARENA
        && let Some(at) = REGION.take()
    {
        return at as *mut c_void;
    }
    map(size).map_or(ptr::null_mut(), |at| at as *mut c_void)
}

/// # Safety
/// It is what `alloc`, or Python's own allocator before it, gave for as many bytes.
unsafe extern "C" fn free(_: *mut c_void, at: *mut c_void, size: usize) {
    if !REGION.give_back(at as usize) {
        // SAFETY: by this function's contract it is a mapping, and nobody uses it any more.
        unsafe { libc::munmap(at, size) };
    }
}

fn map(size: usize) -> Option<usize> {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, where the kernel likes.
    let at = unsafe { libc::mmap(ptr::null_mut(), size, rights, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    (at != libc::MAP_FAILED).then_some(at as usize)
}

/// The unused arenas, from the next huge page on, stay small pages for copies of this process.
pub fn keep_small() {
    REGION.keep_small();
}

// === impl Region ===

impl Region {
    fn map(&self) {
        if self.base.load(Ordering::Relaxed) != 0 {
            return;
        }
        // What is before and behind is never touched, and so costs nothing.
        if let Some(at) = map(ARENAS * ARENA + HUGE) {
            self.base.store(at.next_multiple_of(HUGE), Ordering::Release);
        }
    }

    fn take(&self) -> Option<usize> {
        let base = self.base.load(Ordering::Acquire);
        if base == 0 {
            return None;
        }
        let first_free = |taken: u32| (taken != u32::MAX).then(|| taken | 1 << taken.trailing_ones());
        let before = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, first_free).ok()?;
        Some(base + before.trailing_ones() as usize * ARENA)
    }

    /// Whether it is one of the region's.
    fn give_back(&self, at: usize) -> bool {
        let base = self.base.load(Ordering::Acquire);
        if base == 0 || !(base..base + ARENAS * ARENA).contains(&at) {
            return false;
        }
        // SAFETY: nobody uses this arena any more; it is not given to anybody else yet.
        unsafe { libc::madvise(at as *mut c_void, ARENA, libc::MADV_DONTNEED) };
        self.taken.fetch_and(!(1 << ((at - base) / ARENA)), Ordering::AcqRel);
        true
    }

    fn keep_small(&self) {
        let base = self.base.load(Ordering::Acquire);
        let used = ARENAS - self.taken.load(Ordering::Acquire).leading_zeros() as usize;
        let rest = (used * ARENA).next_multiple_of(HUGE);
        if base != 0 && rest < ARENAS * ARENA {
            // SAFETY: it says how the kernel is to give memory there, and changes none.
            unsafe { libc::madvise((base + rest) as *mut c_void, ARENAS * ARENA - rest, libc::MADV_NOHUGEPAGE) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Region {
        let region = Region { base: AtomicUsize::new(0), taken: AtomicU32::new(0) };
        region.map();
        region
    }

    #[test]
    fn arenas_lie_side_by_side_and_those_given_back_are_given_again_empty() {
        let region = region();
        let arenas: Vec<usize> = (0..ARENAS).map(|_| region.take().unwrap()).collect();
        assert_eq!(arenas[0] % HUGE, 0);
        assert!(arenas.windows(2).all(|pair| pair[1] == pair[0] + ARENA));
        assert_eq!(region.take(), None);
        let one = arenas[7] as *mut u64;
        // SAFETY: it is this test's own memory.
        unsafe { one.write(7) };
        assert!(region.give_back(arenas[7]));
        assert_eq!(region.take(), Some(arenas[7]));
        // SAFETY: as above.
        assert_eq!(unsafe { one.read() }, 0);
    }

    #[test]
    fn what_is_not_of_the_region_is_not_taken_back() {
        let region = region();
        assert!(!region.give_back(arena_of_another()));
        assert!(!Region { base: AtomicUsize::new(0), taken: AtomicU32::new(0) }.give_back(arena_of_another()));
    }

    fn arena_of_another() -> usize {
        map(ARENA).unwrap()
    }

    #[test]
    fn python_gets_others_where_the_region_has_none_for_it() {
        let python = AsPython::begin();
        let (odd, first) = ((python.alloc)(python.ctx, 3 * ARENA), (python.alloc)(python.ctx, ARENA));
        assert!(!odd.is_null() && !first.is_null());
        // SAFETY: both are what it gave.
        unsafe {
            (python.free)(python.ctx, odd, 3 * ARENA);
            (python.free)(python.ctx, first, ARENA);
        }
    }
}
