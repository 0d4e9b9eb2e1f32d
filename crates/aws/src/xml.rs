//! XML as AWS's older protocols write it: elements and text, from JSON values.

use std::fmt::Write as _;

use serde_json::Value;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// `<Roles><member>…</member></Roles>`, the query protocol's.
    Member,
    /// `<Contents>…</Contents><Contents>…</Contents>`, S3's.
    Repeated,
}

/// `<?xml …?>` and one element of that namespace.
pub fn document(name: &str, namespace: &str, content: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name} xmlns=\"{namespace}\">{content}</{name}>")
}

/// Appends an element; nothing for null.
pub fn element(out: &mut String, name: &str, value: &Value, lists: Lists) {
    match value {
        Value::Null => {}
        Value::Array(items) if lists == Lists::Repeated => {
            for item in items {
                element(out, name, item, lists);
            }
        }
        value => {
            let _ = write!(out, "<{name}>");
            content(out, value, lists);
            let _ = write!(out, "</{name}>");
        }
    }
}

/// Appends what stands within an element.
pub fn content(out: &mut String, value: &Value, lists: Lists) {
    match value {
        Value::Null => {}
        Value::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) => escape(out, text),
        Value::Array(items) => items.iter().for_each(|item| element(out, "member", item, lists)),
        Value::Object(members) => members.iter().for_each(|(name, value)| element(out, name, value, lists)),
    }
}

/// Appends text. Line ends are escaped too: a parser would make one of another.
pub fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            // XML 1.0 has no way to write these.
            '\t' | '\n' => out.push(letter),
            letter if letter < ' ' || matches!(letter, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_written_either_way() {
        let value = json!({"A": [1, {"B": "<&>"}], "C": true, "D": null});
        let written = |lists| {
            let mut out = String::new();
            element(&mut out, "X", &value, lists);
            out
        };
        let inner = "<B>&lt;&amp;&gt;</B>";
        assert_eq!(
            written(Lists::Member),
            format!("<X><A><member>1</member><member>{inner}</member></A><C>true</C></X>")
        );
        assert_eq!(written(Lists::Repeated), format!("<X><A>1</A><A>{inner}</A><C>true</C></X>"));
    }

    #[test]
    fn no_text_ends_an_element() {
        let mut out = String::new();
        escape(&mut out, "a\u{0}\r\n]]><b/>\"");
        assert_eq!(out, "a\u{fffd}&#13;\n]]&gt;&lt;b/&gt;&quot;");
    }
}
