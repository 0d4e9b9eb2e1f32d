//! What functions print, as log lines: split, given a level, a time and a request, and kept as the tail that
//! AWS's `X-Amz-Log-Result` carries.

use model::{FunctionName, InstanceId, LogLevel, LogLine, RequestId, Timestamp};
use serde::Deserialize;
use store::Telemetry;

/// Longest line; a longer one becomes several. AWS Lambda's limit of one log event.
pub const MAX_LINE: usize = 256 * 1024;

/// Bytes of log that a caller gets back, as on AWS Lambda.
pub const TAIL: usize = 4096;

/// Makes lines of what comes in pieces. Holds memory only while a line is incomplete.
#[derive(Debug, Default)]
pub struct Splitter {
    partial: Vec<u8>,
}

/// Where the lines of one instance go at present.
pub struct Sink<'a> {
    telemetry: &'a dyn Telemetry,
    function: &'a FunctionName,
    instance: &'a InstanceId,
    /// The invocation that runs.
    current: Option<RequestId>,
    /// The one before, whose late LOG frames are still its own.
    previous: Option<RequestId>,
    tail: Option<Tail>,
}

/// The last 4 KB.
#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

// === impl Splitter ===

impl Splitter {
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() {
                cut(head, &mut line);
            } else {
                self.partial.extend_from_slice(head);
                cut(&self.partial, &mut line);
                self.partial.clear();
            }
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        while self.partial.len() > MAX_LINE {
            let at = boundary(&self.partial);
            line(&self.partial[..at]);
            self.partial.drain(..at);
        }
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
    }

    /// What came without an end of line is a line too.
    pub fn flush(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            cut(&std::mem::take(&mut self.partial), &mut line);
        }
    }
}

fn cut(mut bytes: &[u8], line: &mut impl FnMut(&[u8])) {
    bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    while bytes.len() > MAX_LINE {
        let at = boundary(bytes);
        line(&bytes[..at]);
        bytes = &bytes[at..];
    }
    line(bytes);
}

/// Where to cut a line that is too long: not within a character of UTF-8.
fn boundary(bytes: &[u8]) -> usize {
    (MAX_LINE - 3..=MAX_LINE).rev().find(|at| bytes[*at] & 0xc0 != 0x80).unwrap_or(MAX_LINE)
}

// === impl Sink ===

impl<'a> Sink<'a> {
    pub fn new(telemetry: &'a dyn Telemetry, function: &'a FunctionName, instance: &'a InstanceId) -> Self {
        Self { telemetry, function, instance, current: None, previous: None, tail: None }
    }

    /// From here on lines belong to `current`.
    pub fn of(mut self, current: RequestId, previous: Option<RequestId>) -> Self {
        (self.current, self.previous) = (Some(current), previous);
        self
    }

    /// The same, of one that is in use.
    pub fn turn_to(&mut self, current: RequestId) {
        self.previous = self.current.replace(current);
    }

    pub fn keeping(mut self, tail: Option<Tail>) -> Self {
        self.tail = tail;
        self
    }

    pub fn into_tail(self) -> Option<Tail> {
        self.tail
    }

    /// A line that was printed.
    pub fn printed(&mut self, line: &[u8]) {
        if let Some(tail) = &mut self.tail {
            tail.push(line);
        }
        let message = text(line);
        self.send(Timestamp::now(), self.current, level_of(&message), message);
    }

    /// A line that came as a LOG frame.
    pub fn logged(&mut self, log: wire::Log) {
        // A function may name its own requests only: what it says is not believed.
        let known = [self.current, self.previous].into_iter().flatten();
        let request = log.request_id.parse().ok().and_then(|id: RequestId| known.into_iter().find(|k| *k == id));
        // Nor is a time that cannot be: retention looks at the oldest line's, and would wait for it to come.
        let now = Timestamp::now();
        let time = Timestamp(log.time.0.clamp(now.0 - 3_600_000_000, now.0));
        // It is one entry however many lines it has, unless it is too long for one.
        let message = log.message.strip_suffix('\n').unwrap_or(&log.message);
        cut(message.as_bytes(), &mut |part| {
            if let Some(tail) = &mut self.tail {
                tail.push(part);
            }
            self.send(time, request, log.level, text(part));
        });
    }

    /// A line of the platform about the function.
    pub fn platform(&mut self, message: String) {
        if let Some(tail) = &mut self.tail {
            tail.push(message.as_bytes());
        }
        self.send(Timestamp::now(), self.current, None, message);
    }

    fn send(&self, time: Timestamp, request_id: Option<RequestId>, level: Option<LogLevel>, message: String) {
        let (function, instance) = (self.function.clone(), self.instance.clone());
        self.telemetry.log(LogLine { time, function, instance, request_id, level, message });
    }
}

// === impl Tail ===

impl Tail {
    fn push(&mut self, line: &[u8]) {
        // Cut rarely, not with each line.
        if self.0.len() + line.len() > 4 * TAIL {
            self.cut();
        }
        let line = &line[line.len().saturating_sub(TAIL)..];
        self.0.extend_from_slice(line);
        self.0.push(b'\n');
    }

    fn cut(&mut self) {
        let over = self.0.len().saturating_sub(TAIL);
        self.0.drain(..over);
    }

