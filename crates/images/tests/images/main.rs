//! Images from real registries, layouts and archives, as the server would pull and keep them.

mod front;
mod kept;
mod local;
mod made;
mod registry;

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use images::{Credentials, Image, ImageError, Images, Options, Request, Source};

/// Says loudly that a test did not run; printing alone would be captured.
fn skipped(test: &str, program: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "\nSKIPPED {test}: {program} is not installed (Debian has a package of its name)\n"
    );
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn open(dir: &Path) -> Images {
    Images::open(Options::new(dir.join("images"))).expect("a store")
}

fn request(source: Source) -> Request {
    Request { source, credentials: Credentials::Anonymous, in_use: HashSet::new() }
}

async fn pull(images: &Images, source: Source) -> Result<Image, ImageError> {
    images.pull(request(source)).finish().await
}

/// Nothing of a pull that failed is left.
fn nothing_is_left(images: &Images, dir: &Path) {
    let folder = dir.join("images");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // A pull that was given up cleans up behind itself.
    while count(&folder.join("tmp")) > 0 || images.usage().reserved > 0 {
        assert!(std::time::Instant::now() < deadline, "something is left in tmp");
        std::thread::yield_now();
    }
    assert_eq!(count(&folder.join("roots")), 2 * images.list().len());
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}
