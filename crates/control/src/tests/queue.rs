//! The queue over the API: numbers, events, redrive and purge.

use bytes::Bytes;
use http::{Method, StatusCode};
use model::{RequestId, Timestamp};
use serde_json::json;
use store::Queue;
use store::queue::{NewEvent, Progress, Settlement};

use super::fakes::World;

/// Makes an event; a dead one, if `dead`.
async fn event(world: &World, dead: bool) -> RequestId {
    let event = NewEvent {
        id: RequestId::random(),
        function: "f".parse().unwrap(),
        qualifier: None,
        payload: Bytes::from_static(br#"{"n": 1.0e2}"#),
        received: Timestamp::now(),
        trace_id: String::new(),
        client_context: String::new(),
        hops: 0,
        key: None,
    };
    let id = world.queue.enqueue(event).await.unwrap().id;
    if dead {
        world.queue.lease(vec![("f".parse().unwrap(), 1)], Timestamp::now(), 1).await.unwrap();
        let progress = Progress { failures: 1, ..Progress::default() };
        let (condition, error) = ("RetriesExhausted".to_owned(), Some("no".to_owned()));
        let settlement = Settlement::GivenUp { keep: true, condition, progress, error, then: None };
        world.queue.settle(id, settlement).await.unwrap();
    }
    id
}

#[tokio::test]
async fn events_are_counted_listed_shown_redriven_and_purged() {
    let world = World::new();
    let dead = event(&world, true).await;
    let waits = event(&world, false).await;
    let counts = json!({"function": "f", "enqueued": 2, "waiting": 1, "done": 0, "failed": 0, "dead": 1, "purged": 0, "bytes": 24});
    assert_eq!(world.get("/api/v1/queue").await.body["functions"], json!([counts]));

    let ids = async |query: &str| {
        let answer = world.get(&format!("/api/v1/queue/events{query}")).await;
        let events = answer.body["events"].as_array().unwrap().clone();
        events.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, [waits.to_string()]);
    assert_eq!(ids("?dead=true").await, [dead.to_string()]);
    assert!(ids("?function=other").await.is_empty());
    assert_eq!(world.get("/api/v1/queue/events?limit=0").await.status, StatusCode::BAD_REQUEST);

    let shown = world.get(&format!("/api/v1/queue/events/{dead}")).await.body;
    assert_eq!(
        (&shown["state"], &shown["condition"], &shown["error"]),
        (&json!("dead"), &json!("RetriesExhausted"), &json!("no"))
    );
    assert_eq!(
        (&shown["attempts"], &shown["failures"], &shown["payload"]),
        (&json!(1), &json!(1), &json!({"n": 100.0}))
    );
    let absent = world.get(&format!("/api/v1/queue/events/{}", RequestId::random())).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);

    let redriven = world.json(Method::POST, "/api/v1/queue/redrive", json!({"id": dead})).await;
    assert_eq!((redriven.status, redriven.body), (StatusCode::OK, json!({"count": 1})));
    let again = world.json(Method::POST, "/api/v1/queue/redrive", json!({"all": true})).await;
    assert_eq!(again.body, json!({"count": 0}));
    let purged = world.json(Method::POST, "/api/v1/queue/purge", json!({"function": "f", "waiting": true})).await;
    assert_eq!(purged.body, json!({"count": 2}));
    assert_eq!(world.get("/api/v1/queue").await.body["functions"][0]["purged"], 2);
}

#[tokio::test]
async fn nobody_changes_everything_by_leaving_out_a_name() {
    let world = World::new();
    for choice in [json!({}), json!({"all": true, "function": "f"}), json!({"all": false, "waiting": true})] {
        let refused = world.json(Method::POST, "/api/v1/queue/purge", choice).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.body["message"].as_str().unwrap().contains("which events?"));
    }
    let refused = world.json(Method::POST, "/api/v1/queue/redrive", json!({"all": true, "waiting": true})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}
