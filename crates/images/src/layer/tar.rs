//! Cuts a tar stream into entries: ustar, GNU long names, PAX. Never holds more than one bounded header in memory.
//!
//! The framing is here and not in the `tar` crate, because that one reads a long name or an extended header of any
//! size whole, splits extended headers at line breaks though values may hold some, and resolves doubtful cases
//! in silence. What two readers could understand in two ways is refused.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use ::tar::{EntryType, Header};

const BLOCK: usize = 512;

/// Bytes of an extended header: attributes of a file may be 64 KiB each.
const EXTENDED: u64 = 1 << 20;

/// Bytes of a GNU long name or link.
const LONG: u64 = 64 << 10;

/// Why the stream ended before its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The archive's fault, at this entry if one had begun.
    Entry(Vec<u8>, String),
    Stream(String),
}

/// An entry, not yet trusted beyond this: its contents are all that is read before the next.
#[derive(Debug)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u64,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Its contents have this many bytes.
    File(u64),
    Folder,
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    /// A device or a fifo.
    Special,
}

/// The entries of one stream.
pub(crate) struct Entries<R> {
    from: R,
    /// Contents of the current entry that have not been read, and what fills its last block.
    left: u64,
    padding: u64,
}

/// What extended headers say about the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

// === impl Entries ===

impl<R: Read> Entries<R> {
    pub fn new(from: R) -> Self {
        Self { from, left: 0, padding: 0 }
    }

    pub fn get_ref(&self) -> &R {
        &self.from
    }

    /// What remains of the stream when there is no entry any more.
    pub fn into_inner(self) -> R {
        self.from
    }

    /// The next entry; skips what is left of the one before.
    pub fn next(&mut self) -> Result<Option<Entry>, Broken> {
        let mut pax = Extended::default();
        let mut gnu = Extended::default();
        loop {
            self.skip(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let name = header.path_bytes().into_owned();
            let broken = |why: String| Broken::Entry(name.clone(), why);
            let size = number(&header, 124..136, Header::entry_size);
            let size = size.ok_or_else(|| broken("its size is not a number".into()))?;
            match header.entry_type() {
                EntryType::XHeader => pax = extended(&self.contents(size, EXTENDED, &name)?).map_err(broken)?,
                EntryType::XGlobalHeader => {
                    let global = extended(&self.contents(size, EXTENDED, &name)?).map_err(broken)?;
                    if global.path.is_some() || global.link.is_some() || global.size.is_some() {
                        return Err(broken("a global header gives all entries one path or size".into()));
                    }
                }
                EntryType::GNULongName => gnu.path = Some(text(self.contents(size, LONG, &name)?)),
                EntryType::GNULongLink => gnu.link = Some(text(self.contents(size, LONG, &name)?)),
                kind => {
                    let path = pax.path.or(gnu.path).unwrap_or(name);
                    let link = pax.link.or(gnu.link);
                    return self.entry(&header, kind, path, link, pax.size.unwrap_or(size)).map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        path: Vec<u8>,
        link: Option<Vec<u8>>,
        size: u64,
    ) -> Result<Entry, Broken> {
        let refuse = |why: &str| Err(Broken::Entry(path.clone(), why.to_owned()));
        let link = || link.or_else(|| header.link_name_bytes().map(|link| link.into_owned())).unwrap_or_default();
        let kind = match kind {
            // Before ustar, a folder was a file with a slash at its end.
            EntryType::Regular if path.ends_with(b"/") && size == 0 => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File(size),
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink(link()),
            EntryType::Link => Kind::Hardlink(link()),
            EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Special,
            EntryType::GNUSparse => return refuse("it is a sparse file: pack the layer without sparse files"),
            other => return refuse(&format!("it is of the unknown type {:?}", char::from(other.as_byte()))),
        };
        if !matches!(kind, Kind::File(_)) && size != 0 {
            return refuse("it has contents, but is not a file");
        }
        if size > i64::MAX as u64 {
            return refuse("its size is absurd");
        }
        (self.left, self.padding) = (size, padding(size));
        let Some(mode) = number(header, 100..108, Header::mode) else { return refuse("its mode is not a number") };
        Ok(Entry { path, kind, mode, modified: header.mtime().unwrap_or(0) })
    }

    /// The next header; none at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Broken> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            let mut second = [0; BLOCK];
            return match !self.block(&mut second)? || second == [0; BLOCK] {
                true => Ok(None),
                false => Err(Broken::Stream("entries follow the end of its archive".into())),
            };
        }
        // The sum is over the header with spaces where the sum itself is.
        let sum: u32 = header
            .as_bytes()
            .iter()
            .enumerate()
            .map(|(at, byte)| match at {
                148..156 => u32::from(b' '),
                _ => u32::from(*byte),
            })
            .sum();
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(Broken::Stream("it is not a tar archive, or damaged: a header does not match its sum".into())),
        }
    }

    /// Fills one block; false at the end of the stream.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Broken> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.from.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(Broken::Stream("it ends in the middle of a header".into())),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Stream(error.to_string())),
            }
        }
        Ok(true)
    }

    fn contents(&mut self, size: u64, limit: u64, name: &[u8]) -> Result<Vec<u8>, Broken> {
        if size > limit {
            let why = format!("an extended header has {size} bytes, expected at most {limit}");
            return Err(Broken::Entry(name.to_owned(), why));
        }
        (self.left, self.padding) = (size, padding(size));
        let mut contents = Vec::new();
        self.read_to_end(&mut contents).map_err(|error| Broken::Entry(name.to_owned(), error.to_string()))?;
        Ok(contents)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Broken> {
        let skipped = io::copy(&mut (&mut self.from).take(bytes), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == bytes => Ok(()),
            Ok(_) => Err(Broken::Stream("it ends in the middle of an entry".into())),
            Err(error) => Err(Broken::Stream(error.to_string())),
        }
    }
}

