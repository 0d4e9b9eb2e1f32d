//! What a function's secrets hold at the moment that an instance of it is made, and how that gets into its INIT.
//!
//! Read from the store for each start and kept nowhere: the server's memory has a value for as long as a start takes.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{EnvValue, Fault, FaultCode, Function, SECRETS_FOLDER, SecretName, SecretValue};
use store::{SecretValues, StoreError};
use wire::{Init, InitFile};
use zeroize::Zeroize;

use crate::shared::Shared;

/// Those that one function refers to, each with its version; none where it is not there.
pub type Versions = BTreeMap<SecretName, Option<u64>>;

/// What they hold.
#[derive(Default)]
pub struct Revealed(BTreeMap<SecretName, SecretValue>);

/// A machine without secrets.
pub struct NoSecrets;

/// Of all versions, those that concern this function.
pub fn versions_of(function: &Function, all: &BTreeMap<SecretName, u64>) -> Versions {
    let version = |name: SecretName| {
        let version = all.get(&name).copied();
        (name, version)
    };
    function.spec.secret_names().into_iter().map(version).collect()
}

/// Reads what the function's secrets hold now, and sees to it that INIT can bring it. Costs nothing without secrets.
pub async fn reveal(shared: &Shared, function: &Function) -> Result<Revealed, Fault> {
    let names = function.spec.secret_names();
    if names.is_empty() {
        return Ok(Revealed::default());
    }
    let name = &function.spec.name;
    let unusable = |text: String| Fault::new(FaultCode::SecretUnusable, text);
    let found = shared.secrets.reveal(names.clone()).await.map_err(|error| match error {
        StoreError::SecretLocked { .. } => unusable(format!("function {name}: {error}")),
        other => Fault::new(FaultCode::Store, "the secrets could not be read from the store").with_detail(other),
    })?;
    if let Some(missing) = names.iter().find(|name| !found.contains_key(*name)) {
        return Err(unusable(format!(
            "function {name} refers to the secret {missing}, which is not there: set it with `hearth secret set {missing}`"
        )));
    }
    for (variable, secret) in function.spec.env.iter().filter_map(|(name, value)| Some((name, value.secret()?))) {
        let text = found.get(secret).and_then(|value| std::str::from_utf8(value.expose()).ok());
        if text.is_none_or(|text| text.contains('\0')) {
            return Err(unusable(format!(
                "the secret {secret} cannot be the variable {variable} of function {name}: it is not text in UTF-8 without \
                 NUL bytes; deliver it as a file instead"
            )));
        }
    }
    Ok(Revealed(found))
}

// === impl Revealed ===

impl Revealed {
    /// Puts the values where the function is to find them.
    pub fn tell(&self, function: &Function, init: &mut Init) {
        let text = |secret: &SecretName| {
            let value = self.0.get(secret)?;
            Some(String::from_utf8_lossy(value.expose()).into_owned())
        };
        let secret = |value: &EnvValue| value.secret().and_then(text);
        let variables = function.spec.env.iter().filter_map(|(name, value)| Some((name.clone(), secret(value)?)));
        init.env.extend(variables);
        let file = |(path, secret): (&String, &SecretName)| {
            let content = STANDARD.encode(self.0.get(secret)?.expose());
            Some(InitFile { path: format!("{SECRETS_FOLDER}/{path}"), content })
        };
        init.files.extend(function.spec.secrets.iter().filter_map(file));
    }

    /// Overwrites what was made of them, once it is on its way.
    pub fn wipe(&self, init: &mut Init, sent: &mut [u8]) {
        if self.0.is_empty() {
            return;
        }
        init.env.values_mut().for_each(Zeroize::zeroize);
        init.files.iter_mut().for_each(|file| file.content.zeroize());
        sent.zeroize();
    }
}

#[async_trait]
impl SecretValues for NoSecrets {
    async fn secret_versions(&self) -> Result<BTreeMap<SecretName, u64>, StoreError> {
        Ok(BTreeMap::new())
    }

    async fn reveal(&self, _: BTreeSet<SecretName>) -> Result<BTreeMap<SecretName, SecretValue>, StoreError> {
        Ok(BTreeMap::new())
    }
}
