//! What callers say of a trace, and how it is said on: W3C's `traceparent` and `tracestate`, X-Ray's `X-Amzn-Trace-Id`. Both
//! name the same trace: X-Ray's id is the 32 digits of W3C's, split after the eighth.
//!
//! Whatever is not as its specification has it is no context, and nobody is refused for it.

use std::fmt;
use std::sync::Arc;

use super::{SpanId, TraceId, Trigger};

/// Most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;
/// Longest `tracestate` that is passed on, bytes; 512 is what everybody has to.
const MAX_STATE: usize = 4096;

/// A place in a trace, as somebody told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    pub id: TraceId,
    /// The span that the next one is below; none in a trace that has none yet.
    pub parent: Option<SpanId>,
    /// Whether it is recorded; none where nobody has decided that.
    pub sampled: Option<bool>,
    /// W3C's flag that the id is random in its last 7 bytes.
    pub random: bool,
    /// `tracestate`; none where it is empty or not valid.
    pub state: Option<Arc<str>>,
}

// === impl Context ===

impl Context {
    /// A trace that begins here.
    pub fn fresh(now: crate::Timestamp) -> Self {
        Self { id: TraceId::fresh(now), parent: None, sampled: None, random: false, state: None }
    }

    /// Reads the value of the one `traceparent`.
    pub fn w3c(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = byte(bytes.get(..2)?)?;
        let dashes = bytes.len() >= 55 && [2, 35, 52].iter().all(|at| bytes[*at] == b'-');
        // A version that is yet to come may say more, after another dash.
        let length = if version == 0 { bytes.len() == 55 } else { bytes.len() == 55 || bytes.get(55) == Some(&b'-') };
        if version == 0xff || !dashes || !length {
            return None;
        }
        let (id, parent) = (TraceId::read(&bytes[3..35])?, SpanId::read(&bytes[36..52])?);
        let flags = byte(&bytes[53..55])?;
        let (sampled, random) = (Some(flags & 1 == 1), flags & 2 == 2);
        Some(Self { id, parent: Some(parent), sampled, random, state: None })
    }

    /// Adds what all values of `tracestate` say, if that is valid: else there is none, and the rest stands.
    pub fn with_state<'a>(mut self, values: impl IntoIterator<Item = &'a str>) -> Self {
        self.state = state(values).map(Arc::from);
        self
    }

    /// Reads an `X-Amzn-Trace-Id`. What it says beside `Root`, `Parent` and `Sampled` is others' matter.
    pub fn xray(text: &str) -> Option<Self> {
        let mut context = None;
        let (mut parent, mut sampled) = (None, None);
        for part in text.split(';').take(16) {
            match part.trim().split_once('=') {
                Some(("Root", id)) => context = Some(xray_id(id)?),
                Some(("Parent", id)) => parent = SpanId::read(id.as_bytes()),
                Some(("Sampled", "1")) => sampled = Some(true),
                Some(("Sampled", "0")) => sampled = Some(false),
                _ => {}
            }
        }
        context.map(|id| Self { id, parent, sampled, random: false, state: None })
    }

    /// `traceparent`, where there is a span to be below and it is decided whether it is recorded.
    pub fn traceparent(&self) -> Option<String> {
        let flags = u8::from(self.sampled?) | (u8::from(self.random) << 1);
        Some(format!("00-{}-{}-{flags:02x}", self.id, self.parent?))
    }

    /// `X-Amzn-Trace-Id`, and the value of `_X_AMZN_TRACE_ID`.
    pub fn to_xray(&self) -> Xray {
        let mut text = Xray { bytes: [0; XRAY], len: 0 };
        text.put(b"Root=1-");
        let id = self.id.digits();
        text.put(&id[..8]);
        text.put(b"-");
        text.put(&id[8..]);
        if let Some(parent) = self.parent {
            text.put(b";Parent=");
            text.put(&parent.digits());
        }
        match self.sampled {
            Some(true) => text.put(b";Sampled=1"),
            Some(false) => text.put(b";Sampled=0"),
            None => {}
        }
        text
    }

    /// How the queue of events keeps it, with what made the event: X-Ray's text and, after a space, a `tracestate`.
    pub(super) fn to_text(&self, trigger: Trigger) -> String {
        let mut text = self.to_xray().to_string();
        if trigger != Trigger::Other {
            text.push_str(";Trigger=");
            text.push_str(trigger.as_str());
        }
        if let Some(state) = &self.state {
            text.push(' ');
            text.push_str(state);
        }
        text
    }

    /// Reads what [`Context::to_text`] made, and what older Hearths kept: X-Ray's text.
    pub(super) fn from_text(text: &str) -> Option<(Self, Trigger)> {
        let (xray, state) = text.split_once(' ').unwrap_or((text, ""));
        let trigger = xray.rsplit_once(";Trigger=").map_or(Trigger::Other, |(_, trigger)| Trigger::parse(trigger));
        Some((Self::xray(xray)?.with_state([state]), trigger))
    }
}

