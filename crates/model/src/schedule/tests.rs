//! What expressions name, and what happens to them where clocks change.

use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn table(cron: &str, zone: &str) -> Timetable {
    Timetable::parse(cron, zone, None, None).unwrap()
}

/// The first ticks after a moment, in UTC.
fn ticks(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let table = table(cron, zone);
    let mut last = at(after);
    let mut found = Vec::new();
    for _ in 0..count {
        last = table.next(last).unwrap();
        found.push(last.rfc3339().replace(":00.000Z", "Z").replace(".000Z", "Z"));
    }
    found
}

#[test]
fn every_form_is_read() {
    let from = "2026-11-22T10:07:30Z"; // a Sunday
    let cases: &[(&str, &[&str])] = &[
        ("*/15 * * * *", &["2026-11-22T10:15Z", "2026-11-22T10:30Z"]),
        ("*/20 * * * * *", &["2026-11-22T10:07:40Z", "2026-11-22T10:08Z"]),
        ("0 3 * * *", &["2026-11-23T03:00Z", "2026-11-24T03:00Z"]),
        ("0 3 * * MON-FRI", &["2026-11-23T03:00Z", "2026-11-24T03:00Z"]),
        ("0 0 * * 7", &["2026-11-29T00:00Z", "2026-12-06T00:00Z"]),
        ("0 0 * * FRI-MON", &["2026-11-23T00:00Z", "2026-11-27T00:00Z"]),
        // Either day is enough where both are said.
        ("0 0 1 * FRI", &["2026-11-27T00:00Z", "2026-12-01T00:00Z"]),
        ("0 12 29 2 *", &["2028-02-29T12:00Z", "2032-02-29T12:00Z"]),
        ("0 0 L * *", &["2026-11-30T00:00Z", "2026-12-31T00:00Z"]),
        ("0 0 L-2 * *", &["2026-11-28T00:00Z", "2026-12-29T00:00Z"]),
        ("0 0 15W * *", &["2026-12-15T00:00Z", "2027-01-15T00:00Z", "2027-02-15T00:00Z", "2027-03-15T00:00Z"]),
        ("0 0 28W 11 *", &["2026-11-27T00:00Z"]),
        ("0 0 LW 1 *", &["2027-01-29T00:00Z"]),
        ("cron(0/10 * * * ? *)", &["2026-11-22T10:10Z", "2026-11-22T10:20Z"]),
        ("cron(0 10 ? * 2-6 *)", &["2026-11-23T10:00Z", "2026-11-24T10:00Z"]),
        ("cron(15 10 ? * 6L 2026-2028)", &["2026-11-27T10:15Z", "2026-12-25T10:15Z"]),
        ("cron(0 8 ? * 2#1 *)", &["2026-12-07T08:00Z", "2027-01-04T08:00Z"]),
        ("cron(0 8 1 * ? 2030)", &["2030-01-01T08:00Z"]),
        ("rate(5 minutes)", &["2026-11-22T10:10Z", "2026-11-22T10:15Z"]),
        ("rate(1 day)", &["2026-11-23T00:00Z"]),
        ("at(2027-01-01T00:00:00)", &["2027-01-01T00:00Z"]),
    ];
    for (cron, expected) in cases {
        assert_eq!(ticks(cron, "UTC", from, expected.len()), *expected, "{cron}");
    }
    assert_eq!(table("at(2027-01-01T00:00:00)", "UTC").next(at("2027-01-01T00:00:00Z")), None);
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        ("* * * *", "expected five fields"),
        ("61 * * * *", "minute \"61\" is not valid: expected 0 to 59"),
        ("0 0 31 2 *", "never comes"),
        ("*/0 * * * *", "step"),
        ("cron(0 0 * * * *)", "expected ?"),
        ("cron(0 0 * * *)", "six fields"),
        ("rate(five minutes)", "rate(5 minutes)"),
        ("at(tomorrow)", "at(2026-11-22T03:00:00)"),
        ("5-1 * * * *", "smaller number first"),
        ("0 0 * JANUARY *", "month"),
    ];
    for (cron, said) in cases {
        let why = Timetable::parse(cron, "UTC", None, None).unwrap_err();
        assert!(why.contains(said), "{cron}: {why}");
    }
    assert!(Timetable::parse("* * * * *", "Mars/Base", None, None).unwrap_err().contains("Europe/Berlin"));
    assert!(
        Timetable::parse("at(2026-03-29T02:30:00)", "Europe/Berlin", None, None).unwrap_err().contains("not exist")
    );
}

