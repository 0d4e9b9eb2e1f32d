//! The control listener's side: an axum router over `serve`, with the Invoke door routed to.

mod support;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use gateway::{Limits, serve};
use hyper_util::service::TowerToHyperService;
use support::{TOKEN, gateway, read_all};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_router_serves_the_invoke_door_behind_the_same_guard() {
    let door = gateway();
    let invoke = move |request: Request| async move { door.handle_invoke(request).await };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/2015-03-31/functions/{name}/invocations", post(invoke));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = move |_peer| TowerToHyperService::new(router.clone());
    tokio::spawn(serve(listener, None, service, std::future::pending(), Limits::default()));

    let exchange = |request: String| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    };
    let health = exchange("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into()).await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("ok"), "{health}");
    let head = "POST /2015-03-31/functions/echo:$LATEST/invocations HTTP/1.1\r\nHost: a\r\n";
    let invoked = exchange(format!(
        "{head}Authorization: Bearer {TOKEN}\r\nConnection: close\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}"
    ))
    .await;
    assert!(invoked.starts_with("HTTP/1.1 200") && invoked.ends_with("{\"a\":1}"), "{invoked}");
    // Refused before the body came: answered, and closed, although the client keeps the connection.
    let refused = exchange(format!("{head}Content-Length: 7\r\n\r\n")).await;
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("connection: close"), "{refused}");
    let smuggled = exchange(format!("{head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")).await;
    assert!(smuggled.starts_with("HTTP/1.1 400"), "{smuggled}");
}
