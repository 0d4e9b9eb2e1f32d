//! Shows what the function writes and how its calls go, as they come.
//!
//! Lines come by following the log. AWS's lines around each call are left out: in their place stands the call's own
//! record, asked for as soon as a line says that a call has ended, or else with the next heartbeat.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use control::{InvocationList, LogLineView, LogPageView, RecordView};
use model::FunctionName;

use super::screen::Screen;
use crate::cli::client::{Client, ClientError};
use crate::cli::logs::{Broken, Heard, follow};

/// Records asked for at once. Where more calls come between two looks, the oldest are counted and not shown.
const RECORDS: usize = 200;
/// How long the record of a call is waited for that a line tells of.
const RECORDED: Duration = Duration::from_secs(1);
/// Between two tries to find a Hearth that went away, or a function.
const AGAIN: Duration = Duration::from_millis(500);

/// Where the log and the records were when watching began: what is older is not shown.
pub struct Start {
    after: Option<u64>,
    seen: HashSet<String>,
}

struct Calls<'a> {
    client: &'a Client,
    name: &'a FunctionName,
    screen: Screen,
    seen: HashSet<String>,
}

// === impl Start ===

impl Start {
    pub fn now(client: &Client, name: &FunctionName) -> Result<Self, ClientError> {
        let page = client.get_if_there::<LogPageView>(&format!("/api/v1/functions/{name}/logs?limit=1"))?;
        let records = client.get_if_there::<InvocationList>(&records_path(name))?;
        let seen = records.into_iter().flat_map(|list| list.invocations).map(|record| record.request_id).collect();
        Ok(Self { after: page.map(|page| page.cursor), seen })
    }

    /// Shows what comes until nobody can be told any more.
    pub fn show(self, client: &Client, name: &FunctionName, screen: Screen) -> anyhow::Result<()> {
        let mut after = self.after;
        let mut calls = Calls { client, name, screen, seen: self.seen };
        let mut away = false;
        loop {
            let from = after.map(|after| format!("&after={after}")).unwrap_or_default();
            let path = format!("/api/v1/functions/{name}/logs?limit=1000&follow=true{from}");
            let mut answered = false;
            let mut tell = |heard: Heard<'_>| {
                answered = true;
                calls.tell(heard)
            };
            match follow(client, &path, &mut tell, &mut after) {
                Err(Broken::Output(error)) => return Err(error),
                // There is nothing to follow before the first deploy.
                Err(Broken::Hearth(error)) if error.is_absent() => {}
                Err(Broken::Hearth(error)) if !away => {
                    screen.note(&format!("the log cannot be followed at present: {error}"))?;
                    away = true;
                }
                Ok(()) | Err(Broken::Hearth(_)) => away &= !answered,
            }
            sleep(AGAIN);
        }
    }
}

fn records_path(name: &FunctionName) -> String {
    format!("/api/v1/functions/{name}/invocations?limit={RECORDS}")
}

// === impl Calls ===

impl Calls<'_> {
    fn tell(&mut self, heard: Heard<'_>) -> anyhow::Result<()> {
        match heard {
            Heard::Heartbeat => self.records().map(drop),
            // Told where all functions are followed only.
            Heard::Dropped(_) => Ok(()),
            Heard::Line(line) => match Platform::of(line) {
                None => self.screen.line(line),
                Some(Platform::Report) => self.ended(line.request_id.as_deref().unwrap_or_default()),
                Some(Platform::Other) => Ok(()),
            },
        }
    }

    /// Shows a call that a line says has ended, and others with it.
    fn ended(&mut self, id: &str) -> anyhow::Result<()> {
        let until = Instant::now() + RECORDED;
        // A function can write such a line itself, in the middle of its call: then this waits in vain, once.
        while !self.seen.contains(id) && self.records()? && !self.seen.contains(id) && Instant::now() < until {
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Shows the records that are new; false if they cannot be had.
    fn records(&mut self) -> anyhow::Result<bool> {
        let Ok(list) = self.client.get::<InvocationList>(&records_path(self.name)) else { return Ok(false) };
        let new: Vec<RecordView> =
            list.invocations.into_iter().filter(|record| !self.seen.contains(&record.request_id)).collect();
        if new.len() == RECORDS {
            self.screen.note(&format!("more than {RECORDS} calls at once: the newest of them"))?;
        }
        for record in new.into_iter().rev() {
            self.screen.call(&record)?;
            self.seen.insert(record.request_id);
        }
        Ok(true)
    }
}

/// AWS's lines around a call, for which the call's record stands.
#[derive(Debug, PartialEq, Eq)]
enum Platform {
    Report,
    Other,
}

// === impl Platform ===

impl Platform {
    fn of(line: &LogLineView) -> Option<Self> {
        let id = line.request_id.as_deref()?;
        let rest = line.message.strip_prefix("REPORT RequestId: ").and_then(|rest| rest.strip_prefix(id));
        if line.level.is_none() && rest.is_some_and(|rest| rest.starts_with("\tDuration: ")) {
            return Some(Self::Report);
        }
        let around = [format!("START RequestId: {id} Version: $LATEST"), format!("END RequestId: {id}")];
        (line.level.is_none() && around.contains(&line.message)).then_some(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_aws_s_own_lines_are_left_out() {
        let of = |message: &str, level: Option<&str>| {
            let line = LogLineView {
                time: "2026-11-22T10:00:00.123Z".into(),
                function: "f".into(),
                request_id: Some("a-b".into()),
                instance: "0123456789abcdef".into(),
                level: level.map(str::to_owned),
                message: message.into(),
                cursor: None,
            };
            Platform::of(&line)
        };
        assert_eq!(of("START RequestId: a-b Version: $LATEST", None), Some(Platform::Other));
        assert_eq!(of("END RequestId: a-b", None), Some(Platform::Other));
        assert_eq!(of("REPORT RequestId: a-b\tDuration: 1.00 ms\tBilled", None), Some(Platform::Report));
        for other in ["START", "END RequestId: other", "REPORT RequestId: other\tDuration: 1", "hello", ""] {
            assert_eq!(of(other, None), None, "{other}");
        }
        assert_eq!(of("END RequestId: a-b", Some("info")), None);
    }
}
