//! Calls of web functions: HTTP requests that go to the function's own server as they came, and its answers back.
//!
//! ```text
//! request ─► seat ─► connection ─► head of the answer ─► body, as it comes ─► seat free, call recorded
//!             │        │ CONNECT: a socket is handed to the agent, which joins it with the server's
//!             │        └ the server speaks HTTP over it itself: nothing in between looks at what goes through
//!             └ of an instance that is in use, or of one that the pool gives
//! ```
//!
//! The function's timeout bounds the time until the head of the answer, counted from the last of the request that came. A body, an event stream or a WebSocket may last
//! as long as both ends want it.

mod connection;
mod flight;
mod h2c;
mod repeat;
mod seats;
mod turn;
mod upload;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use model::{Door, Fault, FaultCode, FunctionName, Qualifier, RequestId, Timestamp, Trace, WebProtocol};

pub use flight::ReplyBody;
pub use seats::Seats;

use crate::pool::Pool;
use crate::shared::Shared;
use crate::web::connection::Failed;
use crate::web::flight::Flight;
use crate::{draining, failure};

/// The body of a request.
pub type WebBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// One HTTP request for a web function.
pub struct WebCall {
    pub id: RequestId,
    pub function: FunctionName,
    /// The version or alias that was asked for.
    pub qualifier: Option<Qualifier>,
    pub door: Door,
    /// When it entered Hearth.
    pub received: Timestamp,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// As its server is to get it: the target in origin form, no headers of another connection.
    pub request: http::Request<WebBody>,
}

/// How many instances a request is offered to whose servers take no connection.
const ATTEMPTS: u32 = 4;

/// How long the end of a sandbox is waited for whose server ended a connection without an answer.
const END: Duration = Duration::from_millis(1000);

/// Answers one request. Dropped, it ends the request at the function too.
pub async fn call(shared: &Arc<Shared>, call: WebCall) -> Result<http::Response<ReplyBody>, Fault> {
    let Some(inside) = shared.enter_owned() else { return Err(draining()) };
    let WebCall { id, function, qualifier, door, received, trace, request } = call;
    let mut flight = Flight::new(inside, id, qualifier.clone(), door, received, trace);
    let progress = flight.progress();
    let mut request = request.map(|body| progress.of(body));
    for _ in 0..ATTEMPTS {
        let pool = place(shared, &function, qualifier.as_ref(), &mut flight).await;
        let pool = match pool {
            Ok(pool) => pool,
            Err(fault) => return Err(flight.failed(fault)),
        };
        let limit = pool.function.spec.timeout;
        let Some(open) = flight.open() else { break };
        let asked = {
            progress.restart();
            let mut asking = pin!(async {
                open.turns_to(id).await;
                match pool.function.spec.web.as_ref().map(|web| web.protocol) {
                    Some(WebProtocol::H2c) => h2c::ask(&open, request, &mut flight).await,
                    _ => connection::ask(&open, request, &mut flight).await,
                }
            });
            tokio::select! {
                biased;
                asked = &mut asking => Some(asked),
                () = progress.rests(limit) => None,
            }
        };
        let fault = match asked {
            Some(Ok(response)) => return Ok(flight.answered(response)),
            Some(Err(Failed::Unmade(unsent))) => {
                // Its server has just ended, or takes no connections any more.
                flight.retire();
                request = unsent;
                continue;
            }
            Some(Err(Failed::Refused(fault))) => fault,
            Some(Err(Failed::Closed)) if progress.broke() => connection::broken_body(),
            Some(Err(Failed::Closed)) => match open.ended(END).await {
                _ if shared.is_stopped() => draining(),
                Some(exit) => failure::exited(id, Some(&exit.cause)).fault,
                None => no_answer(),
            },
            None => {
                // It may be stuck: those who come next get another.
                flight.retire();
                open.say(&pool, id, format!("{} Task timed out after {:.2} seconds", id, limit.as_secs_f64()));
                failure::timed_out(id, limit, FaultCode::Timeout).fault
            }
        };
        return Err(flight.failed(fault));
    }
    Err(flight.failed(no_answer()))
}

/// Finds a seat.
async fn place(
    shared: &Arc<Shared>,
    function: &FunctionName,
    qualifier: Option<&Qualifier>,
    flight: &mut Flight,
) -> Result<Arc<Pool>, Fault> {
    loop {
        let Some(entry) = shared.catalogue.route(function, qualifier) else {
            let stopped = shared.is_stopped();
            return Err(if stopped { draining() } else { shared.catalogue.absent(function, qualifier) });
        };
        // None: it was replaced at this moment.
        let Some(pool) = entry.pool(shared, None) else { continue };
        flight.is_for(&pool);
        if seats::sit(shared, &pool, flight).await? {
            return Ok(pool);
        }
    }
}

fn no_answer() -> Fault {
    Fault::new(FaultCode::HandlerError, "the function's server closed the connection without an answer")
}
