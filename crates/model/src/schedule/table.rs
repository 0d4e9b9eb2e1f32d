//! Ticks: the moments that an expression names, in a time zone.
//!
//! Where clocks change, a schedule goes by these rules, which are those of EventBridge Scheduler:
//! a time that does not exist on that day is left out; a time that comes twice counts the first time. A schedule that
//! ticks in every hour goes by the time that passes: its times that come twice count twice.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::cron::{Cron, Dialect};
use crate::time::Timestamp;

/// No schedule has a tick after this year.
const LAST_YEAR: i16 = 2199;
/// Days that are looked at for a tick: February 29th on one weekday may be 40 years away.
const MOST_DAYS: u32 = 41 * 366;

/// When a schedule's ticks are.
#[derive(Debug, Clone)]
pub struct Timetable {
    when: When,
    zone: TimeZone,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

#[derive(Debug, Clone)]
enum When {
    Cron(Box<Cron>),
    /// Counted from the start, or from 1970: every five minutes are those of the clock.
    Rate(Duration),
    At(Timestamp),
}

// === impl Timetable ===

impl Timetable {
    /// What is wrong is told in words.
    pub fn parse(text: &str, zone: &str, start: Option<&str>, end: Option<&str>) -> Result<Self, String> {
        let zone = TimeZone::get(zone)
            .map_err(|_| format!("timezone {zone:?} is not known: expected a name like Europe/Berlin, or UTC"))?;
        let text = text.trim();
        let inside = |kind: &str| text.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')');
        let when = if let Some(text) = inside("cron") {
            When::Cron(Box::new(Cron::parse(text, Dialect::Aws)?))
        } else if let Some(text) = inside("rate") {
            When::Rate(rate(text)?)
        } else if let Some(text) = inside("at") {
            When::At(at(text, &zone)?)
        } else {
            When::Cron(Box::new(Cron::parse(text, Dialect::Unix)?))
        };
        let moment = |key: &str, text: Option<&str>| {
            let read = text.map(|text| text.parse::<jiff::Timestamp>().map(|time| Timestamp(time.as_microsecond())));
            let wrong = |_| format!("{key} is not a moment: expected RFC 3339, like 2026-11-22T10:00:00Z");
            read.transpose().map_err(wrong)
        };
        let table = Self { when, zone, start: moment("start", start)?, end: moment("end", end)? };
        if let (Some(start), Some(end)) = (table.start, table.end)
            && start > end
        {
            return Err("end is before start".into());
        }
        if table.next(Timestamp(0)).is_none() {
            return Err(format!("{text:?} never comes"));
        }
        Ok(table)
    }

    /// The first tick after a moment.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = match self.start {
            // The start itself may be one.
            Some(start) => after.max(Timestamp(start.0.saturating_sub(1))),
            None => after,
        };
        let next = match &self.when {
            When::At(at) => (*at > after).then_some(*at),
            When::Rate(every) => {
                let (every, anchor) = (every.as_micros() as i64, self.start.map_or(0, |start| start.0));
                let passed = after.0.checked_sub(anchor)?.div_euclid(every);
                Some(Timestamp(passed.checked_add(1)?.checked_mul(every)?.checked_add(anchor)?))
            }
            When::Cron(cron) => self.next_of(cron, after),
        };
        next.filter(|next| self.end.is_none_or(|end| *next <= end))
    }

    fn next_of(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        // Ticks are on whole seconds.
        let floor = jiff::Timestamp::from_second(after.0.div_euclid(1_000_000)).ok()?;
        let mut from = self.zone.to_datetime(floor);
        let first = loop {
            let civil = next_civil(cron, from)?;
            match self.first_of(civil).map(stamp) {
                Some(found) if found > after => break found,
                _ => from = civil.checked_add(jiff::SignedDuration::from_secs(1)).ok()?,
            }
        };
        if !cron.is_hourly() {
            return Some(first);
        }
        Some(self.second_of(cron, after, first).unwrap_or(first))
    }

    /// The moment at which a clock shows that for the first time, if it does.
    fn first_of(&self, civil: DateTime) -> Option<jiff::Timestamp> {
        let offset = match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Fold { before, .. } => before,
            AmbiguousOffset::Gap { .. } => return None,
        };
        offset.to_timestamp(civil).ok()
    }

    /// A tick between two moments, at a time that a clock shows for the second time.
    fn second_of(&self, cron: &Cron, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        // No clock is set back by more.
        let begin = jiff::Timestamp::from_microsecond(after.0).ok()? - jiff::SignedDuration::from_hours(3);
        for change in self.zone.following(begin) {
            let at = change.timestamp();
            if stamp(at) > until {
                return None;
            }
            let offset = change.offset();
            let earlier = self.zone.to_offset(at - jiff::SignedDuration::from_secs(1));
            if earlier <= offset {
                continue;
            }
            let (begins, ends) = (offset.to_datetime(at), earlier.to_datetime(at));
            let floor = jiff::Timestamp::from_second(after.0.div_euclid(1_000_000)).ok()?;
            let mut from = begins.max(offset.to_datetime(floor));
            while let Some(civil) = next_civil(cron, from).filter(|civil| *civil < ends) {
                let found = stamp(offset.to_timestamp(civil).ok()?);
                if found > after {
                    return (found < until).then_some(found);
                }
                from = civil.checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
            }
        }
        None
    }
}

