//! Objects that come in parts.

use std::collections::BTreeMap;

use aws::AwsError;
use aws::checksum::{self, Checksum};
use http::StatusCode;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::body::Sent;
use super::buckets::{self, with};
use super::input::{Element, malformed};
use super::objects::{self, Object, hex};
use super::{Answer, Asked, document, empty, invalid, tagging, too_large};
use crate::Api;
use crate::companions::kept::{self, Kept};
use crate::companions::tags::Tags;
use crate::lambda;

/// Parts of one object at most.
const PARTS: u32 = 10_000;
/// All but the last have so many bytes at least.
const SMALLEST: u64 = 5 << 20;
/// A whole object at most.
const LARGEST: u64 = 1 << 30;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Upload {
    bucket: String,
    key: String,
    headers: BTreeMap<String, String>,
    /// The checksum that the client wants, of the whole or of the parts' checksums.
    checksum: Option<(String, String)>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    /// Where its bytes are; the store goes by this member's name.
    object: String,
    size: u64,
    md5: [u8; 16],
    /// Header and value.
    checksum: Option<(String, String)>,
}

impl Kept for Upload {
    const KIND: &'static str = "s3-upload";
}

impl Kept for Part {
    const KIND: &'static str = "s3-part";
}

pub(super) async fn create(api: &Api, asked: &Asked) -> Answer {
    asked.only(&["uploads"])?;
    buckets::require(api, &asked.bucket).await?;
    let checksum = asked.header("x-amz-checksum-algorithm").map(|name| {
        let header = format!("x-amz-checksum-{}", name.to_ascii_lowercase());
        let kind = Checksum::of_header(&header);
        let kind = kind.ok_or_else(|| invalid(format!("The checksum algorithm {name} is not known here")))?;
        // CRC-64 is always of the whole, SHA-256 never.
        let default = if kind == Checksum::Crc64Nvme { "FULL_OBJECT" } else { "COMPOSITE" };
        let how = asked.header("x-amz-checksum-type").unwrap_or(default).to_owned();
        Ok::<_, AwsError>((header, how))
    });
    let (bucket, key) = (asked.bucket.clone(), asked.key.clone());
    let (headers, tags) = (objects::headers(asked)?, tagging::of_header(asked)?);
    let upload = Upload { bucket, key, headers, checksum: checksum.transpose()?, tags };
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        AwsError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", format!("draw random bits: {error}"))
    })?;
    let id = hex(&random);
    kept::change(api, &id, |_: Option<Upload>| Ok(Some(upload.clone()))).await?;
    let response =
        document("InitiateMultipartUploadResult", &json!({"Bucket": asked.bucket, "Key": asked.key, "UploadId": id}));
    Ok(match &upload.checksum {
        Some((header, how)) => {
            let name = header.trim_start_matches("x-amz-checksum-").to_ascii_uppercase();
            with(with(response, "x-amz-checksum-algorithm", &name), "x-amz-checksum-type", how)
        }
        None => response,
    })
}

pub(super) async fn upload_part(api: &Api, asked: &Asked, sent: Sent) -> Answer {
    asked.only(&["uploadId", "partNumber"])?;
    if asked.header("x-amz-copy-source").is_some() {
        return Err(super::not_implemented("UploadPartCopy is not supported here"));
    }
    let (id, _) = find(api, asked).await?;
    let number = asked.get("partNumber").and_then(|number| number.parse::<u32>().ok());
    let number = number.filter(|number| (1..=PARTS).contains(number));
    let number = number.ok_or_else(|| invalid(format!("partNumber: expected 1 to {PARTS}")))?;
    let md5 = checksum::md5(&sent.bytes);
    let size = sent.bytes.len() as u64;
    let checksum = sent.checksum.map(|(kind, value)| (kind.header().to_owned(), value));
    let object = api.objects.keep(sent.bytes).await.map_err(lambda::store)?;
    let part = Part { object: object.clone(), size, md5, checksum: checksum.clone() };
    match kept::change(api, &part_key(&id, number), |_: Option<Part>| Ok(Some(part.clone()))).await {
        Ok(Some(old)) => api.objects.discard(vec![old.object]).await,
        Ok(None) => {}
        Err(error) => {
            api.objects.discard(vec![object]).await;
            return Err(error);
        }
    }
    let response = with(empty(StatusCode::OK), "etag", &format!("\"{}\"", hex(&md5)));
    Ok(match &checksum {
        Some((kind, value)) => {
            with(response, Checksum::of_header(kind).map_or("x-amz-checksum", Checksum::header), value)
        }
        None => response,
    })
}

