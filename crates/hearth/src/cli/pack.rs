//! Makes a package: a zip that depends on nothing but the files' names, contents, and whether they are
//! executable. The same folder gives the same bytes, and the same bytes are uploaded once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::guess::{self, RootFiles};
use super::ignore::Ignore;
use super::{Usage, text};

/// What the server takes, unpacked and packed.
const MOST_UNPACKED: u64 = 250 * 1024 * 1024;
const MOST_FILES: usize = 20_000;
const MOST_PACKED: usize = control::MAX_PACKAGE_BYTES;
/// Code that is longer is not looked into for a handler.
const MOST_TELLING: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
#[error("over {MOST_FILES} files")]
struct TooMany;

/// What goes into a package, by its path there.
#[derive(Debug, Default)]
pub struct Contents(BTreeMap<String, Entry>);

#[derive(Debug)]
enum Entry {
    File { from: PathBuf, executable: bool, stamp: Stamp },
    Symlink(String),
}

/// What changes whenever a file's bytes may have changed: the time that nobody can set is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Makes zips one after the other, and compresses again only what changed since the last one.
#[derive(Default)]
pub struct Packer {
    last: Option<Last>,
}

/// The last zip, and what its entries were made of.
struct Last {
    archive: ZipArchive<Cursor<Vec<u8>>>,
    made_of: BTreeMap<String, Packed>,
}

/// How an entry of the last zip came to be.
type Packed = (PathBuf, bool, Stamp);

// === impl Stamp ===

impl Stamp {
    pub fn of(meta: &fs::Metadata) -> Self {
        let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        Self { length: meta.len(), inode: meta.ino(), modified, changed }
    }
}

// === impl Contents ===

impl Contents {
    /// A folder's files without what is ignored; `skip` names further root entries to leave out.
    pub fn of_folder(folder: &Path, skip: &[&str]) -> anyhow::Result<Self> {
        let ignore = match fs::read_to_string(folder.join(".hearthignore")) {
            Ok(text) => Ignore::new(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::new(""),
            Err(error) => return Err(error).context("reading .hearthignore"),
        };
        let mut contents = Self::default();
        let leave_out = |path: &str, is_folder| skip.contains(&path) || ignore.leaves_out(path, is_folder);
        match contents.walk(folder, "", &leave_out) {
            Err(error) if error.is::<TooMany>() => {
                let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
                let message = "is it the function's folder? If so, leave some out with .hearthignore";
                Err(Usage(format!("{} has {error}: {message}", whole.display())).into())
            }
            result => result.map(|()| contents),
        }
    }

    /// A single file, under its own name.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Usage(format!("{} has no name in UTF-8", path.display())))?;
        let meta = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
        let entry = Entry::File { from: path.to_owned(), executable: false, stamp: Stamp::of(&meta) };
        Ok(Self([(name.to_owned(), entry)].into()))
    }

    /// A single program, under another name.
    pub fn of_program(path: &Path, name: &str) -> anyhow::Result<Self> {
        let meta = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
        let entry = Entry::File { from: path.to_owned(), executable: true, stamp: Stamp::of(&meta) };
        Ok(Self([(name.to_owned(), entry)].into()))
    }

    /// Adds all of another folder below `inside`; what is there already stays. What was compiled comes along if there is
    /// room: a package may have only so many files.
    pub fn add_folder(&mut self, folder: &Path, inside: &str) -> anyhow::Result<()> {
        let read = |leave_out: &dyn Fn(&str, bool) -> bool| {
            let mut all = Self::default();
            all.walk(folder, inside, leave_out).map(|()| all)
        };
        // Where it goes folders are counted too.
        let room = MOST_FILES * 3 / 4;
        let whole = read(&|_, _| false).ok().filter(|all| self.len() + all.len() <= room);
        let added = match whole {
            Some(whole) => whole,
            None => read(&|path, _| is_compiled(path)).context("adding what was installed")?,
        };
        for (path, entry) in added.0 {
            self.0.entry(path).or_insert(entry);
        }
        Ok(())
    }

