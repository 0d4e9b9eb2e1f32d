//! An image: a table of 64-bit numbers at its beginning, texts behind them, then pages, without a hole: what is read of a
//! hole takes memory that nobody has accounted for. Only ever read on the machine,
//! and within the run of the kernel, that it was written on.
//!
//! Who reads one believes nothing of it but what the kernel checks anyway: it is a function's.

use std::fmt::{self, Write};

/// What an image begins with.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HRTHSNP1");

/// Numbers end, and texts begin, here; pages begin at twice that.
pub const HALF: usize = 512 << 10;
pub const PAGES: u64 = 2 * HALF as u64;
pub const PAGE: u64 = 4096;

/// Places of the numbers that are there once.
pub mod at {
    pub const MAGIC: usize = 0;
    /// Where to go on, and with which stack.
    pub const RESUME: usize = 1;
    pub const STACK: usize = 2;
    /// The C library's block of the one thread.
    pub const THREAD: usize = 3;
    pub const ROBUST: usize = 4;
    pub const TID: usize = 5;
    /// 0: it had none.
    pub const RSEQ: usize = 6;
    /// Three numbers, as `sigaltstack` takes them.
    pub const ALTSTACK: usize = 7;
    pub const SIGMASK: usize = 10;
    /// The process's name: 16 bytes.
    pub const NAME: usize = 11;
    pub const REGIONS: usize = 13;
    pub const SPECIALS: usize = 14;
    /// For each signal but 0, four numbers, as `rt_sigaction` takes them.
    pub const ACTIONS: usize = 15;
    /// Regions from here on, special ones behind them.
    pub const TABLE: usize = ACTIONS + 4 * super::SIGNALS;
}

pub const SIGNALS: usize = 64;

/// The numbers of a region.
pub const REGION: usize = 10;

/// Where the pages of a region come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They are empty.
    Empty = 0,
    /// They are in the image.
    Image = 1,
    /// They are a file's.
    File = 2,
    /// A file's, shared with all who have it; never written.
    SharedFile = 3,
    /// They are empty, and become so in every child.
    Wiped = 4,
    /// They are empty, and become so whenever the kernel wants.
    Droppable = 5,
}

/// A part of the address space.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    pub start: u64,
    pub end: u64,
    /// As `mmap` takes it.
    pub protection: u64,
    pub kind: Kind,
    /// In the image or the file.
    pub offset: u64,
    /// Of the file: device, number, size, when it was changed.
    pub file: [u64; 4],
    /// Of the file's path: place among the texts, and length.
    pub name: (u32, u32),
}

// === impl Kind ===

impl Kind {
    pub fn of(number: u64) -> Option<Self> {
        [Kind::Empty, Kind::Image, Kind::File, Kind::SharedFile, Kind::Wiped, Kind::Droppable]
            .into_iter()
            .find(|kind| *kind as u64 == number)
    }
}

// === impl Region ===

impl Region {
    pub fn encode(&self) -> [u64; REGION] {
        let [device, inode, size, changed] = self.file;
        let name = u64::from(self.name.0) << 32 | u64::from(self.name.1);
        [self.start, self.end, self.protection, self.kind as u64, self.offset, device, inode, size, changed, name]
    }

    pub fn decode(numbers: &[u64]) -> Option<Self> {
        let &[start, end, protection, kind, offset, device, inode, size, changed, name] = numbers else { return None };
        let region = Self {
            start,
            end,
            protection,
            kind: Kind::of(kind)?,
            offset,
            file: [device, inode, size, changed],
            name: ((name >> 32) as u32, name as u32),
        };
        (start < end && start % PAGE == 0 && end % PAGE == 0).then_some(region)
    }
}

/// What tells a file from another that has come to be in its place.
pub fn identity(stat: &libc::stat) -> [u64; 4] {
    let changed = (stat.st_mtime as u64).wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec as u64);
    [stat.st_dev, stat.st_ino, stat.st_size as u64, changed]
}

/// Writes a text that ends with NUL, cut where there is no more room. Takes no memory.
pub fn say(into: &mut [u8], text: fmt::Arguments<'_>) {
    struct Cut<'a>(&'a mut [u8], usize);
    impl Write for Cut<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = self.0.len().saturating_sub(self.1 + 1);
            let taken = text.len().min(room);
            self.0[self.1..self.1 + taken].copy_from_slice(&text.as_bytes()[..taken]);
            self.1 += taken;
            Ok(())
        }
    }
    let mut cut = Cut(into, 0);
    let _ = cut.write_fmt(text);
    let end = cut.1;
    if let Some(last) = into.get_mut(end) {
        *last = 0;
    }
}
