//! The image store, as the engine and the management API each want to see it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use control::{Archive, BoxFuture, ImageCredentials, ImageList, ImagePull, ImageView, PullProgress, Pulling};
use driver::User;
use engine::ImageRun;
use futures_util::StreamExt;
use images::{Credentials, Digest, Image, ImageError, Phase, Pull, Request, Source, run};
use model::{Fault, FaultCode, ImageDigest, Language, Runtime};
use tokio::sync::mpsc;

/// The store, and what was found in it.
#[derive(Clone)]
pub struct Images {
    store: images::Images,
    /// Where archives are put while they are read.
    scratch: PathBuf,
    found: Arc<Mutex<Found>>,
    next: Arc<AtomicU64>,
}

/// How each runtime is run in an image: looked up once.
type Found = HashMap<(ImageDigest, Runtime), Result<Arc<ImageRun>, String>>;

/// A pull of the store's.
struct Running {
    pull: Option<Pull>,
    /// The archive that it reads.
    _archive: Option<Scratch>,
}

/// A file that goes when it is dropped.
struct Scratch(PathBuf);

// === impl Images ===

impl Images {
    /// Opens the images beneath a folder. Blocks.
    pub fn open(options: images::Options) -> Result<Self, ImageError> {
        let scratch = options.dir.join("tmp");
        Ok(Self { store: images::Images::open(options)?, scratch, found: Arc::default(), next: Arc::default() })
    }

    fn look(&self, image: &Image, runtime: &Runtime) -> Result<ImageRun, ImageError> {
        let config = &image.config;
        let env = run::environment(config, &BTreeMap::new());
        let path = env.get("PATH").map_or("", String::as_str).to_owned();
        let work_dir = run::work_dir(config, &run::Overrides::default());
        let command = match runtime.language() {
            // The agent runs it, and is not of the image.
            Language::Native => Vec::new(),
            Language::Image => {
                let mut command = run::command(config, &run::Overrides::default())?;
                command[0] = self.absolute(&image.digest, &command[0], &path, &work_dir)?;
                command
            }
            Language::Python => vec![self.python(&image.digest, runtime, &path)?],
            Language::Node => vec![self.node(&image.digest, runtime, &path)?],
            // Which version it is, its HELLO tells.
            Language::Java => match self.store.programs(&image.digest, &["java"], &path)?.first() {
                Some(program) => vec![program.path.clone()],
                None => return Err(ImageError::Failed(absent("java", &path, []))),
            },
        };
        let user = self.user(image)?;
        let mut env = env;
        if let (Language::Image, Some((_, home))) = (runtime.language(), &user) {
            env.entry("HOME".into()).or_insert_with(|| home.clone());
        }
        let user = user.map_or(User::SANDBOX, |(user, _)| user);
        Ok(ImageRun { command, env: env.into_iter().collect(), work_dir, user })
    }

    /// Whom the image wants to run as, and that one's home; none if that is root.
    fn user(&self, image: &Image) -> Result<Option<(User, String)>, ImageError> {
        let text = |path| self.store.text(&image.digest, path);
        let wanted = run::user(&image.config.user, &text("etc/passwd")?, &text("etc/group")?)?;
        // Root's group is no more for functions than root is.
        let gid = if wanted.gid == 0 { User::SANDBOX.gid } else { wanted.gid };
        Ok((wanted.uid != 0).then_some((User { uid: wanted.uid, gid }, wanted.home)))
    }

    /// A command's program, as a path.
    fn absolute(&self, image: &Digest, program: &str, path: &str, work_dir: &str) -> Result<String, ImageError> {
        let missing = || ImageError::Failed(format!("the image's program {program:?} is not in it"));
        if program.contains('/') {
            let whole = if program.starts_with('/') { program.to_owned() } else { format!("{work_dir}/{program}") };
            return self.store.program(image, &whole)?.map(|found| found.path).ok_or_else(missing);
        }
        let found = self.store.programs(image, &[program], path)?;
        found.into_iter().next().map(|found| found.path).ok_or_else(missing)
    }

    fn python(&self, image: &Digest, runtime: &Runtime, path: &str) -> Result<String, ImageError> {
        let exact = format!("python{}", runtime.version());
        let found = self.store.programs(image, &[&exact, "python3", "python"], path)?;
        match found.iter().find(|one| one.path.ends_with(&format!("/{exact}")) || one.name == exact) {
            Some(program) => Ok(program.path.clone()),
            None => Err(ImageError::Failed(absent(&exact, path, found.iter().map(|one| one.name.as_str())))),
        }
    }

