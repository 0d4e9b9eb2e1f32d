//! What these services keep, as types: read, listed and changed whole.

use aws::AwsError;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Api;
use crate::lambda;

/// How often a change is tried anew that others come before.
const TRIES: usize = 16;

/// What is kept under one kind of record.
pub(super) trait Kept: Serialize + DeserializeOwned + Send {
    const KIND: &'static str;
}

pub(super) async fn get<T: Kept>(api: &Api, name: &str) -> Result<Option<T>, AwsError> {
    let found = api.companions.record(T::KIND, name).await.map_err(lambda::store)?;
    found.map(from).transpose()
}

/// By name: those whose names begin with `prefix`, behind `after`, at most `limit`.
pub(super) async fn list<T: Kept>(
    api: &Api,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, T)>, AwsError> {
    let found = api.companions.records(T::KIND, prefix, after, limit).await.map_err(lambda::store)?;
    found.into_iter().map(|(name, value)| Ok((name, from(value)?))).collect()
}

/// Makes of what is there, or is not, something else or nothing. Gives what was there before. `make` may be called several
/// times, if others change the same.
pub(super) async fn change<T: Kept>(
    api: &Api,
    name: &str,
    mut make: impl FnMut(Option<T>) -> Result<Option<T>, AwsError>,
) -> Result<Option<T>, AwsError> {
    for _ in 0..TRIES {
        let old = api.companions.record(T::KIND, name).await.map_err(lambda::store)?;
        let new = make(old.clone().map(from).transpose()?)?;
        let new = new.map(|new| serde_json::to_value(new).map_err(damaged)).transpose()?;
        if api.companions.swap(T::KIND, name, old.clone(), new).await.map_err(lambda::store)? {
            return old.map(from).transpose();
        }
    }
    let message = "Others change the same at the same time: try again";
    Err(AwsError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", message))
}

fn from<T: Kept>(value: Value) -> Result<T, AwsError> {
    serde_json::from_value(value).map_err(damaged)
}

fn damaged(error: serde_json::Error) -> AwsError {
    let message = format!("a record of the store cannot be read: {error}");
    AwsError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", message)
}
