//! A pull: what is asked for, how far it is, what comes of it. One at a time for the same image; others share it.
//!
//! ```text
//! start ─► resolving ─► downloading ─► unpacking ─► done
//!    └ joined by all who ask for the same      └ or failed, for all of them
//! the last Pull is dropped ─► given up; its folder is removed
//! ```

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt};
use model::Timestamp;
use tokio::sync::watch;

use crate::disk::{self, Scratch};
use crate::layer::{Applier, Context, Layer, make_root};
use crate::manifest::Descriptor;
use crate::service::Options;
use crate::shelf::{Reservation, Shelf};
use crate::source::archive::Archive;
use crate::source::layout::{self, Fetched, Folder, LayoutBlobs};
use crate::source::registry::{Access, Registry};
use crate::source::{Blobs, Plan, Wanted};
use crate::{Credentials, Digest, Image, ImageError, Skipped, Source};

/// Layers that are fetched at once.
const AT_ONCE: usize = 3;

/// Room is asked for in pieces of this many bytes.
const PIECE: u64 = 16 << 20;

/// What to pull.
#[derive(Debug, Clone)]
pub struct Request {
    pub source: Source,
    /// For registries; others need none.
    pub credentials: Credentials,
    /// Images that functions refer to: these stay, whatever room is needed. So do all that are touched from now on.
    pub in_use: HashSet<Digest>,
}

/// What a pull is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Finding out what the image is.
    #[default]
    Resolving,
    Downloading,
    Unpacking,
    Done,
}

/// How far a pull is in its phase. Bytes are those of packed layers; they start again with each phase, and go back
/// when a layer has to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Progress {
    pub phase: Phase,
    pub layers_done: usize,
    pub layers: usize,
    pub bytes_done: u64,
    pub bytes: u64,
}

/// A pull that runs, or has run. When the last one of the same image is dropped before the end, the pull is given up.
#[derive(Debug)]
pub struct Pull {
    state: watch::Receiver<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    progress: Progress,
    result: Option<Result<Image, ImageError>>,
}

/// Who else asks for this with these credentials shares the pull.
type Key = (Source, Credentials);

/// The pulls of one image store.
#[derive(Debug)]
pub(crate) struct Pulls {
    pub shelf: Arc<Shelf>,
    pub options: Options,
    running: Mutex<HashMap<Key, watch::Sender<State>>>,
}

/// A pull in the list of those that run.
struct Listed {
    pulls: Arc<Pulls>,
    key: Key,
    there: bool,
}

/// A folder that is removed elsewhere when dropped in an async task, for that blocks.
struct Shared(Option<Scratch>);

/// Tells the unpacking thread that nobody waits any more.
struct GiveUp(Arc<AtomicBool>);

// === impl Pull ===

impl Pull {
    /// How far it is now.
    pub fn progress(&self) -> Progress {
        self.state.borrow().progress
    }

    /// Waits until it is further, and says how far. None when it has ended: then ask [`Pull::finish`]. Cancel-safe;
    /// steps in between may be missed.
    pub async fn next(&mut self) -> Option<Progress> {
        if self.state.borrow().result.is_some() || self.state.changed().await.is_err() {
            return None;
        }
        let state = self.state.borrow_and_update();
        state.result.is_none().then_some(state.progress)
    }

    /// Waits for the end. Dropping the future drops the pull.
    pub async fn finish(mut self) -> Result<Image, ImageError> {
        match self.state.wait_for(|state| state.result.is_some()).await {
            Ok(state) => state.result.clone().expect("just seen"),
            Err(_) => Err(ImageError::Cancelled),
        }
    }
}

// === impl Pulls ===

impl Pulls {
    pub fn new(shelf: Arc<Shelf>, options: Options) -> Self {
        Self { shelf, options, running: Mutex::default() }
    }

