//! `hearth list`: functions.

use std::process::ExitCode;

use clap::Args;
use control::FunctionList;

use super::alias::shown;
use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::text;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let FunctionList { functions } = client.get("/api/v1/functions")?;
    if args.json {
        out::json(&functions)?;
    } else if functions.is_empty() {
        out::note("no functions yet: `hearth init hello` makes a folder, `hearth deploy hello` deploys it");
    } else {
        use Column::{Left, Right};
        let columns = [
            ("name", Left),
            ("runtime", Left),
            ("memory", Right),
            ("timeout", Right),
            ("revision", Right),
            ("changed", Right),
            ("url", Left),
        ];
        let rows = functions.into_iter().map(|one| {
            let url = one.invoke_url.unwrap_or_else(|| "-".to_owned());
            let changed = format!("{} ago", text::ago(&one.modified));
            let canary = one.canary.map(|canary| format!(" ({} canary)", shown(canary.weight)));
            let revision = format!("{}{}", one.revision, canary.unwrap_or_default());
            vec![one.name, one.runtime, one.memory, one.timeout, revision, changed, url]
        });
        out::table(&columns, rows.collect())?;
    }
    Ok(ExitCode::SUCCESS)
}
