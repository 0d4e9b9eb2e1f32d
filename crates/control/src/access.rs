//! What each operation wants of the caller's token: one table for our API, one for AWS's.
//!
//! Rows of the first are the `operation_id`s of the OpenAPI document, rows of the second the operations of AWS's service
//! model; tests hold both to be whole. What is in no table wants all rights.
//!
//! A function that no scope of the token reaches is answered as one that is not there; where something would be made
//! under its name, as one that may not be: in both cases alike whether it is there or not.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::RequestPartsExt;
use axum::extract::{MatchedPath, RawPathParams, Request};
use http::Method;
use model::{Fault, FaultCode, RequestId};

use crate::error::ApiError;
use crate::scope::Scopes;
use crate::{Shared, payloads};

/// What an operation wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// No token: it is how one gets in.
    Nothing,
    /// Any token that is valid. What it may see or do, the operation itself says.
    Token,
    Admin,
    Read,
    SecretsWrite,
    /// Either of the two.
    ReadOrSecrets,
    /// `deploy` of the function that it names.
    Deploy,
    /// The same, and it may be what makes the function.
    Make,
    ReadOrDeploy,
    /// `deploy` of whatever.
    DeployAny,
    ReadOrDeployAny,
    /// `deploy:*`.
    DeployAll,
    Invoke,
    Logs,
    ReadOrLogs,
    /// `logs:*`.
    AllLogs,
}

/// Why a token is not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What it names is, for this token, not there.
    Absent(String),
    /// The scope that is missing.
    Missing(String),
}

/// One operation of our API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub name: &'static str,
    pub need: Need,
    /// Whether it goes into the audit log.
    pub audited: bool,
}

/// What changes something and is no change of the installation: messages that come and go.
const UNAUDITED: &[&str] = &["send_messages", "receive_messages", "delete_messages", "hide_messages"];

/// What reads, and is recorded all the same: it reaches into an instance, or into what somebody sent a function.
const AUDITED: &[&str] = &["attach", "get_payloads"];

/// What a route wants that is not in the document, and any that is forgotten here.
const OTHERS: Operation = Operation { name: "other", need: Need::Admin, audited: true };
/// What is nowhere. To learn that takes a token.
const NOWHERE: Operation = Operation { name: "nowhere", need: Need::Token, audited: false };
const PROMETHEUS: Operation = Operation { name: "prometheus", need: Need::Read, audited: false };

#[rustfmt::skip]
const OPERATIONS: &[(&str, Need)] = &[
    ("login", Need::Nothing), ("get_session", Need::Token), ("logout", Need::Token), ("login_link", Need::Token),
    ("list_tokens", Need::Admin), ("create_token", Need::Admin), ("revoke_token", Need::Admin),
    ("audit", Need::Admin), ("check_audit", Need::Admin),
    ("aws_credentials", Need::Token), ("openapi", Need::Token), ("doctor", Need::Read), ("list_runtimes", Need::ReadOrDeployAny),
    // Those that it may see.
    ("list_functions", Need::Token),
    ("get_function", Need::ReadOrDeploy), ("put_function", Need::Make), ("patch_function", Need::Deploy),
    ("delete_function", Need::Deploy),
    ("put_package", Need::DeployAny), ("has_package", Need::ReadOrDeployAny), ("get_package", Need::Read),
    ("function_history", Need::ReadOrDeploy), ("function_diff", Need::ReadOrDeploy), ("roll_back", Need::Deploy),
    ("publish_version", Need::Deploy), ("list_versions", Need::ReadOrDeploy), ("delete_version", Need::Deploy),
    ("list_aliases", Need::ReadOrDeploy), ("get_alias", Need::ReadOrDeploy), ("put_alias", Need::Deploy),
    ("delete_alias", Need::Deploy),
    ("get_canary", Need::ReadOrDeploy), ("begin_canary", Need::Deploy), ("end_canary", Need::Deploy),
    ("logs", Need::Logs), ("all_logs", Need::AllLogs),
    ("list_invocations", Need::ReadOrLogs), ("search_invocations", Need::Read), ("get_invocation", Need::ReadOrLogs),
    ("get_payloads", Need::Logs), ("replay", Need::Invoke),
    ("metrics", Need::Read), ("overview", Need::Read), ("list_instances", Need::Read), ("attach", Need::Admin),
    ("figures", Need::ReadOrDeploy), ("compare", Need::Deploy), ("list_comparisons", Need::ReadOrDeploy),
    ("get_comparison", Need::Read), ("cancel_comparison", Need::DeployAll),
    ("get_prices", Need::Read), ("put_prices", Need::Admin),
    ("get_queue", Need::Read), ("list_events", Need::Read), ("get_event", Need::Read),
    ("redrive_events", Need::DeployAll), ("purge_events", Need::DeployAll),
    ("list_sources", Need::Read), ("pause_source", Need::Deploy), ("resume_source", Need::Deploy),
    ("list_schedules", Need::Read), ("pause_schedule", Need::Deploy), ("resume_schedule", Need::Deploy),
    ("run_schedule", Need::Deploy),
    ("list_message_queues", Need::Read), ("get_message_queue", Need::Read), ("put_message_queue", Need::Admin),
    ("delete_message_queue", Need::Admin), ("send_messages", Need::Admin), ("receive_messages", Need::Admin),
    ("delete_messages", Need::Admin), ("hide_messages", Need::Admin), ("purge_messages", Need::Admin),
    ("redrive_messages", Need::Admin),
    ("list_images", Need::ReadOrDeployAny), ("get_image", Need::ReadOrDeployAny), ("pull_image", Need::DeployAny),
    ("import_image", Need::DeployAll), ("delete_image", Need::Admin), ("prune_images", Need::Admin),
    ("list_layers", Need::ReadOrDeployAny), ("publish_layer", Need::DeployAny), ("delete_layer", Need::Admin),
    ("backup", Need::Admin),
    ("list_routes", Need::Read), ("list_api_keys", Need::Read), ("make_api_key", Need::Admin),
    ("delete_api_key", Need::Admin),
    ("list_secrets", Need::ReadOrSecrets), ("put_secret", Need::SecretsWrite), ("delete_secret", Need::SecretsWrite),
    ("rotate_secret_key", Need::Admin),
];

