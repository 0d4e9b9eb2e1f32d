//! The server: unprivileged, a child of the spawner. config → store → engine → doors → drain.

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use control::{ControlState, Hosts, Pace, Sessions};
use driver::{Capability, Severity};
use model::{AllowedMount, Isolation};
use serde::{Deserialize, Serialize};
use spawner::Order;
use store::sqlite::{EventLimits, SqliteQueue, SqliteStore};
use store::{AuditLimits, AuditLog, Functions, Packages, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::backup::Backups;
use crate::callers::{self, Callers};
use crate::chosen_key::ChosenKey;
use crate::cli::TlsOnly;
use crate::images::Images;
use crate::keys::{Keys, TOKEN_FILE};
use crate::platform::{self, Platform};
use crate::succession::{CALLS, EVENTS, Inside, Orders, changed_are_over, part};
use crate::{doors, events, runtimes, sampling};

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
    /// Region and account that functions and tools are told.
    pub region: String,
    pub account: String,
    /// How often one token may ask the API; none: as usual.
    #[serde(default)]
    pub api_rate: Option<model::Rate>,
    /// Whether `/metrics` needs no token.
    #[serde(default)]
    pub metrics_open: bool,
    /// What functions may reach that AWS's tools make.
    #[serde(default)]
    pub lambda_egress: model::Egress,
    /// What functions may mount, as the operator says.
    pub allowed_mounts: Vec<AllowedMount>,
    /// Registries that are spoken to without TLS, beside this machine's own.
    pub insecure_registries: Vec<String>,
    /// Proxies whose word on their own clients is believed.
    pub trusted_proxies: Vec<gateway::Network>,
    /// Where traces go, as the flag says it; the rest is in the environment, since secrets are among it.
    #[serde(default)]
    pub otlp: Option<String>,
    /// Certificate and key, and which listeners speak TLS with them.
    #[serde(default)]
    pub tls: Option<(gateway::TlsFiles, TlsOnly)>,
}

