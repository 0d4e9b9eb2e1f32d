//! The image that containers start from when none is asked for: next to nothing. What programs need of the host is
//! mounted into it read-only, as in the `namespace` isolation; the image has the mount points, a few small files of
//! `/etc`, and the agent.
//!
//! For a function's own image it is as small: Docker gets the mount points, links and small files, and the image's
//! folders are mounted from where the server has unpacked them. So an image is verified, kept and removed in one place,
//! and every isolation runs the same files.
//!
//! It is named by what is in it, so that it is made once, and again only when that changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bollard::query_parameters::{CreateImageOptions, ListImagesOptions, RemoveImageOptions};
use futures_util::StreamExt;
use linux::image::Layout;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::container::{Bind, MEETING};

/// The image's name; its tag is the hash of its content.
pub const NAME: &str = "hearth/host-root";

/// As [`NAME`], of functions' own images: one for all images with the same entries at the top.
const OF_IMAGES: &str = "hearth/image-root";

/// Marks the images that are ours to remove, with the last part of their name.
const LABEL: &str = "hearth.image";

/// Where the agent is in it.
pub const AGENT: &str = "/hearth/agent";

const AGENT_BYTES: &[u8] = agent_image::BYTES;

/// Mount points and other folders.
const FOLDERS: [&str; 16] = [
    "dev",
    "etc",
    "home",
    "hearth",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "run/secrets",
    "sys",
    "usr",
    "var",
    "var/lang",
    "var/runtime",
    "var/task",
];

/// An image as it shall be, and what is to be mounted into every container of it.
pub struct Base {
    tar: Vec<u8>,
    pub name: String,
    pub binds: Vec<Bind>,
}

// === impl Base ===

impl Base {
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
        Self::named(NAME, tar, binds)
    }

    /// Of a function's image, which is unpacked in `root`.
    pub fn of_image(layout: &Layout, root: &Path) -> io::Result<Self> {
        let mut tar = Builder::new(Vec::new());
        for name in ["sys", MEETING.trim_start_matches('/')] {
            if !layout.folders.iter().any(|one| one == name) && !layout.binds.iter().any(|one| one.path == name) {
                folder(&mut tar, name, 0o755)?;
            }
        }
        for name in &layout.folders {
            folder(&mut tar, name, if name == "tmp" { 0o1777 } else { 0o755 })?;
        }
        for one in &layout.files {
            file(&mut tar, &one.path, &one.content, one.mode)?;
        }
        for one in &layout.binds {
            match one.folder {
                true => folder(&mut tar, &one.path, 0o755)?,
                false => file(&mut tar, &one.path, b"", 0o444)?,
            }
        }
        for (name, target) in &layout.links {
            link(&mut tar, name, target)?;
        }
        file(&mut tar, AGENT.trim_start_matches('/'), AGENT_BYTES, 0o755)?;
        let bind = |one: &linux::image::Bound| Bind::of(root.join(&one.path), Path::new("/").join(&one.path));
        Self::named(OF_IMAGES, tar, layout.binds.iter().map(bind).collect())
    }

    fn named(name: &str, tar: Builder<Vec<u8>>, binds: Vec<Bind>) -> io::Result<Self> {
        let tar = tar.into_inner()?;
        let hash: String = Sha256::digest(&tar).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { tar, name: format!("{name}:{hash}"), binds })
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
            changes: vec![format!("LABEL {LABEL}={}", repo.rsplit('/').next().unwrap_or(repo))],
            ..CreateImageOptions::default()
        };
        let body = bollard::body_full(self.tar.clone().into());
        let mut progress = std::pin::pin!(api.create_image(Some(options), Some(body), None));
        while let Some(step) = progress.next().await {
            step?;
        }
        // A function's own may be another's too, of another Hearth: those go at the start, see `remove_all`.
        if repo == NAME {
            remove(api, |name| name.starts_with(NAME) && name != self.name).await;
        }
        Ok(())
    }
}

/// Removes the images that earlier runs made for functions' own. Whoever still needs one makes it again.
pub async fn remove_all(api: &bollard::Docker) {
    remove(api, |name| name.starts_with(OF_IMAGES)).await;
}

/// One that a container still uses stays: Docker refuses.
async fn remove(api: &bollard::Docker, which: impl Fn(&str) -> bool) {
    let filters = Some([("label".to_owned(), vec![LABEL.to_owned()])].into());
    let images = api.list_images(Some(ListImagesOptions { filters, ..ListImagesOptions::default() })).await;
    let tags = images.into_iter().flatten().flat_map(|image| image.repo_tags);
    for name in tags.filter(|name| which(name)) {
        let _ = api.remove_image(&name, None::<RemoveImageOptions>, None).await;
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
        let (one, other) = (Base::of_this_host().unwrap(), Base::of_this_host().unwrap());
        assert_eq!(one.name, other.name);
        assert!(one.binds.iter().any(|bind| bind.target == "/usr"));
    }

    #[test]
    fn the_agent_is_in_it_and_needs_nothing_of_the_image() {
        let root = Base::of_this_host().unwrap();
        let mut archive = tar::Archive::new(&root.tar[..]);
        let agent =
            archive.entries().unwrap().map(Result::unwrap).find(|e| e.path().unwrap() == Path::new("hearth/agent"));
        assert_eq!(agent.expect("the agent").header().mode().unwrap(), 0o755);
        assert_eq!(&AGENT_BYTES[..4], b"\x7fELF");
        let interpreter = b"/ld-linux".as_slice();
        assert!(!AGENT_BYTES.windows(interpreter.len()).any(|part| part == interpreter), "linked dynamically");
    }
}
