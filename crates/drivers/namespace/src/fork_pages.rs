//! Which pages of programs and libraries a fork server hands down to its copies: those that a start uses, and no others.
//!
//! A page that is mapped and not needed costs each copy some 0.3 µs to get and to give back; one that is needed and not
//! mapped costs a fault, 3 µs and more in a virtual machine. So a fork server lets go of all, does once what copies do
//! first, which maps again what that uses, and hands these down. (Pages that copies write are left to their faults: having
//! them copied ahead, in few system calls, took as long, since the copying is what takes it.)
//!
//! All of this is for speed only: what the kernel does not tell or let do is left undone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::fork_arenas::{self, HUGE};

const PAGE: usize = 4096;
/// Bits of an entry of `/proc/self/pagemap`.
const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;

struct Mapping {
    start: usize,
    end: usize,
    readable: bool,
    writable: bool,
    private: bool,
    of_file: bool,
}

// === impl Mapping ===

impl Mapping {
    /// A line of `/proc/self/maps`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let rights = fields.next()?.as_bytes();
        let name = fields.nth(3).unwrap_or_default();
        let kernels = name.starts_with("[v");
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            readable: rights.first() == Some(&b'r') && !kernels,
            writable: rights.get(1) == Some(&b'w'),
            private: rights.get(3) == Some(&b'p'),
            of_file: name.starts_with('/'),
        })
    }

    fn all() -> Vec<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines().filter_map(Self::parse).collect()
    }

    /// What the kernel tells of each page.
    fn pages(&self, pagemap: &File) -> Vec<u64> {
        let mut bytes = vec![0; (self.end - self.start) / PAGE * 8];
        if pagemap.read_exact_at(&mut bytes, (self.start / PAGE * 8) as u64).is_err() {
            return Vec::new();
        }
        bytes.chunks_exact(8).map(|entry| entry.try_into().map_or(0, u64::from_ne_bytes)).collect()
    }

    /// Runs of pages of which something holds, as addresses and lengths.
    fn runs(&self, pagemap: &File, holds: impl Fn(u64) -> bool) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (index, _) in self.pages(pagemap).iter().enumerate().filter(|(_, entry)| holds(**entry)) {
            let at = self.start + index * PAGE;
            match runs.last_mut() {
                Some((start, length)) if *start + *length == at => *length += PAGE,
                _ => runs.push((at, PAGE)),
            }
        }
        runs
    }
}

/// Before the rehearsal: lets go of every page of a file that is as it is in the file.
pub fn shed() {
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return };
    for mapping in Mapping::all().iter().filter(|mapping| mapping.private && mapping.of_file) {
        for (start, length) in mapping.runs(&pagemap, |entry| entry & (PRESENT | OF_FILE) == PRESENT | OF_FILE) {
            // SAFETY: these pages are the file's own, as the kernel has just said, and not this process's copies, which
            // nothing but itself can have made meanwhile: whoever reads there finds the same again.
            unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        }
    }
}

/// After the rehearsal. The kernel copies the page tables of a private mapping of a file only once something in it was
/// written, so one byte of each is, as it is; where that is refused, starts are slower.
pub fn hand_down() {
    for mapping in Mapping::all().iter().filter(|mapping| mapping.private && mapping.readable && mapping.of_file) {
        let _ = touch(mapping.start);
    }
    collapse();
    fork_arenas::keep_small();
}

/// Has the kernel put its own memory together into pages of 2 MiB where nearly all of such a page is in use: a copy of the
/// process then gets one entry for each instead of 512, and those that it never writes to cost it nothing more.
fn collapse() {
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return };
    let own = |mapping: &&Mapping| mapping.private && mapping.writable && !mapping.of_file;
    for mapping in Mapping::all().iter().filter(own) {
        let pages = mapping.pages(&pagemap);
        for start in (mapping.start.next_multiple_of(HUGE)..mapping.end).step_by(HUGE) {
            let first = (start - mapping.start) / PAGE;
            let Some(pages) = pages.get(first..first + HUGE / PAGE) else { break };
            if pages.iter().filter(|entry| **entry & PRESENT != 0).count() * 4 >= pages.len() * 3 {
                // SAFETY: what is there stays as it is, at the same place.
                unsafe { libc::madvise(start as *mut libc::c_void, HUGE, libc::MADV_COLLAPSE) };
            }
        }
    }
}

/// Writes a byte over itself, whether or not it may be written.
fn touch(at: usize) -> io::Result<()> {
    let memory = File::options().read(true).write(true).open("/proc/self/mem")?;
    let mut byte = [0];
    memory.read_exact_at(&mut byte, at as u64)?;
    memory.write_all_at(&byte, at as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn reads_a_line_of_maps() {
        let library = Mapping::parse("7f0000000000-7f0000002000 r-xp 00001000 fe:01 12 /usr/lib/libm.so.6").unwrap();
        assert!(library.of_file && library.private && library.readable);
        assert_eq!(library.end - library.start, 2 * PAGE);
        assert!(!Mapping::parse("7ffc0000-7ffc2000 r-xp 00000000 00:00 0 [vdso]").unwrap().readable);
        assert!(!Mapping::parse("7ffc0000-7ffc2000 rw-s 00000000 00:01 7 /memfd:x").unwrap().private);
    }

    #[test]
    fn what_was_written_over_a_file_is_kept() {
        let written = std::hint::black_box(OVER.load(Ordering::Relaxed));
        OVER.store(written + 1, Ordering::Relaxed);
        shed();
        assert_eq!(OVER.load(Ordering::Relaxed), written + 1);
        assert!(std::hint::black_box("as it is in the file").ends_with("file"));
    }

    /// In the data of the program's own file.
    static OVER: AtomicUsize = AtomicUsize::new(7);
}
