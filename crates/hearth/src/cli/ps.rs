//! `hearth ps`: the instances that live now.

use std::process::ExitCode;

use clap::Args;
use control::InstanceList;
use model::{FunctionName, InstanceState};

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::text;

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Only this function's
    function: Option<FunctionName>,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: PsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let which = args.function.map(|name| format!("?function={name}")).unwrap_or_default();
    let InstanceList { instances, stems } = client.get(&format!("/api/v1/instances{which}"))?;
    if args.json {
        out::json(&instances)?;
    } else if instances.is_empty() {
        out::note("no instances: functions scale to zero, and a call starts one");
    } else {
        use Column::{Left, Right};
        let columns = [
            ("function", Left),
            ("instance", Left),
            ("state", Left),
            ("age", Right),
            ("calls", Right),
            ("memory peak", Right),
            ("isolation", Left),
        ];
        let rows = instances.into_iter().map(|one| {
            let state = match one.state {
                InstanceState::Starting => "starting",
                InstanceState::Idle => "idle",
                InstanceState::Frozen => "frozen",
                InstanceState::Busy => "busy",
            };
            let peak = one.memory_peak.map_or_else(|| "-".to_owned(), text::memory);
            let function = format!("{}:{}", one.function, one.revision);
            let calls = one.invocations.to_string();
            vec![function, one.instance, state.to_owned(), text::ago(&one.started), calls, peak, one.isolation]
        });
        out::table(&columns, rows.collect())?;
    }
    if !args.json {
        for one in stems {
            let shape = format!("{} on {} with {}", one.runtime, one.isolation, one.memory);
            let more = if one.starting > 0 { format!(", {} more soon", one.starting) } else { String::new() };
            out::note(&match one.ready {
                0 => format!("soon ready for cold starts: {} {shape}", one.starting),
                ready => format!("ready for cold starts: {ready} {shape}, {}{more}", text::memory(one.charged)),
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