/// Contents of the current entry. An end of the stream before theirs is an error.
impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.from.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it ends in the middle of an entry"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// A number of a header; a blank field, as some tools leave it, is zero.
fn number<T: Default>(header: &Header, field: Range<usize>, read: impl Fn(&Header) -> io::Result<T>) -> Option<T> {
    let blank = header.as_bytes()[field].iter().all(|byte| matches!(byte, 0 | b' '));
    if blank { Some(T::default()) } else { read(header).ok() }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// A GNU long name ends at its first zero byte.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// Reads `LENGTH KEY=VALUE\n` records; the last of a key wins, an empty value is none.
fn extended(mut bytes: &[u8]) -> Result<Extended, String> {
    let mut found = Extended::default();
    let bad = || "its extended header is damaged".to_owned();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = std::str::from_utf8(&bytes[..space]).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let length: usize = length.and_then(|text| text.parse().ok()).ok_or_else(bad)?;
        if length > bytes.len() || length < space + 4 || bytes[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let value = Some(value).filter(|value| !value.is_empty());
        match key {
            b"path" => found.path = value.map(<[u8]>::to_vec),
            b"linkpath" => found.link = value.map(<[u8]>::to_vec),
            b"size" => {
                let digits = value.filter(|value| value.iter().all(u8::is_ascii_digit));
                let size = digits.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
                found.size = Some(size.ok_or("its extended header gives a size that is not a number")?);
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err("it is a sparse file: pack the layer without sparse files".into());
            }
            _ => {}
        }
        bytes = &bytes[length..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: u8, name: &str, size: u64) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_size(size);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn with(mut head: Vec<u8>, contents: &[u8]) -> Vec<u8> {
        head.extend(contents);
        head.resize(head.len().next_multiple_of(BLOCK), 0);
        head
    }

    fn record(key: &str, value: &str) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| length.to_string().len() + rest == *length).expect("a length");
        format!("{length} {key}={value}\n").into_bytes()
    }

    /// Path and contents.
    type Whole = (Vec<u8>, Vec<u8>);

    fn names(bytes: &[u8]) -> Result<Vec<Whole>, Broken> {
        let mut entries = Entries::new(bytes);
        let mut all = Vec::new();
        while let Some(entry) = entries.next()? {
            let mut contents = Vec::new();
            entries.read_to_end(&mut contents).map_err(|error| Broken::Entry(entry.path.clone(), error.to_string()))?;
            all.push((entry.path, contents));
        }
        Ok(all)
    }

    fn refusal(bytes: &[u8]) -> String {
        match names(bytes).expect_err("refused") {
            Broken::Entry(_, why) | Broken::Stream(why) => why,
        }
    }

    #[test]
    fn long_names_of_both_kinds_are_understood_and_pax_wins() {
        let long = "d/".repeat(100) + "file";
        let gnu = [
            with(header(b'L', "././@LongLink", 205), format!("{long}\0").as_bytes()),
            with(header(b'0', "d", 1), b"x"),
        ];
        assert_eq!(names(&gnu.concat()).expect("read"), [(long.clone().into_bytes(), b"x".to_vec())]);

        let records =
            [record("SCHILY.xattr.security.capability", "a\nb\0c"), record("path", "new"), record("size", "2")]
                .concat();
        let pax = [
            with(header(b'x', "p", records.len() as u64), &records),
            gnu[0].clone(),
            with(header(b'0', "old", 0), b"ab"),
        ];
        assert_eq!(names(&pax.concat()).expect("read"), [(b"new".to_vec(), b"ab".to_vec())]);
    }

    #[test]
    fn oddities_are_refused() {
        let pax = |record: &[u8]| with(header(b'x', "p", record.len() as u64), record);
        assert!(refusal(&header(b'L', "l", 1 << 40)).contains("expected at most 65536"));
        assert!(refusal(&header(b'x', "p", 1 << 40)).contains("expected at most 1048576"));
        assert!(refusal(&pax(b"99 path=x\n")).contains("damaged"));
        assert!(refusal(&pax(b"3 x")).contains("damaged"));
        assert!(refusal(&pax(&record("size", "-1"))).contains("not a number"));
        assert!(refusal(&pax(&record("GNU.sparse.major", "1"))).contains("sparse"));
        assert!(refusal(&with(header(b'g', "g", 12), &record("path", "xyz"))).contains("global"));
        assert!(refusal(&header(b'S', "s", 0)).contains("sparse"));
        assert!(refusal(&header(b'V', "s", 0)).contains("unknown type"));
        assert!(refusal(&header(b'5', "d/", 10)).contains("has contents"));
        assert!(refusal(&header(b'0', "f", 10)).contains("middle"));
        assert!(refusal(&header(b'0', "f", 0)[..100]).contains("middle of a header"));
        assert!(refusal(&[b'x'; 512]).contains("not a tar archive"));
        let mut after = vec![0; BLOCK];
        after.extend(header(b'0', "f", 0));
        assert!(refusal(&after).contains("follow the end"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..3000), kind in any::<u8>(), size in any::<u32>()) {
            let _ = names(&bytes);
            let _ = names(&with(header(kind, "n", u64::from(size % 3000)), &bytes));
        }
    }
}
