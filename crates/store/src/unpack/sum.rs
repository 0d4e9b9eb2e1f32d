//! One number for all that is in a folder: names, kinds, modes, contents, links' targets. Whose they are and when they were
//! made is not in it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::StoreError;

/// A SHA-256, as text. Blocks: it reads everything.
pub fn tree_sum(folder: &Path) -> Result<String, StoreError> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    add(folder, &mut sum, &mut buffer).map_err(|error| StoreError::io(folder.display(), &error))?;
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is of no fixed length goes in after its length, so that no two trees are one stream.
fn add(folder: &Path, sum: &mut Sha256, buffer: &mut [u8]) -> io::Result<()> {
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    sum.update((names.len() as u64).to_le_bytes());
    let text = |sum: &mut Sha256, bytes: &[u8]| {
        sum.update((bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    };
    for name in names {
        text(sum, name.as_bytes());
        let path = folder.join(name);
        let meta = fs::symlink_metadata(&path)?;
        let mode = meta.permissions().mode();
        sum.update(mode.to_le_bytes());
        if meta.is_dir() {
            add(&path, sum, buffer)?;
        } else if meta.is_symlink() {
            text(sum, fs::read_link(&path)?.as_os_str().as_bytes());
        } else if meta.is_file() {
            sum.update(meta.len().to_le_bytes());
            let mut file = File::open(&path)?;
            loop {
                match file.read(buffer)? {
                    0 => break,
                    length => sum.update(&buffer[..length]),
                }
            }
        }
    }
    Ok(())
}
