//! The image that containers start from when none is asked for: next to nothing. What programs need of the host is
//! mounted into it read-only, as in the `namespace` isolation; the image has the mount points, a few small files of
//! `/etc`, and the agent.
//!
//! It is named by what is in it, so that it is made once, and again only when that changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bollard::query_parameters::{CreateImageOptions, ListImagesOptions, RemoveImageOptions};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::container::{Bind, MEETING};

/// The image's name; its tag is the hash of its content.
pub const NAME: &str = "hearth/host-root";

/// Marks the images that are ours to remove.
const LABEL: &str = "hearth.image=host-root";

/// Where the agent is in it.
pub const AGENT: &str = "/hearth/agent";

const AGENT_BYTES: &[u8] = agent_image::BYTES;

/// Mount points and other folders.
const FOLDERS: [&str; 15] = [
    "dev",
    "etc",
    "home",
    "hearth",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sys",
    "usr",
    "var",
    "var/lang",
    "var/runtime",
    "var/task",
];

/// An image as it shall be, and what is to be mounted into every container of it.
pub struct HostRoot {
    tar: Vec<u8>,
    pub name: String,
    pub binds: Vec<Bind>,
}

// === impl HostRoot ===

impl HostRoot {
    /// Looks at this host.
    pub fn of_this_host() -> io::Result<Self> {
        let mut tar = Builder::new(Vec::new());
        let mut binds = vec![Bind::of("/usr", "/usr")];
        for name in FOLDERS {
            folder(&mut tar, name, 0o755)?;
        }
        folder(&mut tar, MEETING.trim_start_matches('/'), 0o755)?;
        folder(&mut tar, "tmp", 0o1777)?;
        for name in linux::root::USR_LINKS {
            let host = Path::new("/").join(name);
            match fs::read_link(&host) {
                Ok(target) => link(&mut tar, name, &target)?,
                Err(_) if host.is_dir() => {
                    folder(&mut tar, name, 0o755)?;
                    binds.push(Bind::of(&host, &host));
                }
                Err(_) => {}
            }
        }
        for (name, text) in linux::root::etc_texts() {
            file(&mut tar, &format!("etc/{name}"), text.as_bytes(), 0o644)?;
        }
        for name in linux::root::ETC_FILES {
            if let Ok(content) = fs::read(Path::new("/etc").join(name)) {
                file(&mut tar, &format!("etc/{name}"), &content, 0o644)?;
            }
        }
        for name in linux::root::etc_folders() {
            let path = PathBuf::from("/etc").join(name);
            folder(&mut tar, path.strip_prefix("/").unwrap_or(&path), 0o755)?;
            binds.push(Bind::of(&path, &path));
        }
        file(&mut tar, AGENT.trim_start_matches('/'), AGENT_BYTES, 0o755)?;
        let tar = tar.into_inner()?;
        let hash: String = Sha256::digest(&tar).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { tar, name: format!("{NAME}:{hash}"), binds })
    }

    /// Makes the image, unless it is there already, and removes the ones that it replaces.
    pub async fn ensure(&self, api: &bollard::Docker) -> Result<(), bollard::errors::Error> {
        if api.inspect_image(&self.name).await.is_ok() {
            return Ok(());
        }
        let (repo, tag) = self.name.split_once(':').unwrap_or((&self.name, "latest"));
        let options = CreateImageOptions {
            from_src: Some("-".into()),
            repo: Some(repo.into()),
            tag: Some(tag.into()),
            changes: vec![format!("LABEL {LABEL}")],
            ..CreateImageOptions::default()
        };
        let body = bollard::body_full(self.tar.clone().into());
        let mut progress = std::pin::pin!(api.create_image(Some(options), Some(body), None));
        while let Some(step) = progress.next().await {
            step?;
        }
        self.remove_others(api).await;
        Ok(())
    }

    /// One that another Hearth's container still uses stays: Docker refuses.
    async fn remove_others(&self, api: &bollard::Docker) {
        let filters = Some([("label".to_owned(), vec![LABEL.to_owned()])].into());
        let images = api.list_images(Some(ListImagesOptions { filters, ..ListImagesOptions::default() })).await;
        let tags = images.into_iter().flatten().flat_map(|image| image.repo_tags);
        for name in tags.filter(|name| name.starts_with(NAME) && *name != self.name) {
            let _ = api.remove_image(&name, None::<RemoveImageOptions>, None).await;
        }
    }
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    // The same content is the same image.
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn folder(tar: &mut Builder<Vec<u8>>, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let path = path.as_ref();
    tar.append_data(&mut header(EntryType::Directory, mode, 0), path, io::empty())
}

fn file(tar: &mut Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, mode, content.len()), path, content)
}

fn link(tar: &mut Builder<Vec<u8>>, path: &str, target: &Path) -> io::Result<()> {
    tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_host_gives_the_same_image() {
        let (one, other) = (HostRoot::of_this_host().unwrap(), HostRoot::of_this_host().unwrap());
        assert_eq!(one.name, other.name);
        assert!(one.binds.iter().any(|bind| bind.target == "/usr"));
    }

    #[test]
    fn the_agent_is_in_it_and_needs_nothing_of_the_image() {
        let root = HostRoot::of_this_host().unwrap();
        let mut archive = tar::Archive::new(&root.tar[..]);
        let agent =
            archive.entries().unwrap().map(Result::unwrap).find(|e| e.path().unwrap() == Path::new("hearth/agent"));
        assert_eq!(agent.expect("the agent").header().mode().unwrap(), 0o755);
        assert_eq!(&AGENT_BYTES[..4], b"\x7fELF");
        let interpreter = b"/ld-linux".as_slice();
        assert!(!AGENT_BYTES.windows(interpreter.len()).any(|part| part == interpreter), "linked dynamically");
    }
}
