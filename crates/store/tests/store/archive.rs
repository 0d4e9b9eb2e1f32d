//! Zip archives byte by byte, also such as no tool would write.

use bytes::Bytes;

#[derive(Clone)]
pub struct Entry {
    pub name: Vec<u8>,
    /// In the local header; the same unless changed.
    pub local_name: Option<Vec<u8>>,
    pub method: u16,
    pub local_method: Option<u16>,
    pub flags: u16,
    pub crc: u32,
    pub size: u32,
    pub packed: u32,
    pub mode: u32,
    pub extra: Vec<u8>,
    pub data: Vec<u8>,
    /// Refer to the local header of this entry instead of an own one.
    pub same_place: Option<usize>,
    /// Added to the offset of the local header.
    pub shift: i64,
}

#[derive(Clone, Default)]
pub struct Zip {
    pub entries: Vec<Entry>,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
    pub comment: Vec<u8>,
    /// Entries that the end claims, if not what is there.
    pub count: Option<u16>,
    pub disk: u16,
}

impl Entry {
    pub fn stored(name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            local_name: None,
            method: 0,
            local_method: None,
            flags: 0,
            crc: crc32(data),
            size: data.len() as u32,
            packed: data.len() as u32,
            mode: 0o100_644,
            extra: Vec::new(),
            data: data.to_vec(),
            same_place: None,
            shift: 0,
        }
    }

    pub fn deflated(name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        let packed = deflate(data);
        Self { method: 8, packed: packed.len() as u32, data: packed, ..Self::stored(name, data) }.sized(data)
    }

    fn sized(self, data: &[u8]) -> Self {
        Self { crc: crc32(data), size: data.len() as u32, ..self }
    }

    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
}

impl Zip {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    pub fn file(self, name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        self.entry(Entry::deflated(name, data))
    }

    pub fn folder(self, name: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::stored(name, b"").mode(0o040_755))
    }

    pub fn link(self, name: impl AsRef<[u8]>, target: &str) -> Self {
        self.entry(Entry::stored(name, target.as_bytes()).mode(0o120_777))
    }

    pub fn build(&self) -> Bytes {
        let mut out = self.before.clone();
        let mut offsets: Vec<u32> = Vec::new();
        for entry in &self.entries {
            if let Some(at) = entry.same_place {
                offsets.push(offsets[at]);
                continue;
            }
            offsets.push(((out.len() - self.before.len()) as i64 + entry.shift) as u32);
            let name = entry.local_name.as_ref().unwrap_or(&entry.name);
            out.extend(0x0403_4b50_u32.to_le_bytes());
            put16(&mut out, &[20, entry.flags, entry.local_method.unwrap_or(entry.method), 0, 0]);
            put32(&mut out, &[entry.crc, entry.packed, entry.size]);
            put16(&mut out, &[name.len() as u16, 0]);
            out.extend(name);
            out.extend(&entry.data);
        }
        let start = out.len() - self.before.len();
        for (entry, offset) in self.entries.iter().zip(offsets) {
            out.extend(0x0201_4b50_u32.to_le_bytes());
            put16(&mut out, &[3 << 8 | 20, 20, entry.flags, entry.method, 0, 0]);
            put32(&mut out, &[entry.crc, entry.packed, entry.size]);
            put16(&mut out, &[entry.name.len() as u16, entry.extra.len() as u16, 0, 0, 0]);
            put32(&mut out, &[entry.mode << 16, offset]);
            out.extend(&entry.name);
            out.extend(&entry.extra);
        }
        let size = out.len() - self.before.len() - start;
        let count = self.count.unwrap_or(self.entries.len() as u16);
        out.extend(0x0605_4b50_u32.to_le_bytes());
        put16(&mut out, &[self.disk, self.disk, count, count]);
        put32(&mut out, &[size as u32, start as u32]);
        put16(&mut out, &[self.comment.len() as u16]);
        out.extend(&self.comment);
        out.extend(&self.after);
        out.into()
    }
}

fn put16(out: &mut Vec<u8>, numbers: &[u16]) {
    numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
}

pub fn deflate(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn crc32(data: &[u8]) -> u32 {
    crc32fast::hash(data)
}