    /// Starts a pull, or joins the one that runs. Within a Tokio runtime.
    pub fn start(self: &Arc<Self>, request: Request) -> Pull {
        let key = (request.source.clone(), request.credentials.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.get(&key) {
            return Pull { state: running.subscribe() };
        }
        let (sender, state) = watch::channel(State::default());
        running.insert(key.clone(), sender.clone());
        drop(running);
        let listed = Listed { pulls: self.clone(), key, there: true };
        tokio::spawn(listed.run(request, sender));
        Pull { state }
    }
}

// === impl Listed ===

impl Listed {
    async fn run(mut self, request: Request, sender: watch::Sender<State>) {
        let pulls = self.pulls.clone();
        let result = {
            let work = work(&pulls, request, &sender);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    result = &mut work => break result,
                    () = sender.closed() => {
                        // Somebody may have joined since the last one left.
                        let mut running = pulls.running.lock().unwrap_or_else(PoisonError::into_inner);
                        if sender.receiver_count() == 0 {
                            running.remove(&self.key);
                            self.there = false;
                            break Err(ImageError::Cancelled);
                        }
                    }
                }
            }
        };
        // First off the list: whoever asks from here on wants another pull.
        drop(self);
        sender.send_modify(|state| {
            state.progress.phase = Phase::Done;
            state.result = Some(result);
        });
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if self.there {
            self.pulls.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        }
    }
}

async fn work(pulls: &Arc<Pulls>, request: Request, sender: &watch::Sender<State>) -> Result<Image, ImageError> {
    let Request { source, credentials, in_use } = request;
    let shelf = pulls.shelf.clone();
    let options = pulls.options.clone();
    match source {
        Source::Registry(reference) => {
            let access = Access {
                insecure: options.insecure.clone(),
                connect: options.connect_timeout,
                idle: options.idle_timeout,
            };
            let registry = Registry::open(reference, credentials, access).await?;
            let wanted = Wanted { architecture: &options.architecture, limits: &options.limits };
            let plan = registry.plan(&wanted).await?;
            if let Some(image) = known(&shelf, &plan).await? {
                return Ok(image);
            }
            let packed = plan.packed();
            let (reservation, scratch) = blocking(move || {
                let reservation = shelf.reserve(packed, in_use)?;
                Ok((reservation, Shared(Some(shelf.scratch()?))))
            })
            .await?;
            let blobs = Fetched(scratch.path().join("blobs"));
            disk::make_dir(&blobs.0, 0o700)?;
            fetch(&registry, &plan, &blobs, sender).await?;
            unpack(pulls, plan, Box::new(blobs), scratch, reservation, sender).await
        }
        Source::Layout { path, name } => {
            let blobs = LayoutBlobs(Folder(path.clone()));
            let planned = blocking(move || {
                let wanted = Wanted { architecture: &options.architecture, limits: &options.limits };
                layout::plan(&blobs.0, &path.display().to_string(), name.as_deref(), &wanted).map(|plan| (plan, blobs))
            });
            let (plan, blobs) = planned.await?;
            local(pulls, plan, Box::new(blobs), in_use, sender).await
        }
        Source::Archive { path, name } => {
            let planned = blocking(move || {
                let wanted = Wanted { architecture: &options.architecture, limits: &options.limits };
                Archive::open(&path)?.plan(name.as_deref(), &wanted)
            });
            let (plan, blobs) = planned.await?;
            local(pulls, plan, blobs, in_use, sender).await
        }
    }
}

/// An image whose layers are on this machine already.
async fn local(
    pulls: &Arc<Pulls>,
    plan: Plan,
    blobs: Box<dyn Blobs>,
    in_use: HashSet<Digest>,
    sender: &watch::Sender<State>,
) -> Result<Image, ImageError> {
    let shelf = pulls.shelf.clone();
    if let Some(image) = known(&shelf, &plan).await? {
        return Ok(image);
    }
    let reserved = blocking(move || Ok((shelf.reserve(0, in_use)?, Shared(Some(shelf.scratch()?)))));
    let (reservation, scratch) = reserved.await?;
    unpack(pulls, plan, blobs, scratch, reservation, sender).await
}

/// The image, if it is there already: another reference to it is no other image.
async fn known(shelf: &Arc<Shelf>, plan: &Plan) -> Result<Option<Image>, ImageError> {
    let (shelf, digest, references) = (shelf.clone(), plan.digest.clone(), plan.references.clone());
    blocking(move || shelf.refer(&digest, &references)).await
}

