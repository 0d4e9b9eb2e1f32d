//! Keys for AWS's tools.

use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::platform::AwsCredentials;

/// The keys that point AWS's tools here
///
/// A POST, since the answer is a secret: no cache, history or prefetch may hold it.
#[utoipa::path(post, path = "/api/v1/aws-credentials", operation_id = "aws_credentials", tag = "credentials",
    responses((status = 200, body = AwsCredentials)))]
pub(crate) async fn aws(State(api): State<Api>) -> Json<AwsCredentials> {
    Json(api.platform.aws_credentials())
}
