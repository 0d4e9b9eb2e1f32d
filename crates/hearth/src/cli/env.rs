//! `hearth env`: shows a function's environment variables, or changes them while it runs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use control::{FunctionView, FunctionWrite};
use model::{EnvValue, FunctionName};
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::{out, text};

#[derive(Debug, Args)]
pub struct EnvArgs {
    name: FunctionName,
    /// Variables to set; without any, and without --unset, they are shown
    #[arg(value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Variables to remove
    #[arg(short, long, value_name = "NAME")]
    unset: Vec<String>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Reads `NAME=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() {
        return Err("expected NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub fn run(args: EnvArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let path = format!("/api/v1/functions/{}", args.name);
    let mut env: BTreeMap<String, Option<EnvValue>> = args.unset.into_iter().map(|name| (name, None)).collect();
    env.extend(args.set.into_iter().map(|(name, value)| (name, Some(value.into()))));
    let changes = !env.is_empty();
    let absent = |error| client.explain_absent(&args.name, error);
    let function: FunctionView = if changes {
        let before: FunctionView = client.get(&path).map_err(absent)?;
        for name in env.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name) {
            if !before.env.contains_key(name) {
                out::note(&format!("{} was not set", text::one_line(name)));
            }
        }
        client.write(Method::PATCH, &path, &FunctionWrite { env: Some(env), ..FunctionWrite::default() })?
    } else {
        client.get(&path).map_err(absent)?
    };
    if args.json {
        out::json(&function.env)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in &function.env {
        match value {
            EnvValue::Plain(value) => out::line(&format!("{name}={}", text::one_line(value)))?,
            EnvValue::Secret(of) => out::line(&format!("{name}  (secret {})", of.secret))?,
        }
    }
    if changes {
        out::note(&format!("{} is now at revision {}: new calls see it", function.name, function.revision));
    } else if function.env.is_empty() {
        out::note(&format!(
            "{} has no environment variables: `hearth env {} NAME=VALUE` sets one",
            function.name, function.name
        ));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_anything_and_a_name_must_be_there() {
        assert_eq!(pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(pair("A="), Ok(("A".into(), String::new())));
        assert!(pair("A").is_err());
        assert!(pair("=b").is_err());
    }
}
