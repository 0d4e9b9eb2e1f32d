//! Event patterns: EventBridge's rules for which events are wanted, as far as AWS Lambda's filters have them.
//!
//! A pattern is a JSON object whose leaves are lists: an event is wanted if each field that the pattern names has one of its
//! values, or none where `exists` is false. What the pattern does not name may be anything.
//!
//! ```text
//! {"kind": ["new", {"prefix": "re"}], "customer": {"age": [{"numeric": [">=", 18]}]}, "$or": [{"a": [1]}, {"b": [null]}]}
//! ```
//!
//! Refused, with the place that it stands at: every other operator. A field of an event that is a list fits if one of its
//! items does.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest text of a pattern: AWS Lambda's.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// A pattern, checked, and its text as it was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "String")]
pub struct EventPattern {
    text: String,
    root: Fields,
}

/// Fields that all must fit, and lists of patterns of which one must.
#[derive(Debug, Clone)]
struct Fields {
    all: Vec<(String, Node)>,
    any: Vec<Fields>,
}

#[derive(Debug, Clone)]
enum Node {
    Within(Fields),
    OneOf(Vec<Test>),
}

#[derive(Debug, Clone)]
enum Test {
    Is(Value),
    IgnoringCase(String),
    Prefix(String),
    Suffix(String),
    Not(Vec<Test>),
    /// All of these comparisons hold.
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

// === impl EventPattern ===

impl EventPattern {
    /// Reads a pattern's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(format!("the pattern has {} bytes: at most {MAX_PATTERN_BYTES} are allowed", text.len()));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| format!("the pattern is not JSON: {error}"))?;
        let Value::Object(members) = &value else {
            return Err("the pattern is not a JSON object: expected one like {\"body\": {\"kind\": [\"new\"]}}".into());
        };
        Ok(Self { text: text.to_owned(), root: Fields::read(members, "")? })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields that it names at its top, those within `$or` too.
    pub fn fields(&self) -> Vec<&str> {
        let Fields { all, any } = &self.root;
        let within = any.iter().flat_map(|one| one.all.iter());
        all.iter().chain(within).map(|(name, _)| name.as_str()).collect()
    }

    /// Whether a field at the top is compared as a whole, and not looked into.
    pub fn is_leaf(&self, field: &str) -> bool {
        let Fields { all, any } = &self.root;
        let mut every = all.iter().chain(any.iter().flat_map(|one| one.all.iter()));
        every.any(|(name, node)| name == field && matches!(node, Node::OneOf(_)))
    }

    pub fn matches(&self, event: &Value) -> bool {
        self.root.matches(Some(event))
    }
}

impl PartialEq for EventPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for EventPattern {}

/// A text of JSON, or the object itself.
impl TryFrom<Value> for EventPattern {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::parse(&text),
            value => Self::parse(&value.to_string()),
        }
    }
}

impl From<EventPattern> for String {
    fn from(pattern: EventPattern) -> Self {
        pattern.text
    }
}

// === impl Fields ===

impl Fields {
    fn read(members: &Map<String, Value>, path: &str) -> Result<Self, String> {
        let mut fields = Self { all: Vec::new(), any: Vec::new() };
        for (name, value) in members {
            let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value {
                Value::Array(ways) if name == "$or" => {
                    if ways.len() < 2 {
                        return Err(format!("{at}: expected a list of two patterns or more"));
                    }
                    for way in ways {
                        let Value::Object(way) = way else {
                            return Err(format!("{at}: expected a list of patterns, got {}", short(way)));
                        };
                        fields.any.push(Self::read(way, path)?);
                    }
                }
                Value::Array(tests) if tests.is_empty() => {
                    return Err(format!("{at}: the list is empty: expected the values that are wanted"));
                }
                Value::Array(tests) => {
                    let tests: Result<_, _> = tests.iter().map(|test| Test::read(test, &at)).collect();
                    fields.all.push((name.clone(), Node::OneOf(tests?)));
                }
                Value::Object(inner) if inner.is_empty() => {
                    return Err(format!("{at}: the object is empty: expected fields, or a list of values"));
                }
                Value::Object(inner) => fields.all.push((name.clone(), Node::Within(Self::read(inner, &at)?))),
                other => {
                    return Err(format!("{at}: expected a list of values, as in [{}]", short(other)));
                }
            }
        }
        Ok(fields)
    }