/// `1-`, 8 digits, `-`, 24 digits.
fn xray_id(text: &str) -> Option<TraceId> {
    let (time, rest) = text.strip_prefix("1-")?.split_once('-')?;
    if time.len() != 8 || rest.len() != 24 {
        return None;
    }
    TraceId::read([time, rest].concat().as_bytes())
}

/// Two lower-case hexadecimal digits.
fn byte(text: &[u8]) -> Option<u8> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    match text {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// As many bytes as that many pairs of digits stand for.
pub(super) fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut read = [0; N];
    for (place, pair) in read.iter_mut().zip(text.chunks_exact(2)) {
        *place = byte(pair)?;
    }
    Some(read)
}

/// The values of a `tracestate`, as one.
fn state<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut keys: Vec<&str> = Vec::new();
    let mut text = String::new();
    for member in values.into_iter().flat_map(|value| value.split(',')) {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MAX_MEMBERS {
            return None;
        }
        keys.push(key);
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(member);
    }
    Some(text).filter(|text| !text.is_empty() && text.len() <= MAX_STATE)
}

/// `vendor`, or `tenant@vendor`.
fn is_key(key: &str) -> bool {
    let word = |text: &str, most: usize, digit: bool| {
        let first = text.bytes().next().is_some_and(|c| c.is_ascii_lowercase() || (digit && c.is_ascii_digit()));
        let rest = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-*/".contains(&c);
        first && text.len() <= most && text.bytes().all(rest)
    };
    match key.split_once('@') {
        Some((tenant, vendor)) => word(tenant, 241, true) && word(vendor, 14, false),
        None => word(key, 256, true),
    }
}

fn is_value(value: &str) -> bool {
    let fits = |c: u8| (0x20..=0x7e).contains(&c) && c != b',' && c != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(fits)
}

/// `Root=1-…` with all that may follow.
const XRAY: usize = 7 + 8 + 1 + 24 + 8 + 16 + 10;

/// A text for X-Ray, without a memory allocation.
#[derive(Clone, Copy)]
pub struct Xray {
    bytes: [u8; XRAY],
    len: usize,
}

// === impl Xray ===