/// By method and path, as the document has them.
static BY_ROUTE: LazyLock<HashMap<(Method, String), Operation>> = LazyLock::new(|| {
    let (_, document) = crate::api_routes().split_for_parts();
    let mut found = HashMap::new();
    for (path, item) in &document.paths.paths {
        let operations = [
            (Method::GET, &item.get),
            (Method::PUT, &item.put),
            (Method::POST, &item.post),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
            (Method::HEAD, &item.head),
        ];
        for (method, operation) in operations {
            let Some(id) = operation.as_ref().and_then(|operation| operation.operation_id.as_deref()) else { continue };
            let row = OPERATIONS.iter().find(|(name, _)| *name == id);
            let changes = method != Method::GET && method != Method::HEAD && !UNAUDITED.contains(&id);
            let audited = changes || AUDITED.contains(&id);
            let operation = row.map_or(OTHERS, |(name, need)| Operation { name, need: *need, audited });
            found.insert((method, path.clone()), operation);
        }
    }
    found
});

/// Which operation a request is; it has passed the router.
pub(crate) fn operation(request: &Request) -> Operation {
    let Some(path) = request.extensions().get::<MatchedPath>() else { return NOWHERE };
    if path.as_str() == "/metrics" {
        return PROMETHEUS;
    }
    let of = |method: Method| BY_ROUTE.get(&(method, path.as_str().to_owned())).copied();
    // A GET answers a HEAD as well.
    let get = || if request.method() == Method::HEAD { of(Method::GET) } else { None };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    of(request.method().clone()).or_else(get).unwrap_or(Operation { audited: !reads, ..OTHERS })
}

/// The function that a request names in its path, as its handler will read it.
pub(crate) async fn function_of(request: Request) -> (Request, Option<String>) {
    let of_function = |path: &MatchedPath| path.as_str().starts_with("/api/v1/functions/{name}");
    if !request.extensions().get::<MatchedPath>().is_some_and(of_function) {
        return (request, None);
    }
    let (mut parts, body) = request.into_parts();
    let name = match parts.extract::<RawPathParams>().await {
        Ok(params) => params.iter().find(|(key, _)| *key == "name").map(|(_, name)| name.to_owned()),
        Err(_) => None,
    };
    (Request::from_parts(parts, body), name)
}

/// What the path of an operation on one invocation begins with.
const INVOCATION: &str = "/api/v1/invocations/";

