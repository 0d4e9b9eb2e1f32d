//! The services that AWS's tools expect beside Lambda, on the same endpoint.
//!
//! ```text
//! request ─► credential scope: which service ─► signature, for that service ─► operation and input, by its protocol
//!         ─► the service's `run`, in the file of its name ─► answer or error, in its protocol's form
//! ```
//!
//! Nothing but the scope tells services apart, as on AWS, where each has a host name of its own. What has no signature, or one
//! for `lambda`, goes on to the other doors. Bearer tokens do not get in here: they name no service.
//!
//! Another service is a file here, a line in each of `Service`'s functions, and a model (`aws::service`).

mod events;
mod iam;
mod kept;
pub(crate) mod logs;
mod protocol;
pub(crate) mod s3;
mod scheduler;
mod sqs;
mod sts;
mod tags;
mod target;

use aws::AwsError;
use aws::service::{EVENTS, IAM, LOGS, Model, SCHEDULER, SQS, STS};
use aws::sigv4;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use http::header::{HOST, HeaderValue};
use model::RequestId;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Api;
use crate::actor::Actor;
use crate::audit::{self, Asked};
use crate::extract::read_within;
use crate::{lambda, packages};
use protocol::{JSON_1_1, Protocol};
pub(crate) use sqs::Sqs;

/// Longest body of a request to any of these services.
const MOST: usize = 2 * 1024 * 1024;

/// S3's scope.
const S3: &str = "s3";

/// A service other than Lambda, and other than S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Sts,
    Iam,
    Logs,
    Events,
    Scheduler,
    Sqs,
}

/// What an operation answers.
pub(crate) enum Reply {
    /// Nothing at all.
    Nothing,
    /// The output, in the service model's terms.
    Value(Value),
    /// What no value can say, like a stream.
    Whole(Response),
}

pub(crate) type Answer = Result<Reply, AwsError>;

/// Who makes a request.
pub(crate) struct Caller {
    pub actor: Actor,
    pub access_key_id: String,
    /// Where it came to: `http://127.0.0.1:9000`.
    pub endpoint: String,
}

/// Answers what is signed for one of these services; everything else goes on.
pub(crate) async fn divert(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(claimed) = sigv4::claimed(request.headers(), request.uri().query().unwrap_or_default()) else {
        return match s3::old_signature(&request) {
            true => s3::refuse_old_signature(&request),
            false => next.run(request).await,
        };
    };
    // Its requests are paths and bytes, which no protocol of the others reads.
    if claimed.service == S3 {
        return s3::handle(&api, request).await;
    }
    match Service::of(&claimed.service) {
        Some(service) => handle(&api, service, claimed.access_key_id, request).await,
        None if claimed.service == "lambda" => next.run(request).await,
        // No door of ours, whatever method and path say: somebody's client of yet another service.
        None => {
            let names: Vec<_> = Service::ALL.iter().map(|one| one.scope()).chain([S3]).collect();
            let message = format!(
                "Hearth has no service {:?}: it has lambda, {}",
                claimed.service.chars().take(40).collect::<String>(),
                names.join(", ")
            );
            let error = AwsError::new(StatusCode::BAD_REQUEST, "UnknownOperationException", message);
            Protocol::guess(&claimed.service, &request).error(&error, &RequestId::random())
        }
    }
}

async fn handle(api: &Api, service: Service, access_key_id: String, request: Request) -> Response {
    let id = RequestId::random();
    match answer(api, service, access_key_id, request, &id).await {
        Ok(response) => response,
        Err(error) => {
            if error.status.is_server_error() {
                tracing::warn!(request_id = %id, service = service.scope(), kind = error.kind, "{}", error.message);
            }
            let mut response = service.protocol().error(&error, &id);
            if service == Service::Sqs
                && let Ok(value) = HeaderValue::try_from(sqs::query_error(&error))
            {
                response.headers_mut().insert("x-amzn-query-error", value);
            }
            response
        }
    }
}

