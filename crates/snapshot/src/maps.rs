//! What is in this process's address space, read from the kernel without taking memory.

use std::os::fd::RawFd;

/// One mapping, as `/proc/self/smaps` tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Mapping<'a> {
    pub start: u64,
    pub end: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    pub shared: bool,
    pub offset: u64,
    /// A path, a name in brackets, or nothing.
    pub name: &'a [u8],
    /// Children find it empty.
    pub wiped: bool,
    /// The kernel may empty it.
    pub droppable: bool,
}

/// Longest line, which is a path's.
const LINE: usize = 8192;

/// A path and two numbers can be longer than no line.
struct Lines {
    file: RawFd,
    buffer: [u8; 2 * LINE],
    from: usize,
    to: usize,
}

/// Calls `each` for every mapping, lowest first; false if it said so, or the list could not be read.
pub fn each(mut each: impl FnMut(&Mapping<'_>) -> bool) -> bool {
    // SAFETY: a static path.
    let file = unsafe { libc::open(c"/proc/self/smaps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return false;
    }
    let mut lines = Lines { file, buffer: [0; 2 * LINE], from: 0, to: 0 };
    let mut head = [0u8; LINE];
    let mut length = 0;
    let mut went = true;
    while let Some(line) = lines.next() {
        if let Some(flags) = line.strip_prefix(b"VmFlags:") {
            let has = |flag: &[u8]| flags.split(|b| *b == b' ').any(|one| one == flag);
            let (wiped, droppable) = (has(b"wf"), has(b"dp"));
            // The last line of a mapping.
            match parse(&head[..length]) {
                Some(mapping) => went = each(&Mapping { wiped, droppable, ..mapping }),
                None => went = false,
            }
            if !went {
                break;
            }
        } else if line.first().is_some_and(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)) && line.len() <= LINE {
            length = line.len();
            head[..length].copy_from_slice(line);
        }
    }
    // SAFETY: opened above.
    unsafe { libc::close(file) };
    went
}

fn parse(line: &[u8]) -> Option<Mapping<'_>> {
    let (range, rest) = word(line);
    let dash = range.iter().position(|b| *b == b'-')?;
    let (start, end) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
    let (rights, rest) = word(rest);
    let &[r, w, x, p] = rights else { return None };
    let (offset, rest) = word(rest);
    let (_device, rest) = word(rest);
    let (_inode, rest) = word(rest);
    let name = rest.iter().position(|b| *b != b' ').map_or(&rest[..0], |at| &rest[at..]);
    Some(Mapping {
        start,
        end,
        readable: r == b'r',
        writable: w == b'w',
        executable: x == b'x',
        shared: p == b's',
        offset: hex(offset)?,
        name,
        wiped: false,
        droppable: false,
    })
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| *b == b' ').unwrap_or(text.len());
    (&text[..end], text.get(end + 1..).unwrap_or_default())
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

impl Lines {
    /// Without its end.
    fn next(&mut self) -> Option<&[u8]> {
        loop {
            if let Some(length) = self.buffer[self.from..self.to].iter().position(|b| *b == b'\n') {
                let line = self.from..self.from + length;
                self.from = line.end + 1;
                return Some(&self.buffer[line]);
            }
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            let room = &mut self.buffer[self.to..];
            // SAFETY: a buffer of that length.
            let got = unsafe { libc::read(self.file, room.as_mut_ptr().cast(), room.len()) };
            if got <= 0 {
                return None;
            }
            self.to += got as usize;
        }
    }
}
