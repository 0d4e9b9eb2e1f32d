//! `hearth publish` and `hearth versions`: what a function is now, for good; and what it was.

use std::process::ExitCode;

use clap::Args;
use control::{PublishWrite, VersionList, VersionView};
use model::FunctionName;
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::text;

#[derive(Debug, Args)]
pub struct PublishArgs {
    name: FunctionName,
    /// Of this version, for people, at most 256 bytes [default: the function's]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub struct VersionsArgs {
    name: FunctionName,
    /// Remove this version; refused while an alias leads to it
    #[arg(long, value_name = "NUMBER")]
    remove: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn publish(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let write = PublishWrite { description: args.description, ..PublishWrite::default() };
    let path = format!("/api/v1/functions/{}/versions", args.name);
    let version: VersionView = client.write(Method::POST, &path, &write)?;
    if args.json {
        out::json(&version)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (name, number) = (&version.function, version.version);
    if version.created == Some(false) {
        out::note(&format!("{name} has not changed since version {number}: no other was made"));
    }
    let done = out::Paint::stdout().green(&format!("published {name} version {number}"));
    out::line(&format!("{done}, as of revision {}", version.revision))?;
    out::line(&format!("  try  hearth invoke {name}:{number} '{{}}'"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn versions(args: VersionsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let path = format!("/api/v1/functions/{}/versions", args.name);
    if let Some(number) = args.remove {
        client.delete(&format!("{path}/{number}"))?;
        if args.json {
            out::json(&serde_json::json!({"function": args.name, "version": number, "removed": true}))?;
        } else {
            out::line(&format!("removed version {number} of {}", args.name))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let VersionList { versions } = client.get(&path)?;
    if args.json {
        out::json(&versions)?;
    } else if versions.is_empty() {
        out::note(&format!("{} has no versions: `hearth publish {}` makes one", args.name, args.name));
    } else {
        use Column::{Left, Right};
        let columns = [
            ("version", Right),
            ("revision", Right),
            ("aliases", Left),
            ("published", Right),
            ("code", Left),
            ("description", Left),
        ];
        let rows = versions.into_iter().map(|one| {
            let published = format!("{} ago", text::ago(&one.published));
            let code = one.code.sha256.chars().take(12).collect();
            let aliases = one.aliases.join(", ");
            vec![one.version.to_string(), one.revision.to_string(), aliases, published, code, one.description]
        });
        out::table(&columns, rows.collect())?;
    }
    Ok(ExitCode::SUCCESS)
}