    /// Which major it is, an image tells by its headers, if it has any; else only its first word does.
    fn node(&self, image: &Digest, runtime: &Runtime, path: &str) -> Result<String, ImageError> {
        let found = self.store.programs(image, &["node", "nodejs"], path)?;
        let wanted = format!("node {}", runtime.version());
        let Some(program) = found.first() else {
            return Err(ImageError::Failed(absent("node", path, [])));
        };
        let prefix = program.path.rsplitn(3, '/').nth(2).unwrap_or("");
        let header = format!("{prefix}/include/node/node_version.h");
        let text = self.store.text(image, &header)?;
        let major = text.lines().find_map(|line| line.strip_prefix("#define NODE_MAJOR_VERSION "));
        match major.map(str::trim) {
            Some(major) if major != runtime.version() => {
                Err(ImageError::Failed(absent(&wanted, path, [format!("node {major}").as_str()])))
            }
            _ => Ok(program.path.clone()),
        }
    }

    /// [`engine::Images::find`], without memory.
    fn find_run(&self, digest: &ImageDigest, runtime: &Runtime) -> Result<Arc<ImageRun>, String> {
        let missing =
            || format!("image {digest} is not on this machine any more: pull it again with `hearth image pull`");
        let image = self.store.get(&of(digest)).ok_or_else(missing)?;
        match self.look(&image, runtime) {
            Ok(found) => Ok(Arc::new(found)),
            Err(ImageError::Failed(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        }
    }

    fn forget(&self, digest: &ImageDigest) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|(image, _), _| image != digest);
    }
}

fn absent<'a>(wanted: &str, path: &str, there: impl IntoIterator<Item = &'a str>) -> String {
    let mut there: Vec<_> = there.into_iter().collect();
    there.dedup();
    let there = if there.is_empty() { String::new() } else { format!("; there is {}", there.join(", ")) };
    format!("the image has no {wanted} along its PATH {path}{there}")
}

impl engine::Images for Images {
    fn find(&self, image: &ImageDigest, runtime: &Runtime) -> Result<Arc<ImageRun>, String> {
        let key = (image.clone(), runtime.clone());
        if let Some(found) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return found.clone();
        }
        let found = self.find_run(image, runtime);
        if found.is_ok() {
            self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(key, found.clone());
        }
        found
    }

    fn used(&self, image: &ImageDigest) {
        let (store, digest) = (self.store.clone(), of(image));
        tokio::spawn(async move {
            if let Err(error) = store.touch(&digest).await {
                tracing::debug!(%error, "an image's use could not be noted");
            }
        });
    }
}

impl control::Images for Images {
    fn list(&self) -> ImageList {
        let usage = self.store.usage();
        let images = self.store.list().into_iter().map(view).collect();
        ImageList { images, bytes: usage.used, budget: usage.budget }
    }

    fn find(&self, name: &str) -> Result<ImageView, Fault> {
        self.store.find(name).map(view).map_err(fault)
    }

    fn fits(&self, image: ImageDigest, runtime: Runtime) -> BoxFuture<'_, Result<(), Fault>> {
        let images = self.clone();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || engine::Images::find(&images, &image, &runtime)).await;
            match found {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(why)) => Err(Fault::new(FaultCode::RuntimeUnavailable, why)),
                Err(error) => Err(Fault::new(FaultCode::Internal, "the image was not looked at").with_detail(error)),
            }
        })
    }

    fn touch(&self, image: ImageDigest) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { self.store.touch(&of(&image)).await.map_err(fault) })
    }

    fn pull(&self, pull: ImagePull, in_use: HashSet<ImageDigest>) -> Result<Box<dyn Pulling>, Fault> {
        let reference = pull.reference.parse().map_err(fault)?;
        let credentials = match pull.credentials {
            None => Credentials::Anonymous,
            Some(ImageCredentials::Basic { user, password }) => Credentials::Basic { user, password },
            Some(ImageCredentials::Bearer(token)) => Credentials::Bearer(token),
            Some(ImageCredentials::Identity(token)) => Credentials::Identity(token),
        };
        let request = Request { source: Source::Registry(reference), credentials, in_use: all_of(&in_use) };
        Ok(Box::new(Running { pull: Some(self.store.pull(request)), _archive: None }))
    }

    fn import(
        &self,
        archive: Archive,
        name: Option<String>,
        in_use: HashSet<ImageDigest>,
    ) -> BoxFuture<'_, Result<Box<dyn Pulling>, Fault>> {
        Box::pin(async move {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.scratch.join(format!("import-{number}.tar"));
            let limit = self.store.usage().budget;
            let scratch = receive(archive, path.clone(), limit).await?;
            let source = Source::Archive { path, name };
            let request = Request { source, credentials: Credentials::Anonymous, in_use: all_of(&in_use) };
            let running = Running { pull: Some(self.store.pull(request)), _archive: Some(scratch) };
            Ok(Box::new(running) as Box<dyn Pulling>)
        })
    }

    fn remove(&self, image: ImageDigest, in_use: HashSet<ImageDigest>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let removed = self.store.remove(&of(&image), &all_of(&in_use)).await;
            self.forget(&image);
            removed.map(drop).map_err(fault)
        })
    }
}

