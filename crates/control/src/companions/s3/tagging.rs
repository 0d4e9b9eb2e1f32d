//! Tags of buckets and objects: sent and given as XML, or said in a header when an object is put.

use std::collections::BTreeMap;

use aws::AwsError;
use axum::response::Response;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::buckets::{self, Bucket};
use super::input::{Element, malformed};
use super::objects::{self, Object};
use super::{Answer, Asked, document, empty, no_bucket, no_key, not_allowed};
use crate::Api;
use crate::companions::kept;
use crate::companions::tags::{self, Tags};

/// Of one object, at most.
const OF_OBJECT: usize = 10;

/// Letters of a key and of a value at most.
const LONGEST: (usize, usize) = (128, 256);

/// Reads, replaces or removes the tags of what a request names.
pub(super) async fn answer(api: &Api, asked: &Asked, body: &[u8]) -> Answer {
    asked.only(&["tagging"])?;
    buckets::require(api, &asked.bucket).await?;
    let of_object = !asked.key.is_empty();
    match asked.parts.method {
        Method::GET if of_object => {
            let found = kept::get::<Object>(api, &objects::key(&asked.bucket, &asked.key)).await?;
            Ok(shown(&found.ok_or_else(|| no_key(&asked.key))?.tags))
        }
        Method::GET => {
            let found = kept::get::<Bucket>(api, &asked.bucket).await?.ok_or_else(|| no_bucket(&asked.bucket))?;
            if found.tags.is_empty() {
                let message = "The TagSet does not exist";
                return Err(AwsError::new(StatusCode::NOT_FOUND, "NoSuchTagSet", message));
            }
            Ok(shown(&found.tags))
        }
        Method::PUT => {
            let given = Element::parse(body)?;
            let set = given.all("TagSet").next().ok_or_else(|| malformed("expected a TagSet"))?;
            let pairs =
                set.all("Tag").map(|tag| Some((tag.text_of("Key")?.to_owned(), tag.text_of("Value")?.to_owned())));
            let pairs: Option<Vec<_>> = pairs.collect();
            let pairs = pairs.ok_or_else(|| malformed("a tag has a Key and a Value"))?;
            let most = if of_object { OF_OBJECT } else { tags::MOST };
            set_all(api, asked, checked(pairs, most)?).await?;
            // As S3 does it: the one with a body of nothing, the other without.
            Ok(empty(if of_object { StatusCode::OK } else { StatusCode::NO_CONTENT }))
        }
        Method::DELETE => {
            set_all(api, asked, Tags::new()).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(not_allowed(&asked.parts.method)),
    }
}

/// What `x-amz-tagging` says: `key=value&key=value`, percent-encoded.
pub(super) fn of_header(asked: &Asked) -> Result<Tags, AwsError> {
    let text = asked.header("x-amz-tagging").unwrap_or_default();
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            let text = percent_decode_str(&text).decode_utf8().map(|text| text.into_owned());
            text.map_err(|_| bad("x-amz-tagging: expected UTF-8, percent-encoded"))
        };
        pairs.push((decode(key)?, decode(value)?));
    }
    checked(pairs, OF_OBJECT)
}

/// Replaces all tags.
async fn set_all(api: &Api, asked: &Asked, tags: Tags) -> Result<(), AwsError> {
    if asked.key.is_empty() {
        kept::change(api, &asked.bucket, |old: Option<Bucket>| {
            let mut bucket = old.ok_or_else(|| no_bucket(&asked.bucket))?;
            bucket.tags.clone_from(&tags);
            Ok(Some(bucket))
        })
        .await?;
    } else {
        kept::change(api, &objects::key(&asked.bucket, &asked.key), |old: Option<Object>| {
            let object = old.ok_or_else(|| no_key(&asked.key))?;
            Ok(Some(Object { tags: tags.clone(), ..object }))
        })
        .await?;
    }
    Ok(())
}

fn checked(pairs: Vec<(String, String)>, most: usize) -> Result<Tags, AwsError> {
    let mut seen = BTreeMap::new();
    for (key, value) in &pairs {
        if key.is_empty() || key.chars().count() > LONGEST.0 || value.chars().count() > LONGEST.1 {
            return Err(bad("A tag's key has 1 to 128 letters, its value at most 256"));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(bad("System tags cannot be added/updated by requester"));
        }
        if seen.insert(key, value).is_some() {
            return Err(bad("Cannot provide multiple Tags with the same key"));
        }
    }
    let mut tags = Tags::new();
    tags::add(&mut tags, pairs, most, "BadRequest")?;
    Ok(tags)
}

fn shown(tags: &Tags) -> Response {
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    document("Tagging", &json!({"TagSet": {"Tag": tags}}))
}

fn bad(message: &str) -> AwsError {
    AwsError::new(StatusCode::BAD_REQUEST, "InvalidTag", message)
}
