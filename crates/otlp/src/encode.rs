//! OTLP's messages in protobuf, as far as traces need them: a few messages of strings and numbers, which libraries would
//! bring a code generator for. Numbers of fields are those of `opentelemetry/proto/trace/v1/trace.proto` and its neighbours.

/// What an attribute says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Bool(bool),
    Int(i64),
}

/// A span, ready to be written. Times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub state: String,
    pub name: String,
    pub kind: Kind,
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed.
    pub error: Option<String>,
}

/// By the protocol's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Server = 2,
    Producer = 4,
    Consumer = 5,
}

/// `ExportTraceServiceRequest`
pub fn request(resource: &[(String, String)], version: &str, spans: &[Span]) -> Vec<u8> {
    let mut scope_spans = Message::default();
    scope_spans.message(1, |scope| {
        scope.text(1, "hearth");
        scope.text(2, version);
    });
    for one in spans {
        scope_spans.message(2, |message| span(message, one));
    }
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| {
            for (name, value) in resource {
                message.message(1, |pair| attribute(pair, name, &Value::Text(value.clone())));
            }
        });
        resource_spans.bytes(2, &scope_spans.0);
    });
    request.0
}

/// Of an `ExportTraceServiceResponse`: how many spans were refused, and why.
pub fn refused(mut response: &[u8]) -> Option<(u64, String)> {
    let (mut count, mut why) = (0, String::new());
    let mut partial = None;
    while let Some((field, value)) = next(&mut response) {
        if let (1, Field::Bytes(bytes)) = (field, value) {
            partial = Some(bytes);
        }
    }
    let mut partial = partial?;
    while let Some((field, value)) = next(&mut partial) {
        match (field, value) {
            (1, Field::Number(number)) => count = number,
            (2, Field::Bytes(bytes)) => why = String::from_utf8_lossy(bytes).chars().take(200).collect(),
            _ => {}
        }
    }
    (count > 0).then_some((count, why))
}

fn span(message: &mut Message, span: &Span) {
    message.bytes(1, &span.trace);
    message.bytes(2, &span.id);
    message.text(3, &span.state);
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.text(5, &span.name);
    message.number(6, span.kind as u64);
    message.fixed64(7, span.start);
    message.fixed64(8, span.end.max(span.start));
    for (name, value) in &span.attributes {
        message.message(9, |pair| attribute(pair, name, value));
    }
    if let Some(error) = &span.error {
        message.message(15, |status| {
            status.text(2, error);
            status.number(3, 2);
        });
    }
    // Sampled: only those are sent.
    message.fixed32(16, 1);
}

fn attribute(pair: &mut Message, name: &str, value: &Value) {
    pair.text(1, name);
    pair.message(2, |any| match value {
        // Said even where it is empty or zero: it is one of several that could be.
        Value::Text(text) => any.bytes(1, text.as_bytes()),
        Value::Bool(is) => any.always(2, u64::from(*is)),
        Value::Int(number) => any.always(3, *number as u64),
    });
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

// === impl Message ===

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn always(&mut self, field: u64, number: u64) {
        self.key(field, 0);
        self.varint(number);
    }

    fn number(&mut self, field: u64, number: u64) {
        if number != 0 {
            self.always(field, number);
        }
    }

    fn fixed64(&mut self, field: u64, number: u64) {
        self.key(field, 1);
        self.0.extend(number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, number: u32) {
        self.key(field, 5);
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The next field of a message; none at its end, or where it is damaged.
fn next<'a>(from: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(from)?;
    let mut take = |length: usize| {
        let (taken, rest) = from.split_at_checked(length)?;
        *from = rest;
        Some(taken)
    };
    let field = match key & 7 {
        1 => take(8).map(|_| Field::Other)?,
        5 => take(4).map(|_| Field::Other)?,
        0 => Field::Number(varint(from)?),
        2 => {
            let length = usize::try_from(varint(from)?).ok()?;
            let (taken, rest) = from.split_at_checked(length)?;
            *from = rest;
            Field::Bytes(taken)
        }
        _ => return None,
    };
    Some((key >> 3, field))
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for place in 0..10 {
        let (first, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(first & 0x7f) << (7 * place).min(63);
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    // That all of it is read as it was meant, tests/e2e/test_tracing.py sees with OpenTelemetry's own messages.
    #[test]
    fn messages_are_of_keys_lengths_and_values() {
        let mut message = Message::default();
        message.text(1, "ab");
        message.number(2, 300);
        message.number(3, 0);
        message.message(4, |inner| inner.always(1, 0));
        assert_eq!(message.0, [0x0a, 2, b'a', b'b', 0x10, 0xac, 2, 0x22, 2, 8, 0]);
    }

    #[test]
    fn what_a_collector_refused_is_read() {
        let mut answer = Message::default();
        answer.message(1, |partial| {
            partial.number(1, 300);
            partial.text(2, "too old");
        });
        assert_eq!(refused(&answer.0), Some((300, "too old".into())));
        for whole in [&b""[..], b"\x0a\x00", b"\x0a\xff", b"<html>", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(refused(whole), None);
        }
    }
}
