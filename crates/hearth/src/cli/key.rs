//! `hearth key`: the keys that routes may ask their callers for. A key is printed once, when it is made.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use control::{ApiKeyList, ApiKeyMade, ApiKeyView, ApiKeyWrite};
use model::{FunctionName, RoutePattern, SecretName};
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};

#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key and print it, this once
    Create {
        name: SecretName,
        /// Valid for this function's routes; may be given many times [default: for all]
        #[arg(long, value_name = "NAME")]
        function: Vec<FunctionName>,
        /// Valid for this route; may be given many times
        #[arg(long, value_name = "METHOD HOST/PATH")]
        route: Vec<RoutePattern>,
    },
    /// List keys and what they are valid for; no key is shown
    #[command(visible_alias = "ls")]
    List,
    /// Remove a key: nobody is let in by it any more
    Rm { name: SecretName },
}

pub fn run(args: KeyArgs) -> anyhow::Result<ExitCode> {
    let (client, json) = (Client::new(&args.connect)?, args.json);
    match args.command {
        KeyCommand::Create { name, function, route } => {
            let write = ApiKeyWrite { name, functions: function, routes: route };
            let made: ApiKeyMade = client.write(Method::POST, "/api/v1/keys", &write)?;
            if json {
                out::json(&made)?;
            } else {
                out::line(&made.key)?;
                out::note("shown this once: callers send it in the header x-api-key");
            }
        }
        KeyCommand::List => {
            let list: ApiKeyList = client.get("/api/v1/keys")?;
            if json {
                out::json(&list.keys)?;
            } else if list.keys.is_empty() {
                out::note("no API keys: `hearth key create NAME` makes one");
            } else {
                let columns = [("NAME", Column::Left), ("MADE", Column::Left), ("VALID FOR", Column::Left)];
                out::table(&columns, list.keys.into_iter().map(row).collect())?;
            }
        }
        KeyCommand::Rm { name } => {
            client.delete(&format!("/api/v1/keys/{name}"))?;
            if json {
                out::json(&serde_json::json!({ "removed": name }))?;
            } else {
                out::line(&format!("removed {name}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(key: ApiKeyView) -> Vec<String> {
    let functions = key.functions.iter().map(ToString::to_string);
    let places: Vec<_> = functions.chain(key.routes.iter().map(ToString::to_string)).collect();
    let places = if places.is_empty() { "all routes".to_owned() } else { places.join(", ") };
    vec![key.name.to_string(), key.created, places]
}
