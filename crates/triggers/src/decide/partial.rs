//! Which messages of a batch failed, by what the function answered: AWS's `batchItemFailures`.

use std::collections::BTreeSet;

use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "batchItemFailures", default)]
    failures: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "itemIdentifier")]
    id: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    None,
    /// These, by their ids.
    Some(BTreeSet<String>),
    /// All: the answer names one that is not in the batch, or cannot be read.
    All(String),
}

/// AWS's rules: an answer that says nothing of failures is a success; one whose list cannot be understood fails the batch.
pub fn failed(answer: &[u8], batch: &BTreeSet<String>) -> Failed {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(answer) else { return Failed::None };
    if value.get("batchItemFailures").is_none() {
        return Failed::None;
    }
    let Ok(Answer { failures }) = serde_json::from_value(value) else {
        return Failed::All(
            "batchItemFailures of the answer is not a list of {\"itemIdentifier\": \"MESSAGE ID\"}: all failed".into(),
        );
    };
    let mut found = BTreeSet::new();
    for item in failures.into_iter().flatten() {
        match item.id {
            Some(id) if batch.contains(&id) => drop(found.insert(id)),
            other => {
                let id: String = other.unwrap_or_default().chars().take(80).collect();
                return Failed::All(format!("batchItemFailures names {id:?}, which is not in the batch: all failed"));
            }
        }
    }
    if found.is_empty() { Failed::None } else { Failed::Some(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_aws_has_it() {
        let batch: BTreeSet<String> = ["a".into(), "b".into()].into();
        let said = |answer: &str| failed(answer.as_bytes(), &batch);
        for well in ["null", "{}", "3", "[]", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#, "\"x\""] {
            assert_eq!(said(well), Failed::None, "{well}");
        }
        let one = said(r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"b"}]}"#);
        assert_eq!(one, Failed::Some(["b".into()].into()));
        for all in [
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"c"}]}"#,
            r#"{"batchItemFailures":"b"}"#,
            r#"{"batchItemFailures":[{"x":"b"}]}"#,
        ] {
            assert!(matches!(said(all), Failed::All(_)), "{all}");
        }
    }
}