pub(super) async fn complete(api: &Api, asked: &Asked, body: &[u8]) -> Answer {
    asked.only(&["uploadId"])?;
    let (id, upload) = find(api, asked).await?;
    let given = Element::parse(body)?;
    let invalid_part = |number: u32| {
        let message = format!("Part {number} could not be found, or its entity tag is another");
        AwsError::new(StatusCode::BAD_REQUEST, "InvalidPart", message)
    };
    let (mut parts, mut last, mut size) = (Vec::<Part>::new(), 0, 0);
    for one in given.all("Part") {
        let number = one.text_of("PartNumber").and_then(|number| number.trim().parse::<u32>().ok());
        let number = number.ok_or_else(|| malformed("a part has no number"))?;
        if number <= last {
            let message = "The list of parts was not in ascending order";
            return Err(AwsError::new(StatusCode::BAD_REQUEST, "InvalidPartOrder", message));
        }
        last = number;
        let part = kept::get::<Part>(api, &part_key(&id, number)).await?.ok_or_else(|| invalid_part(number))?;
        if one.text_of("ETag").map(|etag| etag.trim().trim_matches('"')) != Some(hex(&part.md5).as_str()) {
            return Err(invalid_part(number));
        }
        size += part.size;
        parts.push(part);
    }
    if parts.is_empty() {
        return Err(malformed("expected at least one part"));
    }
    if parts[..parts.len() - 1].iter().any(|part| part.size < SMALLEST) {
        let message =
            "Your proposed upload is smaller than the minimum allowed size: all parts but the last have 5 MiB";
        return Err(AwsError::new(StatusCode::BAD_REQUEST, "EntityTooSmall", message));
    }
    if size > LARGEST {
        return Err(too_large(LARGEST as usize));
    }
    let md5s: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
    let etag = format!("{}-{}", hex(&checksum::md5(&md5s)), parts.len());
    let ids = parts.iter().map(|part| part.object.clone()).collect();
    let object = Object {
        object: api.objects.join(ids).await.map_err(lambda::store)?,
        size,
        etag: etag.clone(),
        modified: Timestamp::now().micros(),
        headers: upload.headers,
        // What a client would check is not what was computed of the parts.
        checksum: None,
        tags: upload.tags,
    };
    objects::replace(api, asked, object).await?;
    drop_upload(api, &id).await?;
    let location = format!("/{}/{}", asked.bucket, asked.key);
    Ok(document(
        "CompleteMultipartUploadResult",
        &json!({"Location": location, "Bucket": asked.bucket, "Key": asked.key, "ETag": format!("\"{etag}\"")}),
    ))
}

pub(super) async fn abort(api: &Api, asked: &Asked) -> Answer {
    asked.only(&["uploadId"])?;
    let (id, _) = find(api, asked).await?;
    drop_upload(api, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Removes the uploads into a bucket that goes.
pub(super) async fn forget(api: &Api, bucket: &str) -> Result<(), AwsError> {
    for (id, upload) in kept::list::<Upload>(api, "", "", usize::MAX).await? {
        if upload.bucket == bucket {
            drop_upload(api, &id).await?;
        }
    }
    Ok(())
}

async fn drop_upload(api: &Api, id: &str) -> Result<(), AwsError> {
    // First, so that no part comes to it any more.
    kept::change(api, id, |_: Option<Upload>| Ok(None)).await?;
    let mut objects = Vec::new();
    for (name, _) in kept::list::<Part>(api, &format!("{id}/"), "", usize::MAX).await? {
        objects.extend(kept::change(api, &name, |_: Option<Part>| Ok(None)).await?.map(|part| part.object));
    }
    api.objects.discard(objects).await;
    Ok(())
}

async fn find(api: &Api, asked: &Asked) -> Result<(String, Upload), AwsError> {
    let id = asked.get("uploadId").unwrap_or_default();
    let found = kept::get::<Upload>(api, id).await?;
    let found = found.filter(|upload| upload.bucket == asked.bucket && upload.key == asked.key);
    let missing = || {
        let message = "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart \
                       upload might have been aborted or completed.";
        AwsError::new(StatusCode::NOT_FOUND, "NoSuchUpload", message)
    };
    Ok((id.to_owned(), found.ok_or_else(missing)?))
}

fn part_key(id: &str, number: u32) -> String {
    format!("{id}/{number:05}")
}
