//! The roots that sandboxes are given: the host's, and one template for each image that was used of late.
//!
//! ```text
//! get ─► open the image ─► the same folder as the template's? ─yes─► template
//!          │ not there        └─no─► the old one is dropped, a new one built (some milliseconds)
//!          └─► NoImage
//! ```
//!
//! A template holds its image's folder open, so that an image that was removed and pulled again is seen to be another.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use driver::{RootFs, StartError};
use model::ImageDigest;
use rustix::fs::{Mode, OFlags};

use crate::image::{self, Layout};
use crate::root::{Root, at};

/// Templates of images that are kept; the one not used for longest gives way.
const KEPT: usize = 32;

/// A file of Hearth's own in every root: path inside, content.
pub type Extra = (&'static str, &'static [u8]);

/// All of them.
#[derive(Debug)]
pub struct Roots {
    host: Root,
    /// Where images' templates are mounted.
    place: PathBuf,
    data: OwnedFd,
    runtimes: PathBuf,
    more: Vec<Extra>,
    /// Used last: at the end.
    images: Vec<Template>,
}

#[derive(Debug)]
struct Template {
    digest: ImageDigest,
    image: OwnedFd,
    root: Root,
    var: Var,
}

/// What an image has in `/var`, for those who mount one of their own there: folders to be bound, and links.
#[derive(Debug, Default)]
pub struct Var {
    /// Empty ones.
    pub folders: Vec<String>,
    /// To be bound from a root that has them.
    pub binds: Vec<String>,
    pub links: Vec<(String, PathBuf)>,
}

// === impl Roots ===

impl Roots {
    /// Builds the host's root at `place`, in the calling process's mount namespace, which must be private to it. Images
    /// lie in `data`, which belongs to the server.
    pub fn build(place: &Path, data: &Path, runtimes: &Path, more: &[Extra]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(data, flags, Mode::empty()).map_err(|error| at("open", data)(error.into()))?;
        let host = Root::build_with(place, runtimes, more)?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let place = place.with_file_name(format!("{name}-of-images"));
        // What a killed process left: folders only, since its mounts went with it.
        for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(entry.path());
        }
        Ok(Self { host, place, data: folder, runtimes: runtimes.to_owned(), more: more.to_vec(), images: Vec::new() })
    }

    pub fn get(&mut self, root: &RootFs) -> Result<&Root, StartError> {
        match root {
            RootFs::Host => Ok(&self.host),
            RootFs::Image(digest) => Ok(&self.template(digest)?.root),
        }
    }

    /// A root, and what is in its `/var` beside Hearth's own.
    pub fn get_with_var(&mut self, root: &RootFs) -> Result<(&Root, Option<&Var>), StartError> {
        match root {
            RootFs::Host => Ok((&self.host, None)),
            RootFs::Image(digest) => self.template(digest).map(|template| (&template.root, Some(&template.var))),
        }
    }

    fn template(&mut self, digest: &ImageDigest) -> Result<&Template, StartError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => StartError::NoImage(digest.clone()),
            _ => StartError::System(format!("root file system of image {digest}: {error}")),
        };
        let found = image::open(self.data.as_fd(), digest).map_err(failed)?;
        let known = self.images.iter().position(|one| one.digest == *digest).map(|at| self.images.remove(at));
        let template = match known {
            Some(known) if image::same(known.image.as_fd(), found.as_fd()).unwrap_or(false) => known,
            other => {
                if let Some(old) = other {
                    old.root.close();
                }
                if self.images.len() >= KEPT {
                    self.images.remove(0).root.close();
                }
                let layout = Layout::of(found.as_fd()).map_err(failed)?;
                let path = self.place.join(digest.as_str());
                let root = Root::of_image(&path, &self.runtimes, &self.more, &layout).map_err(failed)?;
                Template { digest: digest.clone(), image: found, root, var: Var::of(&layout) }
            }
        };
        self.images.push(template);
        self.images.last().ok_or_else(|| StartError::NoImage(digest.clone()))
    }

    /// Unmounts them all.
    pub fn close(&self) {
        self.images.iter().for_each(|template| template.root.close());
        let _ = std::fs::remove_dir(&self.place);
        self.host.close();
    }
}

// === impl Var ===

impl Var {
    pub fn of(layout: &Layout) -> Self {
        let inside = |path: &String| path.strip_prefix("var/").map(str::to_owned);
        let ours = |name: &String| name.starts_with("task") || name == "runtime";
        let folders = layout.folders.iter().filter_map(inside).filter(|name| !ours(name)).collect();
        let binds = layout.binds.iter().filter(|one| one.folder).filter_map(|one| inside(&one.path)).collect();
        let links = layout.links.iter().filter_map(|(path, to)| Some((inside(path)?, to.clone()))).collect();
        Self { folders, binds, links }
    }

    /// Makes folders and links in a folder of the caller's, in which nothing else is.
    pub fn make_in(&self, folder: &Path) -> io::Result<()> {
        for name in self.folders.iter().chain(&self.binds) {
            let path = folder.join(name);
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at("make", &path)(error)),
                _ => {}
            }
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(at("open", &path))?;
        }
        for (name, target) in &self.links {
            let path = folder.join(name);
            std::os::unix::fs::symlink(target, &path).map_err(at("link", &path))?;
        }
        Ok(())
    }

    /// Takes away what is left in such a folder: links and empty folders. A mount that could not be taken away keeps
    /// what is in it.
    pub fn remove_in(folder: &Path) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => std::fs::remove_file(entry.path()),
                _ => std::fs::remove_dir(entry.path()),
            };
            if let Err(error) = removed {
                tracing::debug!(path = %entry.path().display(), %error, "left in a slot");
            }
        }
    }
}
