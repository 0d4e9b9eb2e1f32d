//! AWS Lambda's own API, over the same store as ours.
//!
//! ```text
//! request ─► service model: which operation ─► bearer token, or signature over the body ─► input, checked by the model ─► scopes
//!         ─► the operation, in the file of its noun ─► answer
//! ```
//!
//! Invoke is not here: it is the gateway's. What is not supported says so with an error of AWS's kind.

mod account;
mod aliases;
mod concurrency;
mod configuration;
mod events;
mod functions;
mod layers;
mod lookup;
mod mappings;
mod policies;
mod provisioned;
mod settings;
#[cfg(test)]
mod table;
mod tags;
mod unconfigured;
mod urls;
mod versions;

use std::sync::Arc;
use std::time::Instant;

use aws::AwsError;
use aws::service::{Found, LAMBDA};
use aws::sigv4::{self, SignedRequest};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use model::{FaultCode, RequestId, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Api;
use crate::access::{self, Refusal};
use crate::actor::Actor;
use crate::audit::{self, Asked};
use crate::auth::too_often;
use crate::error::ApiError;
use crate::extract::read_within;
use crate::holders::Holder;
use crate::packages;

/// Longest body: AWS's 50 MB of package in base64, and what stands around it.
const MOST: usize = 70 * 1024 * 1024;
/// Longest body of what carries no package.
const SMALL: usize = 1024 * 1024;

/// The secrets of access keys, for signatures to be checked.
pub trait AccessKeys: Send + Sync {
    /// Of a key that is valid and has all rights: for what knows no scopes.
    fn secret(&self, access_key_id: &str) -> Option<String>;

    /// What belongs to an id of ours, whether it was ever handed out or not: whose it is, and whether it is valid, says
    /// [`crate::TokenSet::of_access_key`].
    fn secret_of(&self, access_key_id: &str) -> Option<String>;
}

/// An answer's body; none where AWS sends none.
type Answer = Result<Option<Value>, AwsError>;

/// The paths of Lambda's API, each with the dates that its versions have.
pub(crate) fn router(api: Api) -> Router {
    let dates = LAMBDA.operations().filter_map(|operation| operation.path().split('/').nth(1));
    let dates: std::collections::BTreeSet<&str> = dates.collect();
    let mut router = Router::new();
    for date in dates {
        router = router.route(&format!("/{date}/{{*rest}}"), any(handle));
    }
    router.with_state(api)
}

async fn handle(State(api): State<Api>, request: Request) -> Response {
    let id = RequestId::random();
    let mut response = match answer(&api, request).await {
        Ok(response) => response,
        Err(error) => {
            if error.status.is_server_error() {
                tracing::warn!(request_id = %id, kind = error.kind, "{}", error.message);
            }
            error.response(&id)
        }
    };
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

async fn answer(api: &Api, request: Request) -> Result<Response, AwsError> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let found = find_operation(&parts, query)?;
    let name = found.operation.name.as_str();
    // Before the body is read: a stranger shall not make us hold a package.
    let authorized = bearer(api, &parts.headers, query)?;
    match &authorized {
        Some(holder) => admit(api, holder)?,
        None => require_known_key(api, &parts.headers, query)?,
    }
    let package = matches!(name, "CreateFunction" | "UpdateFunctionCode" | "PublishLayerVersion");
    let _place = if package { Some(api.uploads.acquire().await) } else { None };
    let limit = if package { MOST } else { SMALL };
    let body = read_within(packages::UPLOAD, Request::new(body), limit).await.map_err(refused)?;
    let actor = match authorized {
        Some(holder) => Actor::token(holder),
        None => signature(api, &parts, &body, "lambda")?,
    };
    if parts.method == Method::GET {
        return carry_out(api, &parts, &body, actor).await;
    }
    let object = named(&found, query, &parts.headers, &body).unwrap_or_else(|| parts.uri.path().to_owned());
    let (action, from) = (format!("lambda:{name}"), parts.extensions.get().copied());
    let asked = Asked::of_aws(api, &action, &object, from).await.map_err(refused)?;
    let api = api.clone();
    audit::to_the_end(async move {
        let holder = actor.1.clone();
        let done = carry_out(&api, &parts, &body, actor).await;
        let (status, code) = match &done {
            Ok(response) => (response.status(), None),
            Err(error) => (error.status, error.fault),
        };
        asked.ended(&api, &holder, status, code).await;
        done
    })
    .await
}

async fn carry_out(api: &Api, parts: &Parts, body: &[u8], actor: Actor) -> Result<Response, AwsError> {
    let query = parts.uri.query().unwrap_or_default();
    let found = find_operation(parts, query)?;
    let name = found.operation.name.as_str();
    let input = LAMBDA.input(&found, query, &parts.headers, body)?;
    require_scope(name, &input, &actor)?;
    let value = run(api, name, input, actor).await?;
    let mut response = Response::new(value.map_or_else(Body::empty, |value| Body::from(value.to_string())));
    *response.status_mut() = StatusCode::from_u16(found.operation.status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn find_operation<'a>(parts: &'a Parts, query: &'a str) -> Result<Found<'a>, AwsError> {
    LAMBDA.find(&parts.method, parts.uri.path(), query).ok_or_else(|| {
        let message = format!("{} {} is no operation of AWS Lambda's API", parts.method, parts.uri.path());
        AwsError::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
    })
}

/// The function that a request names, for its record.
fn named(found: &Found<'_>, query: &str, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let input = LAMBDA.input(found, query, headers, body).ok()?;
    let name = ["FunctionName", "Resource"].iter().find_map(|member| input.get(member)?.as_str())?;
    Some(format!("functions/{}", name.parse::<aws::FunctionRef>().ok()?.name))
}

/// What is here. The table in docs/lambda-api.md is held to this by a test.
async fn run(api: &Api, operation: &str, input: Value, actor: Actor) -> Answer {
    match operation {
        "CreateFunction" => functions::create(api, read(input)?, actor).await,
        "GetFunction" => functions::get(api, read(input)?).await,
        "GetFunctionConfiguration" => functions::configuration(api, read(input)?).await,
        "ListFunctions" => functions::list(api, read(input)?).await,
        "UpdateFunctionCode" => functions::update_code(api, read(input)?, actor).await,
        "UpdateFunctionConfiguration" => functions::update_configuration(api, read(input)?, actor).await,
        "DeleteFunction" => functions::delete(api, read(input)?, actor).await,
        "PublishVersion" => versions::publish(api, read(input)?, actor).await,
        "ListVersionsByFunction" => versions::list(api, read(input)?).await,
        "CreateAlias" => aliases::create(api, read(input)?, actor).await,
        "UpdateAlias" => aliases::update(api, read(input)?, actor).await,
        "GetAlias" => aliases::get(api, read(input)?).await,
        "ListAliases" => aliases::list(api, read(input)?).await,
        "DeleteAlias" => aliases::delete(api, read(input)?, actor).await,
        "TagResource" => tags::add(api, read(input)?, actor).await,
        "UntagResource" => tags::remove(api, read(input)?, actor).await,
        "ListTags" => tags::list(api, read(input)?).await,
        "PutFunctionConcurrency" => concurrency::put(api, read(input)?, actor).await,
        "GetFunctionConcurrency" => concurrency::get(api, read(input)?).await,
        "DeleteFunctionConcurrency" => concurrency::delete(api, read(input)?, actor).await,
        "PutFunctionEventInvokeConfig" => events::put(api, read(input)?, actor).await,
        "UpdateFunctionEventInvokeConfig" => events::update(api, read(input)?, actor).await,
        "GetFunctionEventInvokeConfig" => events::get(api, read(input)?).await,
        "ListFunctionEventInvokeConfigs" => events::list(api, read(input)?).await,
        "DeleteFunctionEventInvokeConfig" => events::delete(api, read(input)?, actor).await,
        "CreateFunctionUrlConfig" => urls::create(api, read(input)?, actor).await,
        "UpdateFunctionUrlConfig" => urls::update(api, read(input)?, actor).await,
        "GetFunctionUrlConfig" => urls::get(api, read(input)?).await,
        "ListFunctionUrlConfigs" => urls::list(api, read(input)?).await,
        "DeleteFunctionUrlConfig" => urls::delete(api, read(input)?, actor).await,
        "PublishLayerVersion" => layers::publish(api, read(input)?, actor).await,
        "GetLayerVersion" => layers::get(api, read(input)?).await,
        "GetLayerVersionByArn" => layers::get_by_arn(api, read(input)?).await,
        "ListLayerVersions" => layers::versions(api, read(input)?).await,
        "ListLayers" => layers::list(api, read(input)?).await,
        "DeleteLayerVersion" => layers::delete(api, read(input)?).await,
        "AddPermission" => policies::add(api, read(input)?).await,
        "GetPolicy" => policies::get(api, read(input)?).await,
        "RemovePermission" => policies::remove(api, read(input)?).await,
        "AddLayerVersionPermission" => policies::add_to_layer(api, read(input)?).await,
        "GetLayerVersionPolicy" => policies::get_of_layer(api, read(input)?).await,
        "RemoveLayerVersionPermission" => policies::remove_from_layer(api, read(input)?).await,
        "CreateEventSourceMapping" => mappings::create(api, read(input)?, actor).await,
        "GetEventSourceMapping" => mappings::get(api, read(input)?).await,
        "ListEventSourceMappings" => mappings::list(api, read(input)?).await,
        "UpdateEventSourceMapping" => mappings::update(api, read(input)?, actor).await,
        "DeleteEventSourceMapping" => mappings::delete(api, read(input)?, actor).await,
        "PutProvisionedConcurrencyConfig" => provisioned::put(api, read(input)?).await,
        "GetProvisionedConcurrencyConfig" => provisioned::get(api, read(input)?).await,
        "ListProvisionedConcurrencyConfigs" => provisioned::list(api, read(input)?).await,
        "DeleteProvisionedConcurrencyConfig" => provisioned::delete(api, read(input)?).await,
        "GetAccountSettings" => account::settings(api).await,
        _ => unconfigured::answer(api, operation, &input).await,
    }
}

/// Names of the operations that [`run`] supports, for the table.
#[cfg(test)]
pub(crate) fn supported() -> Vec<&'static str> {
    let own = include_str!("mod.rs");
    own.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => ")).map(|(name, _)| name).collect()
}

fn read<T: DeserializeOwned>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|error| AwsError::serialization(error.to_string()))
}

