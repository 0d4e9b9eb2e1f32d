//! The store from outside: what it keeps, what it refuses, and what a crash leaves.

mod archive;
mod comparisons;
mod crash;
mod functions;
mod layers;
mod metrics;
mod migration;
mod packages;
mod payloads;
mod refusals;
mod routes;
mod secrets;
mod speed;
mod telemetry;
mod torn;
mod versions;

use std::sync::Arc;

use bytes::Bytes;
use model::{CodeHash, FunctionName, FunctionSpec, Runtime};
use store::{Options, Packages, SqliteStore};
use tempfile::TempDir;

use archive::Zip;

/// A store in a directory of its own, which goes with it.
struct Home {
    dir: TempDir,
    store: Arc<SqliteStore>,
}

impl Home {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::beneath(&std::env::temp_dir(), change)
    }

    /// In memory where that can be had: for measuring the store and not the disk, which others use too.
    fn in_memory() -> Self {
        let shared = std::path::Path::new("/dev/shm");
        if shared.is_dir() { Self::beneath(shared, |_| {}) } else { Self::new() }
    }

    fn beneath(parent: &std::path::Path, change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let mut options = Options::new(dir.path().join("data"));
        change(&mut options);
        Self { store: SqliteStore::open(options).unwrap(), dir }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Closes the store, lets `change` at its files, and opens it again.
    fn reopen(self, change: impl FnOnce(&std::path::Path)) -> Self {
        let Self { dir, store } = self;
        drop(store);
        let data = dir.path().join("data");
        change(&data);
        Self { store: SqliteStore::open(Options::new(data)).unwrap(), dir }
    }

    /// Adds a small package; each text is another one.
    async fn package(&self, text: &str) -> CodeHash {
        self.store.add(package(text)).await.unwrap()
    }
}

fn package(text: &str) -> Bytes {
    Zip::new().file("app.py", text.as_bytes()).build()
}

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn spec(text: &str) -> FunctionSpec {
    FunctionSpec::new(name(text), Runtime::python("3.11"), "app.handler")
}
