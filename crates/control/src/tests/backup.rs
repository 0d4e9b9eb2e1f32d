//! Backups over the API: who may have one, and what is said where there is none.

use axum::body::Body;
use http::StatusCode;
use model::{Fault, FaultCode};

use super::World;
use crate::BoxFuture;

/// Makes one without logs, and says of every other that one is being made.
pub struct OnlyOne;

impl crate::Backups for OnlyOne {
    fn backup(&self, logs: bool) -> BoxFuture<'_, Result<Body, Fault>> {
        Box::pin(async move {
            let busy = || Fault::new(FaultCode::Conflict, "another backup is being made");
            if logs { Err(busy()) } else { Ok(Body::from("tar")) }
        })
    }
}

#[tokio::test]
async fn a_backup_is_a_tar_or_a_reason() {
    let world = World::new();
    let made = world.get("/api/v1/backup?logs=false").await;
    assert_eq!((made.status, made.headers["content-type"].to_str().unwrap()), (StatusCode::OK, "application/x-tar"));
    assert_eq!(world.get("/api/v1/backup").await.status, StatusCode::CONFLICT);
    assert_eq!(world.get("/api/v1/backup?logs=maybe").await.status, StatusCode::BAD_REQUEST);
}