/// Whose token it is; none if a signature has to be checked, an error for neither.
fn bearer(api: &Api, headers: &HeaderMap, query: &str) -> Result<Option<Arc<Holder>>, AwsError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (text, more) = (given.next().map(|value| value.to_str().unwrap_or_default()), given.next());
    match text.filter(|_| more.is_none()).and_then(|text| api.tokens.of_authorization(text)) {
        Some(holder) => Ok(Some(holder)),
        None if sigv4::is_signed(headers, query) => Ok(None),
        None if text.is_some() => Err(AwsError::access_denied("the bearer token is not valid")),
        None => Err(AwsError::from(&sigv4::SigError::Missing)),
    }
}

/// Who signed a request for that service.
pub(crate) fn signature(api: &Api, parts: &Parts, body: &[u8], service: &'static str) -> Result<Actor, AwsError> {
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let signed = SignedRequest { method: &parts.method, path, query, headers: &parts.headers, body };
    let secret = |id: &str| api.tokens.of_access_key(id).and_then(|_| api.keys.secret_of(id));
    let identity = sigv4::verify(&signed, service, secret, Timestamp::now()).map_err(|error| AwsError::from(&error))?;
    // Revoked since then: a moment ago.
    let holder = api.tokens.of_access_key(&identity.access_key_id);
    let holder = holder.ok_or_else(|| AwsError::from(&sigv4::SigError::UnknownKey))?;
    admit(api, &holder)?;
    Ok(Actor::access_key(&identity.access_key_id, holder))
}

