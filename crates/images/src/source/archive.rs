//! Archives: a tar of an OCI layout, or what `docker save` writes. Read in place, never unpacked.
//!
//! The newer `docker save` writes both in one; the layout is then the one that is read, for it has digests of all.
//! The older has no manifest: one is made of the same parts, so that the same archive has the same digest.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::layout::{self, Files, read_small, same_reference};
use super::{Blobs, Plan, Wanted};
use crate::config::ConfigFile;
use crate::digest::Hashing;
use crate::error::show;
use crate::layer::tar::{Broken, Entries, Kind};
use crate::manifest::{Descriptor, MAX_CONFIG, Manifest};
use crate::{Digest, ImageError, Reference};

/// Files in an archive: layers, and a few more.
const MAX_FILES: usize = 10_000;

/// Links to links; `docker save` makes one for a layer that is in it twice.
const LINKS: usize = 8;

/// An archive, and where in it each file is.
#[derive(Clone)]
pub(crate) struct Archive {
    file: Arc<File>,
    place: String,
    files: Arc<HashMap<String, Place>>,
}

enum Place {
    At { offset: u64, size: u64 },
    Link(String),
}

/// A part of a file.
struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

/// `manifest.json` of `docker save`: one for each image.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The blobs of a `docker save` archive, which names them by path.
struct SavedBlobs {
    archive: Archive,
    paths: HashMap<Digest, String>,
}

/// The manifest that is made for a `docker save` archive, as it would be in a registry.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    schema_version: u32,
    media_type: &'a str,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

struct Counting<R> {
    from: R,
    position: u64,
}

// === impl Archive ===

