//! Reads a zip's central directory, and holds it against the local headers and the bytes that are there.
//!
//! Strict where tools differ: what two readers could understand in two ways is refused. Sizes and checksums come
//! from the central directory; a local header must give the same name, method and encryption. Data before the
//! first entry is allowed (self-extracting archives), data after the end is not.

use super::{Limits, refuse, show};
use crate::StoreError;

/// One entry, not yet trusted beyond this: its data lies inside the file and overlaps with no other's.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub method: Method,
    pub crc: u32,
    /// Size as it says; the contents are held against it.
    pub size: u64,
    pub data: &'a [u8],
    /// The upper half of the external attributes: type and permissions, 0 where the packer has none.
    pub mode: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflate,
}

/// Where the central directory is.
struct End {
    entries: u64,
    start: usize,
    end: usize,
    /// What all offsets count from: more than 0 where something precedes the archive.
    base: usize,
}

const END: u32 = 0x0605_4b50;
const END_LEN: usize = 22;
const END64: u32 = 0x0606_4b50;
const END64_LEN: usize = 56;
const LOCATOR: u32 = 0x0706_4b50;
const LOCATOR_LEN: usize = 20;
const CENTRAL: u32 = 0x0201_4b50;
const CENTRAL_LEN: usize = 46;
const LOCAL: u32 = 0x0403_4b50;
const LOCAL_LEN: usize = 30;

const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const PATCHED: u16 = 1 << 5;

const EXTRA_ZIP64: u16 = 0x0001;
const EXTRA_UNIX: u16 = 0x000d;
const EXTRA_ASI_UNIX: u16 = 0x756e;

pub(super) fn read<'a>(zip: &'a [u8], limits: &Limits) -> Result<Vec<Entry<'a>>, StoreError> {
    if zip.len() as u64 > limits.packed {
        return refuse(format!("it is {} bytes, expected at most {}", zip.len(), limits.packed));
    }
    let end = find_end(zip)?;
    if end.entries > limits.entries as u64 {
        return too_many(limits);
    }
    let mut entries = Vec::with_capacity(end.entries as usize);
    let mut taken = Vec::with_capacity(end.entries as usize);
    let (mut at, mut unpacked, mut names) = (end.start, 0_u64, 0_usize);
    while at < end.end {
        // The count in the end record may lie: what is there counts.
        if entries.len() == limits.entries {
            return too_many(limits);
        }
        let (entry, span, next) = central(zip, at, &end)?;
        names += entry.name.len();
        if names > limits.names_bytes {
            return refuse(format!("its names take over {} bytes together", limits.names_bytes));
        }
        unpacked = unpacked.saturating_add(entry.size);
        if unpacked > limits.unpacked {
            return refuse(format!(
                "entry {} brings it over {} MiB unpacked, the most that is allowed",
                show(entry.name),
                limits.unpacked >> 20
            ));
        }
        taken.push((span, entries.len()));
        entries.push(entry);
        at = next;
    }
    if entries.len() as u64 != end.entries {
        return refuse(format!("its end says {} entries, but {} are there", end.entries, entries.len()));
    }
    if entries.is_empty() {
        return refuse("it is empty, expected at least one file");
    }
    taken.sort_unstable();
    for pair in taken.windows(2) {
        if pair[0].0.1 > pair[1].0.0 {
            let (one, other) = (entries[pair[0].1].name, entries[pair[1].1].name);
            return refuse(format!("entries {} and {} overlap in the archive", show(one), show(other)));
        }
    }
    Ok(entries)
}

fn too_many<T>(limits: &Limits) -> Result<T, StoreError> {
    refuse(format!("it has more than {} entries", limits.entries))
}

