//! Functions: made, read, changed and removed. A write's answer comes when calls see it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, StatusCode};
use model::{
    CodeHash, Egress, EnvValue, Fault, FaultCode, Function, FunctionName, FunctionSpec, HttpRoute, InvokeMode,
    Isolation, IsolationChoice, KeepPayloads, Mount, PinnedImage, SecretName, Source, UrlRules, Web,
};
use serde::{Deserialize, Serialize};
use store::StoreError;
use store::versions::{Deploy, How};
use utoipa::ToSchema;

use crate::actor::Actor;
use crate::asynchronous::AsyncView;
use crate::canary::CanaryView;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Segment};
use crate::platform::{IsolationView, KeepingView, Severity};
use crate::write::{CodeRef, FunctionWrite};
use crate::{Api, Shared, images, layers, mounts, program, sources};

/// How long a write waits until calls see it. It is durable before; this is only about the answer.
const SETTLE: Duration = Duration::from_secs(30);

/// How often a change is tried again that others overtook.
const ATTEMPTS: usize = 8;

/// A deployed function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunctionView {
    #[schema(example = "thumbnails")]
    pub name: String,
    pub description: String,
    #[schema(example = "python3.11")]
    pub runtime: String,
    /// The image that is its root file system, and which one it was when it was named; none: this machine's own `/usr`.
    #[schema(example = "python:3.11-slim@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    #[schema(example = "app.handler")]
    pub handler: String,
    /// Where its HTTP server listens, if it is one.
    #[schema(value_type = Option<serde_json::Value>, example = json!({"port": 8080}))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub web: Option<Web>,
    /// Its server, or what is run once for each event, if that was said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<Vec<String>>,
    #[schema(example = "256MB")]
    pub memory: String,
    #[schema(example = "10s")]
    pub timeout: String,
    /// Cores; none: in proportion to memory.
    #[schema(example = 0.5)]
    pub cpu: Option<f64>,
    #[schema(example = "512MB")]
    pub tmp: String,
    /// An isolation, `auto`, or shares of the calls: `{"namespace": 90, "gvisor": 10}`.
    #[schema(value_type = serde_json::Value, example = "namespace")]
    pub isolation: IsolationChoice,
    /// No sandbox of it is made with a weaker one than this.
    #[schema(value_type = Option<String>, example = "gvisor")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_least: Option<Isolation>,
    /// Texts, and references to secrets: `{"secret": "photo-api-key"}`. No secret's value is ever in here.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub env: BTreeMap<String, EnvValue>,
    /// Files below `/run/secrets`, and the secret that each holds.
    #[schema(value_type = BTreeMap<String, String>)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub secrets: BTreeMap<String, SecretName>,
    /// Folders of the host's: `{"host": "/srv/photos", "path": "/mnt/photos", "read_only": true}`.
    #[schema(value_type = Vec<serde_json::Value>)]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mounts: Vec<Mount>,
    /// Packages that are seen at `/opt`, `NAME:VERSION` each.
    #[schema(example = json!(["deps:3"]))]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub layers: Vec<String>,
    pub scale: ScaleView,
    /// What `idle = "auto"` does at present, on each isolation; empty where the function says a time itself.
    #[serde(default)]
    pub keeping: Vec<KeepingView>,
    /// Whether instances go on from an image that was made after init.
    #[serde(default)]
    pub snapstart: bool,
    /// `none`, `internet`, `lan`, or a list of addresses.
    #[schema(value_type = serde_json::Value, example = "none")]
    pub egress: Egress,
    /// Routes on the ingress that it answers.
    #[schema(value_type = Vec<serde_json::Value>, example = json!([{"route": "POST /thumbs/{name}"}]))]
    #[serde(rename = "http", skip_serializing_if = "Vec::is_empty", default)]
    pub routes: Vec<HttpRoute>,
    /// Whether the ingress answers for it at its own URL.
    pub url: bool,
    /// Whether the ingress gives answers whole, `buffered`, or as the function writes them, `stream`.
    #[schema(value_type = String, example = "buffered")]
    #[serde(default)]
    pub invoke_mode: InvokeMode,
    /// What holds there, if anything does.
    #[schema(value_type = Option<serde_json::Value>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url_rules: Option<UrlRules>,
    /// Where it answers, if it does.
    #[schema(example = "http://127.0.0.1:8080/fn/thumbnails/")]
    pub invoke_url: Option<String>,
    /// What becomes of events that nobody waits for.
    #[serde(rename = "async", default)]
    pub asynchronous: AsyncView,
    /// What is kept of its calls.
    #[serde(default)]
    pub records: RecordsView,
    /// Where else its events come from; how they fare, `GET /api/v1/sources` tells.
    #[schema(value_type = Vec<serde_json::Value>)]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sources: Vec<Source>,
    /// Goes up with every change of code or configuration; also the `ETag`.
    pub revision: u64,
    /// While the newest revision is tried on a share of the calls.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub canary: Option<CanaryView>,
    pub code: CodeView,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub modified: String,
}

