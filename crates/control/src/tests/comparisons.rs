//! Comparisons, live figures and prices, over a platform that compares nothing.

use std::time::Duration;

use http::{Method, StatusCode};
use model::{Door, Isolation, Record, RecordOutcome, Timestamp};
use serde_json::{Value, json};
use store::{Comparisons, StoredComparison, Telemetry};

use super::fakes::{World, record};
use crate::comparisons::{Comparison, ComparisonState};
use crate::figures::{Figures, Sample};

impl World {
    async fn compare(&self, body: Value) -> super::Answer {
        self.json(Method::POST, "/api/v1/functions/f/comparisons", body).await
    }

    fn events(&self) -> Vec<String> {
        let comparing = self.platform.comparing.lock().unwrap();
        let events = &comparing.as_ref().unwrap().events;
        events.iter().map(|event| String::from_utf8(event.to_vec()).unwrap()).collect()
    }
}

/// A call of `f` that went well, so many seconds ago.
fn call(ago: u64, isolation: Isolation, cold: bool) -> Record {
    Record {
        received: Timestamp::now() - Duration::from_secs(ago),
        isolation: Some(isolation),
        cold,
        outcome: RecordOutcome::Ok,
        handler_us: 2_000,
        cpu_us: Some(1_000),
        memory_peak: Some(32 << 20),
        instance: Some("00000000000000aa".parse().unwrap()),
        ..record("f")
    }
}