    fn matches(&self, event: Option<&Value>) -> bool {
        if let Some(Value::Array(items)) = event
            && !items.is_empty()
        {
            return items.iter().any(|item| self.matches(Some(item)));
        }
        let fits = |(name, node): &(String, Node)| {
            let value = event.and_then(|event| event.get(name.as_str()));
            match node {
                Node::Within(fields) => fields.matches(value),
                Node::OneOf(tests) => {
                    let mut leaves = Vec::new();
                    gather(value, &mut leaves);
                    tests.iter().any(|test| test.matches_one(&leaves))
                }
            }
        };
        self.all.iter().all(fits) && (self.any.is_empty() || self.any.iter().any(|way| way.matches(event)))
    }
}

/// What a value is to be compared as: itself, or each item of a list. An object is nothing to compare with.
fn gather<'a>(value: Option<&'a Value>, leaves: &mut Vec<&'a Value>) {
    match value {
        None | Some(Value::Object(_)) => {}
        Some(Value::Array(items)) => items.iter().for_each(|item| gather(Some(item), leaves)),
        Some(leaf) => leaves.push(leaf),
    }
}

// === impl Test ===

impl Test {
    fn read(value: &Value, at: &str) -> Result<Self, String> {
        let Value::Object(members) = value else {
            return match value {
                Value::Array(_) => Err(format!("{at}: a list within a list is no value: got {}", short(value))),
                value => Ok(Self::Is(value.clone())),
            };
        };
        let mut members = members.iter();
        let (Some((operator, operand)), None) = (members.next(), members.next()) else {
            return Err(format!("{at}: expected one operator in an object, got {}", short(value)));
        };
        let text = |what: &str| match operand {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            other => Err(format!("{at}: {what} wants a text that is not empty, got {}", short(other))),
        };
        match operator.as_str() {
            "prefix" => text("prefix").map(Self::Prefix),
            "suffix" => text("suffix").map(Self::Suffix),
            "equals-ignore-case" => match operand {
                Value::String(text) => Ok(Self::IgnoringCase(text.to_lowercase())),
                other => Err(format!("{at}: equals-ignore-case wants a text, got {}", short(other))),
            },
            "exists" => match operand {
                Value::Bool(exists) => Ok(Self::Exists(*exists)),
                other => Err(format!("{at}: exists wants true or false, got {}", short(other))),
            },
            "anything-but" => Self::not(operand, at),
            "numeric" => Self::numeric(operand, at),
            other => Err(format!(
                "{at}: the operator {other:?} is not supported: expected prefix, suffix, equals-ignore-case, anything-but, \
                 numeric or exists"
            )),
        }
    }

    fn not(operand: &Value, at: &str) -> Result<Self, String> {
        let wrong = || format!("{at}: anything-but wants texts and numbers, prefix or suffix, got {}", short(operand));
        let one = |value: &Value| match value {
            Value::String(_) | Value::Number(_) => Ok(Self::Is(value.clone())),
            _ => Err(wrong()),
        };
        let unwanted = match operand {
            Value::Array(values) if !values.is_empty() => values.iter().map(one).collect::<Result<_, _>>()?,
            Value::Object(_) => match Self::read(operand, at)? {
                test @ (Self::Prefix(_) | Self::Suffix(_)) => vec![test],
                _ => return Err(wrong()),
            },
            value => vec![one(value)?],
        };
        Ok(Self::Not(unwanted))
    }

