//! Makes one package of several: as if they were unpacked over each other, in their order.
//!
//! A file takes the place of a file or of a whole folder that was there before; folders are joined. What comes out is
//! the same bytes for the same packages, and is checked like any package when it is added. Contents are copied as they
//! are compressed, and looked at when they are unpacked.

use std::collections::BTreeMap;

use super::directory::{Entry, Method, read};
use super::tree::{Kind, build};
use super::{Limits, refuse};
use crate::StoreError;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// Made on Unix: the upper half of the attributes is type and permissions.
const MADE_BY: u16 = 3 << 8 | 20;
const NEEDED: u16 = 20;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
/// 1980-01-01: the first day that a zip can name.
const DATE: u16 = 1 << 5 | 1;

/// What is at a path.
enum Item<'a> {
    Folder,
    File { entry: Entry<'a>, executable: bool },
    Link(String),
}

/// One zip out of several, each of which has been checked.
pub fn merge(zips: &[impl AsRef<[u8]>], limits: &Limits) -> Result<Vec<u8>, StoreError> {
    let mut merged = BTreeMap::new();
    for zip in zips {
        add(&mut merged, zip.as_ref(), limits)?;
    }
    if merged.len() > limits.entries {
        return refuse(format!(
            "the layers hold {} files and folders together, expected at most {}",
            merged.len(),
            limits.entries
        ));
    }
    write(&merged, limits)
}

fn add<'a>(merged: &mut BTreeMap<String, Item<'a>>, zip: &'a [u8], limits: &Limits) -> Result<(), StoreError> {
    let mut tree = build(read(zip, limits)?, limits)?;
    // Parents come before what is in them: paths are known when they are needed.
    let mut paths: Vec<String> = Vec::with_capacity(tree.nodes.len());
    for (id, node) in tree.nodes.iter_mut().enumerate() {
        let path = match paths.get(node.parent).map(String::as_str) {
            None | Some("") => node.name.to_owned(),
            Some(parent) => format!("{parent}/{}", node.name),
        };
        paths.push(path.clone());
        if id == 0 {
            continue;
        }
        let kind = std::mem::replace(&mut node.kind, Kind::Folder { children: Vec::new(), named: false });
        let item = match kind {
            Kind::Folder { .. } => Item::Folder,
            Kind::File { entry, executable } => Item::File { entry, executable },
            Kind::Link { target } => Item::Link(target),
        };
        if matches!((merged.get(&path), &item), (Some(Item::Folder), Item::Folder)) {
            continue;
        }
        if matches!(merged.get(&path), Some(Item::Folder)) {
            let below = format!("{path}/");
            let gone: Vec<String> = merged
                .range(below.clone()..)
                .map(|(path, _)| path)
                .take_while(|path| path.starts_with(&below))
                .cloned()
                .collect();
            gone.iter().for_each(|path| drop(merged.remove(path)));
        }
        merged.insert(path, item);
    }
    Ok(())
}

fn write(merged: &BTreeMap<String, Item<'_>>, limits: &Limits) -> Result<Vec<u8>, StoreError> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for (path, item) in merged {
        let (name, method, crc, size, data, mode) = match item {
            Item::Folder => (format!("{path}/"), 0, 0, 0, &[][..], 0o040_755),
            Item::File { entry, executable } => {
                let method = if entry.method == Method::Stored { 0 } else { 8 };
                let mode = if *executable { 0o100_755 } else { 0o100_644 };
                (path.clone(), method, entry.crc, entry.size, entry.data, mode)
            }
            Item::Link(target) => {
                let data = target.as_bytes();
                (path.clone(), 0, crc32fast::hash(data), data.len() as u64, data, 0o120_777)
            }
        };
        // All that is added stays below what a package may be, and so below what a zip without extensions can say.
        if (zip.len() + data.len()) as u64 > limits.packed {
            return refuse(format!("the layers are more than {} bytes together", limits.packed));
        }
        let (Ok(size), Ok(packed), Ok(offset)) =
            (u32::try_from(size), u32::try_from(data.len()), u32::try_from(zip.len()))
        else {
            return refuse(format!("{path} of a layer is longer than a zip of layers can say"));
        };
        let about: [&[u8]; 9] = [
            &NEEDED.to_le_bytes(),
            &FLAGS.to_le_bytes(),
            &u16::to_le_bytes(method),
            &0_u16.to_le_bytes(),
            &DATE.to_le_bytes(),
            &crc.to_le_bytes(),
            &packed.to_le_bytes(),
            &size.to_le_bytes(),
            &(name.len() as u16).to_le_bytes(),
        ];
        zip.extend(LOCAL.to_le_bytes());
        about.iter().for_each(|part| zip.extend(*part));
        zip.extend(0_u16.to_le_bytes());
        zip.extend(name.as_bytes());
        zip.extend(data);
        directory.extend(CENTRAL.to_le_bytes());
        directory.extend(MADE_BY.to_le_bytes());
        about.iter().for_each(|part| directory.extend(*part));
        // No extra field, no comment, the first disk, no internal attributes.
        directory.extend([0; 8]);
        directory.extend((u32::from(mode as u16) << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, length, count) = (zip.len() as u32, directory.len() as u32, merged.len() as u16);
    zip.extend(directory);
    zip.extend(END.to_le_bytes());
    zip.extend([0; 4]);
    zip.extend(count.to_le_bytes());
    zip.extend(count.to_le_bytes());
    zip.extend(length.to_le_bytes());
    zip.extend(at.to_le_bytes());
    zip.extend([0; 2]);
    Ok(zip)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip(files: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in files {
            match content.strip_prefix("-> ") {
                Some(target) => zip.add_symlink(*name, target, SimpleFileOptions::default()).unwrap(),
                None => {
                    let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
                    zip.start_file(*name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
                    zip.write_all(content.as_bytes()).unwrap();
                }
            }
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn later_packages_lie_over_earlier_ones() {
        let limits = Limits::default();
        let one = zip(&[("python/a.py", "one"), ("python/b/c.py", "one"), ("bin/x", "#!one"), ("lib", "-> python")]);
        let two =
            zip(&[("python/a.py", "two"), ("python/b", "a file now"), ("lib/d.so", "a folder now"), ("l", "-> bin/x")]);
        let merged = merge(&[&one, &two], &limits).unwrap();
        assert_eq!(merge(&[&one, &two], &limits).unwrap(), merged, "the same bytes each time");
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(folder.path()).unwrap();
        super::super::unpack(&merged, &limits, root.as_fd()).unwrap();
        let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!(
            (read("python/a.py"), read("python/b"), read("lib/d.so")),
            ("two".into(), "a file now".into(), "a folder now".into())
        );
        assert_eq!(read("l"), "#!one", "a link into another layer");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(folder.path().join("bin/x")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn what_is_too_much_together_is_refused() {
        let limits = Limits { entries: 3, ..Limits::default() };
        let (one, two) = (zip(&[("a", "1"), ("b", "2")]), zip(&[("c", "3"), ("d", "4")]));
        let StoreError::BadPackage(why) = merge(&[one, two], &limits).unwrap_err() else { panic!() };
        assert!(why.contains("4 files and folders together, expected at most 3"), "{why}");
    }
}
