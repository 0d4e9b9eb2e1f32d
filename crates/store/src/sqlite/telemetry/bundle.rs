//! Lines of one invocation that are written in one row: a row costs more in what leads to it, two entries of indices,
//! than in what it says, and hardly a call has less than three lines.
//!
//! Of a batch, what an instance says in one invocation becomes one row, up to a size. So lines of calls that ran at
//! once may change places, within a batch; those of one instance never do. The texts follow one another without a
//! break, and `parts` has 13 bytes for each line, little-endian: i64 time (µs), u8 level, u32 length.

use std::collections::HashMap;

use model::{FunctionName, InstanceId, LogLevel, LogLine, RequestId, Timestamp};

use super::queue::Item;

/// Most lines, and most bytes of text, of a bundle: one that is read in pieces is read again for each.
const LINES: usize = 200;
const BYTES: usize = 64 << 10;

const PART: usize = 13;

/// What becomes one row.
pub(super) struct Bundle<'a> {
    /// With whose function, instance and request.
    pub first: &'a LogLine,
    pub count: i64,
    pub newest: Timestamp,
    pub message: &'a str,
    /// None for a single line.
    pub parts: Option<&'a [u8]>,
}

/// A line of a bundle that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub time: i64,
    pub level: u8,
    pub message: &'a str,
}

/// The bundle that an instance's next line may go into.
struct Open<'a> {
    function: &'a FunctionName,
    request: RequestId,
    last: usize,
    lines: usize,
    bytes: usize,
}

/// Calls `write` with each bundle of a batch, in the order of their first lines.
pub(super) fn each<E>(items: &[Item], mut write: impl FnMut(&Bundle<'_>) -> Result<(), E>) -> Result<(), E> {
    let (next, follows) = chains(items);
    let (mut message, mut parts) = (String::new(), Vec::new());
    for (begin, item) in items.iter().enumerate() {
        let Item::Line(first) = item else { continue };
        if follows[begin] {
            continue;
        }
        if next[begin].is_none() {
            write(&Bundle { first, count: 1, newest: first.time, message: &first.message, parts: None })?;
            continue;
        }
        message.clear();
        parts.clear();
        let (mut count, mut newest, mut at) = (0, first.time, Some(begin));
        while let Some(index) = at {
            at = next[index];
            let Item::Line(line) = &items[index] else { break };
            count += 1;
            newest = newest.max(line.time);
            message.push_str(&line.message);
            parts.extend_from_slice(&line.time.micros().to_le_bytes());
            parts.push(line.level.map_or(0, LogLevel::as_u8));
            parts.extend_from_slice(&(line.message.len() as u32).to_le_bytes());
        }
        write(&Bundle { first, count, newest, message: &message, parts: Some(&parts) })?;
    }
    Ok(())
}

/// For each item, which one comes after it in its bundle, and whether it comes after another.
fn chains(items: &[Item]) -> (Vec<Option<usize>>, Vec<bool>) {
    let (mut next, mut follows) = (vec![None; items.len()], vec![false; items.len()]);
    let mut open: HashMap<&InstanceId, Open<'_>> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        let Item::Line(line) = item else { continue };
        let Some(request) = line.request_id else {
            open.remove(&line.instance);
            continue;
        };
        let size = line.message.len();
        match open.get_mut(&line.instance) {
            Some(open) if open.takes(line) => {
                next[open.last] = Some(at);
                follows[at] = true;
                (open.last, open.lines, open.bytes) = (at, open.lines + 1, open.bytes + size);
            }
            _ => {
                open.insert(
                    &line.instance,
                    Open { function: &line.function, request, last: at, lines: 1, bytes: size },
                );
            }
        }
    }
    (next, follows)
}

/// What a row's `parts` and text are, oldest first; none if they do not add up.
pub(super) fn unpack<'a>(parts: &[u8], message: &'a str) -> Option<Vec<Part<'a>>> {
    let mut rest = message;
    let mut lines = Vec::with_capacity(parts.len() / PART);
    let (parts, odd) = parts.as_chunks::<PART>();
    for part in parts {
        let (time, level, len) = (part[..8].try_into().ok()?, part[8], part[9..].try_into().ok()?);
        let (message, after) = rest.split_at_checked(u32::from_le_bytes(len) as usize)?;
        lines.push(Part { time: i64::from_le_bytes(time), level, message });
        rest = after;
    }
    (odd.is_empty() && rest.is_empty()).then_some(lines)
}

// === impl Open ===

impl Open<'_> {
    fn takes(&self, line: &LogLine) -> bool {
        let same = line.request_id == Some(self.request) && line.function == *self.function;
        same && self.lines < LINES && self.bytes + line.message.len() <= BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(instance: &str, request: Option<RequestId>, message: &str) -> Item {
        let (function, instance) = ("f".parse().unwrap(), instance.repeat(16).parse().unwrap());
        let time = Timestamp(message.len() as i64);
        let level = message.starts_with('E').then_some(LogLevel::Error);
        Item::Line(LogLine { time, function, instance, request_id: request, level, message: message.to_owned() })
    }

    /// The texts of each bundle, and what is unpacked of it.
    fn bundled(items: &[Item]) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        each(items, |bundle| {
            let lines = match bundle.parts {
                None => vec![bundle.message.to_owned()],
                Some(parts) => {
                    let parts = unpack(parts, bundle.message).unwrap();
                    for part in &parts {
                        assert_eq!(part.time, part.message.len() as i64);
                        assert_eq!(part.level == 5, part.message.starts_with('E'));
                        assert!(part.time <= bundle.newest.0);
                    }
                    parts.iter().map(|part| part.message.to_owned()).collect()
                }
            };
            assert_eq!(lines.len() as i64, bundle.count);
            all.push(lines);
            Ok::<_, ()>(())
        })
        .unwrap();
        all
    }

    #[test]
    fn what_an_instance_says_in_one_call_is_one_row() {
        let (one, other) = (Some(RequestId::random()), Some(RequestId::random()));
        let items = [
            line("a", one, "START"),
            line("b", other, "START"),
            line("a", one, "Error ä"),
            line("a", one, ""),
            line("b", other, "END"),
            line("a", None, "between"),
            line("a", one, "late"),
            line("a", other, "next"),
            line("a", other, "next END"),
        ];
        let rows = bundled(&items);
        let expected: [&[&str]; 5] =
            [&["START", "Error ä", ""], &["START", "END"], &["between"], &["late"], &["next", "next END"]];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_bundle_does_not_grow_for_ever() {
        let request = Some(RequestId::random());
        let many: Vec<_> = (0..3 * LINES).map(|_| line("a", request, "x")).collect();
        assert_eq!(bundled(&many).iter().map(Vec::len).collect::<Vec<_>>(), [LINES; 3]);
        let long = "x".repeat(BYTES / 2);
        let long: Vec<_> = (0..4).map(|_| line("a", request, &long)).collect();
        assert_eq!(bundled(&long).len(), 2);
    }

    #[test]
    fn parts_that_do_not_add_up_are_refused() {
        let good = [&5i64.to_le_bytes()[..], &[2], &2u32.to_le_bytes()].concat();
        assert_eq!(unpack(&good, "ab"), Some(vec![Part { time: 5, level: 2, message: "ab" }]));
        for (parts, message) in [(&good[..], "abc"), (&good, "a"), (&good, "aä"), (&good[1..], "ab")] {
            assert_eq!(unpack(parts, message), None, "{message}");
        }
    }
}
