//! A store in memory and a platform that does as it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::metric::Aggregate;
use model::*;
use sha2::{Digest, Sha256};
use store::observe::{
    InstanceTime, InstanceTraffic, MetricsBy, MetricsQuery, MetricsSeries, Observe, RecordPage, RecordSearch, Total,
};
use store::{
    Comparisons, FileHead, Functions, LogPage, LogQuery, Packages, RecordQuery, StoreError, StoredComparison, Telemetry,
};
use tokio::sync::watch;

use crate::Duplex;
use crate::comparisons::{Comparison, ComparisonOrder, ComparisonState};
use crate::platform::{
    AwsCredentials, BoxFuture, FindingView, IsolationView, KeepingSpan, KeepingView, Machine, Platform, RuntimeView,
    Severity, StemView,
};

pub struct Store {
    functions: Mutex<BTreeMap<FunctionName, Function>>,
    packages: Mutex<BTreeMap<String, Bytes>>,
    lines: Mutex<Vec<LogLine>>,
    records: Mutex<Vec<Record>>,
    traffic: Mutex<Vec<InstanceTraffic>>,
    payloads: Mutex<Vec<(RequestId, model::Payloads)>>,
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
            traffic: Mutex::default(),
            payloads: Mutex::default(),
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
        let function = Function {
            spec,
            version: model::Version::Latest,
            revision: Revision(found + 1),
            code,
            code_size: size,
            modified,
        };
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

    async fn merge(&self, hashes: Vec<CodeHash>) -> Result<CodeHash, StoreError> {
        // One after the other is enough of a zip for it.
        let mut all = Vec::new();
        for hash in hashes {
            all.extend(self.read(&hash).await?);
        }
        self.add(all.into()).await
    }

    async fn unpacked(&self, hash: &CodeHash) -> Result<u64, StoreError> {
        Ok(self.read(hash).await?.len() as u64)
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

    fn record_with(&self, record: Record, payloads: model::Payloads) {
        self.payloads.lock().unwrap().push((record.request_id, payloads));
        self.record(record);
    }

    async fn payloads(&self, id: RequestId) -> Result<Option<model::Payloads>, StoreError> {
        let kept = self.payloads.lock().unwrap();
        Ok(kept.iter().find(|(one, _)| *one == id).map(|(_, payloads)| payloads.clone()))
    }

    async fn tally(&self, _: &FunctionName, _: model::Revision, _: u64) -> Result<(model::Tally, u64), StoreError> {
        Ok((model::Tally::default(), 0))
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
impl Observe for Store {
    fn instances(&self, _: Vec<InstanceTime>) {}

    fn traffic(&self, traffic: Vec<InstanceTraffic>) {
        self.traffic.lock().unwrap().extend(traffic);
    }

    async fn metrics(&self, query: MetricsQuery) -> Result<Vec<MetricsSeries>, StoreError> {
        let mut all = BTreeMap::<String, Aggregate>::new();
        for record in self.records.lock().unwrap().iter() {
            if query.function.as_ref().is_some_and(|name| *name != record.function) {
                continue;
            }
            let key = if query.by == MetricsBy::Function { record.function.to_string() } else { String::new() };
            all.entry(key).or_default().add(record);
        }
        for one in self.traffic.lock().unwrap().iter() {
            if query.function.as_ref().is_none_or(|name| *name == one.function) {
                let key = if query.by == MetricsBy::Function { one.function.to_string() } else { String::new() };
                all.entry(key).or_default().add_traffic(one.traffic);
            }
        }
        let series = |(key, sum)| MetricsSeries { key, points: vec![(query.from, sum)] };
        Ok(all.into_iter().map(series).collect())
    }

    async fn totals(&self) -> Result<Vec<Total>, StoreError> {
        let total = |record: &Record| {
            let mut figures = Aggregate::default();
            figures.add(record);
            let (isolation, door) = (record.isolation, Some(record.door));
            Total { function: record.function.to_string(), isolation, door, figures }
        };
        let of_instances = |one: &InstanceTraffic| {
            let mut figures = Aggregate::default();
            figures.add_traffic(one.traffic);
            Total { function: one.function.to_string(), isolation: Some(one.isolation), door: None, figures }
        };
        let mut totals: Vec<_> = self.records.lock().unwrap().iter().map(total).collect();
        totals.extend(self.traffic.lock().unwrap().iter().map(of_instances));
        Ok(totals)
    }

    async fn search(&self, search: RecordSearch) -> Result<RecordPage, StoreError> {
        let records = self.records.lock().unwrap();
        let fits = |(_, one): &(usize, &Record)| {
            search.function.as_ref().is_none_or(|name| *name == one.function)
                && search.ok.is_none_or(|ok| ok == (one.outcome == model::RecordOutcome::Ok))
        };
        let before = search.before.map_or(records.len(), |before| before as usize);
        let found: Vec<_> = records.iter().enumerate().take(before).rev().filter(fits).take(search.limit).collect();
        let next = found.last().filter(|_| found.len() == search.limit).map(|(at, _)| *at as u64);
        Ok(RecordPage { records: found.into_iter().map(|(_, record)| record.clone()).collect(), next })
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
            version: model::Version::Latest,
            state: InstanceState::Idle,
            isolation: Isolation::Namespace,
            started: Timestamp(started),
            invocations: 3,
            memory_peak: Some(1 << 20),
        };
        vec![instance("00000000000000bb", "b", 1), instance("00000000000000aa", "a", 2)]
    }

    fn attach(&self, _instance: &InstanceId, _port: u16) -> BoxFuture<'_, Result<Box<dyn Duplex>, Fault>> {
        Box::pin(async {
            Ok(Box::new(tokio::io::join(&b"hello from inside"[..], tokio::io::sink())) as Box<dyn Duplex>)
        })
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

    fn memory(&self) -> crate::MemoryView {
        crate::MemoryView { budget: 8 << 30, used: 128 << 20 }
    }

    fn traces(&self) -> Option<crate::SpanCounts> {
        None
    }

    fn process(&self) -> crate::ProcessView {
        crate::ProcessView {
            cpu_seconds: 1.5,
            resident_bytes: 50 << 20,
            open_fds: 40,
            started_us: 1_763_805_600_000_000,
        }
    }

    fn host(&self) -> Machine {
        Machine { cpu: "A processor".into(), cores: 4, memory: 8 << 30, kernel: "Linux 6.12".into() }
    }

    fn keeping(&self, _: &FunctionName) -> Vec<KeepingView> {
        vec![KeepingView::new(Isolation::Namespace, vec![KeepingSpan { from: 0.0, to: 600.0 }], 0)]
    }

    fn invoke(&self, invocation: model::Invocation) -> BoxFuture<'_, Result<model::Outcome, Fault>> {
        // Says what it was called with.
        let record = Record {
            request_id: invocation.id,
            qualifier: invocation.qualifier,
            replay_of: invocation.replay_of,
            outcome: RecordOutcome::Ok,
            ..record(invocation.function.as_str())
        };
        let (reply, instance) = (model::Reply::Success(invocation.payload), "00000000000000aa".parse().unwrap());
        Box::pin(async { Ok(model::Outcome { reply, instance, tail: None, record }) })
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
        version: model::Version::Latest,
        instance: None,
        door: Door::Invoke,
        received: Timestamp(1_763_805_600_000_000),
        cold: true,
        stem: false,
        isolation: None,
        outcome: RecordOutcome::Fault(FaultCode::Timeout),
        error: None,
        queued_us: 1,
        sandbox_us: Some(2),
        runtime_us: None,
        init_us: None,
        handler_us: 4,
        memory_peak: None,
        cpu_us: None,
        request_bytes: 5,
        response_bytes: 6,
        qualifier: None,
        memory: None,
        billed_ms: 0,
        replay_of: None,
        payloads: model::Kept::No,
        stages: vec![],
        trace: None,
    }
}

/// Nothing runs here.
struct NoSources;

impl crate::SourcesState for NoSources {
    fn statuses(&self) -> Vec<model::SourceStatus> {
        vec![]
    }