impl Archive {
    /// Finds the files in an archive. Reads it once through. Blocks.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let place = path.display().to_string();
        let file = File::open(path).map_err(|error| ImageError::io(&place, &error))?;
        let refuse = |why: String| ImageError::NotAnImage { what: place.clone(), why };
        let mut magic = [0; 4];
        let packed =
            file.read_at(&mut magic, 0).is_ok() && (magic[..2] == [0x1f, 0x8b] || magic == [0x28, 0xb5, 0x2f, 0xfd]);
        if packed {
            return Err(refuse("the archive is compressed as a whole: unpack it with gunzip or unzstd first".into()));
        }
        let mut reader = BufReader::with_capacity(256 * 1024, &file);
        let mut entries = Entries::new(Counting { from: &mut reader, position: 0 });
        let mut files = HashMap::new();
        loop {
            let entry = match entries.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(Broken::Entry(path, why)) => return Err(refuse(format!("entry {}: {why}", show(&path)))),
                Err(Broken::Stream(why)) => return Err(refuse(why)),
            };
            let Some(name) = std::str::from_utf8(&entry.path).ok().and_then(|name| normal("", name)) else { continue };
            let found = match entry.kind {
                Kind::File(size) => Place::At { offset: entries.get_ref().position, size },
                Kind::Symlink(target) | Kind::Hardlink(target) if target.is_empty() => continue,
                Kind::Symlink(target) => match std::str::from_utf8(&target).ok().and_then(|to| normal(&name, to)) {
                    Some(target) => Place::Link(target),
                    None => continue,
                },
                Kind::Hardlink(target) => match std::str::from_utf8(&target).ok().and_then(|to| normal("", to)) {
                    Some(target) => Place::Link(target),
                    None => continue,
                },
                Kind::Folder | Kind::Special => continue,
            };
            files.insert(name, found);
            if files.len() > MAX_FILES {
                return Err(refuse(format!("it holds more than {MAX_FILES} files")));
            }
        }
        Ok(Self { file: Arc::new(file), place, files: Arc::new(files) })
    }

    /// Reads which image the archive holds, and where its layers are. `name` chooses one of several. Blocks.
    pub fn plan(&self, name: Option<&str>, wanted: &Wanted<'_>) -> Result<(Plan, Box<dyn Blobs>), ImageError> {
        if self.files.contains_key("index.json") {
            let plan = layout::plan(self, &self.place, name, wanted)?;
            return Ok((plan, Box::new(layout::LayoutBlobs(self.clone()))));
        }
        let refuse = |why: String| ImageError::NotAnImage { what: self.place.clone(), why };
        let text = read_small(self, "manifest.json", &self.place)?.ok_or_else(|| {
            refuse("it has neither the index.json of an OCI layout nor the manifest.json of `docker save`".into())
        })?;
        let saved: Vec<Saved> =
            serde_json::from_slice(&text).map_err(|error| refuse(format!("its manifest.json: {error}")))?;
        let saved = self.pick(&saved, name)?;
        let config = self.config(&saved.config)?;
        let diff_ids = ConfigFile::parse(&config, &self.place)?.rootfs.diff_ids;
        if diff_ids.len() != saved.layers.len() {
            return Err(refuse("its manifest.json and its configuration have different numbers of layers".into()));
        }
        let mut paths = HashMap::new();
        let mut layers = Vec::new();
        for (path, diff_id) in saved.layers.iter().zip(&diff_ids) {
            let layer = self.layer(path, diff_id)?;
            paths.insert(layer.digest.clone(), path.clone());
            layers.push(layer);
        }
        let config_blob = Descriptor {
            media_type: "application/vnd.oci.image.config.v1+json".into(),
            digest: Digest::of(&config),
            size: config.len() as u64,
            platform: None,
            annotations: None,
        };
        let manifest = Manifest { config: config_blob, layers };
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let made = serde_json::to_vec(&Made { schema_version: 2, media_type, manifest: &manifest });
        let digest = Digest::of(&made.map_err(|error| refuse(error.to_string()))?);
        let tags = saved.repo_tags.iter().flatten();
        let references = tags.filter_map(|tag| tag.parse::<Reference>().ok()).map(|tag| tag.to_string()).collect();
        let plan = Plan { references, ..Plan::new(&self.place, digest, manifest, &config, wanted)? };
        Ok((plan, Box::new(SavedBlobs { archive: self.clone(), paths })))
    }

    fn pick<'s>(&self, saved: &'s [Saved], name: Option<&str>) -> Result<&'s Saved, ImageError> {
        let tags = |one: &'s Saved| one.repo_tags.iter().flatten();
        let there =
            || saved.iter().flat_map(tags).take(20).map(|tag| show(tag.as_bytes())).collect::<Vec<_>>().join(", ");
        let place = self.place.clone();
        match (name, saved) {
            (Some(name), _) => saved
                .iter()
                .find(|one| tags(one).any(|tag| tag == name || same_reference(tag, name)))
                .ok_or_else(|| ImageError::NoSuchName { place, name: name.to_owned(), there: there() }),
            (None, [one]) => Ok(one),
            (None, []) => Err(ImageError::NotAnImage { what: place, why: "its manifest.json lists no image".into() }),
            (None, _) => Err(ImageError::Ambiguous { place, there: there() }),
        }
    }

    /// The configuration, held against the digest that its name is, where it is one.
    fn config(&self, path: &str) -> Result<Vec<u8>, ImageError> {
        let (section, size) = self.section(path)?;
        let mut config = Vec::new();
        let read = section.take(MAX_CONFIG + 1).read_to_end(&mut config);
        read.map_err(|error| ImageError::io(&self.place, &error))?;
        if size > MAX_CONFIG {
            let why = format!("its configuration has {size} bytes, expected at most {MAX_CONFIG}");
            return Err(ImageError::NotAnImage { what: self.place.clone(), why });
        }
        let name = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".json").trim_start_matches("sha256:");
        let got = Digest::of(&config);
        match Digest::from_hex(name) {
            Ok(expected) if expected != got => {
                let what = format!("the configuration in {}", self.place);
                Err(ImageError::DigestMismatch { what, expected, got })
            }
            _ => Ok(config),
        }
    }

    fn layer(&self, path: &str, diff_id: &Digest) -> Result<Descriptor, ImageError> {
        let (mut section, size) = self.section(path)?;
        let mut magic = [0; 4];
        let filled = section.file.read_at(&mut magic, section.offset);
        filled.map_err(|error| ImageError::io(&self.place, &error))?;
        let kind = match magic {
            [0x1f, 0x8b, ..] => "tar+gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "tar+zstd",
            _ => "tar",
        };
        // Nothing says the digest of a packed one; of an unpacked one it is the diff_id.
        let digest = if kind == "tar" {
            diff_id.clone()
        } else {
            let mut hashing = Hashing::new(&mut section);
            io::copy(&mut hashing, &mut io::sink()).map_err(|error| ImageError::io(&self.place, &error))?;
            hashing.finish().1
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.{kind}");
        Ok(Descriptor { media_type, digest, size, platform: None, annotations: None })
    }

    fn section(&self, path: &str) -> Result<(Section, u64), ImageError> {
        self.find(path).ok_or_else(|| ImageError::NotAnImage {
            what: self.place.clone(),
            why: format!("it lacks the file {} that its manifest.json names", show(path.as_bytes())),
        })
    }

    fn find(&self, path: &str) -> Option<(Section, u64)> {
        let mut path = normal("", path)?;
        for _ in 0..LINKS {
            match self.files.get(&path)? {
                Place::At { offset, size } => {
                    return Some((Section { file: self.file.clone(), offset: *offset, left: *size }, *size));
                }
                Place::Link(target) => path.clone_from(target),
            }
        }
        None
    }
}

impl Files for Archive {
    fn open(&self, path: &str) -> Result<Option<Box<dyn Read>>, ImageError> {
        Ok(self.find(path).map(|(section, _)| Box::new(section) as Box<dyn Read>))
    }
}

/// The path that `to` is, beside the file `from`, without `.` and `..`; none if it leads out of the archive.
fn normal(from: &str, to: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if to.starts_with('/') {
        parts.clear();
    }
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

// === impl SavedBlobs ===

impl Blobs for SavedBlobs {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read>, ImageError> {
        let path = self.paths.get(&blob.digest).map_or("", String::as_str);
        self.archive.section(path).map(|(section, _)| Box::new(section) as Box<dyn Read>)
    }
}

// === impl Section ===

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

// === impl Counting ===

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn links_in_an_archive_stay_in_it() {
        assert_eq!(normal("a/layer.tar", "../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(normal("", "./a//b").as_deref(), Some("a/b"));
        assert_eq!(normal("a", "../x"), None);
        assert_eq!(normal("a/b", "/c").as_deref(), Some("c"));
    }
}