fn find_end(zip: &[u8]) -> Result<End, StoreError> {
    let last = zip.len().checked_sub(END_LEN);
    let found = last.and_then(|last| {
        let first = last.saturating_sub(usize::from(u16::MAX));
        (first..=last).rev().find(|&at| {
            u32_at(zip, at) == Some(END)
                && u16_at(zip, at + 20).is_some_and(|comment| at + END_LEN + usize::from(comment) == zip.len())
        })
    });
    let Some(at) = found else { return refuse(not_a_zip(zip)) };
    let broken = || StoreError::BadPackage("its end record is broken".into());
    let part = |offset| u16_at(zip, at + offset).ok_or_else(broken);
    let (disk, start_disk, here, entries) = (part(4)?, part(6)?, part(8)?, part(10)?);
    let size = u32_at(zip, at + 12).ok_or_else(broken)?;
    let offset = u32_at(zip, at + 16).ok_or_else(broken)?;
    let mut end = (u64::from(entries), u64::from(size), u64::from(offset), at);
    if entries == u16::MAX || size == u32::MAX || offset == u32::MAX {
        if let Some(long) = find_end64(zip, at)? {
            end = long;
        }
    } else if disk != 0 || start_disk != 0 || here != entries {
        return refuse("it is one part of several, expected a whole archive");
    }
    let (entries, size, offset, until) = end;
    let place = || {
        let start = until.checked_sub(usize::try_from(size).ok()?)?;
        let base = start.checked_sub(usize::try_from(offset).ok()?)?;
        Some(End { entries, start, end: until, base })
    };
    place().ok_or_else(|| StoreError::BadPackage("its directory lies outside the file: is it cut short?".into()))
}

/// The end record of large archives: entries, size and offset of the directory, and where it ends.
fn find_end64(zip: &[u8], end: usize) -> Result<Option<(u64, u64, u64, usize)>, StoreError> {
    let Some(locator) = end.checked_sub(LOCATOR_LEN).filter(|&at| u32_at(zip, at) == Some(LOCATOR)) else {
        return Ok(None);
    };
    // Directly before its locator, whatever the locator says: it cannot then point at another one.
    let Some(at) = locator.checked_sub(END64_LEN).filter(|&at| u32_at(zip, at) == Some(END64)) else {
        return refuse("its zip64 end record is not where it must be");
    };
    let numbers = (|| {
        if u32_at(zip, at + 16)? != 0 || u32_at(zip, at + 20)? != 0 {
            return None;
        }
        let (here, entries) = (u64_at(zip, at + 24)?, u64_at(zip, at + 32)?);
        (here == entries).then_some((entries, u64_at(zip, at + 40)?, u64_at(zip, at + 48)?, at))
    })();
    match numbers {
        Some(numbers) => Ok(Some(numbers)),
        None => refuse("it is one part of several, expected a whole archive"),
    }
}

fn not_a_zip(bytes: &[u8]) -> String {
    let seems = match bytes {
        [] => "it is empty",
        [0x1f, 0x8b, ..] => "it is a gzip file",
        [0x42, 0x5a, 0x68, ..] => "it is a bzip2 file",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "it is an xz file",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is a zstd file",
        [b'7', b'z', 0xbc, 0xaf, ..] => "it is a 7z file",
        [b'R', b'a', b'r', b'!', ..] => "it is a rar file",
        [0x7f, b'E', b'L', b'F', ..] => "it is a program",
        [b'P', b'K', 3, 4, ..] => "it begins like a zip but has no end: is it cut short?",
        _ if bytes.get(257..262) == Some(b"ustar") => "it is a tar file",
        _ => "it is something else",
    };
    format!("not a zip archive: {seems}")
}

type Span = (usize, usize);

/// Reads the directory's header at `at`. Gives the entry, what it takes in the file, and where the next one is.
fn central<'a>(zip: &'a [u8], at: usize, end: &End) -> Result<(Entry<'a>, Span, usize), StoreError> {
    let header =
        zip.get(at..end.end).filter(|header| header.len() >= CENTRAL_LEN && u32_at(header, 0) == Some(CENTRAL));
    let Some(header) = header else { return refuse(format!("its directory is broken at byte {at}")) };
    let short = |offset| u16_at(header, offset).unwrap_or_default();
    let long = |offset| u32_at(header, offset).unwrap_or_default();
    let (name_len, extra_len, comment_len) = (short(28).into(), short(30).into(), usize::from(short(32)));
    let Some((name, extra)) = header[CENTRAL_LEN..].split_at_checked(name_len).and_then(|(name, rest)| {
        let extra = rest.get(..extra_len)?;
        (rest.len() >= extra_len + comment_len).then_some((name, extra))
    }) else {
        return refuse(format!("its directory is broken at byte {at}"));
    };
    let why = |text: &str| StoreError::BadPackage(format!("entry {}: {text}", show(name)));

    let flags = short(8);
    if flags & ENCRYPTED != 0 {
        return Err(why("it is encrypted, expected none that is"));
    }
    if flags & PATCHED != 0 {
        return Err(why("it is a patch of another file"));
    }
    let method = match short(10) {
        0 => Method::Stored,
        8 => Method::Deflate,
        other => return Err(why(&format!("compressed with {}, expected stored or deflate", method_name(other)))),
    };
    let mut sizes = Sizes { size: long(24).into(), packed: long(20).into(), offset: long(42).into() };
    read_extra(extra, &mut sizes).map_err(why)?;

    let (data, span) = local(zip, name, short(10), flags, &sizes, end).map_err(why)?;
    if method == Method::Stored && sizes.size != sizes.packed {
        return Err(why(&format!("stored as it is in {} bytes, but says {}", sizes.packed, sizes.size)));
    }
    let entry = Entry { name, method, crc: long(16), size: sizes.size, data, mode: long(38) >> 16 };
    Ok((entry, span, at + CENTRAL_LEN + name_len + extra_len + comment_len))
}

