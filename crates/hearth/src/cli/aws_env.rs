//! `hearth aws-env`: the environment that points AWS's tools here. Meant for `eval "$(hearth aws-env)"`.

use std::process::ExitCode;

use clap::Args;
use control::AwsCredentials;
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out;

#[derive(Debug, Args)]
pub struct AwsEnvArgs {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: AwsEnvArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let keys: AwsCredentials = client.write(Method::POST, "/api/v1/aws-credentials", &serde_json::json!({}))?;
    let variables = [
        ("AWS_ENDPOINT_URL", keys.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", &keys.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key),
        ("AWS_REGION", &keys.region),
        // Older tools know only this one.
        ("AWS_DEFAULT_REGION", &keys.region),
    ];
    if args.json {
        out::json(&std::collections::BTreeMap::from(variables))?;
    } else {
        for (name, value) in variables {
            out::line(&format!("export {name}={}", quoted(value)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// For a POSIX shell. A value of harmless characters stays bare, for readers that are no shell.
pub fn quoted(value: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=".contains(&byte);
    if !value.is_empty() && value.bytes().all(bare) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_value_and_nothing_else() {
        assert_eq!(quoted("http://127.0.0.1:7070"), "http://127.0.0.1:7070");
        assert_eq!(quoted("$(rm -rf /)"), "'$(rm -rf /)'");
        assert_eq!(quoted("a'b\nc"), "'a'\\''b\nc'");
        assert_eq!(quoted(""), "''");
    }
}