/// Whether these scopes are enough for what is asked of one invocation, by its id: what is wanted is wanted for its function.
/// Where nothing may be done with that, nobody learns that there was such an invocation; where there was none, its
/// handler says so.
pub(crate) async fn check_invocation(
    api: &Shared,
    need: Need,
    scopes: &Scopes,
    id: Option<RequestId>,
) -> Result<(), ApiError> {
    let Some(id) = id else {
        // The handler may read it otherwise, as one with escapes: only who may do everything gets there.
        let refused = || ApiError::invalid("request id: expected a UUID like 8f5d2f6a-1c7e-4a53-9c0b-6d0e6f1a2b3c");
        return if scopes.is_admin() { Ok(()) } else { Err(refused()) };
    };
    let Some(record) = payloads::record_of(api, id).await? else { return Ok(()) };
    match need.check(scopes, Some(record.function.as_str())) {
        Ok(()) => Ok(()),
        Err(Refusal::Absent(_)) => Err(payloads::no_record(&id)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Whether a request is about one invocation, and which if its path has an id there.
pub(crate) fn invocation_of(request: &Request) -> Option<Option<RequestId>> {
    let path = request.extensions().get::<MatchedPath>()?.as_str();
    let rest =
        path.starts_with("/api/v1/invocations/{request_id}").then(|| request.uri().path())?.strip_prefix(INVOCATION)?;
    Some(rest.split('/').next().and_then(|id| id.parse().ok()))
}

// === impl Need ===

impl Need {
    /// Whether these scopes are enough; `function` is the one that the request names.
    pub fn check(self, scopes: &Scopes, function: Option<&str>) -> Result<(), Refusal> {
        if scopes.is_admin() {
            return Ok(());
        }
        let name = function.unwrap_or_default();
        let deploy = function.is_some() && scopes.may_deploy(name);
        let logs = function.is_some() && scopes.may_read_logs(name);
        let (may, missing) = match self {
            Self::Nothing | Self::Token => (true, String::new()),
            Self::Admin => (false, "admin".to_owned()),
            Self::Read => (scopes.may_read(), "read".to_owned()),
            Self::SecretsWrite => (scopes.may_write_secrets(), "secrets:write".to_owned()),
            Self::ReadOrSecrets => {
                (scopes.may_read() || scopes.may_write_secrets(), "read or secrets:write".to_owned())
            }
            Self::Deploy | Self::Make => (deploy, format!("deploy:{name}")),
            Self::ReadOrDeploy => (scopes.may_read() || deploy, format!("read or deploy:{name}")),
            Self::DeployAny => (scopes.may_deploy_any(), "deploy:NAME".to_owned()),
            Self::ReadOrDeployAny => (scopes.may_read() || scopes.may_deploy_any(), "read or deploy:NAME".to_owned()),
            Self::DeployAll => (scopes.may_deploy_all(), "deploy:*".to_owned()),
            Self::Invoke => (function.is_some() && scopes.may_invoke(name), format!("invoke:{name}")),
            Self::Logs => (logs, format!("logs:{name}")),
            Self::ReadOrLogs => (scopes.may_read() || logs, format!("read or logs:{name}")),
            Self::AllLogs => (scopes.may_read_all_logs(), "logs:*".to_owned()),
        };
        match function {
            _ if may => Ok(()),
            Some(name) if self != Self::Make && !scopes.reach(name) => Err(Refusal::Absent(name.to_owned())),
            _ => Err(Refusal::Missing(missing)),
        }
    }
}

// === impl Refusal ===

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            // Also where the name could be no function's: the handler says so, and it tells nothing of what is there.
            Refusal::Absent(name) => match name.parse() {
                Ok(name) => store::StoreError::NoSuchFunction(name).into(),
                Err(error) => model::InvalidId::into(error),
            },
            Refusal::Missing(scope) => {
                let fault =
                    Fault::new(FaultCode::Unauthorized, format!("this token may not do this: it has no scope {scope}"));
                ApiError::new(http::StatusCode::FORBIDDEN, fault)
            }
        }
    }
}

// === AWS's operations ===

