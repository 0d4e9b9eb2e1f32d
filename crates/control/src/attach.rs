//! A way to a port inside an instance, for debuggers: the connection becomes one to it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use model::{Fault, FaultCode, InstanceId};

use crate::Api;
use crate::error::{ApiError, ErrorBody};

/// Connections into instances at once.
pub(crate) const MOST: usize = 64;

/// How long after its 101 the client's connection may take to be handed over.
const HANDED_OVER: Duration = Duration::from_secs(10);

/// A connection to a port inside an instance
///
/// With `Connection: upgrade` and `Upgrade: tcp`. After the 101 the connection carries the bytes of one to
/// `127.0.0.1:{port}` in the instance's own network, both ways, until either side ends. Only with the isolation `namespace`.
#[utoipa::path(get, path = "/api/v1/instances/{instance}/ports/{port}", operation_id = "attach", tag = "instances",
    params(("instance" = String, Path), ("port" = u16, Path)),
    responses((status = 101, description = "the connection is one to the port now"),
        (status = 404, body = ErrorBody), (status = 409, description = "nothing listens there", body = ErrorBody),
        (status = 426, description = "no upgrade was asked for", body = ErrorBody)))]
pub(crate) async fn port(
    State(api): State<Api>,
    Path((instance, port)): Path<(String, String)>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let instance: InstanceId = instance.parse()?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        ApiError::invalid(format!("the port: expected 1 to 65535, got {:?}", port.chars().take(20).collect::<String>()))
    })?;
    let asked = request.headers().get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"tcp"));
    let client = request.extensions_mut().remove::<OnUpgrade>();
    let Some(client) = client.filter(|_| asked) else {
        let mut refused = Response::new(Body::from("expected Connection: upgrade and Upgrade: tcp\n"));
        *refused.status_mut() = StatusCode::UPGRADE_REQUIRED;
        refused.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("tcp"));
        return Ok(refused);
    };
    let place = api.attached.clone().try_acquire_owned().map_err(|_| {
        let text = format!("{MOST} connections into instances are open already: end one");
        Fault::new(FaultCode::TooManyRequests, text).with_retry_after(Duration::from_secs(10))
    })?;
    let mut inside = api.platform.attach(&instance, port).await?;
    let mut closing = api.closing.clone();
    // Ends with either side, or with the server.
    tokio::spawn(async move {
        let _place = place;
        let Ok(Ok(client)) = tokio::time::timeout(HANDED_OVER, client).await else { return };
        let mut client = TokioIo::new(client);
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut inside) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    });
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    Ok(answer)
}