/// Runs the server until it is told to end. `spawner` and `docker` are the inherited sockets. An error means that it
/// could not start; what goes wrong later is in the exit code and the log.
pub fn run(config: ServerConfig, spawner: OwnedFd, docker: OwnedFd) -> anyhow::Result<ExitCode> {
    crate::confine::confine(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("hearth").build()?;
    let result = runtime.block_on(async {
        // A failure that only drops what was begun is still told to who waits for this server.
        let (client, events) = spawner::Client::connect(spawner, START_LIMIT).await.context("talk to the spawner")?;
        let result = serve(config, client.clone(), events, docker).await;
        if let Err(error) = &result {
            let _ = client.cannot_start(format!("{error:#}")).await;
        }
        result
    });
    // What still runs has been given its time in `serve`.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(
    config: ServerConfig,
    client: spawner::Client,
    events: impl Future<Output = ()> + Send + 'static,
    docker: OwnedFd,
) -> anyhow::Result<ExitCode> {
    crate::process::begin();
    model::choose_place(&config.region, &config.account);
    let mut terminate = signal(SignalKind::terminate())?;
    let docker = tokio::spawn(spawner::Client::connect(docker, DOCKER_START_LIMIT));
    let mut events = tokio::spawn(events);

    let mut drivers = client.drivers();
    let docker = match docker.await? {
        Ok((client, events)) => {
            drivers.extend(client.drivers());
            tokio::spawn(events);
            Some(client)
        }
        Err(error) => {
            tracing::error!(%error, "the process that talks to Docker is not there: no isolation that needs it");
            None
        }
    };
    let capabilities: Vec<_> = drivers.iter().map(|driver| driver.capability()).collect();
    let runtimes = runtimes::installed().await;
    let (tls, secure) = open_tls(config.tls.clone()).await?;
    let mut orders = Orders::new(client.orders().context("hear the spawner")?, docker);
    if client.is_heir() {
        let folder = config.store_dir.clone();
        let current = tokio::task::spawn_blocking(move || store::sqlite::is_current(&folder)).await?;
        current.context(
            "this version changes the form of the data, so two servers cannot be there at a time: restart Hearth",
        )?;
    }
    client.prepared(env!("CARGO_PKG_VERSION")).await.context("tell the spawner")?;
    if client.is_heir() {
        tokio::select! {
            order = orders.next() => if !matches!(order, Order::Open) { bail!("the spawner did not say that the data is free") },
            _ = &mut events => bail!("the spawner is gone"),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        }
    }

    let mut options = store::sqlite::Options::new(&config.store_dir);
    options.secret_keys.clone_from(&config.secret_keys);
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(options)).await?.context("open the store")?;
    let folder = config.store_dir.clone();
    let queue = tokio::task::spawn_blocking(move || SqliteQueue::open(&folder, EventLimits::default()));
    let queue = queue.await?.context("open the queue of events")?;
    let folder = config.store_dir.clone();
    let audit = tokio::task::spawn_blocking(move || AuditLog::open(&folder, AuditLimits::default()));
    let audit = audit.await?.context("open the audit log")?;
    let exporter = traces(config.otlp.as_deref())?;
    let counts = exporter.as_ref().map(otlp::Exporter::counts);
    let chosen = ChosenKey::from_environment(config.listen)?;
    let pace = config.api_rate.map_or_else(Pace::default, |rate| Pace::every(rate.interval()));
    let keys = Keys::load(&config.store_dir, store.as_ref(), chosen, pace).await;
    let keys = Arc::new(keys.context("load the installation's keys")?);

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
        code: store.clone(),
        memory_budget: config.memory_budget,
        region: config.region.as_str().into(),
        account: config.account.as_str().into(),
        limits,
        inherits: client.is_heir(),
    })
    .await
    .map_err(|fault| anyhow!("start the engine: {fault}: {}", fault.detail.as_deref().unwrap_or("no more is known")))?;
    if client.is_heir() {
        client.opened().await.context("tell the spawner")?;
        orders.inherit(&engine).await;
    }

    let (control, ingress) = match <[OwnedFd; 2]>::try_from(client.listeners()) {
        Ok([control, ingress]) => (inherited(control)?, inherited(ingress)?),
        Err(_none) => {
            let control = bind(config.listen, "the control listener", "--listen").await?;
            let ingress = bind(config.ingress, "the ingress", "--ingress").await?;
            client.keep_listeners(control.as_fd(), ingress.as_fd()).await.context("tell the spawner")?;
            (control, ingress)
        }
    };
    let scheme = |tls: &Option<gateway::Tls>| if tls.is_some() { "https" } else { "http" };
    let (closing, closed) = watch::channel(false);
    let ready = Arc::new(AtomicBool::new(false));
    let control_url = format!("{}://{}", scheme(&secure.control), control.local_addr()?);
    let ingress_url = format!("{}://{}", scheme(&secure.ingress), ingress.local_addr()?);
    let callers = Arc::new(Callers::new(store.clone()));
    let proxies = config.trusted_proxies.clone();
    let inside = Inside::default();
    let doors = doors::Doors::new(
        engine.clone(),
        queue.clone(),
        keys.clone(),
        callers.clone(),
        proxies,
        secure,
        inside.clone(),
    );
    let parting = doors.parting().clone();
    let followed = callers::follow(store.clone(), engine.clone(), doors.clone(), callers).await;
    let platform = Platform::new(platform::Options {
        engine: engine.clone(),
        followed: followed.context("read routes and API keys")?,
        comparisons: store.clone(),
        capabilities: capabilities.clone(),
        runtimes,
        keys: keys.clone(),
        endpoint: control_url.clone(),
        ready: ready.clone(),
        data: config.store_dir.clone(),
        allowed_mounts: config.allowed_mounts.clone(),
        tls: tls.clone(),
        traces: counts.map(|counts| Box::new(counts) as platform::TraceCounts),
    });
    let allowed = config.allowed_mounts.clone();
    let installation = crate::up::installation_number(&config.data_dir);
    let sources = events::sources(engine.clone(), store.clone(), queue.clone(), allowed, installation).await;
    let sources = sources.context("begin with event sources")?;
    let names = tls.as_ref().map(|tls| tls.status().names).unwrap_or_default();
    let hosts = Arc::new(Hosts::new(config.listen, names));
    if let Some(tls) = tls {
        // Under the names that the certificate is for, the API may be spoken to.
        let hosts = hosts.clone();
        tokio::spawn(tls.follow(move |status| hosts.set_names(status.names)));
    }
    let sessions = Arc::new(Sessions::new(keys.tokens.clone(), hosts.clone()));
    let uses = tokio::spawn(keys.clone().note_uses(store.clone(), closed.clone()));
    let api = control::router(ControlState {
        functions: store.clone(),
        versions: store.clone(),
        packages: store.clone(),
        telemetry: store.clone(),
        observe: store.clone(),
        metrics_open: config.metrics_open,
        lambda_egress: config.lambda_egress.clone(),
        secrets: store.clone(),
        api_keys: store.clone(),
        comparisons: store.clone(),
        layers: store.clone(),
        policies: store.clone(),
        companions: store.clone(),
        objects: store.clone(),
        provisions: store.clone(),
        log_events: store.clone(),
        queue: queue.clone(),
        schedules: queue.clone(),
        messages: queue.clone(),
        sources: Arc::new(events::Sources(sources.clone())),
        platform: Arc::new(platform),
        images: Arc::new(images),
        backups: Arc::new(Backups::new(store.clone(), queue.clone(), &config.store_dir)),
        tokens: keys.tokens.clone(),
        credentials: store.clone(),
        audit,
        keys: keys.clone(),
        sessions: sessions.clone(),
        hosts: hosts.clone(),
        ingress: ingress_url.clone().into(),
        closing: closed.clone(),
    });
    let mut control =
        tokio::spawn(doors.clone().serve_control(control, api, (sessions.clone(), hosts), until_true(closed.clone())));
    let mut ingress = tokio::spawn(doors.serve_ingress(ingress, until_true(closed.clone())));
    ready.store(true, Ordering::Release);
    client.ready().await.context("tell the spawner that the server is ready")?;
    engine.begin();
    let mut orders = orders.follow(engine.clone());

    let dispatcher = events::start(engine.clone(), queue.clone()).await.context("begin with the events that wait")?;
    let ticker = events::tick(engine.clone(), store.clone(), queue.clone());
    let canaries = events::canaries(&store);
    tokio::spawn(collect_packages(store.clone()));
    tokio::spawn(sampling::sample(engine.clone(), store.clone(), closed.clone()));
    if client.is_heir() {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "this server takes the calls now");
    } else {
        greet(&config, &control_url, &ingress_url, &keys, &sessions, &capabilities);
    }

    let mut yields = false;
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        () = asked_to_yield(&mut orders) => {
            yields = true;
            None
        }
        _ = &mut events => Some("the spawner is gone".to_owned()),
        end = &mut control => Some(format!("the control listener ended: {end:?}")),
        end = &mut ingress => Some(format!("the ingress ended: {end:?}")),
    };
    if yields {
        tracing::info!("another server takes over");
        dispatcher.stop();
        sources.stop();
        drop((ticker, canaries));
        let runs = async {
            tokio::join!(dispatcher.ended(EVENTS), sources.ended(EVENTS));
        };
        part(&parting, runs).await;
        let paused = Instant::now();
        closing.send_replace(true);
        inside.settled(&parting).await;
        if tokio::time::timeout(SETTLE_LIMIT, uses).await.is_err() {
            tracing::warn!("it was not written down in time when tokens were last used");
        }
        let (data, events_queue) = (store.clone(), queue.clone());
        let freed = tokio::task::spawn_blocking(move || {
            events_queue.close();
            data.hand_over()
        });
        freed.await?.context("let go of the data directory")?;
        client.yielded(paused.elapsed()).await.context("tell the spawner")?;
        let (given, mut all_given) = watch::channel(false);
        let given = Arc::new(given);
        tokio::spawn(give(orders, engine.clone(), client, given.clone()));
        let mut rest = std::pin::pin!(async {
            let _ = tokio::join!(control, ingress);
            changed_are_over(&parting).await;
            let _ = all_given.wait_for(|given| *given).await;
            engine.drain(CALLS).await;
        });
        tokio::select! {
            () = &mut rest => {}
            _ = &mut events => {}
            _ = terminate.recv() => {
                given.send_replace(true);
                let _ = tokio::time::timeout(DRAIN_LIMIT, rest).await;
            }
        }
        sampling::count_traffic(&engine, &*store);
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        tracing::info!("all calls have ended here");
        return Ok(ExitCode::SUCCESS);
    }
    // Not ready first, then no new connections and calls, then the calls in flight, then the instances.
    tracing::info!("draining");
    ready.store(false, Ordering::Release);
    closing.send_replace(true);
    dispatcher.stop();
    sources.stop();
    drop((ticker, canaries));
    let listeners = async {
        for (listener, what) in [(control, "the control listener"), (ingress, "the ingress")] {
            if !listener.is_finished() && tokio::time::timeout(DRAIN_LIMIT, listener).await.is_err() {
                tracing::warn!("{what} did not finish within {DRAIN_LIMIT:?}");
            }
        }
    };
    tokio::join!(engine.drain(DRAIN_LIMIT), listeners);
    sampling::count_traffic(&engine, &*store);
    // Every run has ended with the engine: what is left is to write how.
    tokio::join!(dispatcher.ended(SETTLE_LIMIT), sources.ended(SETTLE_LIMIT));
    if let Some(exporter) = exporter {
        exporter.finish(SETTLE_LIMIT).await;
    }
    if tokio::time::timeout(SETTLE_LIMIT, uses).await.is_err() {
        tracing::warn!("it was not written down in time when tokens were last used");
    }
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