/// Writes an archive to a file, as it comes.
async fn receive(mut archive: Archive, path: PathBuf, limit: u64) -> Result<Scratch, Fault> {
    let failed = |error: &std::io::Error| {
        let fault = fault(if error.kind() == std::io::ErrorKind::StorageFull {
            ImageError::DiskFull
        } else {
            ImageError::Failed("the archive could not be written".into())
        });
        fault.with_detail(error)
    };
    let (pieces, mut coming) = mpsc::channel::<bytes::Bytes>(4);
    let written = tokio::task::spawn_blocking(move || {
        let scratch = Scratch(path);
        let mut file = File::create(&scratch.0)?;
        while let Some(piece) = coming.blocking_recv() {
            file.write_all(&piece)?;
        }
        Ok(scratch)
    });
    let mut length = 0;
    let mut refused = None;
    while let Some(piece) = archive.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                refused = Some(Fault::new(FaultCode::InvalidRequest, format!("the archive broke off: {error}")));
                break;
            }
        };
        length += piece.len() as u64;
        if length > limit {
            let message = format!("the archive is over {limit} bytes, which is all that images may take");
            refused = Some(Fault::new(FaultCode::RequestTooLarge, message));
            break;
        }
        // The writer ended: what it says is why.
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let written = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let scratch = written.map_err(|error: std::io::Error| failed(&error))?;
    refused.map_or(Ok(scratch), Err)
}

fn of(digest: &ImageDigest) -> Digest {
    // Both are 64 hexadecimal digits; neither can be made of anything else.
    Digest::from_hex(digest.as_str()).unwrap_or_else(|_| Digest::of(digest.as_str().as_bytes()))
}

fn all_of(digests: &HashSet<ImageDigest>) -> HashSet<Digest> {
    digests.iter().map(of).collect()
}

fn view(image: Image) -> ImageView {
    let config = image.config;
    let name = |entry: &String| entry.split_once('=').map(|(name, _)| name.to_owned());
    ImageView {
        digest: image.digest.to_string(),
        names: image.references,
        bytes: image.bytes,
        env: config.env.iter().filter_map(name).collect(),
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        work_dir: config.work_dir,
        user: config.user,
        pulled: image.pulled.rfc3339(),
        used: image.used.rfc3339(),
        functions: vec![],
    }
}

fn fault(error: ImageError) -> Fault {
    use ImageError::*;
    let text = error.to_string();
    match error {
        BadReference { .. } | BadDigest(_) | Credentials { .. } | NoSuchName { .. } | Ambiguous { .. } => {
            Fault::new(FaultCode::InvalidRequest, text)
        }
        NoSuchImage(_) => Fault::new(FaultCode::NotFound, text),
        InUse(_) => Fault::new(FaultCode::Conflict, text),
        DiskFull => Fault::new(FaultCode::Store, "the disk that holds the images is full: nothing was kept"),
        Failed(_) => Fault::new(FaultCode::Store, "the image store failed").with_detail(text),
        _ => Fault::new(FaultCode::ImageRefused, text),
    }
}

// === impl Running ===

impl Pulling for Running {
    fn next(&mut self) -> BoxFuture<'_, Option<PullProgress>> {
        Box::pin(async move {
            let progress = self.pull.as_mut()?.next().await?;
            let phase = match progress.phase {
                Phase::Resolving => "resolving",
                Phase::Downloading => "downloading",
                Phase::Unpacking | Phase::Done => "unpacking",
            };
            Some(PullProgress {
                phase: phase.to_owned(),
                layers_done: progress.layers_done as u64,
                layers: progress.layers as u64,
                bytes_done: progress.bytes_done,
                bytes: progress.bytes,
            })
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<ImageView, Fault>> {
        Box::pin(async move {
            match self.pull.take() {
                Some(pull) => pull.finish().await.map(view).map_err(fault),
                None => Err(fault(ImageError::Cancelled)),
            }
        })
    }
}

// === impl Scratch ===

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
