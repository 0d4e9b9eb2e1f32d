//! Cron expressions: which days and which times of a day they name.

use std::ops::RangeInclusive;

use jiff::civil::{Date, Weekday};

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// How an expression is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `minute hour day month weekday`, with seconds in front if there are six; weekdays are 0 to 7 from Sunday.
    Unix,
    /// `minute hour day month weekday year`; weekdays are 1 to 7 from Sunday, and one of the two days is `?`.
    Aws,
}

/// A cron expression, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pub seconds: u64,
    pub minutes: u64,
    pub hours: u64,
    months: u64,
    days: Days,
    weekdays: Weekdays,
    /// Whether both kinds of days are said: then either is enough, as cron always had it.
    either: bool,
    years: Option<Vec<i16>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Days {
    set: u64,
    /// `L`, and `L-3`: so many days before the last.
    before_last: Vec<i8>,
    /// `15W`: the weekday nearest to it.
    nearest: Vec<i8>,
    /// `LW`.
    last_weekday: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Weekdays {
    /// Bits from Sunday.
    set: u64,
    /// `5L`: the last of the month.
    last: u64,
    /// `6#3`: the third.
    nth: Vec<(i8, i8)>,
}

// === impl Cron ===

impl Cron {
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (seconds, rest, year) = match (dialect, fields.len()) {
            (Dialect::Unix, 5) => ("0", &fields[..], None),
            (Dialect::Unix, 6) => (fields[0], &fields[1..], None),
            (Dialect::Aws, 6) => ("0", &fields[..5], Some(fields[5])),
            (Dialect::Unix, n) => {
                return Err(format!("expected five fields, or six with seconds in front, got {n} in {text:?}"));
            }
            (Dialect::Aws, n) => return Err(format!("expected cron() with six fields, got {n} in {text:?}")),
        };
        let [minutes, hours, day, month, weekday] = rest[..] else { return Err("expected five fields".into()) };
        let any = |field: &str| field == "*" || field == "?";
        if dialect == Dialect::Aws && (day == "?") == (weekday == "?") {
            return Err("expected ? for the day of the month or for the weekday, and not for both".into());
        }
        let cron = Self {
            seconds: set("second", seconds, 0..=59, &[])?,
            minutes: set("minute", minutes, 0..=59, &[])?,
            hours: set("hour", hours, 0..=23, &[])?,
            months: set("month", month, 1..=12, &MONTHS)?,
            days: Days::parse(day)?,
            weekdays: Weekdays::parse(weekday, dialect)?,
            either: !any(day) && !any(weekday),
            years: year.filter(|year| !any(year)).map(years).transpose()?,
        };
        Ok(cron)
    }

    /// Whether every hour has ticks: such a schedule goes by the time that passes, not by the clock on the wall.
    pub fn is_hourly(&self) -> bool {
        self.hours == (1 << 24) - 1
    }

    pub fn month_fits(&self, date: Date) -> bool {
        self.months & (1 << date.month()) != 0
    }

    pub fn year_fits(&self, year: i16) -> bool {
        self.years.as_ref().is_none_or(|years| years.contains(&year))
    }

    /// Whether a day of a month that fits has ticks.
    pub fn day_fits(&self, date: Date) -> bool {
        let (day, weekday) = (self.days.fits(date), self.weekdays.fits(date));
        if self.either { day || weekday } else { day && weekday }
    }
}

// === impl Days ===

impl Days {
    fn parse(field: &str) -> Result<Self, String> {
        let mut days = Self::default();
        for part in field.split(',') {
            let number = |text: &str| text.parse::<i8>().ok();
            if part == "LW" || part == "WL" {
                days.last_weekday = true;
            } else if part == "L" {
                days.before_last.push(0);
            } else if let Some(before) = part.strip_prefix("L-") {
                let before = number(before).filter(|before| (0..=30).contains(before));
                days.before_last.push(before.ok_or_else(|| refuse("day of the month", part, "L-1 to L-30"))?);
            } else if let Some(day) = part.strip_suffix('W') {
                let day = number(day).filter(|day| (1..=31).contains(day));
                days.nearest.push(day.ok_or_else(|| refuse("day of the month", part, "1W to 31W"))?);
            } else {
                days.set |= set("day of the month", part, 1..=31, &[])?;
            }
        }
        Ok(days)
    }

    fn fits(&self, date: Date) -> bool {
        let (day, last) = (date.day(), date.days_in_month());
        let weekend = |date: Date| matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        self.set & (1 << day) != 0
            || self.before_last.iter().any(|before| day == last - before)
            || self.nearest.iter().any(|wanted| nearest_weekday(date, *wanted) == Some(day))
            || (self.last_weekday && !weekend(date) && nearest_weekday(date, last) == Some(day))
    }
}

