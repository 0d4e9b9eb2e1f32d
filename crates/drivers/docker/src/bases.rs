//! What containers of functions' own images are made from: looked at and prepared once for each image.
//!
//! An image's folder is held open, so that one that was removed and pulled again is seen to be another.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driver::StartError;
use linux::image::{self, Layout};
use linux::roots::Var;
use model::ImageDigest;
use tokio::sync::Mutex;

use crate::image::Base;

/// How many are kept; the one not used for longest gives way.
const KEPT: usize = 32;

/// All of them.
pub struct Bases {
    /// As Docker names it.
    data_dir: PathBuf,
    data: OwnedFd,
    kept: Mutex<Vec<Arc<ImageBase>>>,
}

/// One image's.
pub struct ImageBase {
    digest: ImageDigest,
    folder: OwnedFd,
    pub base: Base,
    /// What is bound, to be looked at in the container.
    pub layout: Layout,
    /// For stems, whose `/var` is a slot.
    pub var: Var,
}

// === impl Bases ===

impl Bases {
    pub fn new(data_dir: &Path, data: OwnedFd) -> Self {
        Self { data_dir: data_dir.to_owned(), data, kept: Mutex::default() }
    }

    /// The image's, made known to Docker. Others wait meanwhile: it is a tenth of a second, once.
    pub async fn get(&self, digest: &ImageDigest, api: &bollard::Docker) -> Result<Arc<ImageBase>, StartError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => StartError::NoImage(digest.clone()),
            _ => StartError::System(format!("root file system of image {digest}: {error}")),
        };
        let folder = image::open(self.data.as_fd(), digest).map_err(failed)?;
        let mut kept = self.kept.lock().await;
        if let Some(at) = kept.iter().position(|one| one.digest == *digest) {
            let known = kept.remove(at);
            if image::same(known.folder.as_fd(), folder.as_fd()).unwrap_or(false) {
                kept.push(known.clone());
                drop(kept);
                // Another Hearth that starts may have removed it.
                known.base.ensure(api).await.map_err(|error| not_made(&known.base, &error))?;
                return Ok(known);
            }
        }
        let layout = Layout::of(folder.as_fd()).map_err(failed)?;
        let root = self.data_dir.join(image::PLACE).join(digest.as_str());
        let base = Base::of_image(&layout, &root).map_err(failed)?;
        base.ensure(api).await.map_err(|error| not_made(&base, &error))?;
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        let made = Arc::new(ImageBase { digest: digest.clone(), folder, base, var: Var::of(&layout), layout });
        kept.push(made.clone());
        Ok(made)
    }
}

fn not_made(base: &Base, error: &bollard::errors::Error) -> StartError {
    StartError::System(format!("make the image {}: {error}", base.name))
}