#[rustfmt::skip]
const AWS: &[(Need, &[&str])] = &[
    (Need::Invoke, &["Invoke", "InvokeAsync", "InvokeWithResponseStream"]),
    (Need::Make, &["CreateFunction"]),
    (Need::Deploy, &[
        "UpdateFunctionCode", "UpdateFunctionConfiguration", "DeleteFunction", "PublishVersion", "CreateAlias", "UpdateAlias",
        "DeleteAlias", "TagResource", "UntagResource", "PutFunctionConcurrency", "DeleteFunctionConcurrency",
        "PutFunctionEventInvokeConfig", "UpdateFunctionEventInvokeConfig", "DeleteFunctionEventInvokeConfig",
        "CreateFunctionUrlConfig", "UpdateFunctionUrlConfig", "DeleteFunctionUrlConfig", "AddPermission", "RemovePermission",
        "PutProvisionedConcurrencyConfig", "DeleteProvisionedConcurrencyConfig", "PutFunctionCodeSigningConfig",
        "DeleteFunctionCodeSigningConfig", "PutFunctionRecursionConfig", "PutFunctionScalingConfig",
        "PutRuntimeManagementConfig", "CreateEventSourceMapping",
    ]),
    (Need::ReadOrDeploy, &[
        "GetFunction", "GetFunctionConfiguration", "ListVersionsByFunction", "GetAlias", "ListAliases", "ListTags",
        "GetFunctionConcurrency", "GetFunctionEventInvokeConfig", "ListFunctionEventInvokeConfigs", "GetFunctionUrlConfig",
        "ListFunctionUrlConfigs", "GetPolicy", "GetProvisionedConcurrencyConfig", "ListProvisionedConcurrencyConfigs",
        "GetFunctionCodeSigningConfig", "GetFunctionRecursionConfig", "GetFunctionScalingConfig",
        "GetRuntimeManagementConfig",
    ]),
    (Need::ReadOrDeployAny, &[
        "GetLayerVersion", "GetLayerVersionByArn", "ListLayerVersions", "ListLayers",
    ]),
    (Need::DeployAny, &["PublishLayerVersion"]),
    // Named by an id that tells nothing of its function.
    (Need::DeployAll, &["UpdateEventSourceMapping", "DeleteEventSourceMapping"]),
    (Need::Read, &[
        "ListFunctions", "GetAccountSettings", "GetEventSourceMapping", "ListEventSourceMappings", "GetLayerVersionPolicy",
        "GetResourcePolicy", "GetCapacityProvider", "ListCapacityProviders", "ListFunctionVersionsByCapacityProvider",
        "GetCodeSigningConfig", "ListCodeSigningConfigs", "ListFunctionsByCodeSigningConfig", "GetDurableExecution",
        "GetDurableExecutionHistory", "GetDurableExecutionState", "ListDurableExecutionsByFunction",
    ]),
    (Need::Admin, &[
        "DeleteLayerVersion", "AddLayerVersionPermission", "RemoveLayerVersionPermission", "PutResourcePolicy",
        "DeleteResourcePolicy", "CreateCapacityProvider", "UpdateCapacityProvider", "DeleteCapacityProvider",
        "CreateCodeSigningConfig", "UpdateCodeSigningConfig", "DeleteCodeSigningConfig", "CheckpointDurableExecution",
        "DeleteDurableExecution", "PauseDurableExecution", "ResumeDurableExecution", "StopDurableExecution",
        "SendDurableExecutionCallbackFailure", "SendDurableExecutionCallbackHeartbeat",
        "SendDurableExecutionCallbackSuccess",
    ]),
];

/// What an operation of AWS Lambda's API wants.
pub(crate) fn of_lambda(operation: &str) -> Need {
    let row = AWS.iter().find(|(_, names)| names.contains(&operation));
    row.map_or(Need::Admin, |(need, _)| *need)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws::service::LAMBDA;

    use super::*;

    #[test]
    fn every_operation_of_the_document_is_in_the_table_once_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(crate::openapi_json()).unwrap();
        let items = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let known: BTreeSet<&str> = items.filter_map(|one| one["operationId"].as_str()).collect();
        let rows: BTreeSet<&str> = OPERATIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(rows, known, "left: the table in access.rs, right: the OpenAPI document");
        assert_eq!(rows.len(), OPERATIONS.len(), "an operation is there twice");
        assert!(UNAUDITED.iter().chain(AUDITED).all(|name| rows.contains(name)));
    }

    #[test]
    fn every_operation_of_aws_lambda_is_in_the_table_once_and_no_other() {
        let known: BTreeSet<&str> = LAMBDA.operations().map(|operation| operation.name.as_str()).collect();
        let rows: Vec<&str> = AWS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(rows.len(), known.len(), "an operation is there twice");
    }

    #[test]
    fn what_no_scope_reaches_is_absent_and_what_one_reaches_is_refused_by_name() {
        let scopes = Scopes::read(["deploy:a", "logs:b"]).unwrap();
        let check = |need: Need, name| need.check(&scopes, Some(name));
        assert_eq!(check(Need::Deploy, "a"), Ok(()));
        assert_eq!(check(Need::Deploy, "b"), Err(Refusal::Missing("deploy:b".into())));
        assert_eq!(check(Need::Deploy, "c"), Err(Refusal::Absent("c".into())));
        assert_eq!(check(Need::Make, "c"), Err(Refusal::Missing("deploy:c".into())));
        assert_eq!(check(Need::Logs, "b"), Ok(()));
        assert_eq!(Need::Deploy.check(&scopes, None), Err(Refusal::Missing("deploy:".into())));
        assert_eq!(Need::Read.check(&scopes, None), Err(Refusal::Missing("read".into())));
        assert_eq!(Need::Admin.check(&Scopes::admin(), None), Ok(()));
    }
}