    pub fn into_bytes(mut self) -> Vec<u8> {
        self.cut();
        self.0
    }
}

/// Text of any bytes: what is not UTF-8 is replaced, and so is NUL, which is text to few.
fn text(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    if line.contains(&0) { text.replace('\0', "\u{fffd}") } else { text.into_owned() }
}

/// The level that a line names in one of the forms that are usual: a JSON object with a level, Python's
/// `[INFO]⇥…` and Node's `time⇥request⇥INFO⇥…`.
fn level_of(line: &str) -> Option<LogLevel> {
    #[derive(Deserialize)]
    struct Json<'a> {
        #[serde(borrow, default)]
        level: Option<Word<'a>>,
        #[serde(borrow, default)]
        severity: Option<Word<'a>>,
        #[serde(borrow, default)]
        log_level: Option<Word<'a>>,
    }
    /// A text, or anything else.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word<'a> {
        Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
        Other(serde::de::IgnoredAny),
    }
    match line.as_bytes().first()? {
        b'{' if line.trim_end().ends_with('}') => {
            let json: Json<'_> = serde_json::from_str(line).ok()?;
            [json.level, json.severity, json.log_level].into_iter().flatten().find_map(|word| match word {
                Word::Text(text) => LogLevel::parse(&text),
                Word::Other(_) => None,
            })
        }
        b'[' => {
            let end = line.bytes().take(12).position(|byte| byte == b']')?;
            line[end + 1..].starts_with('\t').then(|| LogLevel::parse(&line[1..end])).flatten()
        }
        digit if digit.is_ascii_digit() => {
            let mut fields = line.splitn(4, '\t');
            let time = fields.next().filter(|time| time.len() == 24 && time.ends_with('Z'));
            let request = fields.next().filter(|id| id.len() == 36 || *id == "undefined");
            time.and(request).and(fields.next()).filter(|level| level.len() <= 8).and_then(LogLevel::parse)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.push(piece, |line| lines.push(line.to_vec()));
        }
        splitter.flush(|line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn a_line_may_come_in_pieces_and_without_its_end() {
        let lines = split(&[b"one\r\ntw", b"o\n\nthr", b"ee"]);
        assert_eq!(lines, [&b"one"[..], b"two", b"", b"three"]);
    }

    #[test]
    fn a_line_that_is_too_long_becomes_several_and_no_character_is_cut() {
        let long = "ä".repeat(MAX_LINE);
        let lines = split(&[b"x", long.as_bytes(), b"\nshort\n"]);
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE && std::str::from_utf8(line).is_ok()));
        assert_eq!(lines.concat().len(), 1 + long.len() + 5);
        assert_eq!(lines.last().unwrap(), b"short");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_it_is_cut(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..600), cut in 1usize..50) {
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            let joined = split(&pieces).join(&b'\n');
            let mut plain = split(&[&bytes]).join(&b'\n');
            prop_assert_eq!(&joined, &plain);
            let ended = bytes.last() == Some(&b'\n');
            if ended { plain.push(b'\n') }
            let strip = |bytes: &[u8]| bytes.iter().copied().filter(|b| *b != b'\r').collect::<Vec<_>>();
            prop_assert_eq!(strip(&plain), strip(&bytes));
        }

        #[test]
        fn a_level_is_looked_for_in_any_text(line in ".{0,80}") {
            level_of(&line);
        }
    }

    #[test]
    fn levels_are_recognised_in_the_forms_that_are_usual() {
        let id = "2f0e4b5a-0000-4000-8000-000000000000";
        for (line, level) in [
            (r#"{"level":"WARN","message":"x"}"#.to_owned(), Some(LogLevel::Warn)),
            (r#"{"message":"x","severity":"error"}"#.to_owned(), Some(LogLevel::Error)),
            (r#"{"log_level":"de\u0062ug","n":[1,{"level":"x"}]}"#.to_owned(), Some(LogLevel::Debug)),
            (r#"{"level":30,"msg":"pino"}"#.to_owned(), None),
            (r#"{"level":"info""#.to_owned(), None),
            (format!("[ERROR]\t2026-11-22T10:00:00.123Z\t{id}\tboom"), Some(LogLevel::Error)),
            ("[ERROR] KeyError: 'x'".to_owned(), None),
            (format!("2026-11-22T10:00:00.123Z\t{id}\tINFO\thello"), Some(LogLevel::Info)),
            ("2026-11-22T10:00:00.123Z hello".to_owned(), None),
            ("[ä]\tx".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(level_of(&line), level, "{line}");
        }
    }

    #[test]
    fn the_tail_is_the_last_4_kb() {
        let mut tail = Tail::default();
        for number in 0..5000 {
            tail.push(format!("line {number}").as_bytes());
        }
        tail.push(&[b'x'; 100]);
        let bytes = tail.into_bytes();
        assert_eq!(bytes.len(), TAIL);
        assert!(bytes.ends_with(&[&b"line 4999\n"[..], &[b'x'; 100], b"\n"].concat()));
    }

    #[test]
    fn what_is_not_text_becomes_text() {
        assert_eq!(text(b"a\xff\0b"), "a\u{fffd}\u{fffd}b");
    }
}