fn stamp(time: jiff::Timestamp) -> Timestamp {
    Timestamp(time.as_microsecond())
}

/// The first time on a calendar and a clock, not before another, that the expression names.
fn next_civil(cron: &Cron, from: DateTime) -> Option<DateTime> {
    let from = from.with().subsec_nanosecond(0).build().ok()?;
    let (mut date, mut time) = (from.date(), from.time());
    for _ in 0..MOST_DAYS {
        if date.year() > LAST_YEAR {
            return None;
        }
        if !cron.year_fits(date.year()) {
            (date, time) = (Date::new(date.year() + 1, 1, 1).ok()?, Time::midnight());
            continue;
        }
        if cron.month_fits(date)
            && cron.day_fits(date)
            && let Some(time) = next_time(cron, time)
        {
            return Some(date.to_datetime(time));
        }
        (date, time) = (date.tomorrow().ok()?, Time::midnight());
    }
    None
}

/// The first time of a day, not before another, that the expression names.
fn next_time(cron: &Cron, from: Time) -> Option<Time> {
    let first = |bits: u64, from: i8| {
        let left = bits.checked_shr(from as u32).unwrap_or(0);
        (left != 0).then(|| from + left.trailing_zeros() as i8)
    };
    let (mut minute, mut second) = (from.minute(), from.second());
    let mut hour = from.hour();
    loop {
        let found = first(cron.hours, hour)?;
        if found > hour {
            (minute, second) = (0, 0);
        }
        hour = found;
        while let Some(found) = first(cron.minutes, minute) {
            if found > minute {
                second = 0;
            }
            if let Some(second) = first(cron.seconds, second) {
                return Time::new(hour, found, second, 0).ok();
            }
            (minute, second) = (found + 1, 0);
        }
        (hour, minute, second) = (hour + 1, 0, 0);
    }
}

/// `5 minutes`, as AWS writes it.
fn rate(text: &str) -> Result<Duration, String> {
    let wrong = || format!("rate({text}) is not valid: expected rate(5 minutes), with seconds, minutes, hours or days");
    let (number, unit) = text.trim().split_once(' ').ok_or_else(wrong)?;
    let number = number.parse::<u32>().ok().filter(|number| (1..=100_000).contains(number)).ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "second" | "seconds" => 1,
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3600,
        "day" | "days" => 86_400,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// `2026-11-22T03:00:00`, on the clocks of a time zone.
fn at(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let wrong = || format!("at({text}) is not valid: expected at(2026-11-22T03:00:00), without an offset");
    let civil: DateTime = text.trim().parse().map_err(|_| wrong())?;
    let zoned = zone.to_ambiguous_timestamp(civil);
    if matches!(zoned.offset(), AmbiguousOffset::Gap { .. }) {
        return Err(format!("at({text}) does not exist: clocks are set forward over it there"));
    }
    zoned.earlier().map(stamp).map_err(|_| wrong())
}
