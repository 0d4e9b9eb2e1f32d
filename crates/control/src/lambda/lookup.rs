//! Which function, and which version of it, a request means; pages of long lists.

use aws::{AwsError, FunctionRef};
use model::{Alias, Function, FunctionName, Qualifier, Version};
use serde_json::Value;

use super::{refused, store};
use crate::{Api, PLACE};

/// Functions, versions, aliases in one answer, as AWS has it.
const PAGE: usize = 50;

/// What a request means by its name and qualifier.
pub struct Meant {
    pub function: Function,
    /// With the qualifier that it was asked for by.
    pub arn: String,
}

pub fn arn(name: &FunctionName) -> String {
    format!("arn:aws:lambda:{}:{}:function:{name}", PLACE.0, PLACE.1)
}

/// Name and qualifier of what was written, and of the parameter beside it.
pub fn reference(text: &str, beside: Option<&str>) -> Result<(FunctionName, Option<Qualifier>), AwsError> {
    let FunctionRef { name, qualifier } = text.parse().map_err(AwsError::from)?;
    let qualifier = match (qualifier, beside.filter(|text| !text.is_empty())) {
        (Some(one), Some(other)) if one != other => {
            return Err(AwsError::invalid_parameter(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        (Some(one), _) => Some(one),
        (None, other) => other.map(str::to_owned),
    };
    let qualifier = qualifier.map(|text| text.parse::<Qualifier>()).transpose();
    Ok((name, qualifier.map_err(|error| AwsError::invalid_parameter(error.to_string()))?))
}

/// The name alone: what is meant cannot have a qualifier.
pub fn name(text: &str) -> Result<FunctionName, AwsError> {
    match reference(text, None)? {
        (name, None) => Ok(name),
        (_, Some(qualifier)) => Err(AwsError::invalid_parameter(format!(
            "The function name {text} has the qualifier {qualifier}, which this operation does not take"
        ))),
    }
}

pub fn absent(name: &FunctionName, qualifier: Option<&Qualifier>) -> AwsError {
    let qualifier = qualifier.map(|one| format!(":{one}")).unwrap_or_default();
    AwsError::not_found(format!("Function not found: {}{qualifier}", arn(name)))
}

/// The function that is there under a name.
pub async fn latest(api: &Api, name: &FunctionName) -> Result<Function, AwsError> {
    api.functions.get(name).await.map_err(|error| match error {
        store::StoreError::NoSuchFunction(_) => absent(name, None),
        error => refused(error.into()),
    })
}

pub async fn alias(api: &Api, name: &FunctionName, wanted: &str) -> Result<Alias, AwsError> {
    let all = api.versions.aliases(name).await.map_err(store)?;
    let found = all.into_iter().find(|alias| alias.name.as_str() == wanted);
    found.ok_or_else(|| AwsError::not_found(format!("Cannot find alias arn: {}:{wanted}", arn(name))))
}

/// The version that is meant; of an alias the first one.
pub async fn find(api: &Api, text: &str, beside: Option<&str>) -> Result<Meant, AwsError> {
    let (name, qualifier) = reference(text, beside)?;
    let newest = latest(api, &name).await?;
    let version = match &qualifier {
        None => None,
        Some(Qualifier::Version(version)) => version.number(),
        Some(Qualifier::Alias(wanted)) => {
            let alias = alias(api, &name, wanted.as_str()).await.map_err(|_| absent(&name, qualifier.as_ref()))?;
            alias.version.number()
        }
    };
    let function = match version {
        None => newest,
        Some(number) => {
            let versions = api.versions.versions(&name).await.map_err(store)?;
            let found = versions.into_iter().find(|one| one.function.version == Version::Number(number));
            let found = found.ok_or_else(|| absent(&name, qualifier.as_ref()))?;
            let mut function = found.function;
            function.spec.description = found.description;
            function
        }
    };
    let arn = match &qualifier {
        None => arn(&name),
        Some(qualifier) => format!("{}:{qualifier}", arn(&name)),
    };
    Ok(Meant { function, arn })
}

/// So many from the marker on, and the next marker. A marker is the place of the first that was not shown.
pub fn page<T>(all: Vec<T>, marker: Option<&str>, most: Option<usize>) -> Result<(Vec<T>, Value), AwsError> {
    let from = match marker.filter(|marker| !marker.is_empty()) {
        None => 0,
        Some(marker) => marker
            .parse::<usize>()
            .map_err(|_| AwsError::invalid_parameter("Invalid Marker: expected one that was answered"))?,
    };
    let most = most.unwrap_or(PAGE).clamp(1, PAGE);
    let next = if from.saturating_add(most) < all.len() { Value::from((from + most).to_string()) } else { Value::Null };
    Ok((all.into_iter().skip(from).take(most).collect(), next))
}
