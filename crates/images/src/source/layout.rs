//! The OCI layout: `index.json` and `blobs/sha256/`, in a folder or in a tar of one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use super::{Blobs, Plan, Wanted, read_document};
use crate::error::show;
use crate::manifest::{Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, choose};
use crate::{Digest, ImageError, Reference};

/// Files of a layout by their path in it.
pub(crate) trait Files: Send {
    /// None if there is no such file.
    fn open(&self, path: &str) -> Result<Option<Box<dyn Read>>, ImageError>;
}

/// A layout in a folder.
pub(crate) struct Folder(pub PathBuf);

/// The blobs of a layout.
pub(crate) struct LayoutBlobs<F>(pub F);

/// Images that a layout holds are named by annotations, each tool's by its own.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Reads which image a layout holds; `name` chooses one of several. Blocks.
pub(crate) fn plan(
    files: &dyn Files,
    place: &str,
    name: Option<&str>,
    wanted: &Wanted<'_>,
) -> Result<Plan, ImageError> {
    let refuse = |why: &str| ImageError::NotAnImage { what: place.to_owned(), why: why.to_owned() };
    let index = read_small(files, "index.json", place)?.ok_or_else(|| refuse("it has no index.json"))?;
    let Document::Index(index) = Document::parse(&index, place)? else {
        return Err(refuse("its index.json is not an index"));
    };
    let found = pick(&index, place, name, wanted)?;
    let references = names(found).filter_map(reference).collect();
    let (mut digest, mut document) = (found.digest.clone(), read(files, found, place)?);
    if let Document::Index(platforms) = &document {
        let found = choose(platforms, wanted.architecture, place)?;
        (digest, document) = (found.digest.clone(), read(files, found, place)?);
    }
    let Document::Manifest(manifest) = document else {
        return Err(refuse("its index leads to another index twice"));
    };
    let what = format!("the configuration in {place}");
    let config = read_document(&manifest.config, MAX_CONFIG, &what, blob(files, &manifest.config, place)?)?;
    Ok(Plan { references, ..Plan::new(place, digest, manifest, &config, wanted)? })
}

fn read(files: &dyn Files, found: &Descriptor, place: &str) -> Result<Document, ImageError> {
    let what = format!("manifest {} in {place}", found.digest);
    let bytes = read_document(found, MAX_MANIFEST, &what, blob(files, found, place)?)?;
    Document::parse(&bytes, place)
}

/// A file that nothing says the digest of, bounded.
pub(crate) fn read_small(files: &dyn Files, path: &str, place: &str) -> Result<Option<Vec<u8>>, ImageError> {
    let Some(file) = files.open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| ImageError::io(format_args!("reading {path} in {place}"), &error))?;
    match bytes.len() as u64 > MAX_MANIFEST {
        true => Err(ImageError::NotAnImage {
            what: place.to_owned(),
            why: format!("its {path} has more than {MAX_MANIFEST} bytes"),
        }),
        false => Ok(Some(bytes)),
    }
}

fn blob(files: &dyn Files, blob: &Descriptor, place: &str) -> Result<Box<dyn Read>, ImageError> {
    // A digest is hexadecimal digits: it can be no other path.
    let file = files.open(&format!("blobs/sha256/{}", blob.digest.hex()))?;
    file.ok_or_else(|| ImageError::NotAnImage { what: place.to_owned(), why: format!("it lacks blob {}", blob.digest) })
}

fn pick<'d>(
    index: &'d [Descriptor],
    place: &str,
    name: Option<&str>,
    wanted: &Wanted<'_>,
) -> Result<&'d Descriptor, ImageError> {
    if let Some(name) = name {
        let same = |other: &str| other == name || same_reference(other, name);
        let found = index.iter().find(|entry| entry.digest.to_string() == name || names(entry).any(same));
        let (place, name) = (place.to_owned(), name.to_owned());
        return found.ok_or_else(|| ImageError::NoSuchName { place, name, there: listed(index) });
    }
    match index {
        [one] => Ok(one),
        [] => Err(ImageError::NotAnImage { what: place.to_owned(), why: "its index.json lists no image".into() }),
        // One image, flattened into its platforms.
        several if several.iter().all(|entry| entry.platform.is_some() && names(entry).next().is_none()) => {
            choose(several, wanted.architecture, place)
        }
        several => Err(ImageError::Ambiguous { place: place.to_owned(), there: listed(several) }),
    }
}

fn names(entry: &Descriptor) -> impl Iterator<Item = &str> {
    let annotations = entry.annotations.as_ref();
    NAMES.iter().filter_map(move |key| annotations.and_then(|all: &HashMap<_, _>| all.get(*key))).map(String::as_str)
}

/// A name that is a whole reference; many layouts give only a tag.
fn reference(name: &str) -> Option<String> {
    let whole = name.contains('/') || name.contains(':');
    name.parse::<Reference>().ok().filter(|_| whole).map(|reference| reference.to_string())
}

pub(crate) fn same_reference(one: &str, other: &str) -> bool {
    match (one.parse::<Reference>(), other.parse::<Reference>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn listed(index: &[Descriptor]) -> String {
    let named = |entry: &Descriptor| names(entry).next().map_or(entry.digest.to_string(), |name| show(name.as_bytes()));
    index.iter().take(20).map(named).collect::<Vec<_>>().join(", ")
}

// === impl Folder ===

impl Files for Folder {
    fn open(&self, path: &str) -> Result<Option<Box<dyn Read>>, ImageError> {
        let path = self.0.join(path);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::io(path.display(), &error)),
        }
    }
}

// === impl LayoutBlobs ===

impl<F: Files> Blobs for LayoutBlobs<F> {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read>, ImageError> {
        blob(&self.0, descriptor, "the layout")
    }
}

/// Of the digest alone: for a layout's blobs that were fetched into a folder.
pub(crate) struct Fetched(pub PathBuf);

// === impl Fetched ===

impl Fetched {
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.hex())
    }
}

impl Blobs for Fetched {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read>, ImageError> {
        let path = self.path(&blob.digest);
        match File::open(&path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(ImageError::io(path.display(), &error)),
        }
    }
}
