//! Images: pulled from a registry or imported from an archive, listed, removed. What they are kept in is asked through
//! a trait, [`Images`].
//!
//! A pull's answer is a line of JSON for each step, and one more for how it ended: the status of the answer only says
//! that it began. Credentials come with the request and are gone with it.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt, unfold};
use http::StatusCode;
use http::header;
use model::{Fault, FaultCode, FunctionSpec, ImageDigest, Language, PinnedImage, Runtime};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Params, Segment, require_content_type};
use crate::platform::BoxFuture;
use crate::{Api, Shared};

/// A zip that holds one empty file: the package of a function that is all in its image.
pub(crate) const NOTHING: &[u8] = &[
    80, 75, 3, 4, 20, 0, 0, 0, 0, 0, 0, 0, 33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 46, 104, 101, 97,
    114, 116, 104, 80, 75, 1, 2, 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 164, 129, 0, 0, 0, 0, 46, 104, 101, 97, 114, 116, 104, 80, 75, 5, 6, 0, 0, 0, 0, 1, 0, 1,
    0, 53, 0, 0, 0, 37, 0, 0, 0, 0, 0,
];

/// How long a pull that is silent is said to go on.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The archive of an import, as it comes.
pub type Archive = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

/// The images that are on this machine.
pub trait Images: Send + Sync + 'static {
    /// All of them, without who uses them.
    fn list(&self) -> ImageList;

    /// The one that a person means: by name, by digest, or by the first digits of that.
    fn find(&self, name: &str) -> Result<ImageView, Fault>;

    /// Whether a function of that runtime can run in it; in words for the caller if not.
    fn fits(&self, image: ImageDigest, runtime: Runtime) -> BoxFuture<'_, Result<(), Fault>>;

    /// It is about to be used.
    fn touch(&self, image: ImageDigest) -> BoxFuture<'_, Result<(), Fault>>;

    /// Begins a pull, for which `in_use` is not removed. Dropped, it is given up.
    fn pull(&self, pull: ImagePull, in_use: HashSet<ImageDigest>) -> Result<Box<dyn Pulling>, Fault>;

    /// Takes an archive in, whole, and begins to unpack it.
    fn import(
        &self,
        archive: Archive,
        name: Option<String>,
        in_use: HashSet<ImageDigest>,
    ) -> BoxFuture<'_, Result<Box<dyn Pulling>, Fault>>;

    /// Removes one that is not in use.
    fn remove(&self, image: ImageDigest, in_use: HashSet<ImageDigest>) -> BoxFuture<'_, Result<(), Fault>>;
}

/// A pull that runs.
pub trait Pulling: Send {
    /// How far it is, when it is further; none at its end. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Option<PullProgress>>;

    /// What came of it.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<ImageView, Fault>>;
}

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ImageView {
    /// Of its manifest.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub digest: String,
    /// What it was last pulled as; empty once its tags have moved to other images.
    pub names: Vec<String>,
    /// What it takes on disk.
    pub bytes: u64,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// The names of its environment variables.
    pub env: Vec<String>,
    pub work_dir: String,
    pub user: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub pulled: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub used: String,
    /// The functions that run in it.
    #[serde(default)]
    pub functions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ImageList {
    pub images: Vec<ImageView>,
    /// Bytes that they take together.
    pub bytes: u64,
    /// Bytes that they may take.
    pub budget: u64,
}

/// What to pull, and who asks for it.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagePull {
    /// `[registry/]name[:tag|@sha256:…]`
    #[schema(example = "docker.io/library/python:3.11-slim")]
    pub reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<ImageCredentials>,
}

/// For the registry. Neither kept nor logged.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum ImageCredentials {
    Basic {
        user: String,
        password: String,
    },
    /// Sent as it is.
    Bearer(String),
    /// Exchanged for short-lived ones: `identitytoken` of Docker's `config.json`.
    Identity(String),
}

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PullProgress {
    /// `resolving`, `downloading` or `unpacking`.
    #[schema(example = "downloading")]
    pub phase: String,
    pub layers_done: u64,
    pub layers: u64,
    /// Of packed layers; they begin again with each phase.
    pub bytes_done: u64,
    pub bytes: u64,
}

/// One line of a pull's answer: a step, or, in the last line, what came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct PullLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<PullProgress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<PullError>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PullError {
    #[schema(value_type = String, example = "HEARTH-C008")]
    pub code: FaultCode,
    pub message: String,
}

