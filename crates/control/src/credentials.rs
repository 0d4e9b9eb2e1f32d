//! Keys for AWS's tools.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::{Fault, FaultCode};

use crate::Api;
use crate::actor::Actor;
use crate::error::{ApiError, ErrorBody};
use crate::platform::AwsCredentials;

/// The keys that point AWS's tools here
///
/// Those of the token that asks: of one with all rights the installation's own, of another the access key that was made
/// with it. A POST, since the answer is a secret: no cache, history or prefetch may hold it.
#[utoipa::path(post, path = "/api/v1/aws-credentials", operation_id = "aws_credentials", tag = "credentials",
    responses((status = 200, body = AwsCredentials),
        (status = 403, description = "no access key goes with the token", body = ErrorBody)))]
pub(crate) async fn aws(State(api): State<Api>, actor: Actor) -> Result<Json<AwsCredentials>, ApiError> {
    let installation = api.platform.aws_credentials();
    if let Some(id) = &actor.1.access_key_id
        && let Some(secret) = api.keys.secret_of(id)
    {
        return Ok(Json(AwsCredentials { access_key_id: id.clone(), secret_access_key: secret, ..installation }));
    }
    if !actor.1.scopes.is_admin() {
        let message = "no access key goes with this token: make one that has it, with `hearth token create --aws`";
        return Err(ApiError::new(StatusCode::FORBIDDEN, Fault::new(FaultCode::Unauthorized, message)));
    }
    Ok(Json(installation))
}