/// Begins to export traces, if that is wanted.
fn traces(flag: Option<&str>) -> anyhow::Result<Option<otlp::Exporter>> {
    let Some(wanted) = otlp::Config::from_environment(flag)? else { return Ok(None) };
    if !wanted.unused.is_empty() {
        let unused = wanted.unused.join(", ");
        tracing::warn!("not supported, and without effect: {unused} (docs/tracing.md lists what is)");
    }
    let sampler = wanted.sampler;
    // What speaks TLS takes it from there, also where no listener does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = otlp::Exporter::start(wanted).context("begin to export traces")?;
    model::trace::choose_tracer(model::trace::Tracer { sampler, spans: exporter.spans() });
    Ok(Some(exporter))
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

/// Reads the certificate and its key, and says who uses them.
async fn open_tls(
    wanted: Option<(gateway::TlsFiles, TlsOnly)>,
) -> anyhow::Result<(Option<gateway::Tls>, doors::Secure)> {
    let Some((files, only)) = wanted else { return Ok((None, doors::Secure::default())) };
    let tls = tokio::task::spawn_blocking(move || gateway::Tls::open(files)).await?.map_err(|error| {
        let denied = matches!(&error, gateway::TlsError::Read { why, .. } if why.kind() == ErrorKind::PermissionDenied);
        let user = rustix::process::getuid().as_raw();
        let advice = format!("the server runs as user {user}, who must be able to read it: see docs/tls.md");
        if denied { anyhow!("TLS: {error}: {advice}") } else { anyhow!("TLS: {error}") }
    })?;
    let on = |wanted: bool| wanted.then(|| tls.clone());
    let secure = doors::Secure { control: on(only != TlsOnly::Ingress), ingress: on(only != TlsOnly::Api) };
    Ok((Some(tls), secure))
}

/// What a server before this one listened on.
fn inherited(listener: OwnedFd) -> anyhow::Result<TcpListener> {
    let listener = std::net::TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).context("take over a listener of the server before")
}