/// What was removed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct PrunedImages {
    pub images: Vec<ImageView>,
    pub bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportParams {
    /// Which one of several in the archive.
    name: Option<String>,
}

/// All images
#[utoipa::path(get, path = "/api/v1/images", operation_id = "list_images", tag = "images",
    responses((status = 200, body = ImageList)))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<ImageList>, ApiError> {
    let mut list = api.images.list();
    let users = users(&api).await?;
    list.images.iter_mut().for_each(|image| fill(image, &users));
    Ok(Json(list))
}

/// One image
#[utoipa::path(get, path = "/api/v1/images/{name}", operation_id = "get_image", tag = "images",
    params(("name" = String, Path, description = "a reference or a digest, percent-encoded")),
    responses((status = 200, body = ImageView), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(api): State<Api>, Segment(name): Segment<String>) -> Result<Json<ImageView>, ApiError> {
    let mut image = api.images.find(&name)?;
    fill(&mut image, &users(&api).await?);
    Ok(Json(image))
}

/// Pull an image
///
/// The answer is one JSON object a line: `progress` for each step, then `image`, or `error`.
#[utoipa::path(post, path = "/api/v1/images", operation_id = "pull_image", tag = "images",
    request_body = ImagePull,
    responses((status = 200, body = PullLine, content_type = "application/x-ndjson"), (status = 400, body = ErrorBody)))]
pub(crate) async fn pull(State(api): State<Api>, Input(pull): Input<ImagePull>) -> Result<Response, ApiError> {
    let in_use = in_use(&users(&api).await?);
    let pulling = api.images.pull(pull, in_use)?;
    Ok(lines(&api, pulling))
}

/// Import an image
///
/// The body is an uncompressed tar: of an OCI layout, or what `docker save` writes. The answer is as that of a pull.
#[utoipa::path(put, path = "/api/v1/images", operation_id = "import_image", tag = "images",
    params(("name" = Option<String>, Query, description = "which one, where the archive holds several")),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, body = PullLine, content_type = "application/x-ndjson"),
        (status = 415, body = ErrorBody),
        (status = 422, description = "no room, or no image", body = ErrorBody)))]
pub(crate) async fn import(
    State(api): State<Api>,
    Params(params): Params<ImportParams>,
    request: Request,
) -> Result<Response, ApiError> {
    require_content_type(request.headers(), &["application/x-tar", "application/octet-stream"])?;
    let _permit = api.uploads.acquire().await;
    let in_use = in_use(&users(&api).await?);
    let archive = request.into_body().into_data_stream().map(|piece| piece.map_err(|error| error.to_string()));
    let pulling = api.images.import(Box::pin(archive), params.name, in_use).await?;
    Ok(lines(&api, pulling))
}

/// Remove an image
#[utoipa::path(delete, path = "/api/v1/images/{name}", operation_id = "delete_image", tag = "images",
    params(("name" = String, Path, description = "a reference or a digest, percent-encoded")),
    responses((status = 204),
        (status = 404, body = ErrorBody),
        (status = 409, description = "a function uses it", body = ErrorBody)))]
pub(crate) async fn delete(State(api): State<Api>, Segment(name): Segment<String>) -> Result<StatusCode, ApiError> {
    let _turn = api.image_use.write().await;
    let mut image = api.images.find(&name)?;
    let users = users(&api).await?;
    fill(&mut image, &users);
    if !image.functions.is_empty() {
        let functions = image.functions.join(", ");
        let message = format!("image {name} is in use by {functions}: remove or change that first");
        return Err(Fault::new(FaultCode::Conflict, message).into());
    }
    api.images.remove(digest(&image)?, in_use(&users)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove the images that no function uses
#[utoipa::path(delete, path = "/api/v1/images", operation_id = "prune_images", tag = "images",
    responses((status = 200, body = PrunedImages)))]
pub(crate) async fn prune(State(api): State<Api>) -> Result<Json<PrunedImages>, ApiError> {
    let _turn = api.image_use.write().await;
    let in_use = in_use(&users(&api).await?);
    let mut pruned = PrunedImages::default();
    for image in api.images.list().images {
        let digest = digest(&image)?;
        if in_use.contains(&digest) {
            continue;
        }
        api.images.remove(digest, in_use.clone()).await?;
        pruned.bytes += image.bytes;
        pruned.images.push(image);
    }
    Ok(Json(pruned))
}