    /// Leaves out what can be had of the rest, and says whether there was any.
    pub fn leave_out_compiled(&mut self) -> bool {
        let before = self.len();
        self.0.retain(|path, _| !is_compiled(path));
        self.len() < before
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The files in its root that tell what it is.
    pub fn telling(&self) -> RootFiles {
        let root = self.0.iter().filter(|(path, _)| !path.contains('/') && guess::telling(path));
        // One of them tells as much as all.
        let java = self.0.keys().find(|path| guess::telling_java(path)).map(|path| (path.clone(), String::new()));
        let read = |(path, entry): (&String, &Entry)| {
            let mut text = Vec::new();
            if let Entry::File { from, .. } = entry {
                // Unreadable files fail later, when they are packed.
                let _ = File::open(from).and_then(|file| file.take(MOST_TELLING).read_to_end(&mut text));
            }
            (path.clone(), String::from_utf8_lossy(&text).into_owned())
        };
        root.map(read).chain(java).collect()
    }

    fn walk(&mut self, folder: &Path, inside: &str, leave_out: &dyn Fn(&str, bool) -> bool) -> anyhow::Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
            let entry = entry?;
            let from = entry.path();
            let name = entry.file_name().into_string();
            let name =
                name.map_err(|_| Usage(format!("{} is not named in UTF-8: rename or ignore it", from.display())))?;
            let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
            let kind = entry.file_type()?;
            if leave_out(&path, kind.is_dir()) {
                continue;
            }
            if kind.is_dir() {
                self.walk(&from, &path, leave_out)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&from)?;
                let target = target.to_str().ok_or_else(|| Usage(format!("the target of {path} is not UTF-8")))?;
                self.0.insert(path, Entry::Symlink(target.to_owned()));
            } else if kind.is_file() {
                let meta = entry.metadata()?;
                let executable = meta.permissions().mode() & 0o111 != 0;
                self.0.insert(path, Entry::File { from, executable, stamp: Stamp::of(&meta) });
            } else {
                return Err(Usage(format!("{path} is no file, folder or link: ignore it in .hearthignore")).into());
            }
            if self.0.len() > MOST_FILES {
                return Err(TooMany.into());
            }
        }
        Ok(())
    }

    /// What each file is at present, to be compared with what it was; links by where they lead.
    pub fn state(&self) -> BTreeMap<String, State> {
        let state = |entry: &Entry| match entry {
            Entry::File { executable, stamp, .. } => State::File(*executable, stamp.clone()),
            Entry::Symlink(target) => State::Symlink(target.clone()),
        };
        self.0.iter().map(|(path, entry)| (path.clone(), state(entry))).collect()
    }

    /// The zip.
    #[cfg(test)]
    pub fn pack(&self) -> anyhow::Result<Vec<u8>> {
        Packer::default().pack(self)
    }
}

/// See [`Contents::state`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    File(bool, Stamp),
    Symlink(String),
}

// === impl Packer ===

impl Packer {
    /// The zip: the same bytes, whether anything was there already or not.
    pub fn pack(&mut self, contents: &Contents) -> anyhow::Result<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let mut unpacked = 0;
        let mut packed = BTreeMap::new();
        // Taken out: of a zip that cannot be made whole, nothing is used again.
        let mut last = self.last.take();
        for (path, entry) in &contents.0 {
            let options = SimpleFileOptions::default()
                .last_modified_time(DateTime::default())
                .compression_method(CompressionMethod::Deflated);
            match entry {
                Entry::Symlink(target) => zip.add_symlink(path, target, options.unix_permissions(0o777))?,
                Entry::File { from, executable, stamp } => {
                    let now: Packed = (from.clone(), *executable, stamp.clone());
                    let same = last.as_mut().filter(|last| last.made_of.get(path) == Some(&now));
                    let same = same.and_then(|last| Some((last.archive.index_for_name(path)?, &mut last.archive)));
                    if let Some((index, archive)) = same {
                        let entry = archive.by_index_raw(index)?;
                        unpacked += entry.size();
                        zip.raw_copy_file(entry)?;
                    } else {
                        zip.start_file(path, options.unix_permissions(if *executable { 0o755 } else { 0o644 }))?;
                        let mut file = File::open(from).with_context(|| format!("reading {}", from.display()))?;
                        unpacked += io::copy(&mut file.by_ref().take(MOST_UNPACKED + 1), &mut zip)
                            .with_context(|| format!("reading {}", from.display()))?;
                    }
                    packed.insert(path.clone(), now);
                }
            }
            if unpacked > MOST_UNPACKED {
                return Err(too_large("unpacked", MOST_UNPACKED).into());
            }
        }
        let bytes = zip.finish()?.into_inner();
        check_packed(bytes.len())?;
        self.last = Some(Last { archive: ZipArchive::new(Cursor::new(bytes.clone()))?, made_of: packed });
        Ok(bytes)
    }
}

fn is_compiled(path: &str) -> bool {
    path.ends_with(".pyc") || path.ends_with("__pycache__")
}

