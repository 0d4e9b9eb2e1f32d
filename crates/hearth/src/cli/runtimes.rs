//! `hearth runtimes`: what functions can be written for here.

use std::process::ExitCode;

use clap::Args;
use control::RuntimeList;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};

#[derive(Debug, Args)]
pub struct RuntimesArgs {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: RuntimesArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let RuntimeList { runtimes } = client.get("/api/v1/runtimes")?;
    if args.json {
        out::json(&runtimes)?;
    } else if runtimes.is_empty() {
        out::note("no runtimes: install python3 or nodejs, and start Hearth again");
    } else {
        let rows = runtimes.into_iter().map(|one| vec![one.name.to_string(), one.program]);
        out::table(&[("runtime", Column::Left), ("interpreter", Column::Left)], rows.collect())?;
    }
    Ok(ExitCode::SUCCESS)
}
