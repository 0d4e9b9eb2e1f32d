//! A function's configuration, as AWS shows it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{CodeHash, EnvValue, Function, Language, Timestamp, Version};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::lookup::Meant;
/// How a variable is written that holds a secret: in the form of CloudFormation's dynamic references, and read back as one.
pub const SECRET: (&str, &str) = ("{{resolve:secret:", "}}");

/// This machine's, by AWS's word.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };

/// `FunctionConfiguration`.
pub fn shown(meant: &Meant) -> Value {
    of(&meant.function, &meant.arn)
}

pub fn of(function: &Function, arn: &str) -> Value {
    let Function { spec, version, revision: _, code, code_size, modified } = function;
    let image = spec.runtime.language() == Language::Image;
    let mut shown = json!({
        "FunctionName": spec.name.as_str(),
        "FunctionArn": arn,
        "Role": spec.aws.role,
        "CodeSize": code_size,
        "CodeSha256": sha256(code),
        "Description": spec.description,
        "Timeout": spec.timeout.as_secs().max(1),
        "MemorySize": spec.memory.bytes() / (1024 * 1024),
        "LastModified": moment(*modified),
        "Version": version.to_string(),
        "TracingConfig": {"Mode": if spec.aws.active_tracing { "Active" } else { "PassThrough" }},
        "RevisionId": revision_id(function),
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": if image { "Image" } else { "Zip" },
        "Architectures": [ARCHITECTURE],
        "EphemeralStorage": {"Size": spec.tmp.bytes() / (1024 * 1024)},
        "SnapStart": {
            "ApplyOn": if spec.snapstart { "PublishedVersions" } else { "None" },
            "OptimizationStatus": if spec.snapstart && *version != Version::Latest { "On" } else { "Off" },
        },
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": format!("/aws/lambda/{}", spec.name)},
    });
    if let Some(level) = &spec.aws.json_logs {
        shown["LoggingConfig"]["LogFormat"] = "JSON".into();
        shown["LoggingConfig"]["ApplicationLogLevel"] = level.as_str().into();
        shown["LoggingConfig"]["SystemLogLevel"] = "INFO".into();
    }
    if !image {
        shown["Runtime"] = spec.runtime.to_string().into();
        shown["Handler"] = spec.handler.as_str().into();
    }
    if let Some(layers) = super::layers::of(function) {
        shown["Layers"] = layers;
    }
    if !spec.env.is_empty() {
        let one = |(name, value): (&String, &EnvValue)| {
            let value = match value {
                EnvValue::Plain(text) => text.clone(),
                EnvValue::Secret(secret) => format!("{}{}{}", SECRET.0, secret.secret, SECRET.1),
            };
            (name.clone(), Value::String(value))
        };
        shown["Environment"] = json!({"Variables": spec.env.iter().map(one).collect::<Map<_, _>>()});
    }
    shown
}

/// Base64, as AWS writes it.
pub fn sha256(code: &CodeHash) -> String {
    let hex = code.as_str();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).filter_map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect();
    STANDARD.encode(bytes)
}

/// A UUID that changes whenever the function does.
pub fn revision_id(function: &Function) -> String {
    let text =
        format!("{}\0{}\0{}\0{}", function.spec.name, function.version, function.revision, function.modified.rfc3339());
    uuid(&text)
}

/// A UUID that is made of a text.
pub fn uuid(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// `2026-11-23T05:10:00.000+0000`.
pub fn moment(time: Timestamp) -> String {
    format!("{}+0000", time.rfc3339().trim_end_matches('Z'))
}

/// Where a package can be had: with the token of Hearth's own API.
pub fn location(endpoint: &str, code: &CodeHash) -> String {
    format!("{endpoint}/api/v1/packages/{code}")
}
