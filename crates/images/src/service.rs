//! The image store: options, and the handle that everybody uses.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::look::{Inside, Program};
use crate::manifest::this_architecture;
use crate::pull::{Pulls, blocking};
use crate::run::User;
use crate::shelf::Shelf;
use crate::{Collected, Digest, Image, ImageError, Limits, Pull, Reference, Request, Usage, run};

/// How images are kept and pulled.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the images; made if need be, in a folder that exists. Other users must be able to go through that.
    pub dir: PathBuf,
    /// Bytes that all images together may take on disk, with those that are being pulled; default 10 GiB.
    pub budget: u64,
    pub limits: Limits,
    /// Registries, as `host` or `host:port`, that are spoken to without TLS, beside those of this machine.
    pub insecure: Vec<String>,
    /// Whose images to take, as OCI names it; default this machine's.
    pub architecture: String,
    /// Time to connect to a registry; default 15 s.
    pub connect_timeout: Duration,
    /// Time that a registry may send nothing; default 60 s.
    pub idle_timeout: Duration,
}

/// A handle to the image store; clones are of the same. One store of a folder at a time: the caller holds the lock.
#[derive(Debug, Clone)]
pub struct Images {
    pulls: Arc<Pulls>,
}

// === impl Options ===

impl Options {
    /// The defaults, for images in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            budget: 10 << 30,
            limits: Limits::default(),
            insecure: vec![],
            architecture: this_architecture().to_owned(),
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

// === impl Images ===

impl Images {
    /// Opens the store, and mends what a crash left. Blocks. Sets the process's TLS provider, if it has none.
    pub fn open(options: Options) -> Result<Self, ImageError> {
        // The one that is set already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shelf = Arc::new(Shelf::open(&options.dir, options.budget)?);
        Ok(Self { pulls: Arc::new(Pulls::new(shelf, options)) })
    }

    /// Starts a pull in the background, or joins the one of the same source with the same credentials that runs. An image
    /// that is there already is only named. Call it within a Tokio runtime.
    pub fn pull(&self, request: Request) -> Pull {
        self.pulls.start(request)
    }

    /// All images by digest.
    pub fn list(&self) -> Vec<Image> {
        self.shelf().list()
    }

    pub fn get(&self, digest: &Digest) -> Option<Image> {
        self.shelf().get(digest)
    }

    /// The image that a person means: by digest, by 8 or more of its hexadecimal digits, or by reference.
    pub fn find(&self, name: &str) -> Result<Image, ImageError> {
        let missing = || ImageError::NoSuchImage(name.chars().take(300).collect());
        if let Ok(digest) = name.parse() {
            return self.get(&digest).ok_or_else(missing);
        }
        let images = self.list();
        if name.len() >= 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let mut found = images.iter().filter(|image| image.digest.hex().starts_with(name));
            if let (Some(one), None) = (found.next(), found.next()) {
                return Ok(one.clone());
            }
        }
        let reference = name.parse::<Reference>()?;
        let spelled = reference.to_string();
        let named = |image: &Image| image.references.contains(&spelled);
        let pinned = |image: &Image| reference.digest().is_some_and(|digest| digest == image.digest);
        images.into_iter().find(|image| named(image) || pinned(image)).ok_or_else(missing)
    }

    /// The folder of the image's root file system, or where it would be. It never changes while the image is there.
    pub fn root(&self, digest: &Digest) -> PathBuf {
        self.shelf().root(digest)
    }

    pub fn usage(&self) -> Usage {
        self.shelf().usage()
    }

    /// Notes that the image is used now. Call it before a function that refers to it is stored, and when an instance
    /// starts: an image that was touched since a pull began is not removed for that pull.
    pub async fn touch(&self, digest: &Digest) -> Result<(), ImageError> {
        let (shelf, digest) = (self.pulls.shelf.clone(), digest.clone());
        blocking(move || shelf.touch(&digest)).await
    }

    /// Removes an image, unless it is in use. Its room is free when the future resolves.
    pub async fn remove(&self, digest: &Digest, in_use: &HashSet<Digest>) -> Result<Image, ImageError> {
        let (shelf, digest, in_use) = (self.pulls.shelf.clone(), digest.clone(), in_use.clone());
        blocking(move || shelf.remove(&digest, &in_use)).await
    }

    /// Removes images that are not in use, the least recently used first, until all fit the budget (which may have been
    /// lowered). Pulls do this by themselves.
    pub async fn collect(&self, in_use: &HashSet<Digest>) -> Result<Collected, ImageError> {
        let (shelf, in_use) = (self.pulls.shelf.clone(), in_use.clone());
        blocking(move || shelf.collect(&in_use)).await
    }

    /// Whom the image wants to run as, by its own `etc/passwd` and `etc/group`.
    pub async fn user(&self, digest: &Digest) -> Result<User, ImageError> {
        let image = self.get(digest).ok_or_else(|| ImageError::NoSuchImage(digest.to_string()))?;
        let root = self.root(digest);
        blocking(move || {
            let inside = Inside::open(&root)?;
            let (passwd, group) = (inside.text("etc/passwd")?, inside.text("etc/group")?);
            run::user(&image.config.user, &passwd, &group)
        })
        .await
    }

    /// Programs of these names in an image, along a `PATH`: each name in all of it before the next. Blocks, briefly.
    pub fn programs(&self, digest: &Digest, names: &[&str], path: &str) -> Result<Vec<Program>, ImageError> {
        Inside::open(&self.root(digest))?.find(names, path)
    }

    /// The program at this path in an image, if there is one. Blocks, briefly.
    pub fn program(&self, digest: &Digest, path: &str) -> Result<Option<Program>, ImageError> {
        Inside::open(&self.root(digest))?.program(path)
    }

    /// A small text file in an image; empty if there is none. Blocks, briefly.
    pub fn text(&self, digest: &Digest, path: &str) -> Result<String, ImageError> {
        Inside::open(&self.root(digest))?.text(path)
    }

    fn shelf(&self) -> &Shelf {
        &self.pulls.shelf
    }
}
