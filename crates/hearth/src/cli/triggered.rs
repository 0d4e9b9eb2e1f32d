//! What calls a function beside its callers, as flags say it: the rules of its asynchronous events, and its schedules.

use std::time::Duration;

use clap::Args;
use control::{AsyncWrite, FunctionWrite};
use model::{Schedule, Target};

#[derive(Debug, Args)]
pub struct TriggerArgs {
    /// How often an asynchronous event is run again after the function failed, 0 to 10 [default: 2]
    #[arg(long, value_name = "COUNT")]
    retries: Option<u32>,
    /// Before the first of them; the n-th waits n times as long, 10ms to 1d [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = time)]
    retry_delay: Option<Duration>,
    /// An asynchronous event that could not be run within this time is given up, 1s to 14d [default: 6h]
    #[arg(long, value_name = "TIME", value_parser = time)]
    max_age: Option<Duration>,
    /// The function, or the queue as queue:NAME, that is told of each asynchronous event that went well
    #[arg(long, value_name = "TARGET")]
    on_success: Option<Target>,
    /// The function, or the queue as queue:NAME, that is told of each asynchronous event that was given up
    #[arg(long, value_name = "TARGET")]
    on_failure: Option<Target>,
    /// When it is called by the clock: "0 3 * * *", "cron(…)", "rate(5 minutes)"; may be given many times
    #[arg(long, value_name = "[NAME=]WHEN[@ZONE]", value_parser = schedule)]
    schedule: Vec<Said>,
}

/// A schedule as it was said; without a name it gets one by its place.
#[derive(Debug, Clone)]
struct Said {
    name: Option<String>,
    schedule: Schedule,
}

// === impl TriggerArgs ===

impl TriggerArgs {
    /// A flag outranks the manifest.
    pub fn override_in(&self, write: &mut FunctionWrite) {
        let Self { retries, retry_delay, max_age, on_success, on_failure, schedule } = self;
        let before = write.asynchronous.take().unwrap_or_default();
        let rules = AsyncWrite {
            retries: retries.or(before.retries),
            retry_delay: retry_delay.or(before.retry_delay),
            max_age: max_age.or(before.max_age),
            on_success: on_success.clone().map(Some).or(before.on_success),
            on_failure: on_failure.clone().map(Some).or(before.on_failure),
            dead_letter: before.dead_letter,
        };
        write.asynchronous = (rules != AsyncWrite::default()).then_some(rules);
        // Beside the manifest's, in the place of the one of the same name.
        for (place, Said { name, schedule }) in schedule.iter().enumerate() {
            let schedules = write.schedules.get_or_insert_default();
            let name = name.clone().unwrap_or_else(|| format!("schedule-{}", place + 1));
            schedules.retain(|one| one.name != name);
            schedules.push(Schedule { name, ..schedule.clone() });
        }
    }
}

fn time(text: &str) -> Result<Duration, String> {
    model::parse_duration(text).map_err(|error| error.to_string())
}

/// `NAME=WHEN@ZONE`. Neither sign is part of any expression or of a zone's name.
fn schedule(text: &str) -> Result<Said, String> {
    let (name, rest) = match text.split_once('=') {
        Some((name, rest)) => (Some(name.trim().to_owned()), rest),
        None => (None, text),
    };
    let (when, zone) = match rest.rsplit_once('@') {
        Some((when, zone)) => (when.trim(), Some(zone.trim())),
        None => (rest.trim(), None),
    };
    let mut schedule = Schedule::new(name.as_deref().unwrap_or("schedule"), when);
    if let Some(zone) = zone {
        schedule.timezone = zone.to_owned();
    }
    schedule
        .timetable()
        .map_err(|error| format!("{error}; expected [NAME=]WHEN[@ZONE], like \"nightly=0 3 * * *@Europe/Berlin\""))?;
    Ok(Said { name, schedule })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: TriggerArgs,
    }

    fn said(flags: &[&str]) -> Result<FunctionWrite, String> {
        let words = ["hearth"].iter().chain(flags);
        let only = Only::try_parse_from(words).map_err(|error| error.to_string())?;
        let kept = Schedule::new("nightly", "0 1 * * *");
        let mut write = FunctionWrite {
            schedules: Some(vec![kept, Schedule::new("other", "0 2 * * *")]),
            asynchronous: Some(AsyncWrite { retries: Some(5), dead_letter: Some(false), ..AsyncWrite::default() }),
            ..FunctionWrite::default()
        };
        only.args.override_in(&mut write);
        Ok(write)
    }

    #[test]
    fn a_flag_outranks_the_manifest_and_the_rest_stays() {
        let write = said(&["--retries", "1", "--max-age", "30m", "--on-failure", "alarm"]).unwrap();
        let rules = write.asynchronous.unwrap();
        assert_eq!((rules.retries, rules.max_age), (Some(1), Some(Duration::from_secs(1800))));
        assert_eq!((rules.on_failure, rules.dead_letter), (Some(Some("alarm".parse().unwrap())), Some(false)));
        let write = said(&["--schedule", "nightly=0 3 * * *@Europe/Berlin", "--schedule", "rate(5 minutes)"]).unwrap();
        let schedules = write.schedules.unwrap();
        let short: Vec<_> = schedules.iter().map(|one| (&*one.name, &*one.cron, &*one.timezone)).collect();
        let expected = [
            ("other", "0 2 * * *", "UTC"),
            ("nightly", "0 3 * * *", "Europe/Berlin"),
            ("schedule-2", "rate(5 minutes)", "UTC"),
        ];
        assert_eq!(short, expected);
        assert_eq!(said(&[]).unwrap().asynchronous.unwrap().retries, Some(5));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_was_expected() {
        for (flags, why) in [
            (["--schedule", "0 3 * *"], "[NAME=]WHEN[@ZONE]"),
            (["--schedule", "0 3 * * *@Berlin"], "Europe/Berlin"),
            (["--max-age", "soon"], "soon"),
        ] {
            let error = said(&flags).expect_err("it was taken");
            assert!(error.contains(why), "{error}");
        }
    }
}