async fn fetch(
    registry: &Registry,
    plan: &Plan,
    to: &Fetched,
    sender: &watch::Sender<State>,
) -> Result<(), ImageError> {
    // A layer may be in an image several times.
    let mut seen = HashSet::new();
    let layers: Vec<&Descriptor> =
        plan.layers.iter().map(|layer| &layer.blob).filter(|blob| seen.insert(&blob.digest)).collect();
    let bytes = layers.iter().map(|blob| blob.size).sum();
    let count = layers.len();
    sender.send_modify(|state| {
        state.progress = Progress { phase: Phase::Downloading, layers: count, bytes, ..Progress::default() };
    });
    let progress = |more: i64| {
        sender.send_modify(|state| {
            state.progress.bytes_done = state.progress.bytes_done.saturating_add_signed(more);
        });
    };
    let progress = &progress;
    let mut fetches = Vec::new();
    for blob in layers {
        fetches.push(async move {
            registry.fetch(blob, &to.path(&blob.digest), progress).await?;
            sender.send_modify(|state| state.progress.layers_done += 1);
            Ok(())
        });
    }
    futures_util::stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect().await
}

async fn unpack(
    pulls: &Arc<Pulls>,
    plan: Plan,
    blobs: Box<dyn Blobs>,
    scratch: Shared,
    mut reservation: Reservation,
    sender: &watch::Sender<State>,
) -> Result<Image, ImageError> {
    let give_up = GiveUp(Arc::default());
    let cancelled = give_up.0.clone();
    let (shelf, limits, sender) = (pulls.shelf.clone(), pulls.options.limits.clone(), sender.clone());
    sender.send_modify(|state| {
        let (layers, bytes) = (plan.layers.len(), plan.packed());
        state.progress = Progress { phase: Phase::Unpacking, layers, bytes, ..Progress::default() };
    });
    blocking(move || {
        let path = scratch.path().join("root");
        let mut applier = Applier::new(make_root(&path)?, limits);
        let mut left = 0;
        for (at, layer) in plan.layers.iter().enumerate() {
            let mut take = |bytes: u64| {
                if bytes > left {
                    let piece = (bytes - left).max(PIECE);
                    // Near the end of the budget, what is needed must do.
                    let got = match reservation.grow(piece) {
                        Err(ImageError::NoRoom { .. }) => reservation.grow(bytes - left).map(|()| bytes - left)?,
                        other => other.map(|()| piece)?,
                    };
                    left += got;
                }
                left -= bytes;
                Ok(())
            };
            let read = |bytes| sender.send_modify(|state| state.progress.bytes_done += bytes);
            let context = Context { take: &mut take, read: &read, cancelled: &cancelled };
            let what = Layer {
                number: at + 1,
                digest: &layer.blob.digest,
                size: layer.blob.size,
                diff_id: &layer.diff_id,
                packing: layer.packing,
            };
            applier.layer(&what, blobs.open(&layer.blob)?, context)?;
            sender.send_modify(|state| state.progress.layers_done += 1);
        }
        disk::sync_all(&path)?;
        if cancelled.load(Ordering::Relaxed) {
            return Err(ImageError::Cancelled);
        }
        let now = Timestamp::now();
        let image = Image {
            digest: plan.digest,
            references: plan.references,
            bytes: disk::size(&path)?,
            config: plan.config,
            pulled: now,
            used: now,
            skipped: applier.skipped(),
        };
        let image = shelf.add(image, &path)?;
        if image.skipped != Skipped::default() {
            tracing::info!(image = %image.digest, special = image.skipped.special, set_id = image.skipped.set_id, "left out");
        }
        Ok(image)
    })
    .await
}

/// Runs what blocks elsewhere. If the future is dropped, it still runs to its end.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ImageError::Failed(format!("a task of the image store: {error}")))?
}

// === impl Shared ===

impl Shared {
    fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), |scratch| &scratch.0)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let scratch = self.0.take();
        match tokio::runtime::Handle::try_current() {
            // On a runtime that is ending it never runs; the next opening removes the folder.
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(scratch))),
            Err(_) => drop(scratch),
        }
    }
}

// === impl GiveUp ===

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