#[test]
fn a_time_that_does_not_exist_is_left_out() {
    // 2026-03-29, 02:00 becomes 03:00 in Berlin.
    let found = ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 2);
    assert_eq!(found, ["2026-03-28T01:30Z", "2026-03-30T00:30Z"]);
    // Lord Howe's clocks jump by half an hour: 2026-10-04, 02:00 becomes 02:30.
    let found = ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T16:00:00Z", 2);
    assert_eq!(found, ["2026-10-04T15:15Z", "2026-10-05T15:15Z"]);
}

#[test]
fn a_time_that_comes_twice_counts_once_unless_every_hour_counts() {
    // 2026-10-25, 03:00 becomes 02:00 in Berlin.
    let found = ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
    assert_eq!(found, ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
    let found = ticks("30 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", 4);
    assert_eq!(found, ["2026-10-24T23:30Z", "2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"]);
    // New York, 2026-11-01, 02:00 becomes 01:00.
    let found = ticks("0 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2);
    assert_eq!(found, ["2026-11-01T05:00Z", "2026-11-02T06:00Z"]);
}

#[test]
fn start_and_end_are_kept() {
    let table = Timetable::parse("rate(2 hours)", "UTC", Some("2026-01-01T00:30:00Z"), Some("2026-01-01T05:00:00Z"));
    let table = table.unwrap();
    let first = table.next(Timestamp(0)).unwrap();
    assert_eq!(first, at("2026-01-01T00:30:00Z"));
    let second = table.next(first).unwrap();
    assert_eq!(table.next(second), Some(at("2026-01-01T04:30:00Z")));
    assert_eq!(table.next(at("2026-01-01T04:30:00Z")), None);
}

#[test]
fn over_ten_years_every_hour_ticks_once_and_every_day_at_most_once() {
    for zone in ZONES {
        let hourly = table("0 * * * *", zone);
        let daily = table("15 2 * * *", zone);
        let (end, mut last, mut days) = (at("2036-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 0);
        while last < end {
            let next = hourly.next(last).unwrap();
            // Half an hour of Lord Howe's is missing, or comes twice.
            let gap = next.since(last).as_secs();
            let fits = if zone == "Australia/Lord_Howe" { (1800..=5400).contains(&gap) } else { gap == 3600 };
            assert!(fits, "{zone}: {gap} s until {}", next.rfc3339());
            last = next;
        }
        last = daily.next(at("2026-01-01T00:00:00Z")).unwrap();
        while last < end {
            let next = daily.next(last).unwrap();
            assert!(next.since(last).as_secs() >= 22 * 3600, "{zone}: twice by {}", next.rfc3339());
            (last, days) = (next, days + 1);
        }
        // 3652 days, and at most one in a year does not have that time.
        assert!((3640..=3653).contains(&days), "{zone}: {days}");
    }
}

proptest! {
    /// From wherever one asks, ticks come in order, and are the same ones.
    #[test]
    fn ticks_are_the_same_from_wherever_one_asks(
        zone in 0usize..4,
        minute in 0u8..60,
        hour in prop_oneof![Just("*".to_owned()), (0u8..24).prop_map(|hour| hour.to_string()), Just("*/6".to_owned())],
        begin in 1_767_225_600i64..2_082_758_400,
        ask in 0i64..(4 * 86_400),
    ) {
        let table = table(&format!("{minute} {hour} * * *"), ZONES[zone]);
        let begin = Timestamp(begin * 1_000_000);
        let ask = Timestamp(begin.0 + ask * 1_000_000);
        let mut walked = begin;
        while walked <= ask {
            let next = table.next(walked).unwrap();
            prop_assert!(next > walked);
            walked = next;
        }
        prop_assert_eq!(table.next(ask), Some(walked));
    }

    #[test]
    fn nothing_that_is_written_is_a_panic(text in "[0-9*/,LW#?A-Z() -]{0,30}") {
        let _ = Timetable::parse(&text, "Europe/Berlin", None, None);
    }
}

#[test]
fn where_time_ends_so_do_ticks() {
    for (text, start) in [("rate(5 minutes)", None), ("rate(1 day)", Some("2026-01-01T00:30:00Z")), ("0 0 * * *", None)]
    {
        let table = Timetable::parse(text, "UTC", start, None).unwrap();
        for after in [i64::MAX, i64::MAX - 1, i64::MIN] {
            let next = table.next(Timestamp(after));
            assert!(next.is_none_or(|next| next > Timestamp(after)), "{text}: {next:?} after {after}");
        }
    }
}