/// Refuses a request that names an access key that nobody has, before its body is read: its signature covers the body, and a
/// stranger shall not make us hold that.
pub(crate) fn require_known_key(api: &Api, headers: &HeaderMap, query: &str) -> Result<(), AwsError> {
    let claimed = sigv4::claimed(headers, query);
    match claimed.and_then(|claimed| api.tokens.of_access_key(&claimed.access_key_id)) {
        Some(_) => Ok(()),
        None => Err(AwsError::from(&sigv4::SigError::UnknownKey)),
    }
}

/// Counts a request of its holder's.
pub(crate) fn admit(api: &Api, holder: &Holder) -> Result<(), AwsError> {
    api.tokens.admit(holder, Instant::now()).map_err(|wait| AwsError::from(&too_often(wait).into_fault()))
}

/// Refuses what the token of the actor may not do. What names no function of ours is left to the operation to refuse, but
/// for a holder of all rights only.
fn require_scope(operation: &str, input: &Value, actor: &Actor) -> Result<(), AwsError> {
    // The member that the operation itself reads, whatever stands beside it.
    let member =
        if matches!(operation, "TagResource" | "UntagResource" | "ListTags") { "Resource" } else { "FunctionName" };
    let named = input.get(member).and_then(Value::as_str).and_then(|text| text.parse::<aws::FunctionRef>().ok());
    let name = named.as_ref().map(|function| function.name.as_str());
    access::of_lambda(operation).check(&actor.1.scopes, name).map_err(|refusal| match (refusal, &named) {
        (Refusal::Absent(_), Some(function)) => lookup::absent(&function.name, None),
        (Refusal::Absent(name) | Refusal::Missing(name), _) => AwsError::access_denied(format!(
            "{} is not authorized to perform lambda:{operation}: its token has no scope {name}",
            actor.0
        )),
    })
}

/// What our own API says, as AWS says it. What cannot be here is the caller's mistake, as a runtime is on AWS that there
/// is none of.
pub(crate) fn refused(error: ApiError) -> AwsError {
    let fault = error.into_fault();
    match fault.code {
        FaultCode::IsolationUnavailable
        | FaultCode::RuntimeUnavailable
        | FaultCode::SecretUnusable
        | FaultCode::MountRefused => AwsError::invalid_parameter(fault.message.clone()).with_fault(fault.code),
        _ => AwsError::from(&fault),
    }
}

pub(crate) fn store(error: store::StoreError) -> AwsError {
    refused(error.into())
}
