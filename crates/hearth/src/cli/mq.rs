//! `hearth mq`: message queues of Hearth's own. (`hearth queue` is the one queue of asynchronous events, which nobody makes
//! and nobody receives from.)

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::{
    DeletedView, MessageList, MessageQueueList, MessageQueueView, MessageWrite, MessagesChanged, QueueWrite,
    ReceiptList, ReceiveWrite, SendWrite, SentList,
};
use model::{MessageAttribute, QueueName, RequestId};
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::{Usage, text};

#[derive(Debug, Args)]
pub struct MqArgs {
    #[command(subcommand)]
    command: MqCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum MqCommand {
    /// Make a message queue, or change the rules of one
    Create {
        queue: QueueName,
        #[command(flatten)]
        rules: Rules,
    },
    /// List message queues and how many messages wait
    #[command(visible_alias = "ls")]
    List,
    /// Show one message queue, its rules and its numbers
    Show { queue: QueueName },
    /// Send a message; it is on disk when this ends
    Send {
        queue: QueueName,
        /// The text; -: what comes on standard input
        body: String,
        /// An attribute that is a text; may be given many times
        #[arg(long, value_name = "NAME=VALUE", value_parser = super::env::pair)]
        attribute: Vec<(String, String)>,
        /// Hidden for so long, 0s to 15m [default: the queue's]
        #[arg(long, value_name = "TIME", value_parser = time)]
        delay: Option<Duration>,
    },
    /// Receive messages: they come again unless they are deleted
    Receive {
        queue: QueueName,
        /// 1 to 10
        #[arg(long, default_value_t = 1, value_name = "COUNT")]
        most: usize,
        /// Hidden from others for so long, 0s to 12h [default: the queue's]
        #[arg(long, value_name = "TIME", value_parser = time)]
        visibility: Option<Duration>,
        /// Wait for one for so long, 0s to 20s
        #[arg(long, default_value = "0s", value_name = "TIME", value_parser = time)]
        wait: Duration,
        /// Delete them at once
        #[arg(long)]
        delete: bool,
    },
    /// Delete messages that were received, by their receipts
    Delete {
        queue: QueueName,
        #[arg(required = true)]
        receipts: Vec<RequestId>,
    },
    /// Remove all messages of a queue
    Purge {
        queue: QueueName,
        /// Do not ask; without a terminal nobody is asked
        #[arg(short, long)]
        yes: bool,
    },
    /// Send what a dead-letter queue holds back to where it came from
    Redrive { queue: QueueName },
    /// Remove a queue with all its messages
    Rm {
        queue: QueueName,
        /// Do not ask; without a terminal nobody is asked
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct Rules {
    /// How long a message that was received is hidden from others, 0s to 12h [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    visibility: Option<Duration>,
    /// How long a new message is hidden, 0s to 15m [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    delay: Option<Duration>,
    /// How long a message is kept, 1m to 14d [default: 4d]
    #[arg(long, value_name = "TIME", value_parser = time)]
    retention: Option<Duration>,
    /// Set a message aside that was received so often, 1 to 1000 [default: never]
    #[arg(long, value_name = "COUNT", requires = "dead_letter")]
    max_receives: Option<u32>,
    /// The queue that those go to
    #[arg(long, value_name = "QUEUE", requires = "max_receives")]
    dead_letter: Option<QueueName>,
    /// Set none aside any more
    #[arg(long, conflicts_with_all = ["max_receives", "dead_letter"])]
    no_dead_letter: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    model::parse_duration(text).map_err(|error| error.to_string())
}

pub fn run(args: MqArgs) -> anyhow::Result<ExitCode> {
    let (client, json) = (Client::new(&args.connect)?, args.json);
    let post = |queue: &QueueName, verb: &str| format!("/api/v1/queues/{queue}/{verb}");
    match args.command {
        MqCommand::Create { queue, rules } => {
            let Rules { visibility, delay, retention, max_receives, dead_letter, no_dead_letter } = rules;
            let (max_receives, dead_letter) =
                if no_dead_letter { (Some(None), Some(None)) } else { (max_receives.map(Some), dead_letter.map(Some)) };
            let write = QueueWrite { visibility, delay, retention, max_receives, dead_letter };
            show(&client.write(Method::PUT, &format!("/api/v1/queues/{queue}"), &write)?, json)?;
        }
        MqCommand::List => list(client.get("/api/v1/queues")?, json)?,
        MqCommand::Show { queue } => show(&client.get(&format!("/api/v1/queues/{queue}"))?, json)?,
        MqCommand::Send { queue, body, attribute, delay } => {
            let body = if body == "-" { read_input()? } else { body };
            let value = |text: String| MessageAttribute {
                data_type: "String".into(),
                string_value: Some(text),
                binary_value: None,
            };
            let attributes = attribute.into_iter().map(|(name, text)| (name, value(text))).collect();
            let write = SendWrite { messages: vec![MessageWrite { body, attributes, delay }] };
            let sent: SentList = client.write(Method::POST, &post(&queue, "messages"), &write)?;
            match sent.ids.as_slice() {
                [id] if !json => out::line(&text::one_line(id))?,
                _ => out::json(&sent)?,
            }
        }
        MqCommand::Receive { queue, most, visibility, wait, delete } => {
            let write = ReceiveWrite { most: Some(most), visibility, wait: Some(wait) };
            let list: MessageList = client.write(Method::POST, &post(&queue, "receive"), &write)?;
            messages(&list, json)?;
            if delete && !list.messages.is_empty() {
                let receipts = list.messages.iter().map(|one| one.receipt.parse()).collect::<Result<_, _>>();
                let receipts = receipts.context("read the receipts")?;
                let _: DeletedView =
                    client.write(Method::POST, &post(&queue, "delete"), &ReceiptList { receipts, visibility: None })?;
            }
        }
        MqCommand::Delete { queue, receipts } => {
            let write = ReceiptList { receipts: receipts.clone(), visibility: None };
            let DeletedView { done } = client.write(Method::POST, &post(&queue, "delete"), &write)?;
            if json {
                out::json(&done)?;
            }
            if let Some((receipt, _)) = receipts.iter().zip(&done).find(|(_, done)| !**done) {
                anyhow::bail!("receipt {receipt} is void: its message is gone, or was received again since");
            }
        }
        MqCommand::Purge { queue, yes } => {
            if !yes && !confirmed(&format!("remove all messages of {queue} for good?"))? {
                return Ok(ExitCode::SUCCESS);
            }
            told(&client.write(Method::POST, &post(&queue, "purge"), &serde_json::json!({}))?, "removed", json)?;
        }
        MqCommand::Redrive { queue } => {
            let changed = client.write(Method::POST, &post(&queue, "redrive"), &serde_json::json!({}))?;
            told(&changed, "went back", json)?;
        }
        MqCommand::Rm { queue, yes } => {
            if !yes && !confirmed(&format!("remove {queue} and all its messages for good?"))? {
                return Ok(ExitCode::SUCCESS);
            }
            let path = format!("/api/v1/queues/{queue}");
            client.checked(client.send(Method::DELETE, &path, &[], None, None)?)?;
            if json {
                out::json(&serde_json::json!({"removed": queue}))?;
            } else {
                out::line(&format!("removed {queue}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read_input() -> anyhow::Result<String> {
    let mut body = Vec::new();
    // One more than is allowed is read, for the server to refuse it in its words.
    io::stdin()
        .lock()
        .take(model::MAX_MESSAGE_BYTES as u64 + 1)
        .read_to_end(&mut body)
        .context("read standard input")?;
    String::from_utf8(body).map_err(|_| Usage("the message on standard input is no UTF-8 text".into()).into())
}

fn list(MessageQueueList { queues }: MessageQueueList, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&queues);
    }
    if queues.is_empty() {
        out::note("no message queues: `hearth mq create NAME` makes one; events of functions are in `hearth queue`");
        return Ok(());
    }
    use Column::{Left, Right};
    let columns = [
        ("queue", Left),
        ("visible", Right),
        ("in flight", Right),
        ("delayed", Right),
        ("oldest", Right),
        ("bytes", Right),
        ("dead letters to", Left),
    ];
    let rows = queues.into_iter().map(|one| {
        let mut row = vec![one.name];
        row.extend([one.visible, one.in_flight, one.delayed].map(|number| number.to_string()));
        row.push(one.oldest.map(|oldest| text::ago(&oldest)).unwrap_or_default());
        row.push(text::memory(one.bytes));
        row.push(one.dead_letter.unwrap_or_default());
        row
    });
    Ok(out::table(&columns, rows.collect())?)
}

fn show(queue: &MessageQueueView, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(queue);
    }
    let dead = match (&queue.dead_letter, queue.max_receives) {
        (Some(to), Some(most)) => format!("to {to}, when received {most} times"),
        _ => "none".into(),
    };
    let numbers = format!("{} visible, {} in flight, {} delayed", queue.visible, queue.in_flight, queue.delayed);
    let since = format!(
        "{} sent, {} deleted, {} dead, {} expired, {} purged",
        queue.sent, queue.deleted, queue.dead, queue.expired, queue.purged
    );
    let lines = [
        ("queue", queue.name.clone()),
        ("visibility", queue.visibility.clone()),
        ("delay", queue.delay.clone()),
        ("retention", queue.retention.clone()),
        ("dead letters", dead),
        ("messages", numbers),
        ("so far", since),
    ];
    for (what, value) in lines {
        out::line(&format!("{what:<12} {}", text::one_line(&value)))?;
    }
    Ok(())
}

fn messages(list: &MessageList, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&list.messages);
    }
    if list.messages.is_empty() {
        out::note("no message is visible");
    }
    for one in &list.messages {
        let count = format!("{} (received {}x)", one.id, one.receives);
        for (what, value) in [("message", &count), ("receipt", &one.receipt), ("body", &one.body)] {
            out::line(&format!("{what:<8} {}", text::one_line(value)))?;
        }
    }
    Ok(())
}

fn told(changed: &MessagesChanged, what: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(changed);
    }
    let messages = if changed.count == 1 { "message" } else { "messages" };
    Ok(out::line(&format!("{} {messages} {what}", changed.count))?)
}

/// Asks whoever sits at a terminal.
fn confirmed(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    let mut screen = io::stderr();
    write!(screen, "{question} [y/N] ")?;
    screen.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !yes {
        out::note("nothing was removed");
    }
    Ok(yes)
}
