//! Functions: made, shown, changed, removed.

use std::collections::BTreeMap;

use aws::AwsError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::{CodeHash, Function, FunctionName, Qualifier, Runtime, Version};
use serde::Deserialize;
use serde_json::{Value, json};
use store::versions::{How, Publish};

use super::configuration::{ARCHITECTURE, location, of, revision_id, shown};
use super::lookup::{self, absent, arn, find, latest};
use super::settings::{NO_PUBLISH_TO, Settings, require_nothing_of};
use super::{Answer, refused, store};
use crate::Api;
use crate::actor::Actor;
use crate::companions::s3;
use crate::functions::{change, make, settle};
use crate::packages::MAX_PACKAGE_BYTES;
use crate::write::{CodeRef, FunctionWrite};

/// How often a change is tried anew that others come before.
const TRIES: usize = 16;

/// Packages are at most 50 MB when they come with the request.
const MAX_ZIP: usize = 50 * 1024 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Code {
    zip_file: Option<String>,
    image_uri: Option<String>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
    s3_object_version: Option<String>,
    #[serde(rename = "SourceKMSKeyArn")]
    source_kms_key_arn: Option<Value>,
    s3_object_storage_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Create {
    function_name: String,
    code: Code,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    architectures: Vec<String>,
    package_type: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateCode {
    function_name: String,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    dry_run: bool,
    revision_id: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    publish_to: Option<Value>,
    #[serde(flatten)]
    code: Code,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateConfiguration {
    function_name: String,
    revision_id: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Named {
    pub function_name: String,
    pub qualifier: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct List {
    function_version: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

pub async fn create(api: &Api, asked: Create, actor: Actor) -> Answer {
    let Create { function_name, code, publish, tags, architectures, package_type, settings } = asked;
    let name = lookup::name(&function_name)?;
    if name.as_str().len() > 64 {
        return Err(AwsError::invalid_parameter(format!("The function name {name} is longer than 64 characters")));
    }
    require_architecture(&architectures)?;
    let image = package_type.as_deref() == Some("Image");
    code.require_here()?;
    let mut write = settings.write(&name, None)?;
    write.aws.get_or_insert_default().tags = tags;
    if image {
        write.image = Some(Some(code.image_uri.clone().ok_or_else(|| {
            AwsError::invalid_parameter("Please provide a valid image URI: Code.ImageUri is missing")
        })?));
        write.runtime = Some(Runtime::image());
    } else {
        if write.runtime.is_none() || write.handler.is_none() {
            return Err(AwsError::invalid_parameter(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        }
        write.code = Some(CodeRef { sha256: code.kept(api, &actor).await? });
    }
    // As on AWS it has one when one is made for it.
    write.url = Some(false);
    write.egress = Some(api.lambda_egress.clone());
    let (function, _) = make(api, name.clone(), Some(0), write, actor.clone()).await.map_err(|error| match error {
        error if error.code() == model::FaultCode::Conflict => {
            let message = format!("Function already exist: {name}");
            AwsError::new(http::StatusCode::CONFLICT, "ResourceConflictException", message)
        }
        error => refused(error),
    })?;
    published(api, function, publish, actor).await.map(Some)
}

pub async fn get(api: &Api, asked: Named) -> Answer {
    let meant = find(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    let function = &meant.function;
    let code = match &function.spec.image {
        Some(image) => {
            json!({"RepositoryType": "ECR", "ImageUri": image.name.as_str(), "ResolvedImageUri": image.to_string()})
        }
        None => {
            let endpoint = api.platform.aws_credentials().endpoint;
            json!({"RepositoryType": "S3", "Location": location(&endpoint, &function.code)})
        }
    };
    let mut answer = json!({"Configuration": shown(&meant), "Code": code});
    if !function.spec.aws.tags.is_empty() {
        answer["Tags"] = json!(function.spec.aws.tags);
    }
    if let Some(limit) = super::concurrency::reserved(function) {
        answer["Concurrency"] = json!({"ReservedConcurrentExecutions": limit});
    }
    Ok(Some(answer))
}

pub async fn configuration(api: &Api, asked: Named) -> Answer {
    Ok(Some(shown(&find(api, &asked.function_name, asked.qualifier.as_deref()).await?)))
}

pub async fn list(api: &Api, asked: List) -> Answer {
    let functions = api.functions.list().await.map_err(store)?;
    let mut all = Vec::new();
    for function in functions {
        let name = function.spec.name.clone();
        if asked.function_version.as_deref() == Some("ALL") {
            all.push(of(&function, &format!("{}:$LATEST", arn(&name))));
            for version in api.versions.versions(&name).await.map_err(store)? {
                all.push(super::versions::shown(&name, version));
            }
        } else {
            all.push(of(&function, &arn(&name)));
        }
    }
    let (functions, next) = lookup::page(all, asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"Functions": functions, "NextMarker": next})))
}

pub async fn update_code(api: &Api, asked: UpdateCode, actor: Actor) -> Answer {
    let UpdateCode { function_name, publish, dry_run, revision_id, architectures, publish_to, code } = asked;
    let name = lookup::name(&function_name)?;
    require_architecture(&architectures)?;
    code.require_here()?;
    require_nothing_of(&[(&publish_to, "PublishTo", NO_PUBLISH_TO)])?;
    let function = latest(api, &name).await?;
    let expect = expected(&function, revision_id.as_deref())?;
    let write = match &code.image_uri {
        Some(uri) => FunctionWrite { image: Some(Some(uri.clone())), ..FunctionWrite::default() },
        None => {
            let sha256 = code.kept(api, &actor).await?;
            FunctionWrite { code: Some(CodeRef { sha256 }), ..FunctionWrite::default() }
        }
    };
    if dry_run {
        let mut shown = of(&function, &arn(&name));
        if let Some(code) = &write.code {
            shown["CodeSha256"] = super::configuration::sha256(&code.sha256).into();
        }
        return Ok(Some(shown));
    }
    let function = change(api, &name, expect, write, How::Deploy, actor.clone()).await.map_err(changed)?;
    published(api, function, publish, actor).await.map(Some)
}

pub async fn update_configuration(api: &Api, asked: UpdateConfiguration, actor: Actor) -> Answer {
    let name = lookup::name(&asked.function_name)?;
    let function = latest(api, &name).await?;
    let expect = expected(&function, asked.revision_id.as_deref())?;
    let write = asked.settings.write(&name, Some(&function))?;
    let function = change(api, &name, expect, write, How::Deploy, actor).await.map_err(changed)?;
    Ok(Some(of(&function, &arn(&name))))
}

pub async fn delete(api: &Api, asked: Named, actor: Actor) -> Answer {
    let (name, qualifier) = lookup::reference(&asked.function_name, asked.qualifier.as_deref())?;
    match &qualifier {
        None => {
            latest(api, &name).await?;
            api.versions.remove(&name, &actor.0).await.map_err(store)?;
        }
        Some(Qualifier::Version(Version::Number(number))) => {
            latest(api, &name).await?;
            let found = api.versions.versions(&name).await.map_err(store)?;
            if !found.iter().any(|one| one.function.version == Version::Number(*number)) {
                return Err(absent(&name, qualifier.as_ref()));
            }
            api.versions.remove_version(&name, *number, &actor.0).await.map_err(store)?;
        }
        Some(_) => {
            return Err(AwsError::invalid_parameter(
                "$LATEST and aliases cannot be deleted without deleting the function: expected the number of a version",
            ));
        }
    }
    settle(api, &name).await.map_err(refused)?;
    Ok(None)
}

/// What is answered to a write: the function, or the version that it was to become.
async fn published(api: &Api, function: Function, publish: bool, actor: Actor) -> Result<Value, AwsError> {
    let name = function.spec.name.clone();
    if !publish {
        return Ok(of(&function, &arn(&name)));
    }
    let (version, _) = api.versions.publish(&name, Publish::default(), &actor.0).await.map_err(store)?;
    settle(api, &name).await.map_err(refused)?;
    Ok(super::versions::shown(&name, version))
}

/// Changes a function by what it is at that moment, and anew where others come between: tools say several things of it at
/// once.
pub async fn change_latest(
    api: &Api,
    name: &FunctionName,
    mut write: impl FnMut(&Function) -> FunctionWrite + Send,
    actor: Actor,
) -> Result<Function, AwsError> {
    for _ in 0..TRIES {
        let function = latest(api, name).await?;
        let (expect, write) = (Some(function.revision.0), write(&function));
        match change(api, name, expect, write, How::Deploy, actor.clone()).await {
            Err(error) if error.status() == http::StatusCode::PRECONDITION_FAILED => {}
            done => return done.map_err(changed),
        }
    }
    let message = format!("The operation cannot be performed at this time: others change {} all the time", arn(name));
    Err(AwsError::new(http::StatusCode::CONFLICT, "ResourceConflictException", message))
}

/// The revision that the caller believes to change.
pub fn expected(function: &Function, revision: Option<&str>) -> Result<Option<u64>, AwsError> {
    match revision {
        None => Ok(None),
        Some(given) if given == revision_id(function) => Ok(Some(function.revision.0)),
        Some(_) => Err(precondition_failed()),
    }
}

pub fn precondition_failed() -> AwsError {
    AwsError::new(
        http::StatusCode::PRECONDITION_FAILED,
        "PreconditionFailedException",
        "The RevisionId provided does not match the latest RevisionId. Call the GetFunction/GetAlias API to retrieve the \
         latest RevisionId",
    )
}

pub fn changed(error: crate::error::ApiError) -> AwsError {
    if error.status() == http::StatusCode::PRECONDITION_FAILED { precondition_failed() } else { refused(error) }
}

fn require_architecture(given: &[String]) -> Result<(), AwsError> {
    match given.iter().find(|one| *one != ARCHITECTURE) {
        None => Ok(()),
        Some(other) => Err(AwsError::invalid_parameter(format!(
            "The architecture {other} cannot run on this machine, which is {ARCHITECTURE}"
        ))),
    }
}

// === impl Code ===

impl Code {
    fn require_here(&self) -> Result<(), AwsError> {
        if self.s3_object_storage_mode.as_deref() == Some("REFERENCE") {
            return Err(AwsError::invalid_parameter("S3ObjectStorageMode: packages are copied here: expected COPY"));
        }
        require_nothing_of(&[(
            &self.source_kms_key_arn,
            "SourceKMSKeyArn",
            "there is no KMS; packages are not encrypted",
        )])
    }

    /// Keeps the package that is meant, of a function or a layer: the one place where a source of packages is read.
    pub async fn kept(&self, api: &Api, actor: &Actor) -> Result<CodeHash, AwsError> {
        if let Some(bucket) = &self.s3_bucket {
            // As reading it from the bucket does: the function's code could tell what is in it.
            if !actor.1.scopes.is_admin() {
                let text = format!("{} is not authorized to read s3://{bucket}: its token has no scope admin", actor.0);
                return Err(AwsError::access_denied(text));
            }
            if self.s3_object_version.is_some() {
                return Err(AwsError::invalid_parameter("S3ObjectVersion: buckets have no versions here"));
            }
            let key = self.s3_key.as_deref();
            let key = key.ok_or_else(|| AwsError::invalid_parameter("S3Key is missing beside S3Bucket"))?;
            let zip = s3::fetch(api, bucket, key, MAX_PACKAGE_BYTES).await?;
            return api.packages.add(zip).await.map_err(store);
        }
        let text = self
            .zip_file
            .as_deref()
            .ok_or_else(|| AwsError::invalid_parameter("Please provide a source for function code."))?;
        let zip = STANDARD.decode(text).map_err(|_| AwsError::serialization("ZipFile is not valid base64"))?;
        if zip.len() > MAX_ZIP {
            return Err(AwsError::too_large(format!("Request must be smaller than {MAX_ZIP} bytes for the package")));
        }
        if zip.is_empty() {
            return Err(AwsError::invalid_parameter("Uploaded file must be a non-empty zip"));
        }
        api.packages.add(Bytes::from(zip)).await.map_err(store)
    }
}