/// The weekday of that month that is nearest to a day of it.
fn nearest_weekday(date: Date, day: i8) -> Option<i8> {
    let last = date.days_in_month();
    let wanted = Date::new(date.year(), date.month(), day).ok()?;
    Some(match wanted.weekday() {
        Weekday::Saturday if day == 1 => 3,
        Weekday::Saturday => day - 1,
        Weekday::Sunday if day == last => day - 2,
        Weekday::Sunday => day + 1,
        _ => day,
    })
}

// === impl Weekdays ===

impl Weekdays {
    fn parse(field: &str, dialect: Dialect) -> Result<Self, String> {
        let (range, first) = match dialect {
            Dialect::Unix => (0..=7, 0),
            Dialect::Aws => (1..=7, 1),
        };
        let one = |text: &str| {
            let bits = set("weekday", text, range.clone(), &DAYS)? >> first;
            // 7 is Sunday too.
            let bits = (bits | bits >> 7) & 0x7f;
            if bits.count_ones() == 1 { Ok(bits) } else { Err(refuse("weekday", text, "one day")) }
        };
        let mut weekdays = Self::default();
        for part in field.split(',') {
            if let Some((day, nth)) = part.split_once('#') {
                let nth = nth.parse::<i8>().ok().filter(|nth| (1..=5).contains(nth));
                let nth = nth.ok_or_else(|| refuse("weekday", part, "DAY#1 to DAY#5"))?;
                weekdays.nth.push((one(day)?.trailing_zeros() as i8, nth));
            } else if let Some(day) = part.strip_suffix('L').filter(|day| !day.is_empty()) {
                weekdays.last |= one(day)?;
            } else if part == "L" {
                weekdays.set |= 1 << 6;
            } else {
                let bits = set("weekday", part, range.clone(), &DAYS)? >> first;
                weekdays.set |= (bits | bits >> 7) & 0x7f;
            }
        }
        Ok(weekdays)
    }

    fn fits(&self, date: Date) -> bool {
        let (day, weekday) = (date.day(), date.weekday().to_sunday_zero_offset());
        self.set & (1 << weekday) != 0
            || (self.last & (1 << weekday) != 0 && day + 7 > date.days_in_month())
            || self.nth.iter().any(|(wanted, nth)| *wanted == weekday && (day + 6) / 7 == *nth)
    }
}

/// The numbers that a field names, as bits.
fn set(what: &str, field: &str, range: RangeInclusive<u8>, names: &[&str]) -> Result<u64, String> {
    let expected = || format!("{} to {}", range.start(), range.end());
    let number = |text: &str| -> Result<u8, String> {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        // Months are named from 1, weekdays from where their range begins.
        let named = named.map(|place| place as u8 + *range.start());
        let number = named.or_else(|| text.parse().ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| refuse(what, text, &expected()))
    };
    let mut bits = 0;
    for part in field.split(',') {
        let (span, step) = part.split_once('/').map_or((part, None), |(span, step)| (span, Some(step)));
        let step = match step {
            None => 1,
            Some(text) => {
                let step = text.parse::<u8>().ok().filter(|step| *step > 0);
                step.ok_or_else(|| refuse(what, part, "a step of 1 or more behind /"))?
            }
        };
        let (first, last) = match span.split_once('-') {
            _ if span == "*" || span == "?" => (*range.start(), *range.end()),
            Some((first, last)) => (number(first)?, number(last)?),
            // `5/15`: from five on.
            None if part.contains('/') => (number(span)?, *range.end()),
            None => (number(span)?, number(span)?),
        };
        // `FRI-MON` goes round.
        let go = |from: u8, to: u8, step: u8| (from..=to).step_by(usize::from(step)).fold(0u64, |b, n| b | 1 << n);
        bits |= match first <= last {
            true => go(first, last, step),
            false if step == 1 && !names.is_empty() => go(first, *range.end(), 1) | go(*range.start(), last, 1),
            false => return Err(refuse(what, part, "the smaller number first")),
        };
    }
    Ok(bits)
}

fn years(field: &str) -> Result<Vec<i16>, String> {
    let all = 1970..=2199i16;
    let number = |text: &str| {
        let year = text.parse::<i16>().ok().filter(|year| all.contains(year));
        year.ok_or_else(|| refuse("year", text, "1970 to 2199"))
    };
    let mut years = Vec::new();
    for part in field.split(',') {
        let (span, step) = part.split_once('/').unwrap_or((part, "1"));
        let step = step.parse::<usize>().ok().filter(|step| *step > 0);
        let step = step.ok_or_else(|| refuse("year", part, "a step of 1 or more behind /"))?;
        let (first, last) = match span.split_once('-') {
            _ if span == "*" => (*all.start(), *all.end()),
            Some((first, last)) => (number(first)?, number(last)?),
            None if part.contains('/') => (number(span)?, *all.end()),
            None => (number(span)?, number(span)?),
        };
        years.extend((first..=last).step_by(step));
    }
    Ok(years)
}

fn refuse(what: &str, given: &str, expected: &str) -> String {
    let given: String = given.chars().take(40).collect();
    format!("{what} {given:?} is not valid: expected {expected}")
}
