//! The little XML that S3's clients send: elements and text. No document types, so no entities but XML's own five.

use aws::AwsError;
use http::StatusCode;

const DEEPEST: usize = 8;
const MOST: usize = 50_000;

/// An element, by its local name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    inner: Vec<Element>,
}

// === impl Element ===

impl Element {
    pub fn parse(bytes: &[u8]) -> Result<Self, AwsError> {
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        let mut open: Vec<Element> = vec![Element::default()];
        let mut rest = text.trim_start_matches('\u{feff}');
        let mut count = 0;
        while let Some(at) = rest.find('<') {
            let (before, tag) = rest.split_at(at);
            if let Some(top) = open.last_mut() {
                top.text.push_str(&unescape(before)?);
            }
            if let Some(comment) = tag.strip_prefix("<!--") {
                rest = comment.split_once("-->").ok_or_else(|| malformed("a comment is not closed"))?.1;
                continue;
            }
            let (tag, behind) = tag[1..].split_once('>').ok_or_else(|| malformed("a tag is not closed"))?;
            rest = behind;
            if tag.starts_with('?') {
                continue;
            }
            if tag.starts_with('!') {
                return Err(malformed("document types and CDATA are not taken"));
            }
            if let Some(name) = tag.strip_prefix('/') {
                let done = open.pop().filter(|done| done.name == local(name) && !open.is_empty());
                let done = done.ok_or_else(|| malformed("an end tag has no beginning"))?;
                if let Some(above) = open.last_mut() {
                    above.inner.push(done);
                }
                continue;
            }
            count += 1;
            if open.len() > DEEPEST || count > MOST {
                return Err(malformed("there is too much of it"));
            }
            let (tag, alone) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let made = Element { name: local(tag).to_owned(), ..Element::default() };
            if !alone {
                open.push(made);
            } else if let Some(above) = open.last_mut() {
                above.inner.push(made);
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(mut whole), true) if whole.inner.len() == 1 && rest.trim().is_empty() => {
                Ok(whole.inner.pop().unwrap_or_default())
            }
            _ => Err(malformed("expected one element, closed")),
        }
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.inner.iter().filter(move |one| one.name == name)
    }

    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.inner.iter().find(|one| one.name == name).map(|one| one.text.as_str())
    }
}

/// Without prefix and attributes.
fn local(tag: &str) -> &str {
    let name = tag.split_whitespace().next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

fn unescape(text: &str) -> Result<String, AwsError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        out.push_str(before);
        let (name, behind) = entity.split_once(';').ok_or_else(|| malformed("an entity is not closed"))?;
        rest = behind;
        let number = name.strip_prefix("#x").map(|hex| u32::from_str_radix(hex, 16));
        let number = number.or_else(|| name.strip_prefix('#').map(str::parse));
        let letter = match (name, number) {
            ("amp", _) => Some('&'),
            ("lt", _) => Some('<'),
            ("gt", _) => Some('>'),
            ("quot", _) => Some('"'),
            ("apos", _) => Some('\''),
            (_, Some(Ok(number))) => char::from_u32(number),
            _ => None,
        };
        out.push(letter.ok_or_else(|| malformed("an entity is not known"))?);
    }
    out.push_str(rest);
    Ok(out)
}

pub(super) fn malformed(why: &str) -> AwsError {
    let message =
        format!("The XML you provided was not well-formed or did not validate against our published schema: {why}");
    AwsError::new(StatusCode::BAD_REQUEST, "MalformedXML", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_their_texts_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<!-- x --><s3:Delete xmlns:s3=\"u\"><Quiet>true</Quiet>\
                    <Object><Key>a&amp;b &#x41;&#66;</Key></Object><Object><Key>c</Key><None/></Object></s3:Delete>\n";
        let read = Element::parse(text.as_bytes()).unwrap();
        assert_eq!(read.text_of("Quiet"), Some("true"));
        let keys: Vec<_> = read.all("Object").map(|one| one.text_of("Key").unwrap()).collect();
        assert_eq!(keys, ["a&b AB", "c"]);
    }

    #[test]
    fn what_is_no_xml_is_refused() {
        let deep = "<a>".repeat(20);
        for bad in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<a>&x;</a>",
            "<!DOCTYPE a><a/>",
            "<a/>x",
            "<a",
            deep.as_str(),
        ] {
            assert_eq!(Element::parse(bad.as_bytes()).unwrap_err().kind, "MalformedXML", "{bad}");
        }
    }
}
