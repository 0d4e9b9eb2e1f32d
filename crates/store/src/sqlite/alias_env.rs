//! Variables that aliases have of their own. What a version becomes with them has to be a function that can be stored
//! and run: looked at in the transaction that changes either of the two.

use model::{Alias, Function, FunctionName, FunctionSpec, SecretName, Version};
use rusqlite::Connection;

use super::{secrets, versions};
use crate::StoreError;

/// Refuses an alias whose variables do not go with a version that it leads to.
pub(super) fn require_fit(catalogue: &Connection, current: &Function, alias: &Alias) -> Result<(), StoreError> {
    if alias.env.is_empty() {
        return Ok(());
    }
    let first = match alias.version {
        Version::Latest => Some(current.clone()),
        Version::Number(number) => versions::version(catalogue, &alias.function, number)?,
    };
    let second = alias.second.map(|(number, _)| versions::version(catalogue, &alias.function, number)).transpose()?;
    for function in first.into_iter().chain(second.flatten()) {
        check(catalogue, function.spec, alias)?;
    }
    Ok(())
}

/// Refuses a new `$LATEST` that does not go with the variables of an alias that leads to it.
pub(super) fn require_aliases_fit(catalogue: &Connection, spec: &FunctionSpec) -> Result<(), StoreError> {
    let aliases = versions::aliases_of(catalogue, &spec.name)?;
    for alias in aliases.iter().filter(|alias| alias.version == Version::Latest && !alias.env.is_empty()) {
        check(catalogue, spec.clone(), alias)?;
    }
    Ok(())
}

/// Functions of which an alias refers to that secret.
pub(super) fn users(catalogue: &Connection, secret: &SecretName) -> Result<Vec<FunctionName>, StoreError> {
    let refers = |alias: &Alias| alias.env.values().any(|value| value.secret() == Some(secret));
    let all = versions::all_aliases(catalogue)?;
    Ok(all.into_iter().filter(refers).map(|alias| alias.function).collect())
}

fn check(catalogue: &Connection, mut spec: FunctionSpec, alias: &Alias) -> Result<(), StoreError> {
    alias.lay_over_spec(&mut spec);
    spec.validate().map_err(|error| StoreError::BadAliasEnv {
        name: alias.function.clone(),
        alias: alias.name.clone(),
        why: error.to_string(),
    })?;
    secrets::require(catalogue, &spec)
}