/// What is kept of a function's calls beside their records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordsView {
    /// Events and answers: `none`, of calls that fail (`errors`), or `all`.
    #[schema(value_type = String, example = "none")]
    pub payloads: KeepPayloads,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScaleView {
    pub min: u32,
    pub max: u32,
    pub concurrency: u32,
    #[schema(example = "auto")]
    pub idle: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CodeView {
    pub sha256: String,
    /// Bytes, as uploaded.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunctionList {
    pub functions: Vec<FunctionView>,
}

/// All functions that the token may see, by name
#[utoipa::path(get, path = "/api/v1/functions", operation_id = "list_functions", tag = "functions",
    responses((status = 200, body = FunctionList)))]
pub(crate) async fn list(State(api): State<Api>, actor: Actor) -> Result<Json<FunctionList>, ApiError> {
    let mut functions = api.functions.list().await?;
    let scopes = &actor.1.scopes;
    functions.retain(|function| scopes.may_read() || scopes.may_deploy(function.spec.name.as_str()));
    let mut canaries: BTreeMap<FunctionName, CanaryView> = BTreeMap::new();
    for canary in api.versions.canaries().await? {
        canaries.insert(canary.function.clone(), canary.into());
    }
    let seen = |function: Function| {
        let canary = canaries.remove(&function.spec.name);
        FunctionView { canary, ..view(&api, function) }
    };
    Ok(Json(FunctionList { functions: functions.into_iter().map(seen).collect() }))
}

/// One function
#[utoipa::path(get, path = "/api/v1/functions/{name}", operation_id = "get_function", tag = "functions",
    params(("name" = String, Path)),
    responses((status = 200, body = FunctionView), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(api): State<Api>, Segment(name): Segment<FunctionName>) -> Result<Response, ApiError> {
    let function = api.functions.get(&name).await?;
    let canary = crate::canary::running(&api, &name).await?.map(CanaryView::from);
    Ok(tagged(StatusCode::OK, FunctionView { canary, ..view(&api, function) }))
}

/// Make a function, or replace it whole
///
/// What is not said gets its default. With `If-Match: "REVISION"` only if it is still at that revision, with
/// `If-None-Match: *` only if it does not exist.
#[utoipa::path(put, path = "/api/v1/functions/{name}", operation_id = "put_function", tag = "functions",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body = FunctionWrite,
    responses((status = 200, description = "replaced", body = FunctionView),
        (status = 201, description = "made", body = FunctionView),
        (status = 400, body = ErrorBody),
        (status = 409, description = "another function has the route", body = ErrorBody),
        (status = 412, description = "it changed meanwhile", body = ErrorBody),
        (status = 422, description = "package, runtime, isolation, secret or mount is not here", body = ErrorBody)))]
pub(crate) async fn put(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    actor: Actor,
    headers: HeaderMap,
    Input(write): Input<FunctionWrite>,
) -> Result<Response, ApiError> {
    let (function, existed) = make(&api, name, precondition(&headers)?, write, actor).await.map_err(|error| {
        if error.code() == FaultCode::Conflict { error.with_status(StatusCode::PRECONDITION_FAILED) } else { error }
    })?;
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(answer(&api, status, function))
}

