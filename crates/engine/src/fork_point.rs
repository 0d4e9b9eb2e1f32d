//! Fork points: what the instances of a function with `snapstart` go on from, made once for each revision.
//!
//! ```text
//! none ──first start, or early──► a sandbox: IMAGE, HELLO, INIT, SNAPSHOT ──► sealed: image ──► start, start, start …
//!  ▲                                 │ refused: SNAPSHOT says why                  │ evicted, unused for long, broken
//!  │                                 ▼                                             │
//!  │                              refused: every call is told                      │
//!  └────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The image is a file in memory of the server's, which the sandbox is handed over its control stream, and so is every
//! instance's: no driver knows of it. The sandbox that wrote it is gone when the first instance starts. It is sealed then:
//! nobody can change what others will be. The server never reads it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use driver::Exit;
use model::{Fault, FaultCode, InstanceId, Memory};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use wire::Frame;

use crate::code;
use crate::instance::Info;
use crate::io::{Io, unexpected};
use crate::ledger::Charge;
use crate::pool::Pool;
use crate::runtime;
use crate::secrets::Revealed;
use crate::shared::Shared;
use crate::start::{self, Birth, NotStarted, Why};

/// An image that no start asked for so long is let go.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// What an image's table leaves free at most.
const HOLES: u64 = 1 << 20;

/// How often instances may fail to go on from an image, one after the other, before the function is told.
const TRIES: u32 = 2;

/// A function's, in one of its pools.
#[derive(Default)]
pub struct ForkPoint {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    image: Option<Arc<Image>>,
    refused: Option<String>,
    failures: u32,
}

/// A process that is nobody's yet.
pub struct Image {
    file: OwnedFd,
    charge: Charge,
    started: Instant,
    /// Seconds after `started` at which it was asked for last.
    used: AtomicU64,
    worked: AtomicBool,
}

/// Makes it before a call waits for it, as AWS does when a version is published.
pub fn make_early(shared: &Arc<Shared>, pool: &Arc<Pool>) {
    if pool.fork_point.is_none() {
        return;
    }
    let (engine, weak) = (Arc::downgrade(shared), Arc::downgrade(pool));
    shared.spawn(async move {
        let Some(shared) = engine.upgrade() else { return };
        let Ok(_turn) = shared.early.acquire().await else { return };
        // It may be a revision of yesterday by now.
        let Some(pool) = weak.upgrade() else { return };
        let Some(point) = &pool.fork_point else { return };
        if let Err(failed) = point.image(&shared, &pool).await {
            let (function, why) = (&pool.function.spec.name, failed.why.for_people());
            tracing::warn!(%function, why, "a fork point could not be made: its next call tries again");
        }
    });
}

// === impl ForkPoint ===

impl ForkPoint {
    /// The image, made if it is not there. Who comes meanwhile waits.
    pub async fn image(&self, shared: &Arc<Shared>, pool: &Arc<Pool>) -> Result<Arc<Image>, NotStarted> {
        let mut state = self.state.lock().await;
        if let Some(why) = &state.refused {
            return Err(NotStarted::fault(refusal(pool, why)));
        }
        if let Some(image) = &state.image {
            image.touch();
            return Ok(image.clone());
        }
        match make(shared, pool).await? {
            Ok(image) => {
                let image = Arc::new(image);
                state.image = Some(image.clone());
                shared.spawn(expire(Arc::downgrade(pool)));
                Ok(image)
            }
            Err(why) => {
                let fault = refusal(pool, &why);
                state.refused = Some(why);
                Err(NotStarted::fault(fault))
            }
        }
    }

    /// An instance could not go on from it.
    pub async fn broken(&self, image: &Arc<Image>, why: &str) {
        let mut state = self.state.lock().await;
        if state.image.as_ref().is_some_and(|current| Arc::ptr_eq(current, image)) {
            state.image = None;
            state.failures = if image.worked.load(Ordering::Relaxed) { 1 } else { state.failures + 1 };
            if state.failures >= TRIES {
                state.refused = Some(format!("instances cannot go on from it ({why}); the function's log has more"));
            }
        }
    }

    /// Lets the image go; returns the memory that comes free when those that are starting from it have ended.
    pub fn evict(&self) -> u64 {
        // Somebody makes it or takes it just now.
        let Ok(mut state) = self.state.try_lock() else { return 0 };
        state.image.take().map_or(0, |image| image.charge.bytes())
    }
}

fn refusal(pool: &Pool, why: &str) -> Fault {
    let text = format!(
        "function {} has snapstart = true, and cannot be copied after its init: {why}. Have its init leave that, \
         or undo it in a function that is registered with snapshot_restore_py.register_before_snapshot, or deploy it \
         without snapstart",
        pool.function.spec.name
    );
    Fault::new(FaultCode::NoForkPoint, text)
}

