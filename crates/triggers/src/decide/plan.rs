//! Which ticks of a schedule become events now.

use std::time::Duration;

use model::{FunctionName, Missed, Schedule, Timestamp, Timetable};

/// A tick that is not older than this was not missed: the server was busy, or just started again.
const ON_TIME: Duration = Duration::from_secs(60);
/// A schedule that was seen to further ahead than this saw a clock that was wrong.
const WRONG_CLOCK: Duration = Duration::from_secs(86_400);

/// What is to be done about a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Oldest first.
    pub ticks: Vec<Timestamp>,
    /// How far it has been seen to then, if that changes.
    pub last: Option<Timestamp>,
    /// When to look at it again.
    pub next: Option<Timestamp>,
}

/// Ticks after `last` and not after `now`. All that are on time; of those that were missed, as `schedule` says.
pub fn plan(schedule: &Schedule, table: &Timetable, last: Timestamp, now: Timestamp) -> Plan {
    if last > now + WRONG_CLOCK {
        // No tick comes twice by that: those that became events are remembered.
        return Plan { ticks: vec![], last: Some(now), next: table.next(now) };
    }
    let next = table.next(now.max(last));
    if table.next(last).is_none_or(|first| first > now) {
        return Plan { ticks: vec![], last: None, next };
    }
    let limit = now - ON_TIME;
    let on_time = between(table, last.max(limit), now, usize::MAX);
    let most = match schedule.missed {
        Missed::Skip => 0,
        // One that is on time makes up for those before it.
        Missed::Once => usize::from(on_time.is_empty()),
        Missed::All => schedule.missed_most as usize,
    };
    let mut ticks = newest(table, last, limit, most);
    ticks.extend(on_time);
    Plan { ticks, last: Some(now), next }
}

/// The newest ticks after one moment and not after another, without looking at all of them.
fn newest(table: &Timetable, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
    if most == 0 || until <= after {
        return Vec::new();
    }
    let mut span = Duration::from_secs(60);
    loop {
        let from = after.max(until - span);
        let found = between(table, from, until, most);
        if found.len() >= most || from == after {
            return found;
        }
        span *= 2;
    }
}

/// The newest `most` ticks after one moment and not after another.
fn between(table: &Timetable, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
    let mut found = std::collections::VecDeque::new();
    let mut last = after;
    while let Some(tick) = table.next(last).filter(|tick| *tick <= until) {
        if found.len() == most {
            found.pop_front();
        }
        found.push_back(tick);
        last = tick;
    }
    found.into()
}

/// How much later than its tick an event becomes due: always the same, and spread evenly over schedules and ticks.
pub fn jitter(schedule: &Schedule, function: &FunctionName, tick: Timestamp) -> Duration {
    let most = schedule.jitter.as_micros() as u64;
    if most == 0 {
        return Duration::ZERO;
    }
    // FNV-1a, and a last mixing: the same on every machine and in every version.
    let bytes = function.as_str().bytes().chain(schedule.name.bytes()).chain(tick.0.to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    Duration::from_micros((mixed ^ (mixed >> 33)) % (most + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    const HOUR: i64 = 60 * MINUTE;

    fn every_ten_minutes(missed: Missed) -> (Schedule, Timetable) {
        let schedule = Schedule { missed, missed_most: 5, ..Schedule::new("s", "*/10 * * * *") };
        let table = schedule.timetable().unwrap();
        (schedule, table)
    }

    fn ticks(missed: Missed, last: i64, now: i64) -> Vec<i64> {
        let (schedule, table) = every_ten_minutes(missed);
        plan(&schedule, &table, Timestamp(last), Timestamp(now)).ticks.into_iter().map(|tick| tick.0 / MINUTE).collect()
    }

    #[test]
    fn a_tick_on_time_is_one_whatever_the_policy() {
        for missed in [Missed::Skip, Missed::Once, Missed::All] {
            assert_eq!(ticks(missed, 5 * MINUTE, 10 * MINUTE - 1), [0i64; 0]);
            assert_eq!(ticks(missed, 5 * MINUTE, 10 * MINUTE), [10]);
            assert_eq!(ticks(missed, 5 * MINUTE, 10 * MINUTE + 59_000_000), [10]);
            assert_eq!(ticks(missed, 10 * MINUTE, 11 * MINUTE), [0i64; 0]);
        }
    }

    #[test]
    fn six_hours_down_are_none_one_or_some() {
        let (last, now) = (5 * MINUTE, 6 * HOUR + 5 * MINUTE);
        assert_eq!(ticks(Missed::Skip, last, now), [0i64; 0]);
        assert_eq!(ticks(Missed::Once, last, now), [360]);
        assert_eq!(ticks(Missed::All, last, now), [320, 330, 340, 350, 360]);
        assert_eq!(ticks(Missed::All, last, 25 * MINUTE), [10, 20], "not more than there were");
    }

    #[test]
    fn a_clock_that_goes_back_repeats_nothing_and_a_wrong_one_is_forgotten() {
        let (schedule, table) = every_ten_minutes(Missed::All);
        let now = Timestamp(100 * HOUR);
        let back = plan(&schedule, &table, now + Duration::from_secs(3600), now);
        assert_eq!((back.ticks.len(), back.last), (0, None));
        assert_eq!(back.next, Some(Timestamp(101 * HOUR + 10 * MINUTE)), "not before it has come so far again");
        let ten_years = Duration::from_secs(10 * 365 * 86_400);
        let wrong = plan(&schedule, &table, now + ten_years, now);
        assert_eq!((wrong.ticks.len(), wrong.last), (0, Some(now)));
        assert_eq!(wrong.next, Some(Timestamp(100 * HOUR + 10 * MINUTE)));
    }

    #[test]
    fn ten_years_of_seconds_take_no_time() {
        let schedule = Schedule { missed: Missed::All, ..Schedule::new("s", "* * * * * *") };
        let table = schedule.timetable().unwrap();
        let begun = std::time::Instant::now();
        let now = Timestamp(87_600 * HOUR);
        let found = plan(&schedule, &table, Timestamp(0), now);
        assert_eq!(found.ticks.len(), 100 + 60);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn jitter_is_bounded_spread_and_always_the_same() {
        let schedule = Schedule { jitter: Duration::from_secs(60), ..Schedule::new("s", "* * * * *") };
        let function = "f".parse().unwrap();
        let all: Vec<_> = (0..1000).map(|n| jitter(&schedule, &function, Timestamp(n * MINUTE))).collect();
        assert!(all.iter().all(|one| *one <= Duration::from_secs(60)));
        let early = all.iter().filter(|one| **one < Duration::from_secs(30)).count();
        assert!((400..600).contains(&early), "{early}");
        assert_eq!(all[7], jitter(&schedule, &function, Timestamp(7 * MINUTE)));
    }
}