async fn answer(
    api: &Api,
    service: Service,
    access_key_id: String,
    request: Request,
    id: &RequestId,
) -> Result<Response, AwsError> {
    let (parts, body) = request.into_parts();
    lambda::require_known_key(api, &parts.headers, parts.uri.query().unwrap_or_default())?;
    let body = read_within(packages::UPLOAD, Request::new(body), service.longest()).await.map_err(lambda::refused)?;
    let actor = lambda::signature(api, &parts, &body, service.scope())?;
    let protocol = service.protocol();
    let (operation, input) = protocol.read(service.model(), &parts, &body)?;
    let name = operation.name.as_str();
    // Nothing here belongs to one function: it takes all rights, but to ask who one is.
    if service != Service::Sts && !actor.1.scopes.is_admin() {
        let text = format!(
            "{} is not authorized to perform {}:{name}: its token has no scope admin",
            actor.0,
            service.scope()
        );
        return Err(AwsError::access_denied(text));
    }
    // A signature covers it.
    let host = parts.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    let secure = api.platform.aws_credentials().endpoint.starts_with("https:");
    let scheme = if secure { "https" } else { "http" };
    let caller = Caller { actor, access_key_id, endpoint: format!("{scheme}://{host}") };
    tracing::debug!(request_id = %id, service = service.scope(), operation = name, by = caller.actor.0, "asked for");
    if !is_recorded(name) {
        return Ok(protocol.reply(operation, service.run(api, name, input, caller).await?, id));
    }
    let (action, from) = (format!("{}:{name}", service.scope()), parts.extensions.get().copied());
    let asked = Asked::of_aws(api, &action, parts.uri.path(), from).await.map_err(lambda::refused)?;
    let api = api.clone();
    let done = audit::to_the_end(async move {
        let holder = caller.actor.1.clone();
        let done = service.run(&api, name, input, caller).await;
        let (status, code) = match &done {
            Ok(_) => (StatusCode::OK, None),
            Err(error) => (error.status, error.fault),
        };
        asked.ended(&api, &holder, status, code).await;
        done
    });
    Ok(protocol.reply(operation, done.await?, id))
}

/// Whether an operation changes something that stays. Messages come and go.
fn is_recorded(operation: &str) -> bool {
    let reads = ["Get", "List", "Describe", "Filter", "Head", "Start", "Lookup"].iter();
    !reads.chain(&["Send", "Receive", "DeleteMessage", "ChangeMessage"]).any(|verb| operation.starts_with(verb))
}

// === impl Service ===

impl Service {
    const ALL: &[Self] = &[Self::Sts, Self::Iam, Self::Logs, Self::Events, Self::Scheduler, Self::Sqs];

    /// The service of a credential scope.
    fn of(scope: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.scope() == scope)
    }

    fn scope(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::Logs => "logs",
            Self::Events => "events",
            Self::Scheduler => "scheduler",
            Self::Sqs => "sqs",
        }
    }

    /// Its operations and their input; those that are not in it are unknown here.
    fn model(self) -> &'static Model {
        match self {
            Self::Sts => &STS,
            Self::Iam => &IAM,
            Self::Logs => &LOGS,
            Self::Events => &EVENTS,
            Self::Scheduler => &SCHEDULER,
            Self::Sqs => &SQS,
        }
    }

    /// Longest body of a request.
    fn longest(self) -> usize {
        match self {
            // Messages are 1 MB, each byte of which may take six in JSON.
            Self::Sqs => 8 * 1024 * 1024,
            _ => MOST,
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::Sts => {
                Protocol::Query { namespace: "https://sts.amazonaws.com/doc/2011-06-15/", version: "2011-06-15" }
            }
            Self::Iam => {
                Protocol::Query { namespace: "https://iam.amazonaws.com/doc/2010-05-08/", version: "2010-05-08" }
            }
            Self::Logs => Protocol::Json { target: "Logs_20140328", content_type: JSON_1_1 },
            Self::Events => Protocol::Json { target: "AWSEvents", content_type: JSON_1_1 },
            Self::Scheduler => Protocol::RestJson,
            Self::Sqs => Protocol::Json { target: "AmazonSQS", content_type: "application/x-amz-json-1.0" },
        }
    }

    async fn run(self, api: &Api, operation: &str, input: Value, caller: Caller) -> Answer {
        match self {
            Self::Sts => sts::run(api, operation, input, caller).await,
            Self::Iam => iam::run(api, operation, input, caller).await,
            Self::Logs => logs::run(api, operation, input, caller).await,
            Self::Events => events::run(api, operation, input, caller).await,
            Self::Scheduler => scheduler::run(api, operation, input, caller).await,
            Self::Sqs => sqs::run(api, operation, input, caller).await,
        }
    }
}

/// An input as a type: the model has seen to its constraints already.
fn read<T: DeserializeOwned>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|error| AwsError::serialization(error.to_string()))
}

/// What a service's `run` says to an operation of the model that it does not have.
fn unknown(operation: &str) -> AwsError {
    AwsError::new(
        StatusCode::BAD_REQUEST,
        "UnknownOperationException",
        format!("There is no operation {operation} here"),
    )
}