/// Reads a zip that was made elsewhere: its bytes, and the files in its root that tell what it is.
pub fn open_zip(path: &Path) -> anyhow::Result<(Vec<u8>, RootFiles)> {
    let mut file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let length = file.seek(SeekFrom::End(0))?;
    check_packed(usize::try_from(length).unwrap_or(usize::MAX))?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut archive = match ZipArchive::new(Cursor::new(&bytes)) {
        Ok(archive) => archive,
        Err(error) => return Err(Usage(format!("{} is not a zip that can be read: {error}", path.display())).into()),
    };
    let mut files = RootFiles::new();
    for index in 0..archive.len() {
        let Ok(entry) = archive.by_index(index) else { continue };
        let Ok(name) = entry.name().map(|name| name.into_owned()) else { continue };
        // Of Java's, one tells as much as all.
        if entry.is_file() && guess::telling_java(&name) && !files.keys().any(|name| guess::telling_java(name)) {
            files.insert(name, String::new());
        } else if entry.is_file() && !name.contains('/') && guess::telling(&name) {
            let mut text = Vec::new();
            if entry.take(MOST_TELLING).read_to_end(&mut text).is_err() {
                bail!("{}: {name} cannot be unpacked", path.display());
            }
            files.insert(name, String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok((bytes, files))
}

/// Whether a file is a program, by its first bytes.
pub fn is_program(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    read.is_ok_and(|read| start[..read].starts_with(b"#!") || start[..read].starts_with(b"\x7fELF"))
}

fn check_packed(length: usize) -> Result<(), Usage> {
    if length > MOST_PACKED { Err(too_large("zipped", MOST_PACKED as u64)) } else { Ok(()) }
}

fn too_large(how: &str, most: u64) -> Usage {
    Usage(format!("the package is over {} {how}: leave files out with .hearthignore", text::memory(most)))
}

/// For tests: writes a file with its folders.
#[cfg(test)]
pub fn write(folder: &Path, path: &str, content: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Vec<String> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        (0..archive.len()).map(|index| archive.by_index(index).unwrap().name().unwrap().into_owned()).collect()
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let pack = |order: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            for path in order {
                write(folder.path(), path, path);
            }
            Contents::of_folder(folder.path(), &[]).unwrap().pack().unwrap()
        };
        let first = pack(&["app.py", "lib/a.py", "lib/b.py", "__pycache__/x.pyc", "hearth.toml"]);
        assert_eq!(first, pack(&["lib/b.py", "lib/a.py", "app.py"]));
        assert_eq!(names(&first), ["app.py", "lib/a.py", "lib/b.py"]);
    }

    #[test]
    fn what_did_not_change_is_taken_over_and_the_bytes_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["app.py", "lib/a.py", "lib/b.py"] {
            write(folder.path(), path, &path.repeat(100));
        }
        let contents = || Contents::of_folder(folder.path(), &[]).unwrap();
        let mut packer = Packer::default();
        let first = packer.pack(&contents()).unwrap();
        assert_eq!(first, packer.pack(&contents()).unwrap());
        write(folder.path(), "app.py", "other");
        fs::remove_file(folder.path().join("lib/a.py")).unwrap();
        write(folder.path(), "new.py", "new");
        fs::set_permissions(folder.path().join("lib/b.py"), fs::Permissions::from_mode(0o755)).unwrap();
        let second = packer.pack(&contents()).unwrap();
        assert_eq!(second, contents().pack().unwrap());
        assert_eq!(names(&second), ["app.py", "lib/b.py", "new.py"]);
    }

    #[test]
    fn links_stay_links_and_programs_stay_programs() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "bin/tool", "#!/bin/sh\n");
        fs::set_permissions(folder.path().join("bin/tool"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("bin/tool", folder.path().join("tool")).unwrap();
        let bytes = Contents::of_folder(folder.path(), &[]).unwrap().pack().unwrap();
        let mut archive = ZipArchive::new(Cursor::new(&bytes)).unwrap();
        assert_eq!(archive.by_name("bin/tool").unwrap().unix_mode().unwrap() & 0o777, 0o755);
        let mut link = archive.by_name("tool").unwrap();
        assert!(link.is_symlink());
        let mut target = String::new();
        link.read_to_string(&mut target).unwrap();
        assert_eq!(target, "bin/tool");
    }

    #[test]
    fn own_files_win_over_installed_ones_and_ignored_ones_stay_out() {
        let (own, deps) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(own.path(), "six.py", "mine");
        write(own.path(), "notes.md", "");
        write(own.path(), "node_modules/x/i.js", "");
        write(own.path(), ".hearthignore", "*.md\n");
        write(deps.path(), "six.py", "theirs");
        write(deps.path(), "other.py", "theirs");
        write(deps.path(), "__pycache__/other.cpython-311.pyc", "theirs");
        let mut contents = Contents::of_folder(own.path(), &["node_modules"]).unwrap();
        contents.add_folder(deps.path(), "").unwrap();
        assert_eq!(contents.0.keys().collect::<Vec<_>>(), ["__pycache__/other.cpython-311.pyc", "other.py", "six.py"]);
        assert!(contents.leave_out_compiled() && !contents.leave_out_compiled());
        assert_eq!(contents.0.keys().collect::<Vec<_>>(), ["other.py", "six.py"]);
        assert_eq!(contents.telling()["six.py"], "mine");
    }

    #[test]
    fn a_folder_of_too_many_files_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MOST_FILES {
            File::create(folder.path().join(number.to_string())).unwrap();
        }
        let said = Contents::of_folder(folder.path(), &[]).unwrap_err().downcast::<Usage>().unwrap().0;
        assert!(said.starts_with(&format!("{} has over 20000 files: is it", folder.path().display())), "{said}");
    }

    #[test]
    fn a_zip_from_elsewhere_tells_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "app.py", "def handler(e, c): pass");
        write(folder.path(), "lib/x.py", "");
        let path = folder.path().join("f.zip");
        fs::write(&path, Contents::of_folder(folder.path(), &[]).unwrap().pack().unwrap()).unwrap();
        let (_, files) = open_zip(&path).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["app.py"]);
        fs::write(&path, "no zip").unwrap();
        assert!(open_zip(&path).unwrap_err().to_string().contains("not a zip"));
    }
}
