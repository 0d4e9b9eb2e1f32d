//! A request's input as one JSON object: labels, query and headers beside the body's members.

use std::collections::BTreeMap;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{Found, Kind, Model, Operation, Place, Shape};
use crate::AwsError;

impl Model {
    /// The input of an operation of a JSON protocol: all of it is in the body. Checked.
    pub fn json_input(&self, operation: &Operation, body: &[u8]) -> Result<Value, AwsError> {
        let input = Value::Object(object(self.shape(&operation.input), body)?);
        self.check(&operation.input, &input)?;
        Ok(input)
    }

    /// The whole input of a request, checked. `body`: as sent; empty if there is none.
    pub fn input(&self, found: &Found<'_>, query: &str, headers: &HeaderMap, body: &[u8]) -> Result<Value, AwsError> {
        let shape = self.shape(&found.operation.input);
        let mut input = if shape.payload.is_some() { Map::new() } else { object(shape, body)? };
        let query = pairs(query);
        for (name, member) in &shape.members {
            let kind = self.shape(&member.shape).kind;
            let given = match member.place {
                None => continue,
                Some(Place::Path) => {
                    found.labels.get(member.name.as_str()).map(|text| typed(kind, text)).transpose()?
                }
                Some(Place::Query) if kind == Kind::List => {
                    let all = query.get(member.name.as_str()).cloned().unwrap_or_default();
                    (!all.is_empty()).then(|| Value::Array(all.into_iter().map(Value::String).collect()))
                }
                Some(Place::Query) => query
                    .get(member.name.as_str())
                    .and_then(|all| all.first())
                    // An empty one is as good as none.
                    .filter(|text| !text.is_empty())
                    .map(|text| typed(kind, text))
                    .transpose()?,
                Some(Place::Header) => headers
                    .get(&member.name)
                    .and_then(|value| value.to_str().ok())
                    .map(|text| typed(kind, text))
                    .transpose()?,
            };
            // A body has no say in what the path is.
            match given {
                Some(value) => input.insert(name.clone(), value),
                None => input.remove(name),
            };
        }
        let input = Value::Object(input);
        self.check(&found.operation.input, &input)?;
        Ok(input)
    }
}

fn object(shape: &Shape, body: &[u8]) -> Result<Map<String, Value>, AwsError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let not_json = |error: serde_json::Error| {
        AwsError::invalid_content(format!("Could not parse request body into json: {error}"))
    };
    match serde_json::from_slice(body).map_err(not_json)? {
        // null is how some clients say nothing; members that AWS does not know are let pass, as there.
        Value::Object(members) => {
            let known = |name: &String| shape.members.contains_key(name);
            Ok(members.into_iter().filter(|(name, value)| !value.is_null() && known(name)).collect())
        }
        _ => Err(AwsError::invalid_content("Could not parse request body into json: expected an object")),
    }
}

/// The pairs of a query string or a form, decoded.
pub(super) fn pairs(query: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        found.entry(decoded(name)).or_default().push(decoded(value));
    }
    found
}

pub(super) fn typed(kind: Kind, text: &str) -> Result<Value, AwsError> {
    let refuse = |what| AwsError::serialization(format!("{text:?} can not be converted to {what}"));
    Ok(match kind {
        Kind::Integer | Kind::Long => Value::from(text.parse::<i64>().map_err(|_| refuse("an Integer"))?),
        Kind::Boolean => Value::from(text.parse::<bool>().map_err(|_| refuse("a Boolean"))?),
        _ => Value::from(text),
    })
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::super::LAMBDA;
    use super::*;

    fn input(method: Method, path: &str, query: &str, body: &str) -> Result<Value, AwsError> {
        let found = LAMBDA.find(&method, path, query).expect("an operation");
        LAMBDA.input(&found, query, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn what_stands_in_path_and_query_has_its_type() {
        let read = input(Method::GET, "/2018-10-31/layers/l/versions/3", "", "").unwrap();
        assert_eq!(read, json!({"LayerName": "l", "VersionNumber": 3}));
        let read = input(Method::GET, "/2015-03-31/functions/", "MaxItems=5&Marker=a%2Bb", "").unwrap();
        assert_eq!(read, json!({"MaxItems": 5, "Marker": "a+b"}));
        let error = input(Method::GET, "/2018-10-31/layers/l/versions/x", "", "").unwrap_err();
        assert_eq!(error.kind, "SerializationException");
    }

    #[test]
    fn a_body_has_no_say_in_what_the_path_is() {
        let body = r#"{"FunctionName": "other", "Timeout": 5, "Unknown": 1, "Handler": null}"#;
        let read = input(Method::PUT, "/2015-03-31/functions/f/configuration", "", body).unwrap();
        assert_eq!(read, json!({"FunctionName": "f", "Timeout": 5}));
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in ["[1]", "{", "7"] {
            let error = input(Method::PUT, "/2015-03-31/functions/f/configuration", "", body).unwrap_err();
            assert_eq!(error.kind, "InvalidRequestContentException", "{body}");
        }
    }
}
