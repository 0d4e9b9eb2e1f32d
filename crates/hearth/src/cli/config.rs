//! `hearth config`: shows a function's settings, or changes some of them while it runs, without its code.

use std::process::ExitCode;

use clap::Args;
use control::FunctionView;
use model::FunctionName;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::{Usage, out, text};

/// Settings below which there are single entries.
const BELOW: &[&str] = &["env", "secrets", "scale", "async", "records"];
/// Settings that are texts, whatever they look like.
const TEXTS: &[&str] = &["description", "handler", "memory", "tmp", "timeout", "image", "runtime"];

#[derive(Debug, Args)]
pub struct ConfigArgs {
    name: FunctionName,
    /// Settings as in hearth.toml: memory=256MB, scale.min=2, env.STAGE=test; without any they are shown
    #[arg(value_name = "KEY=VALUE", value_parser = super::env::pair)]
    set: Vec<(String, String)>,
    /// Go back to the default, or remove: env.STAGE
    #[arg(short, long, value_name = "KEY")]
    unset: Vec<String>,
    /// Only if the function is at this revision
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let path = format!("/api/v1/functions/{}", args.name);
    let absent = |error| client.explain_absent(&args.name, error);
    if args.set.is_empty() && args.unset.is_empty() {
        let function: FunctionView = client.get(&path).map_err(absent)?;
        if args.json {
            out::json(&function)?
        } else {
            show(&function)?
        }
        return Ok(ExitCode::SUCCESS);
    }
    let before: FunctionView = client.get(&path).map_err(absent)?;
    let write = written(&args.set, &args.unset)?;
    let revision = args.if_revision.map(|revision| format!("\"{revision}\""));
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(revision.as_deref().map(|revision| ("if-match", revision)));
    let response = client.send(Method::PATCH, &path, &headers, Some(serde_json::to_vec(&write)?), None)?;
    let mut response = client.checked(response)?;
    let function: FunctionView = serde_json::from_slice(&client.body(&mut response)?)?;
    if args.json {
        out::json(&function)?;
    } else {
        let done = out::Paint::stdout().green(&format!("changed {}", function.name));
        out::line(&format!("{done}: revision {}, was {}", function.revision, before.revision))?;
        out::line(&format!("  see  hearth diff {} {}", function.name, before.revision))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be changed, as the API takes it. What is wrong with a key or a value the server says.
fn written(set: &[(String, String)], unset: &[String]) -> Result<Value, Usage> {
    let mut write = Map::new();
    let set = set.iter().map(|(key, value)| (key, Some(value)));
    for (key, value) in set.chain(unset.iter().map(|key| (key, None))) {
        let (above, below) = match key.split_once('.') {
            Some((above, below)) if BELOW.contains(&above) => (above, Some(below)),
            _ => (key.as_str(), None),
        };
        if below.is_none() && BELOW.contains(&above) {
            return Err(Usage(format!("{above} has entries: say which, as {above}.NAME")));
        }
        // Keys in files and here have hyphens, those of the API underscores; names of variables are their own.
        let in_api = |key: &str| key.replace('-', "_");
        let value = value.map_or(Value::Null, |value| read(above, value));
        match below {
            None => drop(write.insert(in_api(above), value)),
            Some(below) => {
                let entry = if matches!(above, "env" | "secrets") { below.to_owned() } else { in_api(below) };
                let entries = write.entry(above).or_insert_with(|| json!({}));
                entries.as_object_mut().map(|entries| entries.insert(entry, value));
            }
        }
    }
    Ok(Value::Object(write))
}

fn read(above: &str, text: &str) -> Value {
    let plain = || Value::String(text.to_owned());
    match above {
        "env" | "secrets" => plain(),
        key if TEXTS.contains(&key) => plain(),
        "egress" if text.contains(':') || text.contains(',') || text.contains('/') => {
            text.split(',').map(|one| Value::from(one.trim())).collect()
        }
        "layers" => text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(Value::from).collect(),
        "isolation" if text.contains('=') => {
            let shares = text.split(',').filter_map(|one| one.split_once('='));
            let share = |(name, share): (&str, &str)| (name.trim().to_owned(), json!(share.trim().parse::<u8>().ok()));
            Value::Object(shares.map(share).collect())
        }
        _ => serde_json::from_str(text).unwrap_or_else(|_| plain()),
    }
}

fn show(function: &FunctionView) -> anyhow::Result<()> {
    let Value::Object(settings) = serde_json::to_value(function)? else { return Ok(()) };
    for (key, value) in settings {
        let entries = match value {
            Value::Null => continue,
            Value::Object(entries) if key != "canary" => {
                entries.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)).collect()
            }
            value => vec![(key, value)],
        };
        for (key, value) in entries {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out::line(&text::one_line(&format!("{key}={value}")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_what_the_api_takes() {
        let pairs = [
            ("memory", "256MB"),
            ("scale.min", "2"),
            ("env.VERSION", "12"),
            ("url", "false"),
            ("at-least", "gvisor"),
            ("egress", "10.0.0.1:80, 10.0.0.2:80"),
            ("isolation", "namespace=90,gvisor=10"),
        ];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected = json!({
            "memory": "256MB", "scale": {"min": 2}, "env": {"VERSION": "12", "OLD": null}, "url": false,
            "at_least": "gvisor", "egress": ["10.0.0.1:80", "10.0.0.2:80"], "isolation": {"namespace": 90, "gvisor": 10},
        });
        assert_eq!(written(&pairs, &["env.OLD".to_owned()]).unwrap(), expected);
        assert!(written(&[("env".into(), "x".into())], &[]).unwrap_err().to_string().contains("env.NAME"));
    }
}
