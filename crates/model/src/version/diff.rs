//! What differs between two revisions of a function: settings by their keys, and the code by its hash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::function::Function;

/// A setting that is not what it was; `None`: it was, or is, not said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// As in a function's configuration, with dots: `scale.min`, `env.STAGE`.
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Keys below which single entries differ. All else is one value.
const BELOW: &[&str] = &["env", "secrets", "scale", "async", "records"];

/// All that differs, by key.
pub fn changes(before: &Function, after: &Function) -> Vec<Change> {
    let (mut before, mut after) = (settings(before), settings(after));
    let mut found = Vec::new();
    for (key, from) in std::mem::take(&mut before) {
        match after.remove(&key) {
            Some(to) if to == from => {}
            to => found.push(Change { key, from: Some(from), to }),
        }
    }
    found.extend(after.into_iter().map(|(key, to)| Change { key, from: None, to: Some(to) }));
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

/// Every setting of a function by its key, and the hash of its code.
fn settings(function: &Function) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    flat.insert("code.sha256".to_owned(), Value::from(function.code.as_str()));
    // A specification is plain data, an object: the store writes it the same way.
    let Ok(Value::Object(spec)) = serde_json::to_value(&function.spec) else { return flat };
    for (key, value) in spec {
        match value {
            Value::Object(entries) if BELOW.contains(&key.as_str()) => {
                flat.extend(entries.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => {
                flat.insert(key, value);
            }
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CodeHash, FunctionSpec, Memory, Revision, Runtime, Timestamp, Version};

    #[test]
    fn only_what_differs_is_told_by_its_key() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "app.handler");
        spec.env.insert("A".into(), "1".into());
        let function = |spec: &FunctionSpec, code: u8| Function {
            spec: spec.clone(),
            version: Version::Latest,
            revision: Revision(1),
            code: CodeHash::from_digest(&[code; 32]),
            code_size: 1,
            modified: Timestamp(0),
        };
        let before = function(&spec, 1);
        assert_eq!(changes(&before, &Function { revision: Revision(2), ..before.clone() }), []);
        spec.memory = Memory::mib(256);
        spec.scale.min = 2;
        spec.env = [("B".into(), "2".into())].into();
        let told = changes(&before, &function(&spec, 2));
        let keys: Vec<&str> = told.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["code.sha256", "env.A", "env.B", "memory", "scale.min"]);
        assert_eq!((&told[1].to, told[3].to.as_ref().unwrap().as_str()), (&None, Some("256MB")));
    }
}
