//! What the targets share: reading an HTTP request off the input, and folders to unpack into.

#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tempfile::TempDir;

/// A request as text, as clients write it.
pub struct Request {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// None for what no HTTP server would hand on.
pub fn request(bytes: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).ok()? else { return None };
    // As HTTP's own crate reads it, which hands on no fragment.
    let target: http::Uri = parsed.path.filter(|target| target.starts_with('/'))?.parse().ok()?;
    let (path, query) = (target.path(), target.query().unwrap_or_default());
    let mut all = HeaderMap::new();
    for header in parsed.headers.iter() {
        all.append(HeaderName::try_from(header.name).ok()?, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some(Request {
        method: parsed.method?.parse().ok()?,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: all,
        body: bytes[length..].to_vec(),
    })
}

/// The pieces between line ends: for inputs of several texts.
pub fn texts<const N: usize>(bytes: &[u8]) -> Option<[&str; N]> {
    let mut pieces = std::str::from_utf8(bytes).ok()?.splitn(N, '\n');
    let texts = std::array::from_fn(|_| pieces.next().unwrap_or_default());
    Some(texts)
}

/// A folder to unpack into, with something beside it that must stay as it is.
pub struct Place {
    folder: TempDir,
}

impl Default for Place {
    fn default() -> Self {
        let memory = Path::new("/dev/shm");
        let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(within).expect("a folder");
        fs::create_dir(folder.path().join("root")).expect("a folder");
        fs::write(folder.path().join("beside"), "untouched").expect("a file");
        Self { folder }
    }
}

impl Place {
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub fn open(&self) -> OwnedFd {
        fs::File::open(self.root()).expect("it is there").into()
    }

    /// Files in the root, and links; whether anything outside was touched is checked on the way.
    pub fn entries(&self) -> usize {
        let beside = fs::read_dir(self.folder.path()).expect("it").count();
        assert_eq!(beside, 2, "something was made outside");
        assert_eq!(fs::read_to_string(self.folder.path().join("beside")).expect("it"), "untouched");
        count(&self.root())
    }
}

fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() { count(&entry.path()) } else { 1 }
        })
        .sum()
}
