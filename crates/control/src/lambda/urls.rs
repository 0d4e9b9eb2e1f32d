//! Function URLs: whether the ingress answers for a function.

use std::time::Duration;

use aws::AwsError;
use model::{Cors, Function, InvokeMode, UrlAuth, UrlRules};
use serde::Deserialize;
use serde_json::{Value, json};
use store::versions::How;

use super::Answer;
use super::functions::{Named, changed};
use super::lookup::{arn, latest, page, reference};
use super::versions::List;
use crate::Api;
use crate::actor::Actor;
use crate::functions::change;
use crate::write::FunctionWrite;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Write {
    function_name: String,
    qualifier: Option<String>,
    auth_type: Option<String>,
    cors: Option<CorsWrite>,
    invoke_mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CorsWrite {
    allow_credentials: bool,
    allow_headers: Vec<String>,
    allow_methods: Vec<String>,
    allow_origins: Vec<String>,
    expose_headers: Vec<String>,
    max_age: Option<u64>,
}

pub async fn create(api: &Api, asked: Write, actor: Actor) -> Answer {
    let function = named(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    if function.spec.url {
        let message = format!(
            "Failed to create function url config for [functionArn = {}]. Error message:  \
             FunctionUrlConfig exists for this Lambda function",
            arn(&function.spec.name)
        );
        return Err(AwsError::new(http::StatusCode::CONFLICT, "ResourceConflictException", message));
    }
    let (mode, rules) = (asked.mode()?.unwrap_or_default(), asked.rules(UrlRules::default()));
    let function = set(api, &function, true, Some(mode), rules, actor).await?;
    let mut shown = shown(api, &function);
    // What was just made was never changed: the model has no such member.
    shown.as_object_mut().map(|members| members.remove("LastModifiedTime"));
    Ok(Some(shown))
}

pub async fn update(api: &Api, asked: Write, actor: Actor) -> Answer {
    let mut function = configured(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    let mode = asked.mode()?.unwrap_or(function.spec.invoke_mode);
    let rules = asked.rules(function.spec.url_rules.clone());
    if rules != function.spec.url_rules || mode != function.spec.invoke_mode {
        function = set(api, &function, true, Some(mode), rules, actor).await?;
    }
    Ok(Some(shown(api, &function)))
}

pub async fn get(api: &Api, asked: Named) -> Answer {
    let function = configured(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    Ok(Some(shown(api, &function)))
}

pub async fn list(api: &Api, asked: List) -> Answer {
    let function = named(api, &asked.function_name, None).await?;
    let all = if function.spec.url { vec![shown(api, &function)] } else { vec![] };
    let (configs, next) = page(all, asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"FunctionUrlConfigs": configs, "NextMarker": next})))
}

pub async fn delete(api: &Api, asked: Named, actor: Actor) -> Answer {
    let function = configured(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    set(api, &function, false, None, UrlRules::default(), actor).await?;
    Ok(None)
}

async fn set(
    api: &Api,
    function: &Function,
    url: bool,
    invoke_mode: Option<InvokeMode>,
    rules: UrlRules,
    actor: Actor,
) -> Result<Function, AwsError> {
    let write = FunctionWrite { url: Some(url), invoke_mode, url_rules: Some(rules), ..FunctionWrite::default() };
    change(api, &function.spec.name, None, write, How::Deploy, actor).await.map_err(changed)
}

async fn named(api: &Api, text: &str, qualifier: Option<&str>) -> Result<Function, AwsError> {
    let (name, qualifier) = reference(text, qualifier)?;
    match qualifier {
        Some(other) if other.to_string() != model::LATEST => Err(AwsError::invalid_parameter(format!(
            "A URL is the function's own here, and serves its aliases at /fn/{name}:{other}/ : expected no qualifier"
        ))),
        _ => latest(api, &name).await,
    }
}

async fn configured(api: &Api, text: &str, qualifier: Option<&str>) -> Result<Function, AwsError> {
    let function = named(api, text, qualifier).await?;
    if function.spec.url {
        return Ok(function);
    }
    Err(AwsError::not_found("The resource you requested does not exist."))
}

fn shown(api: &Api, function: &Function) -> Value {
    let time = super::configuration::moment(function.modified);
    let UrlRules { auth, cors } = &function.spec.url_rules;
    let mut shown = json!({
        "FunctionUrl": format!("{}/fn/{}/", api.ingress, function.spec.name),
        "FunctionArn": arn(&function.spec.name),
        "AuthType": match auth {
            UrlAuth::None => "NONE",
            UrlAuth::AwsIam => "AWS_IAM",
        },
        "CreationTime": time,
        "LastModifiedTime": time,
        "InvokeMode": function.spec.invoke_mode.as_aws(),
    });
    if let Some(cors) = cors {
        shown["Cors"] = json!({
            "AllowCredentials": cors.allow_credentials,
            "AllowHeaders": cors.allow_headers,
            "AllowMethods": cors.allow_methods,
            "AllowOrigins": cors.allow_origins,
            "ExposeHeaders": cors.expose_headers,
            "MaxAge": cors.max_age.map_or(0, |age| age.as_secs()),
        });
    }
    shown
}

// === impl Write ===

impl Write {
    fn mode(&self) -> Result<Option<InvokeMode>, AwsError> {
        let all = [InvokeMode::Buffered, InvokeMode::Stream];
        let read = |text: &str| all.into_iter().find(|mode| mode.as_aws() == text);
        // What the model does not know never comes this far.
        let wrong = || AwsError::invalid_parameter("InvokeMode is not valid: expected BUFFERED or RESPONSE_STREAM");
        self.invoke_mode.as_deref().map(|text| read(text).ok_or_else(wrong)).transpose()
    }

    /// What is said, in the place of what was.
    fn rules(&self, before: UrlRules) -> UrlRules {
        let auth = match self.auth_type.as_deref() {
            None => before.auth,
            Some("AWS_IAM") => UrlAuth::AwsIam,
            Some(_) => UrlAuth::None,
        };
        let Some(said) = &self.cors else { return UrlRules { auth, ..before } };
        let CorsWrite { allow_credentials, allow_headers, allow_methods, allow_origins, expose_headers, max_age } =
            said;
        let cors = Cors {
            allow_origins: allow_origins.clone(),
            allow_methods: allow_methods.clone(),
            allow_headers: allow_headers.clone(),
            expose_headers: expose_headers.clone(),
            max_age: max_age.filter(|age| *age > 0).map(Duration::from_secs),
            allow_credentials: *allow_credentials,
        };
        // Nothing said: there is none.
        UrlRules { auth, cors: (cors != Cors::default()).then_some(cors) }
    }
}
