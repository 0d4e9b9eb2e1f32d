//! Text from elsewhere, made harmless for a terminal; and quantities as people read them.
//!
//! What a function prints may hold escape sequences that rewrite the screen, the clipboard or the title, line
//! ends that forge further log lines, and direction marks that make a line read as another. Here they are shown
//! as what they are.

use std::fmt::Write;
use std::time::Duration;

/// What stands before the second and further lines of one message, so that none can pass for a line of its own.
const CONTINUED: &str = "\n    | ";

/// One line: every line end is shown as `\n`.
pub fn one_line(text: &str) -> String {
    neutral(text, "\\n")
}

/// A message of possibly several lines, all but the first marked.
pub fn lines(text: &str) -> String {
    neutral(text.strip_suffix('\n').unwrap_or(text), CONTINUED)
}

/// Several lines, as they are: for a whole text that nothing stands beside.
pub fn block(text: &str) -> String {
    neutral(text, "\n")
}

/// The end of an id: ids begin with the time, and those of one hour look alike there.
pub fn short_id(id: &str) -> String {
    let more = id.chars().count().saturating_sub(8);
    one_line(&id.chars().skip(more).collect::<String>())
}

fn neutral(text: &str, line_end: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => out.push_str(line_end),
            '\t' => out.push('\t'),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => drop(write!(out, "\\x{:02x}", c as u32)),
            c if harmful(c) => drop(write!(out, "\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// JSON whose strings a terminal can be trusted with: the same value, written with more escapes.
pub fn json(text: &str) -> String {
    if !text.chars().any(|c| c as u32 == 0x7f || harmful(c)) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Valid JSON has such characters only within strings, where the escape means the same.
        if c as u32 == 0x7f || harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// C1 controls, line separators, direction marks, invisible tags.
fn harmful(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// `812 B`, `3.4 kB`, `12 MB`: decimal, three digits at most.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB"])
}

/// Memory, in the powers of two that limits are in: `27 MB` of a limit of `128MB`.
pub fn memory(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KB", "MB", "GB", "TB"])
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while number >= step && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    if unit > 0 && number < 10.0 {
        format!("{number:.1} {}", units[unit])
    } else {
        format!("{number:.0} {}", units[unit])
    }
}

/// `340 ms`, `12 s`, `3 min`, `5 h`, `2 d`: the largest unit only.
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        s @ ..100 => format!("{s} s"),
        s @ ..6_000 => format!("{} min", s / 60),
        s @ ..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// `0.253 ms`, `48.2 ms`, `1.25 s`: three digits.
pub fn latency(micros: f64) -> String {
    match micros / 1e3 {
        millis @ ..999.5 => format!("{} ms", digits(millis)),
        millis => format!("{} s", digits(millis / 1e3)),
    }
}

/// Three digits that matter, and all those before the point.
pub fn digits(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return format!("{number:.0}");
    }
    let places = (2.0 - number.abs().log10().floor()).clamp(0.0, 12.0);
    format!("{number:.*}", places as usize)
}

/// How long ago an RFC 3339 moment was.
pub fn ago(moment: &str) -> String {
    match moment.parse::<jiff::Timestamp>() {
        Ok(then) => {
            let passed = jiff::Timestamp::now().as_millisecond() - then.as_millisecond();
            span(Duration::from_millis(u64::try_from(passed).unwrap_or(0)))
        }
        Err(_) => one_line(moment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(one_line("\x1b[2Jx"), "\\x1b[2Jx");
        assert_eq!(one_line("\x1b]52;c;ZXZpbA==\x07"), "\\x1b]52;c;ZXZpbA==\\x07");
        assert_eq!(one_line("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(one_line("\x08\x7f\0"), "\\x08\\x7f\\x00");
    }

    #[test]
    fn a_line_cannot_be_forged() {
        assert_eq!(lines("a\n2026-01-01T00:00:00Z error forged"), "a\n    | 2026-01-01T00:00:00Z error forged");
        assert_eq!(lines("a\rb"), "a\\x0db");
        assert_eq!(lines("a\r\nb\n"), "a\n    | b");
        assert_eq!(one_line("a\nb\u{2028}c"), "a\\nb\\u{2028}c");
    }

    #[test]
    fn direction_marks_are_shown_and_plain_text_is_left_alone() {
        assert_eq!(one_line("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
        for plain in ["Grüße, 世界\t👩\u{200d}🚀", "שלום"] {
            assert_eq!(one_line(plain), plain);
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"m": "\u{9b}\u{202e}\u{7f}\u{e0041}ok"});
        let written = json(&value.to_string());
        assert!(written.is_ascii());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
    }

    #[test]
    fn quantities_are_short() {
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(3_400), "3.4 kB");
        assert_eq!(memory(28 << 20), "28 MB");
        assert_eq!(span(Duration::from_millis(340)), "340 ms");
        assert_eq!(span(Duration::from_secs(7_300)), "2 h");
        for (micros, text) in [(253.0, "0.253 ms"), (48_210.0, "48.2 ms"), (1_254_000.0, "1.25 s"), (0.0, "0 ms")] {
            assert_eq!(latency(micros), text);
        }
        for (number, text) in [(0.000_012_34, "0.0000123"), (12.345, "12.3"), (12_345.6, "12346")] {
            assert_eq!(digits(number), text);
        }
    }
}
