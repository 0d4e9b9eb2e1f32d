//! Resource policies of functions and of layers' versions: statements added, shown, removed.
//!
//! They are what AWS's tools write before they let something call a function. Here nobody asks them: what may call is
//! whoever has a credential, and a function URL without one is open, as docs/lambda-api.md says.

use aws::AwsError;
use http::StatusCode;
use model::{FunctionName, Qualifier, RequestId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::policies::{Policy, Subject};

use super::lookup::{absent, arn, find, reference};
use super::{Answer, layers, store};
use crate::Api;

/// Longest policy, as JSON: AWS's 20 KB.
const MOST: usize = 20_480;

/// How often a change is tried that others overtook.
const ATTEMPTS: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Add {
    function_name: String,
    statement_id: String,
    action: String,
    principal: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    event_source_token: Option<String>,
    qualifier: Option<String>,
    revision_id: Option<String>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Get {
    function_name: String,
    qualifier: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Remove {
    function_name: String,
    statement_id: String,
    qualifier: Option<String>,
    revision_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddToLayer {
    layer_name: String,
    version_number: u64,
    statement_id: String,
    action: String,
    principal: String,
    organization_id: Option<String>,
    revision_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetOfLayer {
    layer_name: String,
    version_number: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemoveFromLayer {
    layer_name: String,
    version_number: u64,
    statement_id: String,
    revision_id: Option<String>,
}

pub async fn add(api: &Api, asked: Add) -> Answer {
    let (subject, resource) = function(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    let mut condition: Map<String, Value> = Map::new();
    let mut when = |operator: &str, key: &str, value: Option<Value>| {
        if let Some(value) = value {
            condition.entry(operator).or_insert_with(|| json!({}))[key] = value;
        }
    };
    when("StringEquals", "AWS:SourceAccount", asked.source_account.map(Value::from));
    when("StringEquals", "lambda:EventSourceToken", asked.event_source_token.map(Value::from));
    when("StringEquals", "aws:PrincipalOrgID", asked.principal_org_id.map(Value::from));
    when("StringEquals", "lambda:FunctionUrlAuthType", asked.function_url_auth_type.map(Value::from));
    when("ArnLike", "AWS:SourceArn", asked.source_arn.map(Value::from));
    when("Bool", "lambda:InvokedViaFunctionUrl", asked.invoked_via_function_url.map(|yes| yes.to_string().into()));
    let mut statement = statement(&asked.statement_id, &asked.principal, &asked.action, &resource);
    if !condition.is_empty() {
        statement["Condition"] = condition.into();
    }
    let _ = append(api, &subject, &asked.statement_id, statement.clone(), asked.revision_id.as_deref()).await?;
    Ok(Some(json!({"Statement": statement.to_string()})))
}

pub async fn get(api: &Api, asked: Get) -> Answer {
    let (subject, _) = function(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    shown(api, &subject).await
}

pub async fn remove(api: &Api, asked: Remove) -> Answer {
    let (subject, _) = function(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    take_away(api, &subject, &asked.statement_id, asked.revision_id.as_deref()).await
}

pub async fn add_to_layer(api: &Api, asked: AddToLayer) -> Answer {
    let (subject, resource) = layer(api, &asked.layer_name, asked.version_number).await?;
    let mut statement = statement(&asked.statement_id, &asked.principal, &asked.action, &resource);
    if let Some(organization) = asked.organization_id {
        statement["Condition"] = json!({"StringEquals": {"aws:PrincipalOrgID": organization}});
    }
    let made = append(api, &subject, &asked.statement_id, statement.clone(), asked.revision_id.as_deref()).await?;
    Ok(Some(json!({"Statement": statement.to_string(), "RevisionId": made})))
}

pub async fn get_of_layer(api: &Api, asked: GetOfLayer) -> Answer {
    let (subject, _) = layer(api, &asked.layer_name, asked.version_number).await?;
    shown(api, &subject).await
}

pub async fn remove_from_layer(api: &Api, asked: RemoveFromLayer) -> Answer {
    let (subject, _) = layer(api, &asked.layer_name, asked.version_number).await?;
    take_away(api, &subject, &asked.statement_id, asked.revision_id.as_deref()).await
}

/// The function's policy, or that of one version or alias of it; and what its statements name.
async fn function(api: &Api, text: &str, beside: Option<&str>) -> Result<(Subject, String), AwsError> {
    let (name, qualifier) = reference(text, beside)?;
    if qualifier.as_ref().is_some_and(|one| one.to_string() == model::LATEST) {
        return Err(AwsError::invalid_parameter(
            "We currently do not support adding policies for $LATEST: expected no qualifier, a version, or an alias",
        ));
    }
    // That it is there is asked first.
    find(api, text, beside).await?;
    Ok((
        Subject::Function(name.clone(), qualifier.as_ref().map(Qualifier::to_string)),
        named(&name, qualifier.as_ref()),
    ))
}

fn named(name: &FunctionName, qualifier: Option<&Qualifier>) -> String {
    qualifier.map_or_else(|| arn(name), |qualifier| format!("{}:{qualifier}", arn(name)))
}

async fn layer(api: &Api, text: &str, version: u64) -> Result<(Subject, String), AwsError> {
    let name = layers::name(text)?;
    layers::find(api, &name, version).await?;
    let resource = crate::layers::arn(&name, Some(version));
    Ok((Subject::Layer(name, version), resource))
}

/// As AWS writes it.
fn statement(id: &str, principal: &str, action: &str, resource: &str) -> Value {
    let is_account = principal.len() == 12 && principal.bytes().all(|byte| byte.is_ascii_digit());
    let principal = match principal {
        "*" => json!("*"),
        account if is_account => json!({"AWS": format!("arn:aws:iam::{account}:root")}),
        arn if arn.starts_with("arn:") => json!({"AWS": arn}),
        service => json!({"Service": service}),
    };
    json!({"Sid": id, "Effect": "Allow", "Principal": principal, "Action": action, "Resource": resource})
}

async fn shown(api: &Api, subject: &Subject) -> Answer {
    let Some(policy) = api.policies.policy(subject).await.map_err(store)? else { return Err(none_there()) };
    Ok(Some(json!({"Policy": document(&policy.statements).to_string(), "RevisionId": policy.revision})))
}

fn document(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Id": "default", "Statement": statements})
}

/// Adds a statement, and gives the policy's new revision.
async fn append(
    api: &Api,
    subject: &Subject,
    id: &str,
    statement: Value,
    expect: Option<&str>,
) -> Result<String, AwsError> {
    change(api, subject, expect, |statements| {
        if statements.iter().any(|one| one["Sid"] == id) {
            let message = format!(
                "The statement id ({id}) provided already exists. Please provide a new statement id, or remove the existing \
                 statement."
            );
            return Err(AwsError::new(StatusCode::CONFLICT, "ResourceConflictException", message));
        }
        statements.push(statement.clone());
        let size = document(statements).to_string().len();
        if size > MOST {
            let message = format!("The final policy size ({size}) is bigger than the limit ({MOST}).");
            return Err(AwsError::new(StatusCode::BAD_REQUEST, "PolicyLengthExceededException", message));
        }
        Ok(())
    })
    .await
}

async fn take_away(api: &Api, subject: &Subject, id: &str, expect: Option<&str>) -> Answer {
    change(api, subject, expect, |statements| {
        let before = statements.len();
        statements.retain(|one| one["Sid"] != id);
        match statements.len() < before {
            true => Ok(()),
            false => Err(AwsError::not_found(format!("Statement {id} is not found in resource policy."))),
        }
    })
    .await?;
    Ok(None)
}

async fn change(
    api: &Api,
    subject: &Subject,
    expect: Option<&str>,
    change: impl Fn(&mut Vec<Value>) -> Result<(), AwsError>,
) -> Result<String, AwsError> {
    for _ in 0..ATTEMPTS {
        let before = api.policies.policy(subject).await.map_err(store)?;
        let (mut statements, revision) =
            before.map_or_else(|| (Vec::new(), None), |before| (before.statements, Some(before.revision)));
        if expect.is_some() && expect != revision.as_deref() {
            return Err(AwsError::new(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailedException",
                "The RevisionId provided does not match the latest RevisionId. Call the GetPolicy API to retrieve the latest \
                 RevisionId",
            ));
        }
        change(&mut statements)?;
        let next = RequestId::random().to_string();
        let after = (!statements.is_empty()).then(|| Policy { statements, revision: next.clone() });
        let replaced = api.policies.replace_policy(subject, revision, after).await.map_err(|error| match error {
            store::StoreError::NoSuchFunction(name) => absent(&name, None),
            error => store(error),
        })?;
        if replaced {
            return Ok(next);
        }
    }
    Err(AwsError::new(
        StatusCode::CONFLICT,
        "ResourceConflictException",
        "The policy is being changed by others: try again",
    ))
}

fn none_there() -> AwsError {
    AwsError::not_found("The resource you requested does not exist.")
}
