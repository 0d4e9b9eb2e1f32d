//! Buckets, and what is in them.

use aws::AwsError;
use axum::response::Response;
use http::StatusCode;
use http::header::HeaderValue;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::objects::{Object, key as object_key};
use super::{Answer, Asked, document, empty, invalid, no_bucket};
use crate::companions::kept::{self, Kept};
use crate::companions::tags::Tags;
use crate::{Api, PLACE};

/// Keys of one answer at most.
const PAGE: usize = 1000;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Bucket {
    /// Microseconds.
    created: i64,
    #[serde(default)]
    pub tags: Tags,
}

impl Kept for Bucket {
    const KIND: &'static str = "s3-bucket";
}

pub(super) async fn list(api: &Api) -> Answer {
    let all = kept::list::<Bucket>(api, "", "", usize::MAX).await?;
    let view = |(name, bucket): (String, Bucket)| json!({"Name": name, "CreationDate": date(bucket.created)});
    let buckets: Vec<Value> = all.into_iter().map(view).collect();
    let owner = json!({"ID": PLACE.1, "DisplayName": "hearth"});
    Ok(document("ListAllMyBucketsResult", &json!({"Owner": owner, "Buckets": {"Bucket": buckets}})))
}

/// Again is no error, as in AWS's us-east-1.
pub(super) async fn create(api: &Api, asked: &Asked) -> Answer {
    check_name(&asked.bucket)?;
    let now = Timestamp::now().micros();
    let new = || Bucket { created: now, tags: Tags::new() };
    kept::change(api, &asked.bucket, |old: Option<Bucket>| Ok(Some(old.unwrap_or_else(new)))).await?;
    let mut response = empty(StatusCode::OK);
    if let Ok(location) = HeaderValue::try_from(format!("/{}", asked.bucket)) {
        response.headers_mut().insert("location", location);
    }
    Ok(response)
}

pub(super) async fn head(api: &Api, asked: &Asked) -> Answer {
    require(api, &asked.bucket).await?;
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert("x-amz-bucket-region", HeaderValue::from_static(PLACE.0));
    Ok(response)
}