/// A function out of what is said, in the place of the one of that name, and whether there was one.
pub(crate) async fn make(
    api: &Shared,
    name: FunctionName,
    expect: Option<u64>,
    mut write: FunctionWrite,
    actor: Actor,
) -> Result<(Function, bool), ApiError> {
    // No image goes until the function that refers to it is there.
    let _turn = api.image_use.read().await;
    let image = pinned(api, &write).await?.flatten();
    if write.code.is_none() && images::needs_no_code(write.runtime.as_ref()) {
        write.code = Some(CodeRef { sha256: api.packages.add(Bytes::from_static(images::NOTHING)).await? });
    }
    if let Some(wanted) = &write.layers {
        write.found_layers = Some(layers::found(api, wanted, None).await?);
    }
    let (spec, code) = write.create(name, image)?;
    let before = match api.functions.get(&spec.name).await {
        Ok(function) => Some(function),
        Err(StoreError::NoSuchFunction(_)) => None,
        Err(error) => return Err(error.into()),
    };
    actor.require_may_give(&spec, before.as_ref().map(|function| &function.spec))?;
    require_fits_here(api, &spec, &code).await?;
    let existed = before.is_some();
    let deploy = Deploy { spec, code, expect, by: actor.0, how: How::Deploy };
    let function = api.versions.deploy(deploy).await?;
    settle(api, &function.spec.name).await?;
    Ok((function, existed))
}

/// Change a function
///
/// What is not said stays. Environment variables are merged; null removes one.
#[utoipa::path(patch, path = "/api/v1/functions/{name}", operation_id = "patch_function", tag = "functions",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = FunctionWrite,
    responses((status = 200, body = FunctionView),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 412, description = "it changed meanwhile", body = ErrorBody),
        (status = 422, description = "package, runtime, isolation, secret or mount is not here", body = ErrorBody)))]
pub(crate) async fn patch(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    actor: Actor,
    headers: HeaderMap,
    Input(write): Input<FunctionWrite>,
) -> Result<Response, ApiError> {
    let function = change(&api, &name, precondition(&headers)?, write, How::Deploy, actor).await?;
    Ok(answer(&api, StatusCode::OK, function))
}