    fn numeric(operand: &Value, at: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{at}: numeric wants one or two comparisons, as in [\">\", 0, \"<=\", 5], got {}", short(operand))
        };
        let parts = operand.as_array().filter(|parts| matches!(parts.len(), 2 | 4)).ok_or_else(wrong)?;
        let pair = |pair: &[Value]| {
            let comparison = match pair[0].as_str()? {
                "<" => Comparison::Less,
                "<=" => Comparison::AtMost,
                "=" => Comparison::Equal,
                ">=" => Comparison::AtLeast,
                ">" => Comparison::More,
                _ => return None,
            };
            Some((comparison, pair[1].as_f64()?))
        };
        parts.chunks(2).map(pair).collect::<Option<_>>().map(Self::Numeric).ok_or_else(wrong)
    }

    /// `leaves`: the values of the field; none if it is not there.
    fn matches_one(&self, leaves: &[&Value]) -> bool {
        match self {
            Self::Exists(wanted) => *wanted != leaves.is_empty(),
            test => leaves.iter().any(|leaf| test.fits(leaf)),
        }
    }

    fn fits(&self, leaf: &Value) -> bool {
        match self {
            Self::Is(value) => same(value, leaf),
            Self::IgnoringCase(text) => leaf.as_str().is_some_and(|leaf| leaf.to_lowercase() == *text),
            Self::Prefix(text) => leaf.as_str().is_some_and(|leaf| leaf.starts_with(text)),
            Self::Suffix(text) => leaf.as_str().is_some_and(|leaf| leaf.ends_with(text)),
            Self::Not(unwanted) => !unwanted.iter().any(|test| test.fits(leaf)),
            Self::Numeric(comparisons) => {
                let Some(number) = leaf.as_f64() else { return false };
                comparisons.iter().all(|(comparison, bound)| match comparison {
                    Comparison::Less => number < *bound,
                    Comparison::AtMost => number <= *bound,
                    Comparison::Equal => number == *bound,
                    Comparison::AtLeast => number >= *bound,
                    Comparison::More => number > *bound,
                })
            }
            Self::Exists(_) => false,
        }
    }
}

/// 300 is 300.0, and long whole numbers are compared to their last digit.
fn same(wanted: &Value, leaf: &Value) -> bool {
    match (wanted, leaf) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => a.as_f64() == b.as_f64(),
        (wanted, leaf) => wanted == leaf,
    }
}

