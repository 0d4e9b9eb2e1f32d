//! What the engine must know of an image to run a function in it. The trait is declared here, where it is needed; the
//! composition root implements it over the image store, which this crate may not import.

use std::sync::Arc;

use driver::User;
use model::{ImageDigest, Runtime};

/// The images that are on this machine.
pub trait Images: Send + Sync {
    /// How a runtime is run in an image; or, in words for the caller, why it cannot be. Called at every start: quick.
    fn find(&self, image: &ImageDigest, runtime: &Runtime) -> Result<Arc<ImageRun>, String>;

    /// An instance of it is being started. Returns at once.
    fn used(&self, image: &ImageDigest);
}

/// An image from the inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRun {
    /// The runtime's interpreter alone; or the image's own command, where that is the runtime. Its first is absolute.
    pub command: Vec<String>,
    /// The image's environment. It has a `PATH`.
    pub env: Vec<(String, String)>,
    /// Where its own command starts.
    pub work_dir: String,
    pub user: User,
}

/// A machine without images.
pub struct NoImages;

// === impl NoImages ===

impl Images for NoImages {
    fn find(&self, image: &ImageDigest, _: &Runtime) -> Result<Arc<ImageRun>, String> {
        Err(format!("image {image} is not on this machine"))
    }

    fn used(&self, _: &ImageDigest) {}
}
