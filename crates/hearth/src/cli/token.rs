//! `hearth token`: tokens for people and programs that shall do some things here and not others. A token is printed once,
//! when it is made.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use control::{TokenList, TokenMade, TokenView, TokenWrite};
use model::SecretName;
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::{Usage, aws_env};

#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, this once
    Create {
        name: SecretName,
        /// What it lets its holder do: admin, read, secrets:write, invoke:NAME, deploy:NAME or logs:NAME, where NAME may have
        /// * for any text; may be given many times
        #[arg(long, value_name = "SCOPE", required = true, value_parser = scope)]
        scope: Vec<String>,
        /// How long it is valid, 1m to 3650d [default: until it is revoked]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Make an access key for AWS's tools with it, and print the environment that has them use it
        #[arg(long)]
        aws: bool,
    },
    /// List tokens, what they are for, and when they were last used; no token is shown
    #[command(visible_alias = "ls")]
    List,
    /// Revoke a token: it, its access key and its sessions are worth nothing from then on
    Revoke {
        /// Its name or its id
        token: String,
    },
}

fn scope(text: &str) -> Result<String, String> {
    text.parse::<control::Scope>().map(|scope| scope.to_string()).map_err(|error| error.to_string())
}

pub fn run(args: TokenArgs) -> anyhow::Result<ExitCode> {
    let (client, json) = (Client::new(&args.connect)?, args.json);
    match args.command {
        TokenCommand::Create { name, scope, expires, aws } => {
            let write = TokenWrite { name, scopes: scope, expires_in: expires, aws: aws.then_some(true) };
            let made: TokenMade = client.write(Method::POST, "/api/v1/tokens", &write)?;
            if json {
                out::json(&made)?;
            } else {
                created(&made, &args.connect.endpoint())?;
            }
        }
        TokenCommand::List => {
            let list: TokenList = client.get("/api/v1/tokens")?;
            if json {
                out::json(&list.tokens)?;
            } else {
                let names = ["NAME", "ID", "SCOPES", "MADE", "EXPIRES", "LAST USED", "ACCESS KEY"];
                let columns = names.map(|name| (name, Column::Left));
                out::table(&columns, list.tokens.into_iter().map(row).collect())?;
            }
        }
        TokenCommand::Revoke { token } => {
            let list: TokenList = client.get("/api/v1/tokens")?;
            let named = list.tokens.into_iter().find(|one| one.id.as_str() == token || one.name.as_str() == token);
            let found = named.ok_or_else(|| {
                // Whoever shows the token itself shall not find it in a terminal's log.
                let shown = if token.starts_with("hth_") { "hth_…" } else { &token };
                Usage(format!("no token has the name or id {shown:?}: `hearth token ls` shows those that are there"))
            })?;
            client.delete(&format!("/api/v1/tokens/{}", found.id))?;
            if json {
                out::json(&serde_json::json!({ "revoked": found.id, "name": found.name }))?;
            } else {
                out::line(&format!("revoked {} ({})", found.name, found.id))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn created(made: &TokenMade, endpoint: &str) -> anyhow::Result<()> {
    out::line(&made.secret)?;
    if let Some(key) = &made.aws {
        out::line(&format!("export AWS_ENDPOINT_URL={}", aws_env::quoted(endpoint)))?;
        out::line(&format!("export AWS_ACCESS_KEY_ID={}", aws_env::quoted(&key.access_key_id)))?;
        out::line(&format!("export AWS_SECRET_ACCESS_KEY={}", aws_env::quoted(&key.secret_access_key)))?;
    }
    let until =
        made.token.expires.as_ref().map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {at}"));
    out::note(&format!(
        "shown this once: {} ({}) may {}, {until}; set HEARTH_TOKEN to it",
        made.token.name,
        made.token.id,
        made.token.scopes.join(", ")
    ));
    Ok(())
}

fn row(token: TokenView) -> Vec<String> {
    let or = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_owned());
    vec![
        token.name.to_string(),
        token.id.to_string(),
        token.scopes.join(", "),
        token.created,
        or(token.expires, "never"),
        or(token.last_used, "never"),
        or(token.access_key_id, "-"),
    ]
}
