//! The server: unprivileged, a child of the spawner. config → store → engine → doors → drain.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use control::{ControlState, Hosts};
use driver::{Capability, Severity};
use model::{AllowedMount, Isolation};
use serde::{Deserialize, Serialize};
use store::sqlite::{EventLimits, SqliteQueue, SqliteStore};
use store::{Functions, Packages, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::images::Images;
use crate::keys::{Keys, TOKEN_FILE};
use crate::platform::{self, Platform};
use crate::{doors, events, runtimes};

/// Region and account that functions and tools are told, as there is none.
pub const REGION: &str = "us-east-1";
pub const ACCOUNT: &str = "000000000000";

/// How long in-flight calls may take to finish once the end was asked for.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// How long the end of runs of events may take to be written.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// Packages that no function refers to are kept this long: a deploy uploads first and refers later.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// How long after a change unused packages are looked for: calls of the old code may still load parts of it, and a
/// burst of deploys is one change.
const COLLECT_DELAY: Duration = Duration::from_secs(5);

/// How long another process may hold a port that we are to listen on: the server of a killed Hearth, dying.
const BIND_LIMIT: Duration = Duration::from_secs(3);

/// A sandbox that the spawner makes is there within this time, or its start has failed.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A container takes half a second of one processor, and they queue up for it.
const DOCKER_START_LIMIT: Duration = Duration::from_secs(30);

/// What the spawner tells the server, resolved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerConfig {
    /// Where the data is, as the operator knows it.
    pub data_dir: PathBuf,
    /// Where the server reaches it.
    pub store_dir: PathBuf,
    pub listen: SocketAddr,
    pub ingress: SocketAddr,
    pub memory_budget: u64,
    /// Sandboxes kept ready, at most.
    pub stems: usize,
    /// What all images together may take on disk.
    pub image_space: model::Memory,
    /// The keys that secrets are sealed with; none: the data's own.
    pub secret_keys: Option<PathBuf>,
    /// What functions may mount, as the operator says.
    pub allowed_mounts: Vec<AllowedMount>,
    /// Registries that are spoken to without TLS, beside this machine's own.
    pub insecure_registries: Vec<String>,
}

/// Runs the server until it is told to end. `spawner` and `docker` are the inherited sockets. An error means that it
/// could not start; what goes wrong later is in the exit code and the log.
pub fn run(config: ServerConfig, spawner: OwnedFd, docker: OwnedFd) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("hearth").build()?;
    let result = runtime.block_on(serve(config, spawner, docker));
    // What still runs has been given its time in `serve`.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: ServerConfig, spawner: OwnedFd, docker: OwnedFd) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let docker = tokio::spawn(spawner::Client::connect(docker, DOCKER_START_LIMIT));
    let (client, events) = spawner::Client::connect(spawner, START_LIMIT).await.context("talk to the spawner")?;
    let mut events = tokio::spawn(events);

    let mut options = store::sqlite::Options::new(&config.store_dir);
    options.secret_keys.clone_from(&config.secret_keys);
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(options)).await?.context("open the store")?;
    let folder = config.store_dir.clone();
    let queue = tokio::task::spawn_blocking(move || SqliteQueue::open(&folder, EventLimits::default()));
    let queue = queue.await?.context("open the queue of events")?;
    let keys = Arc::new(Keys::load(&config.store_dir, store.as_ref()).await.context("load the installation's keys")?);
    let mut drivers = client.drivers();
    match docker.await? {
        Ok((client, events)) => {
            drivers.extend(client.drivers());
            tokio::spawn(events);
        }
        Err(error) => {
            tracing::error!(%error, "the process that talks to Docker is not there: no isolation that needs it")
        }
    }
    let capabilities: Vec<_> = drivers.iter().map(|driver| driver.capability()).collect();
    let runtimes = runtimes::installed().await;

    let mut options = ::images::Options::new(config.store_dir.join("images"));
    options.budget = config.image_space.bytes();
    options.insecure = config.insecure_registries.clone();
    let images = tokio::task::spawn_blocking(move || Images::open(options)).await?.context("open the images")?;

    let mut limits = engine::EngineLimits::default();
    limits.stems.most = config.stems;
    limits.instances = spawner::places();
    let engine = engine::Engine::start(engine::Options {
        drivers,
        runtimes: runtimes.clone(),
        images: Arc::new(images.clone()),
        functions: store.clone(),
        telemetry: store.clone(),
        secrets: store.clone(),
        memory_budget: config.memory_budget,
        region: REGION.into(),
        account: ACCOUNT.into(),
        limits,
    })
    .await
    .map_err(|fault| anyhow!("start the engine: {fault}"))?;

    let control = bind(config.listen, "the control listener", "--listen").await?;
    let ingress = bind(config.ingress, "the ingress", "--ingress").await?;
    let (closing, closed) = watch::channel(false);
    let ready = Arc::new(AtomicBool::new(false));
    let control_url = format!("http://{}", control.local_addr()?);
    let ingress_url = format!("http://{}", ingress.local_addr()?);
    let platform = Platform::new(platform::Options {
        engine: engine.clone(),
        comparisons: store.clone(),
        capabilities: capabilities.clone(),
        runtimes,
        keys: keys.clone(),
        endpoint: control_url.clone(),
        ready: ready.clone(),
        data: config.store_dir.clone(),
        allowed_mounts: config.allowed_mounts.clone(),
    });
    let api = control::router(ControlState {
        functions: store.clone(),
        packages: store.clone(),
        telemetry: store.clone(),
        secrets: store.clone(),
        comparisons: store.clone(),
        queue: queue.clone(),
        schedules: queue.clone(),
        platform: Arc::new(platform),
        images: Arc::new(images),
        tokens: keys.tokens.clone(),
        hosts: Arc::new(Hosts::new(config.listen, [])),
        ingress: ingress_url.clone().into(),
        closing: closed.clone(),
    });
    let doors = doors::Doors::new(engine.clone(), queue.clone(), keys.clone());
    let mut control = tokio::spawn(doors.clone().serve_control(control, api, until_true(closed.clone())));
    let mut ingress = tokio::spawn(doors.serve_ingress(ingress, until_true(closed)));
    ready.store(true, Ordering::Release);
    client.ready().await.context("tell the spawner that the server is ready")?;

    let dispatcher = events::start(engine.clone(), queue.clone()).await.context("begin with the events that wait")?;
    let ticker = events::tick(store.clone(), queue.clone());
    tokio::spawn(collect_packages(store.clone()));
    greet(&config, &control_url, &ingress_url, &keys, &capabilities);

    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = &mut events => Some("the spawner is gone".to_owned()),
        end = &mut control => Some(format!("the control listener ended: {end:?}")),
        end = &mut ingress => Some(format!("the ingress ended: {end:?}")),
    };
    // Not ready first, then no new connections and calls, then the calls in flight, then the instances.
    tracing::info!("draining");
    ready.store(false, Ordering::Release);
    closing.send_replace(true);
    dispatcher.stop();
    drop(ticker);
    let listeners = async {
        for (listener, what) in [(control, "the control listener"), (ingress, "the ingress")] {
            if !listener.is_finished() && tokio::time::timeout(DRAIN_LIMIT, listener).await.is_err() {
                tracing::warn!("{what} did not finish within {DRAIN_LIMIT:?}");
            }
        }
    };
    tokio::join!(engine.drain(DRAIN_LIMIT), listeners);
    // Every run has ended with the engine: what is left is to write how.
    dispatcher.ended(SETTLE_LIMIT).await;
    let closed = tokio::task::spawn_blocking(move || {
        queue.close();
        store.close();
    })
    .await;
    if let Err(error) = closed {
        tracing::warn!(%error, "the store did not close cleanly");
    }
    Ok(match ended {
        None => ExitCode::SUCCESS,
        Some(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    })
}

