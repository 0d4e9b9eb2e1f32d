//! The variables that an alias has of its own, laid over those of the version that it leads to.

use std::collections::{BTreeMap, BTreeSet};

use super::{Alias, Change};
use crate::function::{Function, FunctionSpec};
use crate::secret::EnvValue;

// === impl Alias ===

impl Alias {
    /// A function as this alias' calls see it.
    pub fn lay_over(&self, mut function: Function) -> Function {
        self.lay_over_spec(&mut function.spec);
        function
    }

    pub fn lay_over_spec(&self, spec: &mut FunctionSpec) {
        spec.env.extend(self.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// What differs, by the variables' names.
pub fn env_changes(before: &BTreeMap<String, EnvValue>, after: &BTreeMap<String, EnvValue>) -> Vec<Change> {
    // Plain data: a text, or an object with the secret's name.
    let json = |value: &EnvValue| serde_json::to_value(value).ok();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let change = |name: &String| Change {
        key: format!("env.{name}"),
        from: before.get(name).and_then(json),
        to: after.get(name).and_then(json),
    };
    differ.map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_that_differ_are_told() {
        let env = |pairs: &[(&str, &str)]| -> BTreeMap<String, EnvValue> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
        };
        let told =
            env_changes(&env(&[("A", "1"), ("B", "1"), ("C", "1")]), &env(&[("A", "1"), ("B", "2"), ("D", "1")]));
        let keys: Vec<&str> = told.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["env.B", "env.C", "env.D"]);
        assert_eq!((&told[0].from, &told[0].to), (&Some("1".into()), &Some("2".into())));
        assert_eq!((&told[1].to, &told[2].from), (&None, &None));
    }
}