#[tokio::test]
async fn a_comparison_begins_with_defaults_that_are_told() {
    let world = World::new();
    world.deploy().await;
    let answer = world.compare(json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    assert_eq!(answer.body["plan"], json!({"events": 1, "cold": 10, "warm": 200, "seconds": 5, "clients": 8}));
    assert_eq!(answer.body["state"], "running");
    assert_eq!(answer.body["setting"]["keep_seconds"], 600.0);
    assert_eq!(world.events(), ["{}"]);
    let of = |name: &str| {
        let all = answer.body["isolations"].as_array().unwrap();
        all.iter().find(|one| one["isolation"] == name).unwrap()["reason"].clone()
    };
    assert_eq!(of("namespace"), Value::Null);
    assert_eq!(of("gvisor"), "does not work here: it is not built in");

    let path = format!("/api/v1/comparisons/{}", answer.body["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await.body["id"], answer.body["id"]);
    assert_eq!(world.compare(json!({})).await.status, StatusCode::CONFLICT, "one at a time");
    let delete = || world.json(Method::DELETE, &path, json!({}));
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    assert_eq!(delete().await.status, StatusCode::NOT_FOUND, "it runs no more");
    assert_eq!(world.get(&path).await.body["state"], "cancelled");
    assert_eq!(world.compare(json!({})).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn events_are_passed_on_as_they_were_written() {
    let world = World::new();
    world.deploy().await;
    let body = r#"{"events": [{"b": 1.0e2, "a": 12345678901234567890123}, "x", null], "cold": 1}"#;
    let request = world.request(Method::POST, "/api/v1/functions/f/comparisons");
    let request = request.header("content-type", "application/json").body(body.into()).unwrap();
    assert_eq!(world.send(request).await.status, StatusCode::ACCEPTED);
    assert_eq!(world.events(), [r#"{"b": 1.0e2, "a": 12345678901234567890123}"#, r#""x""#, "null"]);
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_with_the_key_named() {
    let world = World::new();
    world.deploy().await;
    for (body, named) in [
        (json!({"cold": 0}), "cold: expected 1 to 200, got 0"),
        (json!({"warm": 10001}), "warm: expected 1 to 10000"),
        (json!({"seconds": 61}), "seconds: expected 0 to 60"),
        (json!({"clients": 65}), "clients: expected 1 to 64"),
        (json!({"events": []}), "events: expected 1 to 20"),
        (json!({"isolations": ["chroot"]}), "isolations"),
        (json!({"colds": 1}), "did you mean \"cold\"?"),
    ] {
        let answer = world.compare(body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{named}");
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(named), "{message}");
    }
    let answer = world.compare(json!({"isolations": ["gvisor"]})).await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("HEARTH-P002")));
    world.platform.isolation_works.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.compare(json!({})).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let absent = world.json(Method::POST, "/api/v1/functions/none/comparisons", json!({})).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_function_is_not_compared_on_what_is_too_weak_for_it() {
    let world = World::new();
    let sha256 = world.deploy().await;
    world.platform.gvisor.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut spec = super::function(&sha256);
    spec["isolation"] = json!("gvisor");
    spec["at_least"] = json!("gvisor");
    assert_eq!(world.json(Method::PUT, "/api/v1/functions/f", spec).await.status, StatusCode::OK);
    let refused = world.compare(json!({"isolations": ["namespace"]})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.body["message"].as_str().unwrap().contains("weaker than the function's at_least = gvisor"));
    let all = world.compare(json!({})).await.body["isolations"].clone();
    let reasons: Vec<_> = all.as_array().unwrap().iter().map(|one| one["reason"].clone()).collect();
    assert_eq!((&reasons[0], &reasons[2]), (&json!("weaker than the function's at_least = gvisor"), &Value::Null));
}

#[tokio::test]
async fn live_figures_are_of_real_calls_only_and_cost_what_the_prices_say() {
    let world = World::new();
    world.deploy().await;
    world.store.record(call(600, Isolation::Namespace, true));
    for _ in 0..9 {
        world.store.record(call(300, Isolation::Namespace, false));
    }
    world.store.record(call(200, Isolation::Docker, false));
    world.store.record(call(100_000, Isolation::Namespace, false));
    world.store.record(Record { door: Door::Compare, ..call(10, Isolation::Gvisor, true) });

    let figures = world.get("/api/v1/functions/f/figures").await.body;
    assert_eq!(figures["calls"]["calls"], 11);
    let names: Vec<_> = figures["isolations"].as_array().unwrap().iter().map(|one| &one["isolation"]).collect();
    assert_eq!(names, ["namespace", "docker"]);
    let namespace = &figures["isolations"][0];
    assert_eq!(namespace["figures"]["warm"], json!({"count": 9, "p50_us": 2001, "p99_us": 2001}));
    assert_eq!(namespace["figures"]["cold"]["count"], 1);
    // Nobody has set prices: AWS's, 2 ms with 128 MB.
    let cost = &namespace["costs"][0];
    assert_eq!((&cost["name"], &cost["currency"]), (&json!("aws-lambda-x86"), &json!("USD")));
    let million = cost["parts"]["memory"].as_f64().unwrap();
    assert!((million - 1e6 * 0.002 * 0.125 * 0.000_016_666_7).abs() < 1e-9, "{million}");
    assert!(cost["per_month"].as_f64().unwrap() > 0.0);

    let prices = json!({"hardware": {"currency": "eur", "price": 600, "lifetime": "5y", "watts": 15, "kwh": 0.3}});
    let set = world.json(Method::PUT, "/api/v1/prices", prices).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    let figures = world.get("/api/v1/functions/f/figures?since=15m").await.body;
    let costs = figures["isolations"][0]["costs"].as_array().unwrap();
    assert_eq!(costs.len(), 1, "the cloud was left out");
    assert_eq!((&costs[0]["prices"], &costs[0]["currency"]), (&json!("hardware"), &json!("EUR")));
    let core_second = set.body["hardware"]["core_second"].as_f64().unwrap();
    assert!((costs[0]["parts"]["cpu"].as_f64().unwrap() - 1e6 * 0.001 * core_second).abs() < 1e-9);
    assert!(costs[0]["parts"]["idle"].as_f64().unwrap() > 0.0);
    assert_eq!(world.get("/api/v1/functions/f/figures?since=soon").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/api/v1/functions/none/figures").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_function_that_nobody_calls_has_no_figures_and_no_month() {
    let world = World::new();
    world.deploy().await;
    let figures = world.get("/api/v1/functions/f/figures").await.body;
    assert_eq!((&figures["isolations"], &figures["calls"]["rate"]), (&json!([]), &json!(0.0)));
}

#[tokio::test]
async fn stored_comparisons_are_paid_in_the_present_prices() {
    let world = World::new();
    world.deploy().await;
    let begun = world.compare(json!({})).await.body;
    let mut comparison: Comparison = serde_json::from_value(begun).unwrap();
    let records = [call(1, Isolation::Namespace, true), call(1, Isolation::Namespace, false)];
    let samples = records.iter().map(|record| Sample { took_us: 2_000, record });
    comparison.isolations[0].figures = Some(Figures::of(samples));
    comparison.state = ComparisonState::Done;
    let (id, function) = (comparison.id, comparison.function.clone());
    let body = serde_json::to_string(&comparison).unwrap();
    world.store.keep(StoredComparison { id, function, begun: Timestamp(1), body }).await.unwrap();
    world.platform.comparing.lock().unwrap().take();

    let path = format!("/api/v1/comparisons/{id}");
    let before = world.get(&path).await.body;
    let cost = |body: &Value| body["isolations"][0]["costs"][0]["per_million"].as_f64().unwrap();
    assert_eq!(before["isolations"][0]["costs"][0]["per_month"], Value::Null, "nobody calls it");
    let cloud = json!({"cloud": {"gb_second": 1, "request": 2, "currency": "CHF"}});
    assert_eq!(world.json(Method::PUT, "/api/v1/prices", cloud).await.status, StatusCode::OK);
    let after = world.get(&path).await.body;
    assert!((cost(&after) - (2e6 + 1e6 * 0.002 * 0.125)).abs() < 1e-3, "{after}");
    world.store.record(call(60, Isolation::Namespace, false));
    let list = world.get("/api/v1/functions/f/comparisons").await.body;
    assert!(list["comparisons"][0]["isolations"][0]["costs"][0]["per_month"].as_f64().unwrap() > 0.0);
    let absent = "/api/v1/comparisons/00000000-0000-4000-8000-000000000000";
    assert_eq!(world.get(absent).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn prices_are_shown_set_and_refused_in_words() {
    let world = World::new();
    let shown = world.get("/api/v1/prices").await.body;
    assert_eq!((&shown["set"], &shown["cloud"]["name"]), (&json!(false), &json!("aws-lambda-x86")));
    assert_eq!(shown["presets"][1]["name"], "aws-lambda-arm");
    let put = |body: Value| world.json(Method::PUT, "/api/v1/prices", body);
    let hardware = json!({"currency": "EUR", "price": 600, "lifetime": "5y", "watts": 15, "kwh": 0.3});
    let both = put(json!({"hardware": hardware, "cloud": {"preset": "aws-lambda-arm"}})).await.body;
    assert_eq!((&both["hardware"]["cores"], &both["hardware"]["memory"]), (&json!(4), &json!("8GB")), "this machine's");
    assert_eq!((&both["hardware"]["watts_idle"], &both["set"]), (&json!(15.0), &json!(true)));
    assert_eq!(world.get("/api/v1/prices").await.body, both);
    let mut free = hardware.clone();
    free["price"] = json!(-1);
    for (body, named) in [
        (json!({"hardware": free}), "price = -1 is out of range"),
        (json!({"hardware": {"currency": "Euro"}}), "three letters like EUR"),
        (json!({"cloud": {"preset": "azure"}}), "known are aws-lambda-x86, aws-lambda-arm"),
        (json!({"cloud": {"preset": "aws-lambda-x86", "request": 1}}), "nothing beside it"),
        (json!({"cloud": {"request": 1}}), "expected gb_second"),
        (json!({"cluod": {}}), "did you mean \"cloud\"?"),
    ] {
        let answer = put(body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{named}");
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(named), "{message}");
    }
    assert_eq!(put(json!({})).await.body["cloud"], Value::Null);
}
