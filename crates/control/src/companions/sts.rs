//! STS: whose keys these are.

use serde_json::{Value, json};

use super::{Answer, Caller, Reply, unknown};
use crate::{Api, PLACE};

pub(super) async fn run(_: &Api, operation: &str, _: Value, caller: Caller) -> Answer {
    match operation {
        "GetCallerIdentity" => {
            let id = caller.access_key_id;
            let arn = format!("arn:aws:iam::{}:user/{id}", PLACE.1);
            Ok(Reply::Value(json!({"UserId": id, "Account": PLACE.1, "Arn": arn})))
        }
        _ => Err(unknown(operation)),
    }
}
