//! What CreateFunction and UpdateFunctionConfiguration say of a function, as our own API takes it. What would be believed to
//! work here, and does not, is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use aws::AwsError;
use model::{AwsNotes, EnvValue, Function, FunctionName, Memory, Runtime, SecretName};
use serde::Deserialize;
use serde_json::Value;

use super::configuration::SECRET;
use crate::write::FunctionWrite;

/// What both Create and UpdateConfiguration say.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    runtime: Option<Runtime>,
    role: Option<String>,
    handler: Option<String>,
    description: Option<String>,
    timeout: Option<u64>,
    memory_size: Option<u32>,
    environment: Option<Environment>,
    ephemeral_storage: Option<Size>,
    snap_start: Option<SnapStart>,
    tracing_config: Option<Tracing>,
    layers: Option<Vec<String>>,
    logging_config: Option<Logging>,
    // What is here in no form, or not yet: refused where it says anything.
    vpc_config: Option<Value>,
    file_system_configs: Option<Value>,
    image_config: Option<Value>,
    dead_letter_config: Option<Value>,
    #[serde(rename = "KMSKeyArn")]
    kms_key_arn: Option<Value>,
    capacity_provider_config: Option<Value>,
    durable_config: Option<Value>,
    accelerator_config: Option<Value>,
    runtime_config: Option<Value>,
    code_signing_config_arn: Option<Value>,
    tenancy_config: Option<Value>,
    publish_to: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Environment {
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    size: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SnapStart {
    #[serde(default)]
    apply_on: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tracing {
    #[serde(default)]
    mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Logging {
    log_format: Option<String>,
    application_log_level: Option<String>,
    system_log_level: Option<String>,
    log_group: Option<String>,
}

// === impl Settings ===

impl Settings {
    /// As our own API takes it. `before`: the function that is changed.
    pub fn write(self, name: &FunctionName, before: Option<&Function>) -> Result<FunctionWrite, AwsError> {
        self.require_here()?;
        let mut aws = before.map_or_else(AwsNotes::default, |function| function.spec.aws.clone());
        if let Some(role) = self.role {
            aws.role = role;
        }
        if let Some(tracing) = self.tracing_config {
            aws.active_tracing = tracing.mode == "Active";
        }
        if let Some(logging) = self.logging_config {
            aws.json_logs = logging.read(name, aws.json_logs)?;
        }
        Ok(FunctionWrite {
            runtime: self.runtime,
            handler: self.handler,
            description: self.description,
            timeout: self.timeout.map(Duration::from_secs),
            memory: self.memory_size.map(Memory::mib),
            tmp: self.ephemeral_storage.map(|storage| Memory::mib(storage.size)),
            snapstart: self.snap_start.map(|snap| snap.apply_on == "PublishedVersions"),
            env: self.environment.map(|environment| environment.write(before)).transpose()?,
            aws: Some(aws),
            layers: self.layers,
            ..FunctionWrite::default()
        })
    }

    /// What would be believed to work, and does not, is refused.
    fn require_here(&self) -> Result<(), AwsError> {
        require_nothing_of(&[
            (&self.vpc_config, "VpcConfig", "there are no VPCs; what it may reach is `egress` of Hearth's own API"),
            (
                &self.file_system_configs,
                "FileSystemConfigs",
                "folders of this machine are mounted by `mounts` of Hearth's own API",
            ),
            (&self.image_config, "ImageConfig", "it is not supported yet: the image's own command is run"),
            (
                &self.dead_letter_config,
                "DeadLetterConfig",
                "events that fail are kept (`hearth queue`), and sent to a queue or a function by \
                 PutFunctionEventInvokeConfig with DestinationConfig.OnFailure",
            ),
            (&self.kms_key_arn, "KMSKeyArn", "there is no KMS; keep what is secret with `hearth secret`"),
            (&self.capacity_provider_config, "CapacityProviderConfig", "there are no capacity providers"),
            (&self.durable_config, "DurableConfig", "durable executions are not supported"),
            (&self.accelerator_config, "AcceleratorConfig", "there are no accelerators"),
            (&self.runtime_config, "RuntimeConfig", "runtimes are this machine's own"),
            (&self.code_signing_config_arn, "CodeSigningConfigArn", "there is no code signing"),
            (&self.tenancy_config, "TenancyConfig", "instances are not kept apart by tenant"),
            (&self.publish_to, "PublishTo", NO_PUBLISH_TO),
        ])
    }
}

pub const NO_PUBLISH_TO: &str = "there is no $LATEST.PUBLISHED; say Publish";

/// Refuses the first of these that says anything, for its reason.
pub fn require_nothing_of(not_here: &[(&Option<Value>, &str, &str)]) -> Result<(), AwsError> {
    match not_here.iter().find(|(said, ..)| said.as_ref().is_some_and(says_anything)) {
        None => Ok(()),
        Some((_, member, why)) => Err(AwsError::invalid_parameter(format!("{member} cannot be had here: {why}"))),
    }
}

/// `{}`, `[]` and members that are empty say nothing.
pub fn says_anything(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(says_anything),
        _ => true,
    }
}

// === impl Logging ===

impl Logging {
    /// The level of lines in JSON, or none for lines as text. `before`: the same, of the function that is changed.
    fn read(self, name: &FunctionName, before: Option<String>) -> Result<Option<String>, AwsError> {
        let own = format!("/aws/lambda/{name}");
        if let Some(group) = self.log_group.filter(|group| !group.is_empty() && *group != own) {
            return Err(AwsError::invalid_parameter(format!(
                "LoggingConfig.LogGroup: a function's lines are in its own group here: expected {own}, got {group}"
            )));
        }
        let json = self.log_format.as_deref().map_or(before.is_some(), |format| format == "JSON");
        if !json {
            let said = self.application_log_level.is_some() || self.system_log_level.is_some();
            return match said {
                true => Err(AwsError::invalid_parameter(
                    "LoggingConfig: ApplicationLogLevel and SystemLogLevel are for LogFormat JSON only",
                )),
                false => Ok(None),
            };
        }
        if let Some(level) = self.system_log_level.filter(|level| level != "INFO") {
            return Err(AwsError::invalid_parameter(format!(
                "LoggingConfig.SystemLogLevel: the platform writes the same lines for every function: expected INFO, got {level}"
            )));
        }
        Ok(Some(self.application_log_level.or(before).unwrap_or_else(|| "INFO".into())))
    }
}

// === impl Environment ===

impl Environment {
    /// It replaces what was there.
    fn write(self, before: Option<&Function>) -> Result<BTreeMap<String, Option<EnvValue>>, AwsError> {
        let gone = before.into_iter().flat_map(|function| function.spec.env.keys());
        let mut env: BTreeMap<_, _> = gone.map(|name| (name.clone(), None)).collect();
        for (name, text) in self.variables {
            let secret = text.strip_prefix(SECRET.0).and_then(|rest| rest.strip_suffix(SECRET.1));
            let value = match secret.map(str::parse::<SecretName>) {
                None => EnvValue::Plain(text),
                Some(Ok(secret)) => secret.into(),
                Some(Err(error)) => return Err(AwsError::invalid_parameter(format!("{name}: {error}"))),
            };
            env.insert(name, Some(value));
        }
        Ok(env)
    }
}
