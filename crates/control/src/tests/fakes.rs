//! A store in memory and a platform that does as it is told.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::*;
use sha2::{Digest, Sha256};
use store::{
    Comparisons, FileHead, Functions, LogPage, LogQuery, Packages, RecordQuery, StoreError, StoredComparison, Telemetry,
};
use tokio::sync::watch;

use crate::comparisons::{Comparison, ComparisonOrder, ComparisonState};
use crate::images::{Archive, ImageList, ImagePull, ImageView, Images, PullProgress, Pulling};
use crate::platform::{
    AwsCredentials, BoxFuture, FindingView, IsolationView, KeepingSpan, KeepingView, Machine, Platform, RuntimeView,
    Severity, StemView,
};

pub struct Store {
    functions: Mutex<BTreeMap<FunctionName, Function>>,
    packages: Mutex<BTreeMap<String, Bytes>>,
    lines: Mutex<Vec<LogLine>>,
    records: Mutex<Vec<Record>>,
    comparisons: Mutex<Vec<StoredComparison>>,
    prices: Mutex<Option<Prices>>,
    changes: watch::Sender<u64>,
    logged: watch::Sender<u64>,
    /// How many of the next conditional writes are overtaken by somebody else's.
    pub overtaken: AtomicU64,
}

pub struct FakePlatform {
    pub ready: AtomicBool,
    pub isolation_works: AtomicBool,
    /// Whether gVisor is there, and works.
    pub gvisor: AtomicBool,
    pub settled: watch::Sender<u64>,
    /// The comparison that runs, or the last that did.
    pub comparing: Mutex<Option<ComparisonOrder>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            functions: Mutex::default(),
            packages: Mutex::default(),
            lines: Mutex::default(),
            records: Mutex::default(),
            comparisons: Mutex::default(),
            prices: Mutex::default(),
            changes: watch::channel(0).0,
            logged: watch::channel(0).0,
            overtaken: AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl Functions for Store {
    async fn put(&self, spec: FunctionSpec, code: CodeHash, expect: Option<u64>) -> Result<Function, StoreError> {
        spec.validate().expect("only valid specifications are stored");
        let size = match self.packages.lock().unwrap().get(code.as_str()) {
            Some(zip) => zip.len() as u64,
            None => return Err(StoreError::NoSuchPackage(code)),
        };
        let mut functions = self.functions.lock().unwrap();
        if expect.is_some() && self.overtaken.load(Ordering::SeqCst) > 0 {
            self.overtaken.fetch_sub(1, Ordering::SeqCst);
            if let Some(function) = functions.get_mut(&spec.name) {
                function.revision.0 += 1;
                function.spec.env.insert("OTHERS".into(), "change".into());
            }
        }
        let found = functions.get(&spec.name).map_or(0, |one| one.revision.0);
        if let Some(expected) = expect.filter(|expected| *expected != found) {
            return Err(StoreError::Conflict { name: spec.name, expected, found });
        }
        let (name, modified) = (spec.name.clone(), Timestamp(1_763_805_600_000_000));
        let function = Function { spec, revision: Revision(found + 1), code, code_size: size, modified };
        functions.insert(name, function.clone());
        self.changes.send_modify(|change| *change += 1);
        Ok(function)
    }

    async fn get(&self, name: &FunctionName) -> Result<Function, StoreError> {
        let absent = || StoreError::NoSuchFunction(name.clone());
        self.functions.lock().unwrap().get(name).cloned().ok_or_else(absent)
    }

    async fn list(&self) -> Result<Vec<Function>, StoreError> {
        Ok(self.functions.lock().unwrap().values().cloned().collect())
    }

    async fn delete(&self, name: &FunctionName) -> Result<(), StoreError> {
        let removed = self.functions.lock().unwrap().remove(name);
        self.changes.send_modify(|change| *change += 1);
        removed.map(drop).ok_or_else(|| StoreError::NoSuchFunction(name.clone()))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[async_trait]
impl Packages for Store {
    async fn add(&self, zip: Bytes) -> Result<CodeHash, StoreError> {
        if !zip.starts_with(b"PK") {
            return Err(StoreError::BadPackage("not a zip".into()));
        }
        let hash = CodeHash::from_digest(&Sha256::digest(&zip).into());
        self.packages.lock().unwrap().insert(hash.to_string(), zip);
        Ok(hash)
    }

    async fn has(&self, hash: &CodeHash) -> Result<bool, StoreError> {
        Ok(self.packages.lock().unwrap().contains_key(hash.as_str()))
    }

    async fn read(&self, hash: &CodeHash) -> Result<Bytes, StoreError> {
        let absent = || StoreError::NoSuchPackage(hash.clone());
        self.packages.lock().unwrap().get(hash.as_str()).cloned().ok_or_else(absent)
    }

    async fn head(&self, hash: &CodeHash, path: &str) -> Result<Option<FileHead>, StoreError> {
        // A package of the fake's is its one program.
        let zip = self.read(hash).await?;
        let bytes = zip.strip_prefix(b"PK").unwrap_or_default().to_vec();
        Ok((path == "bootstrap" && !bytes.is_empty()).then_some(FileHead { bytes, executable: true }))
    }

    async fn collect(&self, _: Duration) -> Result<usize, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl Telemetry for Store {
    fn record(&self, record: Record) {
        self.records.lock().unwrap().push(record);
    }

    fn log(&self, line: LogLine) {
        self.lines.lock().unwrap().push(line);
        self.logged.send_modify(|count| *count += 1);
    }

    async fn records(&self, query: RecordQuery) -> Result<Vec<Record>, StoreError> {
        let records = self.records.lock().unwrap();
        let fits = |one: &&Record| {
            query.function.as_ref().is_none_or(|name| *name == one.function)
                && query.request_id.is_none_or(|id| id == one.request_id)
                && query.since.is_none_or(|since| one.received >= since)
                && query.except != Some(one.door)
        };
        Ok(records.iter().rev().filter(fits).take(query.limit).cloned().collect())
    }

    async fn logs(&self, query: LogQuery) -> Result<LogPage, StoreError> {
        let lines = self.lines.lock().unwrap();
        let after = query.after.unwrap_or(0) as usize;
        let fits = |(_, one): &(usize, &LogLine)| {
            query.function.as_ref().is_none_or(|name| *name == one.function)
                && query.since.is_none_or(|since| one.time >= since)
                && query.grep.as_ref().is_none_or(|text| one.message.to_lowercase().contains(&text.to_lowercase()))
        };
        let found: Vec<_> = lines.iter().enumerate().skip(after).filter(fits).collect();
        let found = match query.after {
            Some(_) => &found[..found.len().min(query.limit)],
            None => &found[found.len().saturating_sub(query.limit)..],
        };
        let cursor =
            found.last().map_or(after.max(if query.after.is_some() { after } else { lines.len() }), |(i, _)| i + 1);
        Ok(LogPage { lines: found.iter().map(|(_, line)| (*line).clone()).collect(), cursor: cursor as u64 })
    }

    fn logged(&self) -> watch::Receiver<u64> {
        self.logged.subscribe()
    }

    fn dropped(&self) -> u64 {
        0
    }
}

#[async_trait]
impl Comparisons for Store {
    async fn keep(&self, comparison: StoredComparison) -> Result<(), StoreError> {
        self.comparisons.lock().unwrap().insert(0, comparison);
        Ok(())
    }

    async fn comparison(&self, id: ComparisonId) -> Result<Option<StoredComparison>, StoreError> {
        Ok(self.comparisons.lock().unwrap().iter().find(|one| one.id == id).cloned())
    }

    async fn comparisons(&self, function: &FunctionName) -> Result<Vec<StoredComparison>, StoreError> {
        let comparisons = self.comparisons.lock().unwrap();
        Ok(comparisons.iter().filter(|one| one.function == *function).cloned().collect())
    }

    async fn prices(&self) -> Result<Option<Prices>, StoreError> {
        Ok(self.prices.lock().unwrap().clone())
    }

    async fn set_prices(&self, prices: Prices) -> Result<(), StoreError> {
        assert_eq!(prices.validate(), Ok(()), "only valid prices are stored");
        *self.prices.lock().unwrap() = Some(prices);
        Ok(())
    }
}

impl Default for FakePlatform {
    fn default() -> Self {
        Self {
            ready: AtomicBool::new(true),
            isolation_works: AtomicBool::new(true),
            gvisor: AtomicBool::new(false),
            settled: watch::channel(u64::MAX).0,
            comparing: Mutex::default(),
        }
    }
}

impl Platform for FakePlatform {
    fn instances(&self) -> Vec<InstanceView> {
        let instance = |id: &str, function: &str, started| InstanceView {
            instance: id.parse().unwrap(),
            function: function.parse().unwrap(),
            revision: Revision(1),
            state: InstanceState::Idle,
            isolation: Isolation::Namespace,
            started: Timestamp(started),
            invocations: 3,
            memory_peak: Some(1 << 20),
        };
        vec![instance("00000000000000bb", "b", 1), instance("00000000000000aa", "a", 2)]
    }

    fn stems(&self) -> Vec<StemView> {
        let (isolation, runtime, memory) = (Isolation::Namespace, Runtime::python("3.11"), "128MB".into());
        vec![StemView { isolation, runtime, memory, ready: 1, starting: 0, charged: 24 << 20 }]
    }

    fn machine(&self) -> Vec<FindingView> {
        vec![]
    }

    fn isolations(&self) -> Vec<IsolationView> {
        let works = self.isolation_works.load(Ordering::SeqCst);
        let finding = FindingView {
            severity: if works { Severity::Ok } else { Severity::Missing },
            subject: "user namespaces".into(),
            state: if works { "allowed".into() } else { "forbidden by sysctl".into() },
            advice: String::new(),
        };
        let mut all = vec![IsolationView {
            isolation: Isolation::Namespace,
            works,
            no_mounts: None,
            no_egress: None,
            findings: vec![finding],
        }];
        if self.gvisor.load(Ordering::SeqCst) {
            all.push(IsolationView {
                isolation: Isolation::Gvisor,
                works: true,
                no_mounts: Some("not with this one".into()),
                no_egress: Some("a fake has none".into()),
                findings: Vec::new(),
            });
        }
        all
    }

    fn runtimes(&self) -> Vec<RuntimeView> {
        let name = Runtime::python("3.11");
        vec![RuntimeView { name, works: true, program: "/usr/bin/python3.11".into() }]
    }

    fn allowed_mounts(&self) -> Vec<AllowedMount> {
        vec!["/srv/photos:ro".parse().unwrap()]
    }

    fn has_program(&self, path: &str) -> bool {
        path == "/bin/sh"
    }

    fn settled(&self, change: u64) -> BoxFuture<'_, ()> {
        let mut settled = self.settled.subscribe();
        Box::pin(async move {
            let _ = settled.wait_for(|at| *at >= change).await;
        })
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    fn aws_credentials(&self) -> AwsCredentials {
        AwsCredentials {
            endpoint: "http://127.0.0.1:7070".into(),
            access_key_id: "AKIAHEARTH".into(),
            secret_access_key: "a secret".into(),
            region: "us-east-1".into(),
        }
    }

    fn host(&self) -> Machine {
        Machine { cpu: "A processor".into(), cores: 4, memory: 8 << 30, kernel: "Linux 6.12".into() }
    }

    fn keeping(&self, _: &FunctionName) -> Vec<KeepingView> {
        vec![KeepingView::new(Isolation::Namespace, vec![KeepingSpan { from: 0.0, to: 600.0 }], 0)]
    }

    fn compare(&self, order: ComparisonOrder) -> Result<(), Fault> {
        let mut comparing = self.comparing.lock().unwrap();
        if comparing.as_ref().is_some_and(|one| one.comparison.state == ComparisonState::Running) {
            return Err(Fault::new(FaultCode::Conflict, "another comparison runs"));
        }
        *comparing = Some(order);
        Ok(())
    }

    fn comparison(&self, id: ComparisonId) -> Option<Comparison> {
        let comparing = self.comparing.lock().unwrap();
        comparing.as_ref().map(|order| &order.comparison).filter(|one| one.id == id).cloned()
    }

    fn cancel_comparison(&self, id: ComparisonId) -> bool {
        let mut comparing = self.comparing.lock().unwrap();
        let Some(order) = comparing.as_mut().filter(|order| order.comparison.id == id) else { return false };
        std::mem::replace(&mut order.comparison.state, ComparisonState::Cancelled) == ComparisonState::Running
    }
}

/// One image, `here:1`, in which only Python 3.11 runs.
pub struct FakeImages;

impl Images for FakeImages {
    fn list(&self) -> ImageList {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let image = ImageView { digest, names: vec!["here:1".into()], bytes: 7, ..ImageView::default() };
        ImageList { images: vec![image], bytes: 7, budget: 100 }
    }

    fn find(&self, name: &str) -> Result<ImageView, Fault> {
        let image = self.list().images.remove(0);
        let known = image.names.iter().any(|one| one == name) || image.digest == name;
        let absent = || Fault::new(FaultCode::NotFound, format!("no image {name}"));
        if known { Ok(image) } else { Err(absent()) }
    }

    fn fits(&self, _: ImageDigest, runtime: Runtime) -> BoxFuture<'_, Result<(), Fault>> {
        let fits = runtime == Runtime::python("3.11");
        let fault = Fault::new(FaultCode::RuntimeUnavailable, format!("{runtime} is not in the image"));
        Box::pin(async move { if fits { Ok(()) } else { Err(fault) } })
    }

    fn touch(&self, _: ImageDigest) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn pull(&self, pull: ImagePull, _: HashSet<ImageDigest>) -> Result<Box<dyn Pulling>, Fault> {
        Ok(Box::new(FakePull { steps: 2, result: self.find(&pull.reference) }))
    }

    fn import(
        &self,
        _: Archive,
        _: Option<String>,
        _: HashSet<ImageDigest>,
    ) -> BoxFuture<'_, Result<Box<dyn Pulling>, Fault>> {
        let pull: Box<dyn Pulling> = Box::new(FakePull { steps: 1, result: self.find("here:1") });
        Box::pin(async { Ok(pull) })
    }

    fn remove(&self, _: ImageDigest, _: HashSet<ImageDigest>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
}

struct FakePull {
    steps: u64,
    result: Result<ImageView, Fault>,
}

impl Pulling for FakePull {
    fn next(&mut self) -> BoxFuture<'_, Option<PullProgress>> {
        let left = self.steps;
        self.steps = left.saturating_sub(1);
        Box::pin(
            async move { (left > 0).then(|| PullProgress { phase: "unpacking".into(), ..PullProgress::default() }) },
        )
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<ImageView, Fault>> {
        Box::pin(async { self.result })
    }
}

pub fn line(function: &str, message: &str) -> LogLine {
    LogLine {
        time: Timestamp::now(),
        function: function.parse().unwrap(),
        instance: "00000000000000aa".parse().unwrap(),
        request_id: None,
        level: Some(LogLevel::Info),
        message: message.into(),
    }
}

pub fn record(function: &str) -> Record {
    Record {
        request_id: RequestId::random(),
        function: function.parse().unwrap(),
        revision: Revision(1),
        instance: None,
        door: Door::Invoke,
        received: Timestamp(1_763_805_600_000_000),
        cold: true,
        stem: false,
        isolation: None,
        outcome: RecordOutcome::Fault(FaultCode::Timeout),
        queued_us: 1,
        sandbox_us: Some(2),
        runtime_us: None,
        init_us: None,
        handler_us: 4,
        memory_peak: None,
        cpu_us: None,
        request_bytes: 5,
        response_bytes: 6,
        stages: vec![],
    }
}

/// What a test holds on to.
pub struct World {
    pub store: Arc<Store>,
    pub platform: Arc<FakePlatform>,
    pub closing: watch::Sender<bool>,
    pub queue: Arc<store::SqliteQueue>,
    pub token: String,
    /// Where the queue is.
    _folder: tempfile::TempDir,
    pub router: axum::Router,
}

impl World {
    pub fn new() -> Self {
        let (store, platform) = (Arc::new(Store::default()), Arc::new(FakePlatform::default()));
        let token = crate::Token::generate().unwrap();
        let closing = watch::channel(false).0;
        let folder = tempfile::tempdir().unwrap();
        let limits = store::sqlite::EventLimits { reserve: 0, ..Default::default() };
        let queue = store::SqliteQueue::open(folder.path(), limits).unwrap();
        let state = crate::ControlState {
            functions: store.clone(),
            packages: store.clone(),
            telemetry: store.clone(),
            comparisons: store.clone(),
            queue: queue.clone(),
            schedules: queue.clone(),
            secrets: Arc::<super::secrets::FakeSecrets>::default(),
            platform: platform.clone(),
            images: Arc::new(FakeImages),
            tokens: Arc::new(crate::TokenSet::new(vec![token.sha256()])),
            hosts: Arc::new(crate::Hosts::new("127.0.0.1:7070".parse().unwrap(), [])),
            ingress: "http://127.0.0.1:8080".into(),
            closing: closing.subscribe(),
        };
        let router = crate::router(state);
        Self { store, platform, closing, queue, token: token.as_str().to_owned(), _folder: folder, router }
    }
}
