//! Canaries, over the real store and a clock of the tests' own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::{
    CanaryRules, Door, FaultCode, Function, FunctionSpec, Record, RecordOutcome, RequestId, Runtime, Timestamp, Weight,
};
use store::versions::{Deed, Deploy, How};
use store::{Functions, Packages, SqliteStore, Telemetry, Versions};

use crate::canary::{CanaryOptions, Counts, look};

struct World {
    store: Arc<SqliteStore>,
    options: CanaryOptions,
    now: Arc<AtomicI64>,
    tried: Function,
    _dir: tempfile::TempDir,
}

/// A zip with one file, which is empty.
const PACKAGE: &[u8] = b"PK\x03\x04\x14\0\0\0\0\0\0\0!\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0a.pyPK\x01\x02\x14\x03\x14\0\0\0\0\0\0\0!\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\xa4\x01\0\0\0\0a.pyPK\x05\x06\0\0\0\0\x01\0\x01\x002\0\0\0\x22\0\0\0\0\0";

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(store::Options::new(dir.path().join("data"))).unwrap();
        let code = store.add(Bytes::from_static(PACKAGE)).await.unwrap();
        let spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "a.b");
        store.put(spec.clone(), code.clone(), None).await.unwrap();
        let how = How::Canary(CanaryRules::new(Weight::try_from(0.1).unwrap()));
        let deploy = Deploy { spec, code, expect: None, by: "a test".into(), how };
        let tried = store.deploy(deploy).await.unwrap();
        let now = Arc::new(AtomicI64::new(tried.modified.micros()));
        let clock = now.clone();
        let options = CanaryOptions {
            versions: store.clone(),
            telemetry: store.clone(),
            changes: Functions::changes(store.as_ref()),
            clock: Arc::new(move || Timestamp(clock.load(Ordering::SeqCst))),
        };
        Self { store, options, now, tried, _dir: dir }
    }

    fn calls(&self, count: usize, outcome: RecordOutcome) {
        for _ in 0..count {
            self.store.record(Record {
                error: None,
                request_id: RequestId::random(),
                function: self.tried.spec.name.clone(),
                revision: self.tried.revision,
                version: self.tried.version,
                instance: None,
                door: Door::Invoke,
                received: (self.options.clock)(),
                cold: false,
                stem: false,
                isolation: None,
                outcome,
                queued_us: 0,
                sandbox_us: None,
                runtime_us: None,
                init_us: None,
                handler_us: 0,
                memory_peak: None,
                cpu_us: None,
                request_bytes: 0,
                response_bytes: 0,
                qualifier: None,
                memory: None,
                billed_ms: 0,
                replay_of: None,
                payloads: model::Kept::No,
                stages: vec![],
                trace: None,
            });
        }
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_micros() as i64, Ordering::SeqCst);
    }

    async fn last(&self) -> (Deed, String) {
        let last = self.store.history_of(&self.tried.spec.name, 1).await.unwrap().remove(0);
        (last.deed, last.text)
    }
}

#[tokio::test]
async fn a_good_one_is_promoted_when_its_time_is_over_and_not_before() {
    let world = World::new().await;
    let mut counts = Counts::new();
    world.calls(100, RecordOutcome::Ok);
    world.pass(Duration::from_secs(299));
    assert!(look(&world.options, &mut counts).await.unwrap(), "it still runs");
    world.calls(2, RecordOutcome::Fault(FaultCode::HandlerError));
    world.pass(Duration::from_secs(1));
    assert!(!look(&world.options, &mut counts).await.unwrap());
    assert_eq!(world.last().await, (Deed::CanaryPromoted, "after 5m, 2 of 102 calls failed (1.96%)".into()));
    assert_eq!(world.store.get(&world.tried.spec.name).await.unwrap(), world.tried);
}

#[tokio::test]
async fn a_bad_one_is_rolled_back_as_soon_as_it_is_known_over_looks_and_restarts() {
    let world = World::new().await;
    let mut counts = Counts::new();
    world.calls(19, RecordOutcome::Fault(FaultCode::Timeout));
    assert!(look(&world.options, &mut counts).await.unwrap(), "too few calls to tell");
    world.calls(30, RecordOutcome::Fault(FaultCode::NoCapacity));
    assert!(look(&world.options, &mut counts).await.unwrap(), "what never ran says nothing of the code");
    // A restart forgets the counts, not the records.
    let mut counts = Counts::new();
    world.calls(1, RecordOutcome::Ok);
    assert!(!look(&world.options, &mut counts).await.unwrap());
    let (deed, text) = world.last().await;
    assert_eq!(deed, Deed::CanaryRolledBack);
    assert!(text.contains("to what revision 1 was: 19 of 20 calls failed (95%): more than 5%"), "{text}");
    assert_eq!(world.store.get(&world.tried.spec.name).await.unwrap().revision.0, 3);
}