/// The image that a function is to run in, pinned to what it is now.
pub(crate) async fn pin(api: &Shared, name: &str) -> Result<PinnedImage, ApiError> {
    // Pinned already: as this API writes it.
    let pinned = name.parse::<PinnedImage>().ok();
    let image = match &pinned {
        Some(pinned) => api.images.find(&format!("sha256:{}", pinned.digest)),
        None => api.images.find(name),
    };
    let image = image.map_err(|fault| match fault.code {
        FaultCode::NotFound => {
            let message = format!("image {name} is not on this machine: pull it first with `hearth image pull {name}`");
            Fault::new(FaultCode::ImageRefused, message)
        }
        _ => fault,
    })?;
    let digest = digest(&image)?;
    api.images.touch(digest.clone()).await?;
    let name = pinned.map_or_else(|| name.to_owned(), |pinned| pinned.name);
    // `name@sha256:…` stays as short as it was written.
    let name = name.split_once("@sha256:").map_or(name.as_str(), |(name, _)| name).to_owned();
    let name = if name.starts_with("sha256:") || name.is_empty() { "image".to_owned() } else { name };
    Ok(PinnedImage { name, digest })
}

/// Refuses a function that could not run in its image.
pub(crate) async fn require_fits(api: &Shared, spec: &FunctionSpec) -> Result<(), ApiError> {
    let Some(image) = &spec.image else { return Ok(()) };
    Ok(api.images.fits(image.digest.clone(), spec.runtime.clone()).await?)
}

/// Whether all of a function is in its image.
pub(crate) fn needs_no_code(runtime: Option<&Runtime>) -> bool {
    runtime.is_some_and(|runtime| runtime.language() == Language::Image)
}

fn lines(api: &Api, pulling: Box<dyn Pulling>) -> Response {
    let api = api.clone();
    let lines = unfold(Some(pulling), move |pulling| {
        let api = api.clone();
        async move {
            let mut pulling = pulling?;
            let next = match tokio::time::timeout(HEARTBEAT, pulling.next()).await {
                // An empty line, so that nobody takes the answer for broken.
                Err(_) => return Some((None, Some(pulling))),
                Ok(next) => next,
            };
            if let Some(progress) = next {
                let line = PullLine { progress: Some(progress), ..PullLine::default() };
                return Some((Some(line), Some(pulling)));
            }
            let line = match pulling.finish().await {
                Ok(mut image) => {
                    if let Ok(users) = users(&api).await {
                        fill(&mut image, &users);
                    }
                    PullLine { image: Some(image), ..PullLine::default() }
                }
                Err(fault) => {
                    tracing::debug!(code = %fault.code, "{}", fault.message);
                    let error = PullError { code: fault.code, message: fault.message };
                    PullLine { error: Some(error), ..PullLine::default() }
                }
            };
            Some((Some(line), None))
        }
    });
    let lines = lines.map(|line| {
        // Strings and numbers: it cannot fail to serialise.
        let mut text = line.map(|line| serde_json::to_vec(&line).unwrap_or_default()).unwrap_or_default();
        text.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(text))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

type Users = BTreeMap<ImageDigest, Vec<String>>;

/// Which functions are in which image.
async fn users(api: &Shared) -> Result<Users, ApiError> {
    let mut users = Users::new();
    let published = api.functions.published().await?;
    let versions = published.versions.into_iter().map(|version| version.function);
    let beside = published.canaries.into_iter().map(|canary| canary.stable);
    for function in api.functions.list().await?.into_iter().chain(versions).chain(beside) {
        if let Some(image) = function.spec.image {
            let users: &mut Vec<String> = users.entry(image.digest).or_default();
            users.push(function.spec.name.into());
            users.sort();
            users.dedup();
        }
    }
    Ok(users)
}

fn in_use(users: &Users) -> HashSet<ImageDigest> {
    users.keys().cloned().collect()
}

fn fill(image: &mut ImageView, users: &Users) {
    let digest = image.digest.strip_prefix("sha256:").unwrap_or(&image.digest);
    image.functions = users.get(digest).cloned().unwrap_or_default();
}

fn digest(image: &ImageView) -> Result<ImageDigest, ApiError> {
    Ok(image.digest.strip_prefix("sha256:").unwrap_or(&image.digest).parse::<ImageDigest>()?)
}