impl Xray {
    fn put(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII was put in.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Display for Xray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn any_context() -> impl Strategy<Value = Context> {
        let id = any::<[u8; 16]>().prop_filter_map("zero", TraceId::new);
        let parent = any::<[u8; 8]>().prop_map(SpanId::new);
        (id, parent, any::<Option<bool>>(), "([a-z][a-z0-9]{0,9}=[!-+.-<>-~]{1,20})?").prop_map(
            |(id, parent, sampled, state)| {
                Context { id, parent, sampled, random: false, state: None }.with_state([state.as_str()])
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(context in any_context()) {
            for trigger in [Trigger::Other, Trigger::Timer, Trigger::Pubsub] {
                prop_assert_eq!(Context::from_text(&context.to_text(trigger)), Some((context.clone(), trigger)));
            }
            let bare = Context { state: None, ..context.clone() };
            prop_assert_eq!(Context::xray(context.to_xray().as_str()), Some(bare.clone()));
            if let Some(text) = context.traceparent() {
                prop_assert_eq!(Context::w3c(&text), Some(bare));
            }
        }

        #[test]
        fn both_headers_name_one_trace(context in any_context()) {
            let xray = context.to_xray().to_string();
            let id = xray["Root=1-".len()..].split(';').next().unwrap().replace('-', "");
            prop_assert_eq!(id, context.id.to_string());
        }

        #[test]
        fn no_text_is_too_odd(text in ".{0,120}") {
            let _ = (Context::w3c(&text), Context::from_text(&text), state([text.as_str()]));
        }

        #[test]
        fn one_other_character_makes_it_another_trace_or_none(at in 0usize..55, to in "[ -~]") {
            let mut changed = GIVEN.to_owned();
            changed.replace_range(at..=at, &to);
            let read = Context::w3c(&changed);
            prop_assert!(changed == GIVEN || read != Context::w3c(GIVEN) || !(2..=52).contains(&at), "{changed}");
            // And what is taken is said on as it was taken.
            if let Some(read) = read {
                prop_assert_eq!(Context::w3c(&read.traceparent().unwrap()), Some(read));
            }
        }
    }

    #[test]
    fn a_traceparent_is_read() {
        let context = Context::w3c(GIVEN).unwrap();
        assert_eq!(context.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent.unwrap().to_string(), "00f067aa0ba902b7");
        assert_eq!((context.sampled, context.traceparent().as_deref()), (Some(true), Some(GIVEN)));
        let xray = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1";
        assert_eq!(context.to_xray().as_str(), xray);
        let later = format!("cc{}-what-comes-later", &GIVEN[2..]);
        assert_eq!(Context::w3c(&later), Some(context));
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
        ] {
            assert_eq!(Context::w3c(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_x_ray_header_is_read() {
        let read = |text: &str| Context::xray(text).map(|c| (c.id.to_string(), c.parent.is_some(), c.sampled));
        let id = "5759e988bd862e3fe1be46a994272793".to_owned();
        let full = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:0";
        assert_eq!(read(full), Some((id.clone(), true, Some(true))));
        assert_eq!(read("Self=1-a;Root=1-5759e988-bd862e3fe1be46a994272793"), Some((id.clone(), false, None)));
        assert_eq!(read("Root=1-5759e988-bd862e3fe1be46a994272793; Sampled=?"), Some((id, false, None)));
        for bad in ["", "x", "Root=1-a", "Root=2-5759e988-bd862e3fe1be46a994272793", "Parent=53995c3f42cd8ad8"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_state_that_is_not_valid_is_none() {
        assert_eq!(state(["a=1, b=2", "c@d=x y"]).as_deref(), Some("a=1,b=2,c@d=x y"));
        let many: Vec<_> = (0..33).map(|n| format!("k{n}=1")).collect();
        assert!(state(many[..32].iter().map(String::as_str)).is_some());
        for bad in [",", "a", "A=1", "a=", "a=1,a=2", "a=b=c", "a@1=2", "a=\u{7f}", &many.join(","), &"x".repeat(5000)]
        {
            assert_eq!(state([bad]), None, "{bad}");
        }
        let read = Context::w3c(GIVEN).unwrap().with_state(["A=1"]);
        assert!(read.traceparent().is_some() && read.state.is_none());
    }

    #[test]
    fn a_fresh_trace_is_of_its_time() {
        let made = Context::fresh(Timestamp(0x5759_e988_i64 * 1_000_000));
        assert!(made.to_xray().as_str().starts_with("Root=1-5759e988-"), "{}", made.to_xray());
        assert_eq!((made.to_xray().as_str().len(), made.traceparent()), (40, None));
        assert_ne!(made.id, Context::fresh(Timestamp(0x5759_e988_i64 * 1_000_000)).id);
    }
}