/// Lets an image go that nobody has asked for in a long time.
async fn expire(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(KEEP / 24).await;
        let Some(pool) = pool.upgrade() else { return };
        let Some(point) = &pool.fork_point else { return };
        let mut state = point.state.lock().await;
        match &state.image {
            Some(image) if image.idle() < KEEP => {}
            _ => {
                state.image = None;
                return;
            }
        }
    }
}

/// Makes a sandbox, has the function's init run and the image written there. The inner error: why there can be none.
async fn make(shared: &Arc<Shared>, pool: &Arc<Pool>) -> Result<Result<Image, String>, NotStarted> {
    let function = &pool.function;
    let system = |what: &str, error: &dyn std::fmt::Display| {
        let fault = Fault::new(FaultCode::SandboxFailed, "a fork point could not be made");
        NotStarted::fault(fault.with_detail(format!("{what}: {error}")))
    };
    code::whole(shared, function).await.map_err(NotStarted::fault)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("hearth-image", flags).map_err(|error| system("make its image", &error))?;
    let charge = shared.ledger.hold(pool.estimate(shared));
    let info = Arc::new(Info::new(InstanceId::random(), function.clone(), pool.isolation, charge));
    shared.register(&info);
    let turn = shared.starts.acquire().await;
    let sandbox = async {
        let driver = shared.drivers.get(&pool.isolation).ok_or_else(|| {
            let text = format!("isolation {} of function {} is not here", pool.isolation, function.spec.name);
            Fault::new(FaultCode::IsolationUnavailable, text)
        })?;
        driver.start(runtime::fork_point(shared, function, &info.id)?).await.map_err(start::refused)
    };
    let sandbox = sandbox.await.map_err(|fault| {
        shared.forget(&info.id);
        NotStarted::fault(fault)
    })?;
    info.hold(sandbox.handle.clone());
    let exited = sandbox.handle.exited();
    let io = match Io::new(sandbox.streams) {
        Ok(io) => io,
        Err(error) => {
            info.kill();
            shared.forget(&info.id);
            return Err(system("use its streams", &error));
        }
    };
    let mut birth = Birth::new(shared, pool, &info, exited, io);
    let written = async {
        birth.io.send_image(file.as_fd()).map_err(|error| Why::Protocol(error.to_string()))?;
        let until = Instant::now() + shared.limits.hello;
        let mut first = birth.frame(until).await?;
        if let Frame::Trace(_) = first {
            first = birth.frame(until).await?;
        }
        drop(turn);
        let Frame::Hello { version: wire::VERSION, .. } = first else { return Err(unexpected(&first).into()) };
        match birth.answer_to_init(shared, pool, &info, &Revealed::default(), &mut Instant::now()).await? {
            Frame::Snapshot(why) => Ok(why),
            frame => Err(unexpected(&frame).into()),
        }
    };
    let why = match written.await {
        Ok(why) => why,
        Err(why) => return Err(birth.not_started(&info, why)),
    };
    let mut exit = birth.exit.clone();
    // Nobody writes to it any more when its sandbox is gone. What it printed is kept.
    drop(birth.not_started(&info, Why::StemLost));
    gone(&mut exit, shared.limits.exit).await.map_err(|error| system("end its sandbox", &error))?;
    if let Some(why) = why {
        return Ok(Err(why));
    }
    let bytes = match whole(&file, function.spec.memory) {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(why)) => return Ok(Err(why)),
        Err(error) => return Err(system("seal its image", &error)),
    };
    let charge = shared.ledger.hold(bytes);
    tracing::debug!(function = %function.spec.name, bytes, "a fork point was made");
    Ok(Ok(Image { file, charge, started: Instant::now(), used: AtomicU64::new(0), worked: AtomicBool::new(false) }))
}

/// Sees to it that the image is as large as it looks, and stays so: reading what is not there would make pages of it, in
/// every instance others, whose memory nobody is charged for. Returns its size.
fn whole(file: &OwnedFd, memory: Memory) -> Result<Result<u64, String>, Errno> {
    let stat = rustix::fs::fstat(file)?;
    let (size, there) = (stat.st_size as u64, stat.st_blocks as u64 * 512);
    if size.max(there) > memory.bytes() {
        return Ok(Err(format!("it holds {} MB after its init, and its memory is {memory}", size.max(there) >> 20)));
    }
    if size.saturating_sub(there) > HOLES {
        return Ok(Err("its image has holes".to_owned()));
    }
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size.max(1))?;
    rustix::fs::fcntl_add_seals(file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(Ok(size))
}

async fn gone(exit: &mut watch::Receiver<Option<Exit>>, limit: Duration) -> Result<(), &'static str> {
    match tokio::time::timeout(limit, exit.wait_for(Option::is_some)).await {
        Ok(_) => Ok(()),
        Err(_) => Err("it does not end"),
    }
}

// === impl Image ===

impl Image {
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// An instance has gone on from it.
    pub fn works(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }

    fn touch(&self) {
        self.used.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn idle(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_secs(self.used.load(Ordering::Relaxed)))
    }
}