/// Removes packages that nothing refers to any more: at the start, and soon after functions changed. Ends with the
/// store.
async fn collect_packages(store: Arc<SqliteStore>) {
    let mut changes = Functions::changes(store.as_ref());
    loop {
        match Packages::collect(store.as_ref(), ORPHAN_AGE).await {
            Ok(_) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "could not remove unused packages"),
        }
        if changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(COLLECT_DELAY).await;
    }
}

async fn until_true(mut flag: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end too.
    let _ = flag.wait_for(|closing| *closing).await;
}

/// Binds, and waits a moment for a dying predecessor to let go of the port.
async fn bind(address: SocketAddr, what: &str, flag: &str) -> anyhow::Result<TcpListener> {
    let until = tokio::time::Instant::now() + BIND_LIMIT;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied && address.port() < 1024 => {
                let port = address.port();
                bail!(
                    "bind {what} to {address}: ports below 1024 need a privilege that the server gives up: choose another \
                     with {flag}, or allow it with `sysctl net.ipv4.ip_unprivileged_port_start={port}`"
                );
            }
            Err(error) => {
                let advice = format!("bind {what} to {address}: choose another address with {flag}");
                return Err(error).context(advice);
            }
        }
    }
}

fn greet(config: &ServerConfig, control: &str, ingress: &str, keys: &Keys, capabilities: &[Capability]) {
    let mut text = String::new();
    let _ = writeln!(text, "Hearth {} is up.", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(text, "  API        {control}  (AWS Lambda's Invoke, and /api/v1)");
    let _ = writeln!(text, "  functions  {ingress}/fn/NAME/");
    let _ = writeln!(text, "  data       {}", config.data_dir.display());
    if let Some(token) = &keys.new_token {
        let _ = writeln!(
            text,
            "  token      {token}  (shown this once; kept in {})",
            config.data_dir.join(TOKEN_FILE).display()
        );
    }
    // The one that functions have unless they ask for another; of those, `hearth doctor` tells.
    let capabilities: Vec<_> = capabilities.iter().filter(|one| one.isolation == Isolation::Namespace).collect();
    for capability in &capabilities {
        let worst = if capability.works { Severity::Weaker } else { Severity::Missing };
        for finding in capability.findings.iter().filter(|finding| finding.severity >= worst) {
            let what = if finding.severity == Severity::Missing { "missing" } else { "weaker " };
            let _ = writeln!(
                text,
                "  {what}    {} isolation, {}: {}",
                capability.isolation, finding.subject, finding.state
            );
        }
    }
    if capabilities.iter().flat_map(|one| &one.findings).any(|finding| finding.severity != Severity::Ok) {
        let _ = writeln!(text, "             `hearth doctor` says what to do about it");
    }
    // Nobody may be listening any more; that is no reason to end.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