/// Another server is prepared to take over. Never ends if the spawner goes.
async fn asked_to_yield(orders: &mut mpsc::Receiver<Order>) {
    loop {
        match orders.recv().await {
            Some(Order::Yield) => return,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Gives what is idle to the server that takes over, as often as one is ready to.
async fn give(
    mut orders: mpsc::Receiver<Order>,
    engine: engine::Engine,
    client: spawner::Client,
    given: Arc<watch::Sender<bool>>,
) {
    while let Some(order) = orders.recv().await {
        if matches!(order, Order::Give) {
            engine.hand_over().await;
            if let Err(error) = client.gave_all().await {
                tracing::warn!(%error, "the spawner could not be told that all idle instances are given");
            }
            given.send_replace(true);
        }
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

fn greet(
    config: &ServerConfig,
    control: &str,
    ingress: &str,
    keys: &Keys,
    sessions: &Sessions,
    capabilities: &[Capability],
) {
    let mut text = String::new();
    let _ = writeln!(text, "Hearth {} is up.", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(text, "  API        {control}  (AWS Lambda's, and /api/v1)");
    // A link lets in whoever reads it: not into a log, only to a person who looks on.
    let own = keys.tokens.own().filter(|_| std::io::stdout().is_terminal());
    let link = own.and_then(|own| sessions.link(&own.id, Instant::now()).ok());
    let _ = match &link {
        Some(link) => {
            writeln!(text, "  dashboard  {control}/#login={}  (logs in once, within 10 minutes)", link.as_str())
        }
        None => writeln!(text, "  dashboard  {control}/"),
    };
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
