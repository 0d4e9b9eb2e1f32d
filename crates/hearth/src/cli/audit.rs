//! `hearth audit`: who changed what, and whether the record of it is whole.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use control::{AuditCheckView, AuditList, AuditView, TokenList};
use model::TokenId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::{Usage, text};

#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List what was changed, newest first, with logins and what was refused
    #[command(visible_alias = "ls")]
    List {
        /// At most so many, 1 to 1000
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: usize,
        /// Only those before this one, by its number
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
        /// Only those of this token, by its name or its id
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
        /// Only this operation, like put_function or lambda:CreateFunction
        #[arg(long, value_name = "OPERATION")]
        action: Option<String>,
        /// Only those from then on: a time, or back from now like 10m
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Check that no record was changed, removed or put in
    Verify {
        /// Also that the record with this hash is there: one that was noted earlier
        #[arg(long, value_name = "HASH")]
        hash: Option<String>,
    },
}

pub fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let (client, json) = (Client::new(&args.connect)?, args.json);
    match args.command {
        AuditCommand::List { limit, before, token, action, since } => {
            let token = token.map(|token| id_of(&client, &token)).transpose()?;
            let mut path = format!("/api/v1/audit?limit={limit}");
            let before = before.map(|before| before.to_string());
            let token = token.map(String::from);
            for (key, value) in [("before", before), ("token", token), ("action", action), ("since", since)] {
                if let Some(value) = value {
                    path.push_str(&format!("&{key}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
                }
            }
            let list: AuditList = client.get(&path)?;
            if json {
                out::json(&list.records)?;
            } else if list.records.is_empty() {
                out::note("no records that fit");
            } else {
                let names = ["NUMBER", "TIME", "BY", "FROM", "ACTION", "OBJECT", "RESULT"];
                let columns = names.map(|name| (name, Column::Left));
                out::table(&columns, list.records.into_iter().map(row).collect())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Verify { hash } => {
            let query = hash.as_ref().map(|hash| format!("?hash={}", utf8_percent_encode(hash, NON_ALPHANUMERIC)));
            let check: AuditCheckView = client.get(&format!("/api/v1/audit/check{}", query.unwrap_or_default()))?;
            let missing = hash.is_some() && check.found.is_none();
            if json {
                out::json(&check)?;
            } else if let Some(why) = &check.broken {
                out::line(&text::one_line(&format!("the audit log is not whole: {why}")))?;
            } else if missing {
                out::line("no record has this hash: it was removed, or is older than those that are kept")?;
            } else {
                out::line(&format!("whole: {} records, {} to {}", check.records, check.first, check.last))?;
                out::line(&format!("  head  {}", check.head))?;
                out::note(
                    "note the head elsewhere: `hearth audit verify --hash HEAD` then tells whether all before it is there",
                );
            }
            Ok(if check.whole && !missing { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// The id of a token that may be named; one that was revoked is known by its id only.
fn id_of(client: &Client, token: &str) -> anyhow::Result<TokenId> {
    if let Ok(id) = token.parse() {
        return Ok(id);
    }
    let list: TokenList = client.get("/api/v1/tokens")?;
    let found = list.tokens.into_iter().find(|one| one.name.as_str() == token);
    let shown = if token.starts_with("hth_") { "hth_…" } else { token };
    let unknown = || Usage(format!("no token is named {shown:?}: one that was revoked is known by its id only"));
    Ok(found.ok_or_else(unknown)?.id)
}

fn row(record: AuditView) -> Vec<String> {
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let result = match record.code {
        Some(code) => format!("{} {code}", record.status),
        None => record.status.to_string(),
    };
    vec![
        record.seq.to_string(),
        record.at,
        text::one_line(&or(record.by)),
        or(record.ip),
        text::one_line(&record.action),
        text::one_line(&record.object),
        result,
    ]
}
