//! `hearth history`, `hearth diff` and `hearth rollback`: what was done to a function, and the way back.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use control::{ChangeView, DiffView, FunctionView, HistoryList, RollbackWrite};
use model::FunctionName;
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::{out, text};

#[derive(Debug, Args)]
pub struct HistoryArgs {
    name: FunctionName,
    /// At most so many entries, 1 to 300
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    name: FunctionName,
    /// A revision, as `hearth history` shows them
    from: u64,
    /// Another one [default: what the function is now]
    to: Option<u64>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    name: FunctionName,
    /// A revision, or a published version as vNUMBER [default: the revision before; while a canary runs, what served
    /// before it]
    #[arg(long, value_name = "REVISION|vVERSION")]
    to: Option<To>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Where to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Revision(u64),
    Version(u64),
}

impl FromStr for To {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        let to = match text.strip_prefix('v') {
            Some(version) => number(version).map(To::Version),
            None => number(text).map(To::Revision),
        };
        to.ok_or_else(|| "expected a revision like 12, or a version like v3".to_owned())
    }
}

pub fn history(args: HistoryArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let path = format!("/api/v1/functions/{}/history?limit={}", args.name, args.limit);
    let HistoryList { history } = client.get(&path)?;
    if args.json {
        out::json(&history)?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = out::Paint::stdout();
    for row in history {
        let what = serde_json::to_value(row.what)?;
        let what = what.as_str().unwrap_or_default().replace('-', " ");
        let more = if row.text.is_empty() { String::new() } else { format!(": {}", row.text) };
        let head = format!("revision {:<4} {what}{more}", row.revision);
        let (at, by) = (text::one_line(&row.at), text::one_line(&row.by));
        out::line(&format!("{}  {}", paint.bold(&text::one_line(&head)), paint.dim(&format!("{at}, {by}"))))?;
        tell(&row.changes)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn diff(args: DiffArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let to = args.to.map(|to| format!("&to={to}")).unwrap_or_default();
    let diff: DiffView = client.get(&format!("/api/v1/functions/{}/diff?from={}{to}", args.name, args.from))?;
    if args.json {
        out::json(&diff)?;
    } else if diff.changes.is_empty() {
        out::note(&format!("revisions {} and {} of {} are the same", diff.from, diff.to, args.name));
    } else {
        out::line(&format!("{} from revision {} to {}", args.name, diff.from, diff.to))?;
        tell(&diff.changes)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn roll_back(args: RollbackArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let write = match args.to {
        None => RollbackWrite::default(),
        Some(To::Revision(revision)) => RollbackWrite { revision: Some(revision), version: None },
        Some(To::Version(version)) => RollbackWrite { revision: None, version: Some(version) },
    };
    let path = format!("/api/v1/functions/{}/rollback", args.name);
    let function: FunctionView = client.write(Method::POST, &path, &write)?;
    if args.json {
        out::json(&function)?;
    } else {
        let done = out::Paint::stdout().green(&format!("rolled back {}", function.name));
        out::line(&format!("{done}: revision {} is what it was before", function.revision))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(changes: &[ChangeView]) -> anyhow::Result<()> {
    for ChangeView { key, from, to } in changes {
        let shown = |value: &Option<serde_json::Value>| match value {
            None => "(not said)".to_owned(),
            Some(serde_json::Value::String(text)) if key == "code.sha256" => text.chars().take(12).collect(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        out::line(&format!("  {}", text::one_line(&format!("{key}: {} -> {}", shown(from), shown(to)))))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_is_a_revision_or_a_version() {
        assert_eq!("12".parse(), Ok(To::Revision(12)));
        assert_eq!("v3".parse(), Ok(To::Version(3)));
        assert!("v".parse::<To>().is_err() && "0".parse::<To>().is_err() && "x".parse::<To>().is_err());
    }
}