/// A new revision that differs in what is said, of which `how` says what it gets.
pub(crate) async fn change(
    api: &Shared,
    name: &FunctionName,
    expect: Option<u64>,
    mut write: FunctionWrite,
    how: How,
    actor: Actor,
) -> Result<Function, ApiError> {
    let moves = write.runtime.is_some() || write.isolation.is_some() || write.at_least.is_some();
    let _turn = api.image_use.read().await;
    let image = pinned(api, &write).await?;
    if let Some(wanted) = &write.layers {
        let before = api.functions.get(name).await?.spec.layers;
        write.found_layers = Some(layers::found(api, wanted, before.as_ref()).await?);
    }
    for attempt in 1.. {
        let Function { mut spec, revision, code, .. } = api.functions.get(name).await?;
        let code = write.code.as_ref().map_or(code, |code| code.sha256.clone());
        let before = spec.clone();
        write.clone().apply(&mut spec, image.clone())?;
        actor.require_may_give(&spec, Some(&before))?;
        if moves || write.mounts.is_some() {
            mounts::require_allowed(api, &spec)?;
        }
        if write.layers.is_some() || write.code.is_some() {
            layers::require_fit(api, &spec, &code).await?;
        }
        if write.sources.is_some() || write.asynchronous.is_some() {
            sources::require_there(api, &spec).await?;
        }
        // A function whose runtime has gone can still be repaired in other ways.
        if moves || image.is_some() {
            require_works_here(api, &spec)?;
            images::require_fits(api, &spec).await?;
        }
        if moves || image.is_some() || write.code.is_some() || write.command.is_some() || write.web.is_some() {
            program::require_runs(api, &spec, &code).await?;
        }
        let expected = Some(expect.unwrap_or(revision.0));
        let deploy = Deploy { spec, code, expect: expected, by: actor.0.clone(), how: how.clone() };
        match api.versions.deploy(deploy).await {
            Ok(function) => {
                settle(api, name).await?;
                return Ok(function);
            }
            // Others wrote in between; ours is a change of theirs as well as of what we read.
            Err(StoreError::Conflict { .. }) if expect.is_none() && attempt < ATTEMPTS => {}
            Err(error) if expect.is_some() => return Err(precondition_failed(error)),
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the loop returns at its last attempt")
}

/// Remove a function
///
/// Calls that run are answered; new ones are not taken.
#[utoipa::path(delete, path = "/api/v1/functions/{name}", operation_id = "delete_function", tag = "functions",
    params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    actor: Actor,
) -> Result<StatusCode, ApiError> {
    api.versions.remove(&name, &actor.0).await?;
    settle(&api, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is said of the image: which one it is now.
async fn pinned(api: &Shared, write: &FunctionWrite) -> Result<Option<Option<PinnedImage>>, ApiError> {
    Ok(match &write.image {
        None => None,
        Some(None) => Some(None),
        Some(Some(name)) => Some(Some(images::pin(api, name).await?)),
    })
}

pub(crate) fn answer(api: &Shared, status: StatusCode, function: Function) -> Response {
    tagged(status, view(api, function))
}

fn tagged(status: StatusCode, view: FunctionView) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{}\"", view.revision));
    let mut response = (status, Json(view)).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn view(api: &Shared, function: Function) -> FunctionView {
    let Function { spec, version: _, revision, code, code_size, modified } = function;
    let FunctionSpec {
        name,
        description,
        runtime,
        image,
        handler,
        web,
        command,
        memory,
        timeout,
        cpu,
        tmp,
        isolation,
        at_least,
        env,
        secrets,
        mounts,
        layers,
        scale,
        egress,
        snapstart,
        url,
        invoke_mode,
        url_rules,
        routes,
        asynchronous,
        records,
        // At /api/v1/schedules, with how far they have come.
        schedules: _,
        // For AWS's own tools.
        aws: _,
        sources,
    } = spec;
    FunctionView {
        keeping: api.platform.keeping(&name),
        invoke_url: url.then(|| format!("{}/fn/{name}/", api.ingress)),
        name: name.into(),
        description,
        runtime: runtime.into(),
        image: image.map(|image| image.to_string()),
        handler,
        web,
        command,
        memory: memory.to_string(),
        timeout: model::show_duration(timeout),
        cpu: cpu.map(|cpu| f64::from(cpu.as_millis()) / 1000.0),
        tmp: tmp.to_string(),
        isolation,
        at_least,
        env,
        secrets,
        mounts,
        layers: layers.iter().flat_map(|layers| &layers.versions).map(ToString::to_string).collect(),
        scale: ScaleView {
            min: scale.min,
            max: scale.max,
            concurrency: scale.concurrency,
            idle: scale.idle.to_string(),
        },
        snapstart,
        egress,
        url,
        invoke_mode,
        url_rules: (!url_rules.is_default()).then_some(url_rules),
        routes,
        asynchronous: asynchronous.into(),
        records: RecordsView { payloads: records.payloads },
        sources,
        revision: revision.0,
        canary: None,
        code: CodeView { sha256: CodeHash::into(code), size: code_size },
        modified: modified.rfc3339(),
    }
}

/// Waits until calls see every change up to now, ours among them.
pub(crate) async fn settle(api: &Shared, name: &impl std::fmt::Display) -> Result<(), ApiError> {
    let change = *api.functions.changes().borrow();
    tokio::time::timeout(SETTLE, api.platform.settled(change)).await.map_err(|_| {
        let message = format!("the change of {name} is kept, but calls do not see it yet: look at `hearth list` again");
        let detail = format!("change {change} not settled within {SETTLE:?}");
        Fault::new(FaultCode::Internal, message).with_detail(detail).into()
    })
}

/// All that a whole function needs here.
pub(crate) async fn require_fits_here(api: &Shared, spec: &FunctionSpec, code: &CodeHash) -> Result<(), ApiError> {
    require_works_here(api, spec)?;
    mounts::require_allowed(api, spec)?;
    sources::require_there(api, spec).await?;
    images::require_fits(api, spec).await?;
    layers::require_fit(api, spec, code).await?;
    program::require_runs(api, spec, code).await
}

/// Never a silent downgrade: what does not work here is refused, in the doctor's words.
fn require_works_here(api: &Shared, spec: &FunctionSpec) -> Result<(), ApiError> {
    let known = api.platform.isolations();
    let why_not = |isolation: Isolation| {
        let why = why_not(&known, isolation)?;
        Some(format!("the {isolation} isolation does not work here ({why})"))
    };
    let refused = match &spec.isolation {
        IsolationChoice::Auto => {
            let strong = Isolation::ALL.iter().filter(|one| one.meets(spec.at_least));
            // One that works is enough; if none does, each says why.
            strong.map(|one| why_not(*one)).collect::<Option<Vec<_>>>().map(|all| all.join(", and "))
        }
        choice => choice.named().into_iter().find_map(|(one, _)| why_not(one)),
    };
    if let Some(why) = refused {
        let message = format!("{why}: `hearth doctor` tells what to do");
        return Err(Fault::new(FaultCode::IsolationUnavailable, message).into());
    }
    if !spec.egress.is_none() {
        require_network(&known, spec)?;
    }
    if spec.image.is_some() {
        // The image's own.
        return Ok(());
    }
    let runtimes = api.platform.runtimes();
    if !runtimes.iter().any(|one| one.works && one.name == spec.runtime) {
        let here: Vec<_> = runtimes.iter().filter(|one| one.works).map(|one| one.name.to_string()).collect();
        let here = if here.is_empty() { "none".to_owned() } else { here.join(", ") };
        let message = format!("the runtime {} is not on this machine; here are: {here}", spec.runtime);
        return Err(Fault::new(FaultCode::RuntimeUnavailable, message).into());
    }
    Ok(())
}

/// Where a function shall reach something, each isolation that it may run on has to let it.
fn require_network(known: &[IsolationView], spec: &FunctionSpec) -> Result<(), ApiError> {
    let works = |isolation: Isolation| why_not(known, isolation).is_none();
    let without = spec.isolation.resolve(spec.at_least, works).into_iter().find_map(|(isolation, _)| {
        let found = known.iter().find(|one| one.isolation == isolation)?;
        Some((isolation, found.no_egress.clone()?))
    });
    let Some((isolation, why)) = without else { return Ok(()) };
    let message = format!(
        "egress = {} cannot be had with the {isolation} isolation here ({why}): expected egress = none, or another \
         isolation",
        spec.egress
    );
    Err(Fault::new(FaultCode::IsolationUnavailable, message).into())
}

/// Why an isolation does not work here, in the doctor's words; none if it does.
pub(crate) fn why_not(known: &[IsolationView], isolation: Isolation) -> Option<String> {
    let found = known.iter().find(|one| one.isolation == isolation);
    if found.is_some_and(|one| one.works) {
        return None;
    }
    let why = found.into_iter().flat_map(|one| &one.findings).filter(|f| f.severity == Severity::Missing);
    let why: Vec<_> = why.map(|f| format!("{}: {}", f.subject, f.state)).collect();
    Some(if why.is_empty() { "it is not built in".to_owned() } else { why.join("; ") })
}

/// The revision that the caller says the function is at; 0: it does not exist.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let read = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    let revision = match read(header::IF_MATCH) {
        None => None,
        Some(text) => {
            let number = text.trim_matches('"').parse().ok().filter(|number| *number > 0);
            let bad = || ApiError::invalid(r#"If-Match: expected a revision, like "3""#);
            Some(number.ok_or_else(bad)?)
        }
    };
    match (revision, read(header::IF_NONE_MATCH)) {
        (revision, None) => Ok(revision),
        (None, Some("*")) => Ok(Some(0)),
        _ => Err(ApiError::invalid("If-None-Match: expected *, and no If-Match beside it")),
    }
}

fn precondition_failed(error: StoreError) -> ApiError {
    let error = ApiError::from(error);
    match error.code() {
        FaultCode::Conflict => error.with_status(StatusCode::PRECONDITION_FAILED),
        _ => error,
    }
}
