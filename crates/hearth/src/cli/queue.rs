//! `hearth queue`: asynchronous events, those that wait and those that were set aside.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use control::{EventChoice, EventList, EventStateView, EventView, EventsChanged, QueueView};
use model::{FunctionName, RequestId};
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::text;

#[derive(Debug, Args)]
pub struct QueueArgs {
    #[command(subcommand)]
    command: Option<QueueCommand>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// List events that wait or run, or those that were set aside
    List {
        /// Only this function's
        function: Option<FunctionName>,
        /// Those that were given up and kept
        #[arg(long)]
        dead: bool,
        /// At most so many, oldest first
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: usize,
    },
    /// Show one event, with its payload
    Show { id: RequestId },
    /// Let events that were set aside run again
    Redrive(Choice),
    /// Remove events that were set aside, or such as wait
    Purge {
        #[command(flatten)]
        choice: Choice,
        /// Those that wait, and not those that were set aside
        #[arg(long)]
        waiting: bool,
        /// Do not ask; without a terminal nobody is asked
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Choice {
    /// This event
    id: Option<RequestId>,
    /// All of this function
    #[arg(long, value_name = "NAME")]
    function: Option<FunctionName>,
    /// All of all functions
    #[arg(long)]
    all: bool,
}

pub fn run(args: QueueArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    match args.command {
        None => numbers(&client, args.json)?,
        Some(QueueCommand::List { function, dead, limit }) => {
            let function = function.map(|name| format!("&function={name}")).unwrap_or_default();
            let list: EventList = client.get(&format!("/api/v1/queue/events?dead={dead}&limit={limit}{function}"))?;
            list_events(list, dead, args.json)?;
        }
        Some(QueueCommand::Show { id }) => show(client.get(&format!("/api/v1/queue/events/{id}"))?, args.json)?,
        Some(QueueCommand::Redrive(choice)) => {
            let changed: EventsChanged = client.write(Method::POST, "/api/v1/queue/redrive", &choice.of(false))?;
            told(&changed, "will run again", args.json)?;
        }
        Some(QueueCommand::Purge { choice, waiting, yes }) => {
            if !yes && io::stdin().is_terminal() && !confirmed()? {
                out::note("nothing was removed");
                return Ok(ExitCode::SUCCESS);
            }
            let changed: EventsChanged = client.write(Method::POST, "/api/v1/queue/purge", &choice.of(waiting))?;
            told(&changed, "removed", args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn numbers(client: &Client, json: bool) -> anyhow::Result<()> {
    let QueueView { functions } = client.get("/api/v1/queue")?;
    if json {
        return out::json(&functions);
    }
    if functions.is_empty() {
        out::note("no events yet: `hearth invoke NAME --async` makes one");
        return Ok(());
    }
    use Column::{Left, Right};
    let columns = [
        ("function", Left),
        ("waiting", Right),
        ("done", Right),
        ("failed", Right),
        ("dead", Right),
        ("purged", Right),
        ("enqueued", Right),
        ("payloads", Right),
    ];
    let rows = functions.into_iter().map(|one| {
        let numbers = [one.waiting, one.done, one.failed, one.dead, one.purged, one.enqueued];
        let mut row = vec![one.function];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(text::memory(one.bytes));
        row
    });
    Ok(out::table(&columns, rows.collect())?)
}

fn list_events(list: EventList, dead: bool, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&list.events);
    }
    if list.events.is_empty() {
        out::note(if dead { "no events were set aside" } else { "no events wait" });
        return Ok(());
    }
    use Column::{Left, Right};
    let columns = [
        ("id", Left),
        ("function", Left),
        ("state", Left),
        ("age", Right),
        ("runs", Right),
        (if dead { "why" } else { "next run" }, Left),
    ];
    let rows = list.events.into_iter().map(|one| {
        let state = state(one.state);
        let why = one.condition.or(one.due).unwrap_or_default();
        vec![one.id, one.function, state.to_owned(), text::ago(&one.received), one.attempts.to_string(), why]
    });
    Ok(out::table(&columns, rows.collect())?)
}

fn show(event: EventView, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&event);
    }
    let runs = format!("{}, of which {} failed", event.attempts, event.failures);
    let mut lines = vec![
        ("event", event.id),
        ("function", event.function),
        ("state", state(event.state).to_owned()),
        ("received", event.received),
        ("runs", runs),
    ];
    lines.extend(event.due.map(|due| ("next run", due)));
    lines.extend(event.condition.map(|condition| ("given up", condition)));
    lines.extend(event.error.map(|error| ("last error", error)));
    for (what, value) in lines {
        out::line(&format!("{what:<11} {}", text::one_line(&value)))?;
    }
    let payload = event.payload.as_deref().map_or("null", |payload| payload.get());
    Ok(out::line(&format!("{:<11} {}", "payload", text::json(payload)))?)
}

fn state(state: EventStateView) -> &'static str {
    match state {
        EventStateView::Waiting => "waiting",
        EventStateView::Running => "running",
        EventStateView::Dead => "dead",
    }
}

fn told(changed: &EventsChanged, what: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(changed);
    }
    let events = if changed.count == 1 { "event" } else { "events" };
    Ok(out::line(&format!("{} {events} {what}", changed.count))?)
}

fn confirmed() -> io::Result<bool> {
    let mut screen = io::stderr();
    write!(screen, "remove these events for good? [y/N] ")?;
    screen.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

// === impl Choice ===

impl Choice {
    fn of(self, waiting: bool) -> EventChoice {
        EventChoice { id: self.id, function: self.function, all: self.all, waiting }
    }
}