fn short(value: &Value) -> String {
    let text: String = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(pattern: Value, event: Value) -> bool {
        EventPattern::try_from(pattern).unwrap().matches(&event)
    }

    #[test]
    fn each_operator_takes_what_it_says_and_nothing_else() {
        for (test, wanted, unwanted) in [
            (json!("new"), vec![json!("new"), json!(["old", "new"])], vec![json!("New"), json!(1), json!({"a": 1})]),
            (json!(300), vec![json!(300), json!(300.0)], vec![json!("300"), json!(301)]),
            (json!(null), vec![json!(null)], vec![json!(""), json!(0)]),
            (json!(""), vec![json!("")], vec![json!(null), json!(" ")]),
            (json!(true), vec![json!(true)], vec![json!("true"), json!(1)]),
            (json!({"equals-ignore-case": "ÄB"}), vec![json!("äb"), json!("Äb")], vec![json!("ab")]),
            (json!({"prefix": "eu-"}), vec![json!("eu-west"), json!("eu-")], vec![json!("us"), json!(1)]),
            (json!({"suffix": ".png"}), vec![json!("a.png")], vec![json!("a.png2"), json!(null)]),
            (json!({"anything-but": ["a", 1]}), vec![json!("b"), json!(2), json!(null)], vec![json!("a"), json!(1)]),
            (json!({"anything-but": "a"}), vec![json!("b")], vec![json!("a")]),
            (json!({"anything-but": {"prefix": "x"}}), vec![json!("ax")], vec![json!("xa")]),
            (json!({"anything-but": {"suffix": "x"}}), vec![json!("xa")], vec![json!("ax")]),
            (json!({"numeric": [">", 0, "<=", 5]}), vec![json!(5), json!(0.1)], vec![json!(0), json!(5.1), json!("3")]),
            (json!({"numeric": ["=", 3.5]}), vec![json!(3.5)], vec![json!(3)]),
            (json!({"numeric": ["<", 2]}), vec![json!(1)], vec![json!(2)]),
            (json!({"numeric": [">=", 2]}), vec![json!(2)], vec![json!(1)]),
            (json!({"exists": true}), vec![json!(null), json!("x"), json!([1])], vec![json!({"a": 1}), json!([])]),
        ] {
            let pattern = json!({"k": [test]});
            wanted
                .into_iter()
                .for_each(|value| assert!(fits(pattern.clone(), json!({"k": value})), "{pattern} {value}"));
            for value in unwanted {
                assert!(!fits(pattern.clone(), json!({"k": value})), "{pattern} {value}");
            }
            assert!(!fits(pattern.clone(), json!({"other": 1})), "{pattern}: what is not there");
        }
        assert!(fits(json!({"k": [{"exists": false}]}), json!({"other": 1})));
        assert!(!fits(json!({"k": [{"exists": false}]}), json!({"k": null})));
        assert!(fits(json!({"a": {"b": [{"exists": false}]}}), json!({})), "nor is what would be within it");
    }

    #[test]
    fn fields_go_together_and_values_apart() {
        let pattern = json!({"kind": ["a", "b"], "in": {"n": [{"numeric": [">", 1]}]}});
        assert!(fits(pattern.clone(), json!({"kind": "b", "in": {"n": 2, "more": 1}, "else": 0})));
        assert!(!fits(pattern.clone(), json!({"kind": "b", "in": {"n": 1}})));
        assert!(!fits(pattern.clone(), json!({"kind": "c", "in": {"n": 2}})));
        assert!(fits(pattern, json!({"kind": "a", "in": [{"n": 0}, {"n": 5}]})), "one of a list is enough");
        let either = json!({"k": [1], "$or": [{"a": [1]}, {"b": [2]}]});
        assert!(fits(either.clone(), json!({"k": 1, "b": 2})));
        assert!(!fits(either.clone(), json!({"k": 1, "b": 1})) && !fits(either, json!({"k": 2, "a": 1})));
        assert!(fits(json!({}), json!({"a": 1})));
        assert!(!fits(json!({"a": [1]}), json!("text")));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (pattern, expected) in [
            (r#"{"body": {"a": 1}}"#, "body.a: expected a list of values, as in [1]"),
            (r#"{"body": {"a": []}}"#, "body.a: the list is empty"),
            (r#"{"a": {}}"#, "a: the object is empty"),
            (r#"{"a": [{"wildcard": "x*"}]}"#, "\"wildcard\" is not supported"),
            (r#"{"a": [{"prefix": 1}]}"#, "prefix wants a text"),
            (r#"{"a": [{"exists": "yes"}]}"#, "exists wants true or false"),
            (r#"{"a": [{"numeric": [">", "1"]}]}"#, "numeric wants"),
            (r#"{"a": [{"numeric": ["!", 1]}]}"#, "numeric wants"),
            (r#"{"a": [{"anything-but": []}]}"#, "anything-but wants"),
            (r#"{"a": [{"anything-but": {"numeric": [">", 1]}}]}"#, "anything-but wants"),
            (r#"{"a": [{"prefix": "a", "suffix": "b"}]}"#, "one operator"),
            (r#"{"a": [["b"]]}"#, "a list within a list"),
            (r#"{"$or": [{"a": [1]}]}"#, "two patterns or more"),
            (r#"{"$or": [{"a": [1]}, 1]}"#, "a list of patterns"),
            ("[1]", "not a JSON object"),
            ("{", "not JSON"),
        ] {
            let said = EventPattern::parse(pattern).unwrap_err();
            assert!(said.contains(expected), "{pattern}: {said}");
        }
        let long = format!(r#"{{"a": ["{}"]}}"#, "x".repeat(MAX_PATTERN_BYTES));
        assert!(EventPattern::parse(&long).unwrap_err().contains("4096"));
    }

    #[test]
    fn its_text_stays_as_it_was_given() {
        let text = r#"{ "b": ["x"], "a": [{"exists":true}] }"#;
        let read: EventPattern = serde_json::from_value(json!(text)).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), json!(text));
        assert_eq!(read.fields(), ["a", "b"]);
        let object: EventPattern = serde_json::from_value(json!({"a": [1], "b": {"c": [2]}})).unwrap();
        assert_eq!(object.text(), r#"{"a":[1],"b":{"c":[2]}}"#);
        assert!(object.is_leaf("a") && !object.is_leaf("b"));
    }
}
