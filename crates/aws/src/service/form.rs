//! The query protocol's input: a form whose names are paths, `Tags.member.1.Key`, as the JSON object that its shape says.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::{Map, Value};

use super::read::{pairs, typed};
use super::{Kind, Model, Operation};
use crate::AwsError;

/// Items of one list that are read; AWS's own limits are far below.
const MOST: usize = 1000;

/// A form as it was sent, decoded; names are paths.
#[derive(Debug, Default)]
pub struct Form(BTreeMap<String, Vec<String>>);

// === impl Form ===

impl Form {
    pub fn parse(body: &[u8]) -> Result<Self, AwsError> {
        let text = std::str::from_utf8(body).map_err(|_| AwsError::serialization("The form is not UTF-8"))?;
        Ok(Self(pairs(text)))
    }

    /// A parameter; given twice it is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.0.get(name)?.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Whether there is anything at this path or beneath it.
    fn has(&self, path: &str) -> bool {
        let beneath = format!("{path}.");
        let mut from = self.0.range::<str, _>((Bound::Included(beneath.as_str()), Bound::Unbounded));
        self.0.contains_key(path) || from.next().is_some_and(|(name, _)| name.starts_with(&beneath))
    }
}

impl Model {
    /// The input of an operation of the query protocol. Checked.
    pub fn form_input(&self, operation: &Operation, form: &Form) -> Result<Value, AwsError> {
        let input = self.gather(&operation.input, form, "")?.unwrap_or_else(|| Value::Object(Map::new()));
        self.check(&operation.input, &input)?;
        Ok(input)
    }

    fn gather(&self, shape: &str, form: &Form, path: &str) -> Result<Option<Value>, AwsError> {
        if !path.is_empty() && !form.has(path) {
            return Ok(None);
        }
        let shape = self.shape(shape);
        let inner = |name: &Option<String>| name.clone().unwrap_or_default();
        Ok(Some(match shape.kind {
            Kind::Structure => {
                let mut members = Map::new();
                for (name, member) in &shape.members {
                    let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    if let Some(value) = self.gather(&member.shape, form, &at)? {
                        members.insert(name.clone(), value);
                    }
                }
                Value::Object(members)
            }
            Kind::List => {
                let mut items = Vec::new();
                while items.len() < MOST {
                    let at = format!("{path}.member.{}", items.len() + 1);
                    match self.gather(&inner(&shape.member), form, &at)? {
                        Some(item) => items.push(item),
                        None => break,
                    }
                }
                Value::Array(items)
            }
            Kind::Map => {
                let mut entries = Map::new();
                for place in 1..=MOST {
                    let at = format!("{path}.entry.{place}");
                    let Some(key) = form.get(&format!("{at}.key")) else { break };
                    let value = self.gather(&inner(&shape.value), form, &format!("{at}.value"))?;
                    entries.insert(key.to_owned(), value.unwrap_or(Value::Null));
                }
                Value::Object(entries)
            }
            kind => match form.get(path) {
                Some(text) => typed(kind, text)?,
                None => {
                    let message = format!("The parameter {path} is given more than once, or is not a plain value");
                    return Err(AwsError::validation(message));
                }
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::IAM;
    use super::*;

    fn read(body: &str) -> Result<Value, AwsError> {
        IAM.form_input(IAM.operation("CreateRole").unwrap(), &Form::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn names_that_are_paths_become_lists_and_structures() {
        let body = "Action=CreateRole&Version=2010-05-08&RoleName=a&AssumeRolePolicyDocument=%7B%7D&MaxSessionDuration=3600\
                    &Tags.member.1.Key=x&Tags.member.1.Value=1+2&Tags.member.2.Key=y&Tags.member.2.Value=";
        assert_eq!(
            read(body).unwrap(),
            json!({"RoleName": "a", "AssumeRolePolicyDocument": "{}", "MaxSessionDuration": 3600,
                "Tags": [{"Key": "x", "Value": "1 2"}, {"Key": "y", "Value": ""}]})
        );
    }

    #[test]
    fn what_is_ambiguous_or_missing_is_refused() {
        assert_eq!(read("RoleName=a&RoleName=b&AssumeRolePolicyDocument=x").unwrap_err().kind, "ValidationException");
        assert!(read("RoleName=a").unwrap_err().message.contains("assumeRolePolicyDocument"));
        assert_eq!(read("RoleName=a&MaxSessionDuration=x").unwrap_err().kind, "SerializationException");
    }
}
