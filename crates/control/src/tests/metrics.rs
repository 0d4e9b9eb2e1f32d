//! Figures, records and logs of all functions, as callers see them.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use model::metric::Traffic;
use model::{Isolation, Record, RecordOutcome, Revision, Version};
use serde_json::json;
use store::observe::InstanceTraffic;
use store::{Observe, Telemetry};
use tower::ServiceExt;

use super::fakes::{World, line, record};

fn ok(function: &str, handler_us: u64) -> Record {
    let isolation = Some(Isolation::Namespace);
    let instance = Some("00000000000000aa".parse().unwrap());
    Record { outcome: RecordOutcome::Ok, cold: false, handler_us, isolation, instance, ..record(function) }
}

async fn text(world: &World, path: &str) -> String {
    let request = world.request(Method::GET, path).body(Body::empty()).unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn figures_are_told_as_series_and_as_prometheus_wants_them() {
    let world = World::new();
    for record in [ok("f", 1000), ok("f", 2000), record("f"), ok("g", 5)] {
        world.store.record(record);
    }
    let answer = world.get("/api/v1/metrics?function=f&from=10m").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let total = &answer.body["series"][0]["total"];
    assert_eq!((&total["calls"], &total["errors"], &total["cold"]), (&json!(3), &json!(1), &json!(1)));
    assert_eq!(total["faults"], json!({"HEARTH-F001": 1}));
    assert_eq!((&total["duration"]["count"], &total["duration"]["max_us"]), (&json!(2), &json!(2000)));
    let keys = world.get("/api/v1/metrics?by=function").await.body["series"].as_array().unwrap().len();
    assert_eq!(keys, 2);
    assert_eq!(world.get("/api/v1/metrics?function=nobody").await.status, StatusCode::NOT_FOUND);
    for wrong in ["by=colour", "step=15s", "from=soon", "from=1m&to=2m", "colour=red"] {
        assert_eq!(world.get(&format!("/api/v1/metrics?{wrong}")).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }

    let shown = text(&world, "/metrics").await;
    for line in [
        "hearth_invocations_total{function=\"g\",isolation=\"namespace\",trigger=\"invoke\"} 1",
        "hearth_errors_total{function=\"f\",code=\"HEARTH-F001\",blame=\"function\"} 1",
        "hearth_invocation_duration_seconds_count{function=\"f\"} 2",
        "hearth_instances{function=\"a\",isolation=\"namespace\",state=\"idle\"} 1",
        "hearth_memory_budget_bytes 8589934592",
        "process_cpu_seconds_total 1.5",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in\n{shown}");
    }
    let bare = Request::builder().uri("/metrics").header("host", "127.0.0.1:7070").body(Body::empty()).unwrap();
    assert_eq!(world.send(bare).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_networks_carried_is_told_of_functions_that_have_one() {
    let world = World::new();
    [ok("f", 1000), ok("g", 1000)].into_iter().for_each(|record| world.store.record(record));
    let carried = |sent, received| InstanceTraffic {
        function: "f".parse().unwrap(),
        revision: Revision(1),
        version: Version::Latest,
        isolation: Isolation::Namespace,
        traffic: Traffic { sent, received },
    };
    world.store.traffic(vec![carried(1000, 20), carried(7, 0)]);
    let told = async |name: &str| {
        let body = world.get(&format!("/api/v1/metrics?function={name}")).await.body;
        let total = &body["series"][0]["total"];
        (total["calls"].clone(), total["sent_bytes"].clone(), total["received_bytes"].clone())
    };
    assert_eq!(told("f").await, (json!(1), json!(1007), json!(20)));
    assert_eq!(told("g").await, (json!(1), json!(0), json!(0)));
    let shown = text(&world, "/metrics").await;
    let shown: Vec<_> = shown.lines().filter(|line| line.starts_with("hearth_function_network")).collect();
    let expected = ["sent_bytes_total{function=\"f\"} 1007", "received_bytes_total{function=\"f\"} 20"];
    assert_eq!(shown, expected.map(|line| format!("hearth_function_network_{line}")));
}

#[tokio::test]
async fn calls_are_told_in_gb_seconds_and_in_money_only_once_there_is_a_price() {
    let world = World::new();
    let memory = Some(model::Memory::mib(512));
    for _ in 0..4 {
        world.store.record(Record { memory, billed_ms: 1500, ..ok("f", 1_499_001) });
    }
    world.store.record(Record { memory, billed_ms: 1500, ..ok("g", 1_499_001) });
    // It reached no instance: nobody asks for money for it.
    world.store.record(record("f"));
    let told = async || {
        let body = world.get("/api/v1/metrics?function=f").await.body;
        let total = &body["series"][0]["total"];
        (total["gb_seconds"].clone(), total["cost"].clone(), body["price"].clone())
    };
    assert_eq!(told().await, (json!(3.0), json!(null), json!(null)));
    let shown = text(&world, "/metrics").await;
    let line = "hearth_gb_seconds_total{function=\"g\",isolation=\"namespace\",trigger=\"invoke\"} 0.75";
    assert!(shown.lines().any(|shown| shown == line), "{shown}");

    let cloud = json!({"name": "own", "currency": "EUR", "gb_second": 0.5, "request": 0.25});
    assert_eq!(world.json(Method::PUT, "/api/v1/prices", json!({"cloud": cloud})).await.status, StatusCode::OK);
    assert_eq!(told().await, (json!(3.0), json!(2.5), cloud));
    let cores = json!({"name": "own", "gb_second": 0.5, "vcpu_second": 0.1});
    assert_eq!(world.json(Method::PUT, "/api/v1/prices", json!({"cloud": cores})).await.status, StatusCode::OK);
    assert_eq!(told().await, (json!(3.0), json!(null), json!(null)), "nothing is known of processors");
}

#[tokio::test]
async fn payloads_are_for_who_may_read_the_logs_and_a_replay_for_who_may_invoke() {
    let world = World::new();
    let kept = Record { payloads: model::Kept::Yes, request_bytes: 5, response_bytes: 6, ..record("f") };
    let (input, output) = ("\"<b>\"".into(), Some("{\"a\":1".into()));
    world.store.record_with(kept.clone(), model::Payloads { input, output });
    let path = format!("/api/v1/invocations/{}", kept.request_id);
    let answer = world.get(&format!("{path}/payloads")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.body["input"], json!({"text": "\"<b>\"", "bytes": 5, "truncated": false}));
    assert_eq!(answer.body["output"], json!({"text": "{\"a\":1", "bytes": 6, "truncated": false}));
    let replayed = world.json(Method::POST, &format!("{path}/replay?qualifier=prod"), json!({})).await;
    assert_eq!(replayed.status, StatusCode::OK, "{}", replayed.body);
    assert_eq!(
        (&replayed.body["replay_of"], &replayed.body["output"]["text"]),
        (&json!(kept.request_id), &json!("\"<b>\""))
    );
    assert_ne!(replayed.body["request_id"], json!(kept.request_id));

    for (scope, shown, payloads, replay) in [
        ("logs:f", 200, 200, 403),
        ("invoke:f", 403, 403, 200),
        ("read", 200, 403, 403),
        ("deploy:f", 403, 403, 403),
        // Nobody learns that there is such a call.
        ("logs:g", 404, 404, 404),
    ] {
        let name = scope.replace(':', "-");
        let made = world.json(Method::POST, "/api/v1/tokens", json!({"name": name, "scopes": [scope]})).await;
        let ask = async |method: Method, path: String| {
            let bearer = format!("Bearer {}", made.body["secret"].as_str().unwrap());
            let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:7070");
            world.send(request.header("authorization", bearer).body(Body::empty()).unwrap()).await.status.as_u16()
        };
        let got = [
            ask(Method::GET, path.clone()).await,
            ask(Method::GET, format!("{path}/payloads")).await,
            ask(Method::POST, format!("{path}/replay")).await,
        ];
        assert_eq!(got, [shown, payloads, replay], "{scope}");
    }
    // Nor is the id read otherwise here than where it is answered.
    let made = world.json(Method::POST, "/api/v1/tokens", json!({"name": "sly", "scopes": ["logs:g"]})).await;
    let id = kept.request_id.to_string();
    let sly = format!("/api/v1/invocations/%{:02x}{}/payloads", id.as_bytes()[0], &id[1..]);
    let bearer = format!("Bearer {}", made.body["secret"].as_str().unwrap());
    let request = Request::builder().uri(sly).header("host", "127.0.0.1:7070").header("authorization", bearer);
    assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, StatusCode::BAD_REQUEST);
    let audit = world.get("/api/v1/audit?action=get_payloads").await.body;
    assert!(audit["records"][0]["object"].as_str().is_some_and(|object| object.ends_with("/payloads")), "{audit}");
}

#[tokio::test]
async fn what_is_not_kept_says_why_and_what_is_cut_off_is_not_replayed() {
    let world = World::new();
    world.deploy().await;
    let (without, dropped) = (record("f"), Record { payloads: model::Kept::Dropped, ..record("f") });
    let gone = Record { payloads: model::Kept::Yes, ..record("f") };
    for (record, why) in [(without, "records.payloads=errors"), (dropped, "faster"), (gone, "newer ones")] {
        world.store.record(record.clone());
        for what in ["payloads", "replay"] {
            let path = format!("/api/v1/invocations/{}/{what}", record.request_id);
            let method = if what == "replay" { Method::POST } else { Method::GET };
            let answer = world.send(world.request(method, &path).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            assert!(answer.body["message"].as_str().unwrap().contains(why), "{}", answer.body);
        }
    }
    let long = Record { payloads: model::Kept::Yes, request_bytes: 300_000, ..record("f") };
    let input = vec![b'x'; model::Payloads::MOST].into();
    world.store.record_with(long.clone(), model::Payloads { input, output: None });
    let path = format!("/api/v1/invocations/{}", long.request_id);
    let shown = world.get(&format!("{path}/payloads")).await.body;
    assert_eq!((&shown["input"]["truncated"], &shown["input"]["bytes"]), (&json!(true), &json!(300_000)));
    let refused = world.json(Method::POST, &format!("{path}/replay"), json!({})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.body["message"].as_str().unwrap().contains("262144 of the 300000 bytes"), "{}", refused.body);
}

#[tokio::test]
async fn the_overview_has_who_was_called_and_who_lives() {
    let world = World::new();
    world.store.record(ok("called", 1000));
    let view = world.get("/api/v1/overview?window=1m").await.body;
    let names: Vec<_> = view["functions"].as_array().unwrap().iter().map(|one| one["function"].clone()).collect();
    assert_eq!(names, ["called", "a", "b"]);
    assert_eq!(view["functions"][1]["instances"]["idle"], json!(1.0));
    assert_eq!((&view["memory"]["used"], &view["stems"]["ready"]), (&json!(128 << 20), &json!(1)));
    assert_eq!(world.get("/api/v1/overview?window=2h").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn records_come_page_by_page_and_logs_of_all() {
    let world = World::new();
    for record in [ok("f", 1), record("f"), ok("g", 2), record("g")] {
        world.store.record(record);
    }
    let page = world.get("/api/v1/invocations?status=fault&limit=1").await.body;
    assert_eq!((&page["invocations"][0]["function"], &page["next"]), (&json!("g"), &json!(3)));
    let page = world.get("/api/v1/invocations?status=fault&limit=1&before=3").await.body;
    assert_eq!(page["invocations"][0]["function"], json!("f"));
    for wrong in ["status=odd", "limit=0", "min_duration=x", "trigger=bell", "since=soon", "colour=red"] {
        assert_eq!(world.get(&format!("/api/v1/invocations?{wrong}")).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    world.store.log(line("f", "one"));
    world.store.log(line("g", "two"));
    let lines = world.get("/api/v1/logs").await.body["lines"].as_array().unwrap().len();
    assert_eq!(lines, 2);
    assert_eq!(world.get("/api/v1/logs?function=f").await.body["lines"][0]["message"], json!("one"));
    for wrong in ["/api/v1/logs?field=x", "/api/v1/logs?level=loud", "/api/v1/functions/f/logs?function=g"] {
        assert_eq!(world.get(wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}
