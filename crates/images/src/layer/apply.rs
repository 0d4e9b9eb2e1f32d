//! Applies one layer after the other: reads entries, asks the tree, has the writer write.

use std::cell::RefCell;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::decode::Decoder;
use super::name::{self, Meaning};
use super::tar::{Broken, Entries, Entry, Kind};
use super::tree::{Refusal, Tree, Way};
use super::write::{CopyError, Writer, copy};
use super::{Context, Layer, Limits, Skipped};
use crate::ImageError;
use crate::digest::Hashing;
use crate::error::show;

const BUFFER: usize = 64 * 1024;

/// What a file system takes at least for anything.
const BLOCK: u64 = 4_096;

/// Bytes of a stream that the ratio is not asked of: many layers begin with a large empty file.
const RATIO_FROM: u64 = 64 << 20;

/// Bytes of a symbolic link's target; the most that Linux takes.
const TARGET: usize = 4_095;

type Take<'a> = dyn FnMut(u64) -> Result<(), ImageError> + 'a;

pub(crate) struct Applier {
    limits: Limits,
    tree: Tree<Writer>,
    skipped: Skipped,
    /// Bytes written, by all layers.
    written: u64,
    /// Bytes of all tar streams.
    streamed: u64,
    buffer: Box<[u8]>,
}

/// Why a reader below stopped: its own errors come out above as text.
type Tripped = Rc<RefCell<Option<ImageError>>>;

/// Tells of packed bytes as they are read.
struct Tap<'a, R> {
    from: R,
    read: &'a dyn Fn(u64),
    bytes: u64,
}

/// Holds unpacked bytes against the limits.
struct Guard<'a, R> {
    from: Decoder<Hashing<Tap<'a, R>>>,
    cancelled: &'a AtomicBool,
    layer: usize,
    bytes: u64,
    /// Bytes that this stream may have, and that each packed byte may become.
    most: u64,
    ratio: u64,
    /// What `most` comes from, for the message.
    limit: u64,
    tripped: Tripped,
}

// === impl Applier ===

impl Applier {
    /// Applies to the empty folder that `root` is.
    pub fn new(root: OwnedFd, limits: Limits) -> Self {
        Self {
            tree: Tree::new(Writer::new(root), limits.clone()),
            limits,
            skipped: Skipped::default(),
            written: 0,
            streamed: 0,
            buffer: vec![0; BUFFER].into(),
        }
    }

    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Applies the next layer, lowest first, and reads `from` to its end. After an error the root holds a part, and no
    /// other layer may follow. Blocks.
    pub fn layer(&mut self, layer: &Layer<'_>, from: impl Read, context: Context<'_>) -> Result<(), ImageError> {
        let number = layer.number;
        self.tree.next_layer();
        let tripped = Tripped::default();
        // A byte more than it should have is enough to see that it has too many.
        let tap = Tap { from: from.take(layer.size.saturating_add(1)), read: context.read, bytes: 0 };
        let guard = Guard {
            from: Decoder::new(layer.packing, Hashing::new(tap)),
            cancelled: context.cancelled,
            layer: number,
            bytes: 0,
            // Headers are streamed, but not written.
            most: (self.limits.unpacked + self.limits.entries * 2_048).saturating_sub(self.streamed),
            ratio: self.limits.ratio,
            limit: self.limits.unpacked,
            tripped: tripped.clone(),
        };
        let mut entries = Entries::new(Hashing::new(guard));
        let applied = self.entries(&mut entries, number, context.take).and_then(|()| {
            // What follows the archive's end counts for the digests.
            let mut rest = entries.into_inner();
            match io::copy(&mut rest, &mut io::sink()) {
                Ok(_) => Ok(rest),
                Err(error) => Err(ImageError::BadLayer { layer: number, why: error.to_string() }),
            }
        });
        if let Some(why) = tripped.take() {
            return Err(why);
        }
        let (guard, diff_id, streamed) = applied?.finish();
        let (_, digest, size) = guard.from.into_inner().finish();
        self.streamed += streamed;
        layer.hold(&digest, size, &diff_id)
    }

