//! Packages: zips, named by the SHA-256 of their bytes. Uploaded first, then named by a function.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header;
use model::{CodeHash, Fault, FaultCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Segment, read_within, require_content_type};

/// Longest package as uploaded.
pub const MAX_PACKAGE_BYTES: usize = 100 * 1024 * 1024;

/// Longest time of one upload: others wait for its place.
pub(crate) const UPLOAD: Duration = Duration::from_secs(600);

/// A package that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageView {
    #[schema(value_type = String)]
    pub sha256: CodeHash,
    /// Bytes, as uploaded.
    pub size: u64,
}

/// Upload a package
///
/// A zip of at most 100 MiB. The same bytes twice are one package. A package that no function uses is removed
/// after a while.
#[utoipa::path(put, path = "/api/v1/packages", operation_id = "put_package", tag = "packages",
    request_body(content = Vec<u8>, content_type = "application/zip"),
    responses((status = 201, body = PackageView),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody),
        (status = 422, description = "refused: not a zip, unsafe, or too big unpacked", body = ErrorBody)))]
pub(crate) async fn put(State(api): State<Api>, request: Request) -> Result<Response, ApiError> {
    require_content_type(request.headers(), &["application/zip", "application/octet-stream"])?;
    // Before the body is read: a package in memory for each that is let in, and no more.
    let _permit = api.uploads.acquire().await;
    let zip = read_within(UPLOAD, request, MAX_PACKAGE_BYTES).await?;
    if zip.is_empty() {
        return Err(Fault::new(FaultCode::InvalidPackage, "the package is empty: expected a zip").into());
    }
    let size = zip.len() as u64;
    let sha256 = api.packages.add(zip).await?;
    Ok((StatusCode::CREATED, Json(PackageView { sha256, size })).into_response())
}

/// A package, as it was uploaded
#[utoipa::path(get, path = "/api/v1/packages/{sha256}", operation_id = "get_package", tag = "packages",
    params(("sha256" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/zip"), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(api): State<Api>, Segment(hash): Segment<CodeHash>) -> Result<Response, ApiError> {
    require_here(&api, &hash).await?;
    let zip = api.packages.read(&hash).await?;
    Ok(([(header::CONTENT_TYPE, "application/zip")], zip).into_response())
}

/// Whether a package is here
#[utoipa::path(head, path = "/api/v1/packages/{sha256}", operation_id = "has_package", tag = "packages",
    params(("sha256" = String, Path)),
    responses((status = 204, description = "it is"), (status = 404, description = "it is not")))]
pub(crate) async fn head(State(api): State<Api>, Segment(hash): Segment<CodeHash>) -> Result<StatusCode, ApiError> {
    require_here(&api, &hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn require_here(api: &Api, hash: &CodeHash) -> Result<(), ApiError> {
    if api.packages.has(hash).await? {
        return Ok(());
    }
    Err(ApiError::not_found(format!("no package with hash {hash}")))
}
