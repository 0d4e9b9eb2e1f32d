//! Checks an input against its shape, and says what is wrong in AWS's words: all of it at once.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use fancy_regex::Regex;
use serde_json::Value;

use super::{Kind, Model, Shape};
use crate::AwsError;

/// Values in messages are cut at this many characters: nobody wants a package's base64 back.
const SHOWN: usize = 256;

/// Patterns, compiled when they are first wanted. They are the model's, so there are some dozens.
static PATTERNS: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

struct Checker<'a> {
    model: &'a Model,
    wrong: Vec<String>,
}

impl Model {
    pub(super) fn check(&self, shape: &str, input: &Value) -> Result<(), AwsError> {
        let mut checker = Checker { model: self, wrong: Vec::new() };
        checker.value(shape, input, "")?;
        let wrong = checker.wrong;
        let errors = if wrong.len() == 1 { "error" } else { "errors" };
        match wrong.len() {
            0 => Ok(()),
            count => Err(AwsError::validation(format!("{count} validation {errors} detected: {}", wrong.join("; ")))),
        }
    }
}

// === impl Checker ===

impl Checker<'_> {
    fn value(&mut self, name: &str, value: &Value, path: &str) -> Result<(), AwsError> {
        let shape = self.model.shape(name);
        let length = match (shape.kind, value) {
            (Kind::Structure, Value::Object(members)) => {
                for name in &shape.required {
                    if members.get(name).is_none_or(Value::is_null) {
                        let at = within(path, name);
                        self.wrong.push(format!(
                            "Value null at '{at}' failed to satisfy constraint: Member must not be null"
                        ));
                    }
                }
                for (name, member) in &shape.members {
                    if let Some(value) = members.get(name).filter(|value| !value.is_null()) {
                        self.value(&member.shape, value, &within(path, name))?;
                    }
                }
                return Ok(());
            }
            (Kind::List, Value::Array(items)) => {
                let inner = shape.member.as_deref().unwrap_or_default();
                for (place, item) in items.iter().enumerate() {
                    self.value(inner, item, &format!("{path}.{}.member", place + 1))?;
                }
                items.len() as f64
            }
            (Kind::Map, Value::Object(entries)) => {
                let (key, inner) =
                    (shape.key.as_deref().unwrap_or_default(), shape.value.as_deref().unwrap_or_default());
                for (name, item) in entries {
                    self.value(key, &Value::String(name.clone()), path)?;
                    self.value(inner, item, &format!("{path}.{name}.member"))?;
                }
                entries.len() as f64
            }
            (Kind::String, Value::String(text)) => {
                self.text(shape, text, path);
                text.chars().count() as f64
            }
            (Kind::Blob, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => return Ok(()),
            (Kind::Integer | Kind::Long, Value::Number(number)) if number.is_i64() => {
                number.as_f64().unwrap_or_default()
            }
            (Kind::Double | Kind::Timestamp, Value::Number(number)) => number.as_f64().unwrap_or_default(),
            (kind, value) => {
                let message = format!("{} at '{path}' can not be converted to {}", token(value), wanted(kind));
                return Err(AwsError::serialization(message));
            }
        };
        let number = matches!(shape.kind, Kind::Integer | Kind::Long | Kind::Double | Kind::Timestamp);
        let what = if number { "value" } else { "length" };
        let bounds = [
            (shape.min, length < shape.min.unwrap_or(length), "greater"),
            (shape.max, length > shape.max.unwrap_or(length), "less"),
        ];
        for (bound, broken, word) in bounds {
            if let Some(bound) = bound.filter(|_| broken) {
                self.refuse(value, path, &format!("Member must have {what} {word} than or equal to {bound}"));
            }
        }
        Ok(())
    }

    fn text(&mut self, shape: &Shape, text: &str, path: &str) {
        let value = Value::String(text.to_owned());
        if !shape.values.is_empty() && !shape.values.iter().any(|one| one == text) {
            let values = shape.values.join(", ");
            self.refuse(&value, path, &format!("Member must satisfy enum value set: [{values}]"));
        }
        if let Some(pattern) = &shape.pattern
            && !matches(pattern, text)
        {
            self.refuse(&value, path, &format!("Member must satisfy regular expression pattern: {pattern}"));
        }
    }

    fn refuse(&mut self, value: &Value, path: &str, constraint: &str) {
        let shown = match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let cut: String = shown.chars().take(SHOWN).collect();
        self.wrong.push(format!("Value '{cut}' at '{path}' failed to satisfy constraint: {constraint}"));
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = patterns.entry(pattern.to_owned()).or_insert_with(|| {
        // Java's `matches`: the whole text.
        Regex::new(&format!("^(?:{pattern})$")).expect("a test compiles every pattern")
    });
    // An error is a pattern that backtracks too long: what does that is not valid.
    compiled.is_match(text).unwrap_or(false)
}

/// `functionName`, `environment.variables`: AWS writes members small.
fn within(path: &str, name: &str) -> String {
    let mut letters = name.chars();
    let small: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
    if path.is_empty() { small } else { format!("{path}.{small}") }
}

fn token(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Structure => "an Object",
        Kind::List => "a List",
        Kind::Map => "a Map",
        Kind::String => "a String",
        Kind::Blob => "a Blob",
        Kind::Boolean => "a Boolean",
        Kind::Integer | Kind::Long => "an Integer",
        Kind::Double => "a Double",
        Kind::Timestamp => "a Timestamp",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EVENTS, IAM, LAMBDA, LOGS, SCHEDULER, SQS, STS};
    use super::*;
    use serde_json::json;

    fn refused(shape: &str, input: Value) -> String {
        LAMBDA.check(shape, &input).unwrap_err().message
    }

    #[test]
    fn every_pattern_of_the_model_compiles() {
        for model in [&LAMBDA, &STS, &IAM, &LOGS, &EVENTS, &SCHEDULER, &SQS] {
            for pattern in model.shapes.values().filter_map(|shape| shape.pattern.as_deref()) {
                matches(pattern, "x");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_aws_says_it() {
        assert_eq!(
            refused("CreateFunctionRequest", json!({"FunctionName": "a b", "Role": "r", "Timeout": 0})),
            "4 validation errors detected: Value null at 'code' failed to satisfy constraint: Member must not be null; \
             Value 'a b' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: \
             (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?\
             ([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?; \
             Value 'r' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: \
             arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+; \
             Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1"
        );
        let error = LAMBDA.check("TagResourceRequest", &json!({"Resource": 1})).unwrap_err();
        assert_eq!(error.kind, "SerializationException");
    }

    #[test]
    fn what_is_right_passes() {
        let input = json!({
            "FunctionName": "f", "Role": "arn:aws:iam::123456789012:role/lambda", "Code": {"ZipFile": "UEsF"},
            "Runtime": "python3.11", "Handler": "app.handler", "Environment": {"Variables": {"AB": "x"}},
            "Layers": [], "Tags": {"a": "b"}, "MemorySize": 128,
        });
        LAMBDA.check("CreateFunctionRequest", &input).unwrap();
    }
}
