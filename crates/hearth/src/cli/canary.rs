//! `hearth canary`: shows the canary of a function, or ends it before it ends itself.

use std::process::ExitCode;

use clap::Args;
use control::{CanaryDecision, CanaryEndWrite, CanaryView, FunctionView};
use model::FunctionName;
use ureq::http::Method;

use super::alias::shown;
use super::client::{Client, ConnectArgs};
use super::{out, text};

#[derive(Debug, Args)]
pub struct CanaryArgs {
    name: FunctionName,
    /// Give the new revision all calls now
    #[arg(long, conflicts_with = "abort")]
    promote: bool,
    /// Give what served before all calls again
    #[arg(long)]
    abort: bool,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: CanaryArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let path = format!("/api/v1/functions/{}/canary", args.name);
    let end = match (args.promote, args.abort) {
        (true, _) => Some(CanaryDecision::Promote),
        (_, true) => Some(CanaryDecision::RollBack),
        _ => None,
    };
    if let Some(end) = end {
        let function: FunctionView = client.write(Method::POST, &format!("{path}/end"), &CanaryEndWrite { end })?;
        if args.json {
            out::json(&function)?;
        } else {
            let what = if args.promote { "promoted" } else { "rolled back" };
            let done = out::Paint::stdout().green(&format!("{what} {}", function.name));
            out::line(&format!("{done}: revision {} gets all calls", function.revision))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let canary: CanaryView = client.get(&path)?;
    if args.json {
        out::json(&canary)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (what, value) in [
        ("revision", format!("{} (version {})", canary.revision, canary.version)),
        ("gets", format!("{} of the calls, revision {} the rest", shown(canary.weight), canary.stable)),
        ("since", canary.since.clone()),
        ("all from", canary.until.clone()),
        ("rolled back", format!("over {} errors of {} calls and more", shown(canary.max_error_rate), canary.min_calls)),
        ("so far", format!("{} calls, {} failed", canary.calls, canary.errors)),
    ] {
        out::line(&format!("{what:<12} {}", text::one_line(&value)))?;
    }
    Ok(ExitCode::SUCCESS)
}
