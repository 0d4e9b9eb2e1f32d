//! `hearth schedule`: when functions are called by the clock.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use control::{EventMade, ScheduleList, ScheduleView};
use model::FunctionName;
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::text;

#[derive(Debug, Args)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    command: ScheduleCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// List schedules and their next ticks
    List {
        /// Only this function's
        function: Option<FunctionName>,
    },
    /// Show one schedule, with its next ten ticks
    Show(Which),
    /// Let no tick of a schedule call its function
    Pause(Which),
    /// Let a schedule go on; what it missed is not made up for
    Resume(Which),
    /// Call the function now, as a tick would
    Run(Which),
}

#[derive(Debug, Args)]
struct Which {
    function: FunctionName,
    /// The schedule's name; may be left out where the function has one only
    schedule: Option<String>,
}

pub fn run(args: ScheduleArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    match args.command {
        ScheduleCommand::List { function } => {
            let which = function.map(|name| format!("?function={name}")).unwrap_or_default();
            let list: ScheduleList = client.get(&format!("/api/v1/schedules{which}"))?;
            list_schedules(list, args.json)?;
        }
        ScheduleCommand::Show(which) => {
            let schedule = find(&client, &which)?;
            if args.json { out::json(&schedule)? } else { show(&schedule)? }
        }
        ScheduleCommand::Pause(which) => change(&client, &which, "pause", args.json)?,
        ScheduleCommand::Resume(which) => change(&client, &which, "resume", args.json)?,
        ScheduleCommand::Run(which) => {
            let schedule = find(&client, &which)?;
            let made: EventMade = client.write(Method::POST, &path(&schedule, "run"), &serde_json::json!({}))?;
            if args.json { out::json(&made)? } else { out::line(&text::one_line(&made.id))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(schedule: &ScheduleView, verb: &str) -> String {
    format!("/api/v1/functions/{}/schedules/{}/{verb}", schedule.function, schedule.name)
}

fn change(client: &Client, which: &Which, verb: &str, json: bool) -> anyhow::Result<()> {
    let schedule = find(client, which)?;
    client.checked(client.send(Method::POST, &path(&schedule, verb), &[], Some(vec![]), None)?)?;
    let changed = find(client, which)?;
    if json {
        return out::json(&changed);
    }
    let said = if changed.paused { "is paused".to_owned() } else { format!("goes on: {}", next(&changed)) };
    Ok(out::line(&text::one_line(&format!("{} of {} {said}", changed.name, changed.function)))?)
}

/// The schedule that is meant, and who could be meant otherwise.
fn find(client: &Client, which: &Which) -> anyhow::Result<ScheduleView> {
    let Which { function, schedule } = which;
    let ScheduleList { mut schedules } = client.get(&format!("/api/v1/schedules?function={function}"))?;
    let names: Vec<_> = schedules.iter().map(|one| text::one_line(&one.name)).collect();
    let place = match schedule {
        Some(name) => schedules.iter().position(|one| one.name == *name),
        None if schedules.len() == 1 => Some(0),
        None => None,
    };
    match (place, names.is_empty()) {
        (Some(place), _) => Ok(schedules.swap_remove(place)),
        (None, true) => {
            Err(anyhow!("{function} has no schedules, or is not there: [[schedule]] of hearth.toml makes one"))
        }
        (None, false) => Err(anyhow!("which schedule of {function}? it has: {}", names.join(", "))),
    }
}

fn next(schedule: &ScheduleView) -> String {
    match schedule.next.first() {
        _ if schedule.paused => "paused".to_owned(),
        Some(next) => format!("next {next}"),
        None => "over".to_owned(),
    }
}

fn list_schedules(list: ScheduleList, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&list.schedules);
    }
    if list.schedules.is_empty() {
        out::note("no schedules: [[schedule]] of hearth.toml makes one");
        return Ok(());
    }
    use Column::{Left, Right};
    let columns = [
        ("function", Left),
        ("schedule", Left),
        ("when", Left),
        ("timezone", Left),
        ("next", Left),
        ("enqueued", Right),
        ("skipped", Right),
    ];
    let rows = list.schedules.into_iter().map(|one| {
        let next = if one.paused { "paused".to_owned() } else { one.next.first().cloned().unwrap_or_default() };
        vec![one.function, one.name, one.cron, one.timezone, next, one.enqueued.to_string(), one.skipped.to_string()]
    });
    Ok(out::table(&columns, rows.collect())?)
}

fn show(schedule: &ScheduleView) -> anyhow::Result<()> {
    let most = if schedule.missed == model::Missed::All {
        format!(", {} at most", schedule.missed_most)
    } else {
        String::new()
    };
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (overlap, missed) =
        (word(&serde_json::to_value(schedule.overlap)?), word(&serde_json::to_value(schedule.missed)?));
    let lines = [
        ("schedule", format!("{} of {}", schedule.name, schedule.function)),
        ("when", format!("{} in {}", schedule.cron, schedule.timezone)),
        ("overlap", overlap),
        ("missed", format!("{missed}{most}")),
        ("jitter", schedule.jitter.clone()),
        ("enqueued", format!("{}, {} passed over", schedule.enqueued, schedule.skipped)),
        ("state", if schedule.paused { "paused" } else { "on" }.to_owned()),
    ];
    for (what, value) in lines {
        out::line(&format!("{what:<9} {}", text::one_line(&value)))?;
    }
    for next in &schedule.next {
        out::line(&format!("{:<9} {}", "next", text::one_line(next)))?;
    }
    Ok(())
}