struct Sizes {
    size: u64,
    packed: u64,
    offset: u64,
}

/// Takes the long sizes out of the extra fields, and refuses the fields that make an entry a link or a device.
fn read_extra(mut extra: &[u8], sizes: &mut Sizes) -> Result<(), &'static str> {
    // Fewer than four bytes are padding: zipalign leaves them.
    while let (Some(id), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(field) = extra[4..].get(..usize::from(len)) else { return Err("its extra fields are broken") };
        match id {
            EXTRA_ZIP64 => {
                let mut at = 0;
                for value in [&mut sizes.size, &mut sizes.packed, &mut sizes.offset] {
                    if *value == u64::from(u32::MAX) {
                        *value = u64_at(field, at).ok_or("its zip64 field is cut short")?;
                        at += 8;
                    }
                }
            }
            // PKWARE's: after times and owner comes the target of a link or the number of a device.
            EXTRA_UNIX if field.len() > 12 => return Err("it is a hard link or a device, expected a file"),
            // Info-ZIP's: the length of a link's target, or a device number.
            EXTRA_ASI_UNIX if u32_at(field, 6).is_some_and(|number| number != 0) => {
                return Err("it is a hard link or a device, expected a file");
            }
            _ => {}
        }
        extra = &extra[4 + usize::from(len)..];
    }
    Ok(())
}

/// Finds the data behind the local header, and what header and data take.
fn local<'a>(
    zip: &'a [u8],
    name: &[u8],
    method: u16,
    flags: u16,
    sizes: &Sizes,
    end: &End,
) -> Result<(&'a [u8], Span), &'static str> {
    let outside = "its data lies outside the archive";
    let start = usize::try_from(sizes.offset).ok().and_then(|offset| offset.checked_add(end.base)).ok_or(outside)?;
    // Nothing of an entry may lie in the directory.
    let header = zip[..end.start].get(start..).filter(|header| header.len() >= LOCAL_LEN).ok_or(outside)?;
    if u32_at(header, 0) != Some(LOCAL) {
        return Err("there is no local header where the directory says");
    }
    let short = |offset| u16_at(header, offset).unwrap_or_default();
    let (name_len, extra_len) = (usize::from(short(26)), usize::from(short(28)));
    if header.get(LOCAL_LEN..LOCAL_LEN + name_len) != Some(name) {
        return Err("its local header has another name");
    }
    if short(8) != method || (short(6) ^ flags) & ENCRYPTED != 0 {
        return Err("its local header says another compression or encryption");
    }
    let from = start + LOCAL_LEN + name_len + extra_len;
    let until = usize::try_from(sizes.packed).ok().and_then(|packed| from.checked_add(packed)).ok_or(outside)?;
    let data = zip[..end.start].get(from..until).ok_or(outside)?;
    Ok((data, (start, until)))
}

fn method_name(method: u16) -> String {
    match method {
        1 => "shrink".into(),
        6 => "implode".into(),
        9 => "deflate64".into(),
        12 => "bzip2".into(),
        14 => "lzma".into(),
        93 => "zstd".into(),
        95 => "xz".into(),
        98 => "ppmd".into(),
        other => format!("method {other}"),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}
