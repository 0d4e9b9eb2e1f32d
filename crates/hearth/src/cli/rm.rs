//! `hearth rm`: removes functions.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use model::FunctionName;

use super::client::{Client, ConnectArgs};
use super::out;

#[derive(Debug, Args)]
pub struct RmArgs {
    /// The functions to remove
    #[arg(required = true, value_name = "NAME")]
    names: Vec<FunctionName>,
    /// Do not ask; without a terminal nobody is asked
    #[arg(short, long)]
    yes: bool,
    /// Print the removed names as a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: RmArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let mut removed = Vec::new();
    for name in args.names {
        if !args.yes && io::stdin().is_terminal() && !confirmed(&name)? {
            out::note(&format!("{name} stays"));
            continue;
        }
        let removing = client.delete(&format!("/api/v1/functions/{name}"));
        removing.map_err(|error| client.explain_absent(&name, error))?;
        if !args.json {
            out::line(&format!("removed {name}; its logs stay for a while"))?;
        }
        removed.push(name);
    }
    if args.json {
        out::json(&removed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn confirmed(name: &FunctionName) -> io::Result<bool> {
    let mut screen = io::stderr();
    write!(screen, "remove the function {name}? [y/N] ")?;
    screen.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
