//! Service models, AWS Lambda's and those of its neighbours: which operation a request is, and whether its input is as AWS
//! wants it.
//!
//! A model is data (`models/lambda.json` and beside it, made by `models/generate.py` of the one that ships inside botocore). So routes and
//! constraints are AWS's own, and so are the words in which a bad value is refused.
//!
//! ```text
//! method, path, query ─► Model::find ─► (Operation, labels)
//! labels, query, headers, JSON body ─► Operation input, as one JSON object ─► checked against its shape
//! ```

mod check;
mod form;
mod read;

pub use form::Form;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::Method;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// AWS Lambda's.
pub static LAMBDA: LazyLock<Model> = LazyLock::new(|| Model::read(include_str!("../../models/lambda.json")));
pub static STS: LazyLock<Model> = LazyLock::new(|| Model::read(include_str!("../../models/sts.json")));
pub static IAM: LazyLock<Model> = LazyLock::new(|| Model::read(include_str!("../../models/iam.json")));
/// CloudWatch Logs.
pub static LOGS: LazyLock<Model> = LazyLock::new(|| Model::read(include_str!("../../models/logs.json")));
/// EventBridge's rules.
pub static EVENTS: LazyLock<Model> = LazyLock::new(|| Model::read(include_str!("../../models/events.json")));
/// EventBridge Scheduler.
pub static SCHEDULER: LazyLock<Model> = LazyLock::new(|| Model::read(include_str!("../../models/scheduler.json")));
pub static SQS: LazyLock<Model> = LazyLock::new(|| Model::read(include_str!("../../models/sqs.json")));

/// A service's operations and the shapes of their input.
#[derive(Debug, Deserialize)]
pub struct Model {
    operations: BTreeMap<String, Operation>,
    shapes: BTreeMap<String, Shape>,
}

/// Something that a client can ask for.
#[derive(Debug, Deserialize)]
pub struct Operation {
    #[serde(skip)]
    pub name: String,
    method: String,
    /// `/2015-03-31/functions/{FunctionName}`; may have a query that is part of what it is, `?List=ALL`.
    path: String,
    /// Of a success.
    pub status: u16,
    input: String,
}

#[derive(Debug, Deserialize)]
struct Shape {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    members: BTreeMap<String, Member>,
    /// The member that is the whole body.
    payload: Option<String>,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
    min: Option<f64>,
    max: Option<f64>,
    pattern: Option<String>,
    #[serde(rename = "enum", default)]
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Structure,
    List,
    Map,
    String,
    Blob,
    Boolean,
    Integer,
    Long,
    Double,
    Timestamp,
}

#[derive(Debug, Deserialize)]
struct Member {
    shape: String,
    #[serde(rename = "in")]
    place: Option<Place>,
    /// What it is called in that place.
    #[serde(default)]
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Path,
    Query,
    Header,
}

/// What a request is.
#[derive(Debug)]
pub struct Found<'a> {
    pub operation: &'a Operation,
    /// The parts of the path that are input, by their names in the model; decoded.
    pub labels: BTreeMap<&'a str, String>,
}

// === impl Model ===

impl Model {
    fn read(text: &str) -> Self {
        let mut model: Self = serde_json::from_str(text).expect("the models are tested");
        for (name, operation) in &mut model.operations {
            operation.name.clone_from(name);
        }
        model
    }

    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.get(name)
    }

    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }

    /// Which operation a request is; `path` and `query` as they were sent.
    pub fn find(&self, method: &Method, path: &str, query: &str) -> Option<Found<'_>> {
        let fits = |operation: &'_ Operation| -> Option<usize> {
            let (_, fixed) = operation.path.split_once('?').unwrap_or((&operation.path, ""));
            let has = |wanted: &str| query.split('&').any(|pair| pair == wanted);
            (operation.method == method.as_str() && fixed.split('&').all(|pair| pair.is_empty() || has(pair)))
                .then_some(fixed.len())
        };
        let found = self.operations.values().filter_map(|operation| {
            let special = fits(operation)?;
            Some((special, operation.labels(path)?, operation))
        });
        // The one that says most of the query, and then the one with the fewest labels.
        let best = found.max_by_key(|(special, labels, _)| (*special, std::cmp::Reverse(labels.len())));
        best.map(|(_, labels, operation)| Found { operation, labels })
    }

    fn shape(&self, name: &str) -> &Shape {
        &self.shapes[name]
    }
}

// === impl Operation ===

impl Operation {
    /// With labels in braces, and the part of the query that belongs to it.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn labels(&self, path: &str) -> Option<BTreeMap<&str, String>> {
        let (wanted, _) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let (mut wanted, mut given) = (wanted.split('/'), path.split('/'));
        let mut labels = BTreeMap::new();
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return Some(labels),
                // Some clients end a path with a slash.
                (None, Some("")) if given.next().is_none() => return Some(labels),
                (Some(label), Some(text)) if label.starts_with('{') => {
                    let text = percent_decode_str(text).decode_utf8().ok()?;
                    if text.is_empty() {
                        return None;
                    }
                    labels.insert(label.trim_matches(['{', '}']), text.into_owned());
                }
                (Some(wanted), Some(given)) if wanted == given => {}
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(method: Method, path: &str, query: &str) -> Option<String> {
        let found = LAMBDA.find(&method, path, query)?;
        Some(
            std::iter::once(found.operation.name.clone())
                .chain(found.labels.into_values())
                .collect::<Vec<_>>()
                .join(" "),
        )
    }

    #[test]
    fn every_operation_is_found_by_its_own_path() {
        for operation in LAMBDA.operations() {
            let (path, query) = operation.path.split_once('?').unwrap_or((&operation.path, ""));
            let path: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "x%3Ay" } else { part }).collect();
            let found = LAMBDA.find(&operation.method.parse().unwrap(), &path.join("/"), query).unwrap();
            assert_eq!(found.operation.name, operation.name);
            assert!(found.labels.values().all(|label| label == "x:y"));
        }
    }

    #[test]
    fn what_no_operation_is_is_none() {
        assert_eq!(find(Method::GET, "/2015-03-31/functions/", ""), Some("ListFunctions".into()));
        assert_eq!(find(Method::GET, "/2015-03-31/functions/f", "Qualifier=1"), Some("GetFunction f".into()));
        assert_eq!(find(Method::GET, "/2015-03-31/functions//code", ""), None);
        assert_eq!(find(Method::PATCH, "/2015-03-31/functions/f", ""), None);
        assert_eq!(find(Method::GET, "/elsewhere", ""), None);
        let list = find(Method::GET, "/2019-09-30/functions/f/provisioned-concurrency", "List=ALL&MaxItems=3");
        assert_eq!(list, Some("ListProvisionedConcurrencyConfigs f".into()));
    }
}
