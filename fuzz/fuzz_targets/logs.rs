//! What functions print: split into lines, sought in by a pattern, shown on a terminal.
#![no_main]
#![allow(dead_code, reason = "files of the engine's and the command line's, of which this uses what reads")]

#[path = "../../crates/engine/src/log.rs"]
mod log;
#[path = "../../crates/hearth/src/cli/text.rs"]
mod text;

use aws::log_filter::LogFilter;
use libfuzzer_sys::fuzz_target;

fn lines(pieces: impl Iterator<Item: AsRef<[u8]>>) -> Vec<Vec<u8>> {
    let (mut splitter, mut lines) = (log::Splitter::default(), Vec::new());
    pieces.for_each(|piece| splitter.push(piece.as_ref(), |line| lines.push(line.to_vec())));
    splitter.flush(|line| lines.push(line.to_vec()));
    lines
}

/// What a terminal would do something with.
fn harmless(text: &str) -> bool {
    !text.chars().any(|c| (c.is_control() && c != '\t' && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c))
}

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    let whole = lines(std::iter::once(bytes));
    assert_eq!(whole, lines(bytes.chunks(usize::from(*size).max(1))));
    assert!(whole.iter().all(|line| line.len() <= log::MAX_LINE && !line.contains(&b'\n')));
    let Ok(shown) = std::str::from_utf8(bytes) else { return };
    for safe in [text::one_line(shown), text::lines(shown), text::block(shown)] {
        assert!(harmless(&safe), "{safe:?}");
    }
    assert!(!text::one_line(shown).contains('\n'));
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(shown) {
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text::json(shown)).ok(), Some(value));
    }
    if let Some([filter, line]) = fuzz::texts(bytes)
        && let Ok(filter) = LogFilter::parse(filter)
    {
        let _ = filter.matches(line);
    }
});