pub(super) async fn delete(api: &Api, asked: &Asked) -> Answer {
    require(api, &asked.bucket).await?;
    if !kept::list::<Object>(api, &object_key(&asked.bucket, ""), "", 1).await?.is_empty() {
        let message = "The bucket you tried to delete is not empty";
        return Err(AwsError::new(StatusCode::CONFLICT, "BucketNotEmpty", message));
    }
    super::multipart::forget(api, &asked.bucket).await?;
    kept::change(api, &asked.bucket, |_: Option<Bucket>| Ok(None)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn location(api: &Api, asked: &Asked) -> Answer {
    require(api, &asked.bucket).await?;
    // Of us-east-1 AWS says nothing here.
    Ok(document("LocationConstraint", &Value::Null))
}

pub(super) async fn versioning(api: &Api, asked: &Asked) -> Answer {
    require(api, &asked.bucket).await?;
    Ok(document("VersioningConfiguration", &Value::Null))
}

/// ListObjectsV2, and its predecessor.
pub(super) async fn objects(api: &Api, asked: &Asked) -> Answer {
    let second = asked.get("list-type") == Some("2");
    let known: &[&str] = if second {
        &[
            "list-type",
            "prefix",
            "delimiter",
            "max-keys",
            "continuation-token",
            "start-after",
            "encoding-type",
            "fetch-owner",
        ]
    } else {
        &["prefix", "delimiter", "max-keys", "marker", "encoding-type"]
    };
    asked.only(known)?;
    require(api, &asked.bucket).await?;
    let most = match asked.get("max-keys").map(str::parse::<usize>) {
        None => PAGE,
        Some(Ok(most)) => most.min(PAGE),
        Some(Err(_)) => return Err(invalid("max-keys: expected a number")),
    };
    let url = match asked.get("encoding-type") {
        None => false,
        Some("url") => true,
        Some(other) => return Err(invalid(format!("encoding-type {other:?}: expected url"))),
    };
    let shown = |text: &str| if url { aws::percent_encoded(text).replace("%2F", "/") } else { text.to_owned() };
    let prefix = asked.get("prefix").unwrap_or_default();
    let delimiter = asked.get("delimiter").filter(|delimiter| !delimiter.is_empty());
    let token = asked.get("continuation-token").map(unhex).transpose()?;
    let start = if second { asked.get("start-after") } else { asked.get("marker") }.unwrap_or_default();
    let after = token.as_deref().unwrap_or(start);

    let (from, behind) = (object_key(&asked.bucket, prefix), object_key(&asked.bucket, after));
    let all = kept::list::<Object>(api, &from, &behind, usize::MAX).await?;
    let beneath = asked.bucket.len() + 1;
    let (mut contents, mut prefixes, mut last, mut more) = (Vec::new(), Vec::<String>::new(), String::new(), false);
    for (name, object) in all {
        let name = &name[beneath..];
        // What the token says was shown as a prefix is not shown again for its other keys.
        let common = delimiter.and_then(|delimiter| {
            let end = name[prefix.len()..].find(delimiter)? + prefix.len() + delimiter.len();
            Some(&name[..end])
        });
        if common.is_some_and(|common| prefixes.last().is_some_and(|one| one == common) || after.starts_with(common)) {
            continue;
        }
        if contents.len() + prefixes.len() >= most {
            more = true;
            break;
        }
        match common {
            Some(common) => {
                prefixes.push(common.to_owned());
                last = common.to_owned();
            }
            None => {
                contents.push(object.listed(&shown(name)));
                last = name.to_owned();
            }
        }
    }
    let common: Vec<Value> = prefixes.iter().map(|prefix| json!({"Prefix": shown(prefix)})).collect();
    let mut answer = json!({
        "Name": asked.bucket, "Prefix": shown(prefix), "Delimiter": delimiter.map(shown), "MaxKeys": most,
        "EncodingType": url.then_some("url"), "IsTruncated": more, "Contents": contents, "CommonPrefixes": common,
    });
    if second {
        answer["KeyCount"] = (contents_len(&answer) + prefixes.len()).into();
        answer["ContinuationToken"] = asked.get("continuation-token").into();
        answer["StartAfter"] = asked.get("start-after").map(shown).into();
        answer["NextContinuationToken"] = more.then(|| hex(&last)).into();
    } else {
        answer["Marker"] = shown(start).into();
        answer["NextMarker"] = (more && delimiter.is_some()).then(|| shown(&last)).into();
    }
    Ok(document("ListBucketResult", &answer))
}

fn contents_len(answer: &Value) -> usize {
    answer["Contents"].as_array().map_or(0, Vec::len)
}

pub(super) async fn require(api: &Api, name: &str) -> Result<(), AwsError> {
    kept::get::<Bucket>(api, name).await?.map(drop).ok_or_else(|| no_bucket(name))
}

/// S3's rules, as far as they keep names from being something else.
fn check_name(name: &str) -> Result<(), AwsError> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let fits = (3..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| letter(*byte))
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err();
    if fits {
        return Ok(());
    }
    let message = "The specified bucket is not valid: expected 3 to 63 of a-z 0-9 . -, a letter or digit at both ends";
    Err(AwsError::new(StatusCode::BAD_REQUEST, "InvalidBucketName", message))
}

/// RFC 3339 with milliseconds, as S3 writes it.
pub(super) fn date(micros: i64) -> String {
    let text = Timestamp(micros).rfc3339();
    text.get(..19).map_or(text.clone(), |seconds| format!("{seconds}.000Z"))
}

/// A token: a key, in a form that nobody takes for one.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<String, AwsError> {
    let bad = || invalid("The continuation token provided is incorrect");
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    String::from_utf8(bytes.ok_or_else(bad)?).map_err(|_| bad())
}

/// The answer with one more header.
pub(super) fn with(mut response: Response, name: &'static str, value: &str) -> Response {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets_are_s3s() {
        for good in ["abc", "my-bucket.v2", "1a2"] {
            check_name(good).unwrap();
        }
        for bad in ["ab", "Abc", "a_b", "-ab", "ab-", "a..b", "192.168.1.4", &"a".repeat(64), "a/b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_any_key() {
        assert_eq!(unhex(&hex("a/ü b")).unwrap(), "a/ü b");
        assert!(unhex("zz").is_err());
        assert!(unhex("ff").is_err());
    }
}
