//! `application/vnd.amazon.eventstream`: messages with headers in an answer that goes on, each with its length and two
//! checksums.
//!
//! ```text
//! message := u32 length | u32 length of headers | u32 CRC of these | headers | payload | u32 CRC of all before
//! header  := u8 length | name | u8 7 | u16 length | text                              all integers are big-endian
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// What is answered in this form.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Longest payload of a message.
const MOST: usize = 1024 * 1024;

/// A header's value is a text.
const TEXT: u8 = 7;

/// How an invocation ended whose answer was streamed.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Complete {
    /// `Unhandled`, where the function failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<&'static str>,
    /// Its error JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<String>,
    /// The end of its log, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_result: Option<String>,
}

/// A piece of the answer; one that is too long for a message, in several.
pub fn chunks(mut payload: Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 128);
    while !payload.is_empty() {
        let piece = payload.split_to(payload.len().min(MOST));
        put(&mut out, "PayloadChunk", "application/octet-stream", &piece);
    }
    out.freeze()
}

/// The last message.
pub fn complete(how: &Complete) -> Bytes {
    let mut out = BytesMut::new();
    let json = serde_json::to_vec(how).unwrap_or_default();
    put(&mut out, "InvokeComplete", "application/json", &json);
    out.freeze()
}

/// An event of that type; its payload is JSON.
pub fn event(kind: &str, payload: &serde_json::Value) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out, kind, "application/json", payload.to_string().as_bytes());
    out.freeze()
}

fn put(out: &mut BytesMut, event: &str, content_type: &str, payload: &[u8]) {
    let headers = [(":event-type", event), (":content-type", content_type), (":message-type", "event")];
    let of_headers: usize = headers.iter().map(|(name, value)| 1 + name.len() + 1 + 2 + value.len()).sum();
    let length = 12 + of_headers + payload.len() + 4;
    let begin = out.len();
    out.reserve(length);
    out.put_u32(length as u32);
    out.put_u32(of_headers as u32);
    out.put_u32(crc32fast::hash(&out[begin..]));
    for (name, value) in headers {
        out.put_u8(name.len() as u8);
        out.put_slice(name.as_bytes());
        out.put_u8(TEXT);
        out.put_u16(value.len() as u16);
        out.put_slice(value.as_bytes());
    }
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out[begin..]));
}

#[cfg(test)]
mod tests {
    use super::*;

    type Message = (Vec<(String, String)>, Vec<u8>);

    /// Headers and payload of each message, after a look at its lengths and sums.
    fn read(mut bytes: &[u8]) -> Vec<Message> {
        let number = |from: &[u8], at: usize| u32::from_be_bytes(from[at..at + 4].try_into().unwrap());
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let (message, rest) = bytes.split_at(number(bytes, 0) as usize);
            bytes = rest;
            let end = message.len() - 4;
            assert_eq!(number(message, 8), crc32fast::hash(&message[..8]));
            assert_eq!(number(message, end), crc32fast::hash(&message[..end]));
            let (mut headers, payload) = message[12..end].split_at(number(message, 4) as usize);
            let mut found = Vec::new();
            while !headers.is_empty() {
                let (name, rest) = headers[1..].split_at(headers[0].into());
                assert_eq!(rest[0], TEXT);
                let (value, rest) = rest[3..].split_at(u16::from_be_bytes([rest[1], rest[2]]).into());
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                found.push((text(name), text(value)));
                headers = rest;
            }
            messages.push((found, payload.to_vec()));
        }
        messages
    }

    #[test]
    fn a_piece_is_a_message() {
        let messages = read(&chunks(Bytes::from_static(b"piece")));
        let [(headers, payload)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(payload, b"piece");
        assert!(headers.contains(&(":event-type".into(), "PayloadChunk".into())));
        assert!(headers.contains(&(":message-type".into(), "event".into())));
        assert!(chunks(Bytes::new()).is_empty());
    }

    #[test]
    fn a_long_piece_is_several_messages() {
        let messages = read(&chunks(Bytes::from(vec![7; 2 * MOST + 1])));
        assert_eq!(messages.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), [MOST, MOST, 1]);
    }

    #[test]
    fn the_end_says_what_there_is_to_say() {
        let end = |how| String::from_utf8(read(&complete(&how)).remove(0).1).unwrap();
        assert_eq!(end(Complete::default()), "{}");
        let failed = Complete {
            error_code: Some("Unhandled"),
            error_details: Some("{}".into()),
            log_result: Some("aGk=".into()),
        };
        assert_eq!(end(failed), r#"{"ErrorCode":"Unhandled","ErrorDetails":"{}","LogResult":"aGk="}"#);
    }

    #[test]
    fn an_event_is_one_message_of_json() {
        let messages = read(&event("sessionUpdate", &serde_json::json!({"a": 1})));
        let [(headers, payload)] = &messages[..] else { panic!("{messages:?}") };
        assert!(headers.contains(&(":event-type".into(), "sessionUpdate".into())));
        assert_eq!(payload, br#"{"a":1}"#);
    }
}