    fn entries<R: Read>(&mut self, from: &mut Entries<R>, layer: usize, take: &mut Take<'_>) -> Result<(), ImageError> {
        let bad = |path: &[u8], why| ImageError::BadEntry { layer, path: show(path), why };
        loop {
            let entry = match from.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(()),
                Err(Broken::Entry(path, why)) => return Err(bad(&path, why)),
                Err(Broken::Stream(why)) => return Err(ImageError::BadLayer { layer, why }),
            };
            self.entry(&entry, from, take).map_err(|refusal| match refusal {
                Refusal::Entry(why) => bad(&entry.path, why),
                Refusal::Image(error) => error,
            })?;
        }
    }

    fn entry(&mut self, entry: &Entry, contents: &mut dyn Read, take: &mut Take<'_>) -> Result<(), Refusal> {
        let (parts, meaning) = name::parse(&entry.path, self.limits.path_bytes).map_err(Refusal::Entry)?;
        match (meaning, &entry.kind) {
            (Meaning::Nothing, _) | (Meaning::Root, Kind::Folder) => Ok(()),
            (Meaning::Root, _) => Err(Refusal::Entry("it would take the place of the image's root folder".into())),
            (Meaning::Opaque, _) => self.tree.opaque(&parts),
            (Meaning::Whiteout(name), _) => self.tree.whiteout(&parts, name),
            (Meaning::Path(name), Kind::Special) => {
                self.skipped.special += 1;
                // It still hides what is below.
                match self.tree.existing(&parts)? {
                    Some(folder) => self.tree.clear(&folder, name),
                    None => Ok(()),
                }
            }
            (Meaning::Path(name), kind) => {
                let folder = self.tree.folder_for(&parts)?;
                self.put(entry, kind, &folder, name, contents, take)
            }
        }
    }

    fn put(
        &mut self,
        entry: &Entry,
        kind: &Kind,
        folder: &Way,
        name: &[u8],
        contents: &mut dyn Read,
        take: &mut Take<'_>,
    ) -> Result<(), Refusal> {
        match kind {
            Kind::Folder => {
                if self.tree.put_folder(folder, name)? {
                    self.spend(BLOCK, take)?;
                }
                Ok(self.tree.disk.set_folder_mode(folder, name, entry.mode)?)
            }
            Kind::File(size) => {
                if entry.mode & 0o6000 != 0 {
                    self.skipped.set_id += 1;
                }
                self.tree.put_file(folder, name)?;
                self.file(entry, folder, name, contents, take)?;
                Ok(self.spend(size.wrapping_neg() % BLOCK, take)?)
            }
            Kind::Symlink(target) => {
                if target.is_empty() || target.len() > TARGET || target.contains(&0) {
                    return Err(Refusal::Entry(format!("its target is not a path of 1 to {TARGET} bytes")));
                }
                self.tree.put_link(folder, name, target)?;
                Ok(self.tree.disk.link(folder, name, target)?)
            }
            Kind::Hardlink(target) => {
                let target = name::parts(target, self.limits.path_bytes);
                let target = target.map_err(|why| Refusal::Entry(format!("the target of its hard link: {why}")))?;
                match self.tree.put_hard_link(folder, name, &target)? {
                    Some((from, last)) => Ok(self.tree.disk.hard_link((&from, &last), folder, name)?),
                    None => Ok(()),
                }
            }
            Kind::Special => Ok(()),
        }
    }

    fn file(
        &mut self,
        entry: &Entry,
        folder: &Way,
        name: &[u8],
        contents: &mut dyn Read,
        take: &mut Take<'_>,
    ) -> Result<(), Refusal> {
        let Self { tree, buffer, written, limits, .. } = self;
        let mut broken = None;
        let done = tree.disk.file(folder, name, entry.mode, entry.modified, |file| {
            let mut more = |bytes| spend(written, limits.unpacked, bytes, take);
            copy(contents, file, buffer, &mut more).map_err(|error| match error {
                CopyError::Refused(error) => error,
                CopyError::Write(error) => ImageError::io(format_args!("unpacking {}", show(name)), &error),
                CopyError::Read(error) => {
                    broken = Some(error.to_string());
                    ImageError::Cancelled
                }
            })
        });
        match broken {
            Some(why) => Err(Refusal::Entry(why)),
            None => Ok(done?),
        }
    }

    fn spend(&mut self, bytes: u64, take: &mut Take<'_>) -> Result<(), ImageError> {
        spend(&mut self.written, self.limits.unpacked, bytes, take)
    }
}

fn spend(written: &mut u64, limit: u64, bytes: u64, take: &mut Take<'_>) -> Result<(), ImageError> {
    *written += bytes;
    match *written > limit {
        true => Err(ImageError::Limit { what: "bytes of files", limit }),
        false => take(bytes),
    }
}

// === impl Layer ===

impl Layer<'_> {
    /// Holds what came against what was said.
    fn hold(&self, digest: &crate::Digest, size: u64, diff_id: &crate::Digest) -> Result<(), ImageError> {
        let what = format!("layer {}", self.number);
        if size != self.size {
            let got = if size > self.size { "more".into() } else { size.to_string() };
            return Err(ImageError::SizeMismatch { what, expected: self.size, got });
        }
        if digest != self.digest {
            return Err(ImageError::DigestMismatch { what, expected: self.digest.clone(), got: digest.clone() });
        }
        if diff_id != self.diff_id {
            let what = format!("{what}, unpacked,");
            return Err(ImageError::DigestMismatch { what, expected: self.diff_id.clone(), got: diff_id.clone() });
        }
        Ok(())
    }
}

// === impl Tap ===

impl<R: Read> Read for Tap<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.bytes += read as u64;
        (self.read)(read as u64);
        Ok(read)
    }
}

// === impl Guard ===

impl<R: Read> Read for Guard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let trip = |why: ImageError| {
            *self.tripped.borrow_mut() = Some(why);
            io::Error::other("stopped")
        };
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(trip(ImageError::Cancelled));
        }
        let read = self.from.read(buffer)?;
        self.bytes += read as u64;
        if self.bytes > self.most {
            return Err(trip(ImageError::Limit { what: "bytes in its archives", limit: self.limit }));
        }
        let packed = self.from.get_ref().get_ref().bytes;
        if self.bytes > RATIO_FROM && self.bytes / self.ratio > packed {
            let why = format!("it unpacks to more than {} times its size: it looks made to fill disks", self.ratio);
            return Err(trip(ImageError::BadLayer { layer: self.layer, why }));
        }
        Ok(read)
    }
}