    fn pause(&self, _: FunctionName, _: String, _: bool) -> crate::BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { Ok(false) })
    }
}

/// What a test holds on to.
pub struct World {
    pub store: Arc<Store>,
    pub platform: Arc<FakePlatform>,
    pub closing: watch::Sender<bool>,
    pub queue: Arc<store::SqliteQueue>,
    pub token: String,
    pub sessions: Arc<crate::Sessions>,
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
        let kept = store::SqliteStore::open(store::Options::new(folder.path().join("kept"))).unwrap();
        let own = crate::holders::tests::stored(&token, "admin", &["admin"]);
        let tokens = Arc::new(crate::TokenSet::new(vec![own.clone()], crate::Pace::default()));
        let credentials = Arc::new(super::tokens::FakeCredentials::new(own));
        let hosts = Arc::new(crate::Hosts::new("127.0.0.1:7070".parse().unwrap(), []));
        let sessions = Arc::new(crate::Sessions::new(tokens.clone(), hosts.clone()));
        let state = crate::ControlState {
            functions: store.clone(),
            versions: store.clone(),
            packages: store.clone(),
            telemetry: store.clone(),
            api_keys: Arc::<super::routes::FakeApiKeys>::default(),
            observe: store.clone(),
            comparisons: store.clone(),
            layers: Arc::new(super::fake_layers::NoLayers),
            policies: Arc::new(super::fake_layers::NoLayers),
            companions: kept.clone(),
            provisions: Arc::new(super::fake_layers::NoLayers),
            objects: kept.clone(),
            log_events: kept,
            queue: queue.clone(),
            schedules: queue.clone(),
            messages: queue.clone(),
            sources: Arc::new(NoSources),
            secrets: Arc::<super::secrets::FakeSecrets>::default(),
            platform: platform.clone(),
            images: Arc::new(super::fake_images::FakeImages),
            keys: Arc::new(super::fake_layers::NoKeys),
            backups: Arc::new(super::backup::OnlyOne),
            sessions: sessions.clone(),
            tokens,
            credentials,
            audit: store::AuditLog::open(folder.path(), store::AuditLimits::default()).unwrap(),
            hosts,
            ingress: "http://127.0.0.1:8080".into(),
            metrics_open: false,
            lambda_egress: model::Egress::None,
            closing: closing.subscribe(),
        };
        let router = crate::router(state);
        Self { store, platform, closing, queue, token: token.as_str().to_owned(), sessions, _folder: folder, router }
    }
}
