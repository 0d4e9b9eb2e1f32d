//! A web function of axum, which tells what it was asked, and does what the last part of the path says.

use std::collections::HashMap;
use std::env::var;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Query, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Json, Response};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::oneshot;

static WAITING: Mutex<Vec<oneshot::Sender<()>>> = Mutex::new(Vec::new());

/// Tells when its stream is dropped before its end.
struct Left(bool);

impl Drop for Left {
    fn drop(&mut self) {
        if self.0 {
            println!("the listener left");
        }
    }
}

async fn answer(OriginalUri(uri): OriginalUri, Query(query): Query<HashMap<String, String>>, request: Request) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    match uri.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default() {
        "status" => StatusCode::from_u16(number("code") as u16).unwrap_or(StatusCode::BAD_REQUEST).into_response(),
        "cookies" => {
            let cookies = [(header::SET_COOKIE, "a=1"), (header::SET_COOKIE, "hearth_session=x")];
            (AppendHeaders(cookies), [("x-hearth-fault", "mine")], "x").into_response()
        }
        "events" => {
            let (count, pause) = (number("n") as u32, Duration::from_secs_f64(number("every")));
            let events = stream::unfold((0, Left(true)), move |(at, mut left)| async move {
                if at > 0 {
                    tokio::time::sleep(pause).await;
                }
                if at == count {
                    left.0 = false;
                    return None;
                }
                Some((Ok::<_, std::io::Error>(format!("data: {at}\n\n")), (at + 1, left)))
            });
            ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
        }
        "together" => {
            let (mine, all) = oneshot::channel();
            {
                let mut waiting = WAITING.lock().unwrap();
                waiting.push(mine);
                if waiting.len() == number("n") as usize {
                    waiting.drain(..).for_each(|one| drop(one.send(())));
                }
            }
            let _ = all.await;
            Json(json!({ "pid": std::process::id() })).into_response()
        }
        "sleep" => {
            tokio::time::sleep(Duration::from_secs_f64(number("s"))).await;
            Json(json!({ "slept": true })).into_response()
        }
        "say" => {
            println!("said {}", query["text"]);
            StatusCode::OK.into_response()
        }
        "download" => {
            let left = number("bytes") as usize;
            let piece: Bytes = (0..65536u32).map(|at| at as u8).collect();
            let pieces = stream::unfold(left, move |left| {
                let piece = piece.slice(..left.min(piece.len()));
                async move { (left > 0).then(|| (Ok::<_, std::io::Error>(piece.clone()), left - piece.len())) }
            });
            ([(header::CONTENT_LENGTH, left)], Body::from_stream(pieces)).into_response()
        }
        "crash" => {
            eprintln!("about to crash");
            std::process::exit(9);
        }
        _ => told(request).await,
    }
}

async fn told(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(piece)) = body.next().await {
        bytes += piece.len();
    }
    let environment = |name| (name, var(name).unwrap_or_default());
    Json(json!({
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "version": format!("{:?}", parts.version),
        "headers": pairs(&parts.headers),
        "bytes": bytes,
        "pid": std::process::id(),
        "env": HashMap::from(["PORT", "AWS_LAMBDA_HTTP_ENDPOINT", "_HANDLER"].map(environment)),
    }))
    .into_response()
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = var("PORT").expect("PORT says where to listen");
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    axum::serve(listener, Router::new().fallback(answer)).await
}
