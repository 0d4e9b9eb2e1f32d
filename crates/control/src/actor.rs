//! Who asks: what the history says a change was made by, and what they may. Put into the request by whoever let it in.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use model::{Alias, EnvValue, FunctionSpec, HostFolder, Mount, Source};

use crate::access::Refusal;
use crate::error::ApiError;
use crate::holders::Holder;

/// Whoever makes a request: in words, and whose token it is.
#[derive(Debug, Clone)]
pub(crate) struct Actor(pub String, pub Arc<Holder>);

// === impl Actor ===

impl Actor {
    /// Who has the token.
    pub fn token(holder: Arc<Holder>) -> Self {
        let text = if holder.own { "admin token".to_owned() } else { format!("token {}", holder.name) };
        Self(text, holder)
    }

    /// Who has the access key, which goes with the token.
    pub fn access_key(id: &str, holder: Arc<Holder>) -> Self {
        let text =
            if holder.own { format!("access key {id}") } else { format!("access key {id} of token {}", holder.name) };
        Self(text, holder)
    }

    /// Whoever may deploy a function could have it tell what it is given: so nobody gives it a secret or a folder of the
    /// host's that it did not have, without the right to that. Nor its event sources: a broker is told the password, and
    /// files that became events may be removed.
    pub fn require_may_give(&self, spec: &FunctionSpec, before: Option<&FunctionSpec>) -> Result<(), ApiError> {
        let scopes = &self.1.scopes;
        if !scopes.may_write_secrets() && !secrets_stay(spec, before) {
            return Err(needs_secrets_write());
        }
        if !scopes.is_admin() && !folders_stay(spec, before) {
            return Err(Refusal::Missing("admin, to give a function a folder of the host's".to_owned()).into());
        }
        Ok(())
    }

    /// The same of an alias's variables: its calls run the function's code with them.
    pub fn require_may_give_alias(
        &self,
        env: &BTreeMap<String, Option<EnvValue>>,
        function: &FunctionSpec,
        before: Option<&Alias>,
    ) -> Result<(), ApiError> {
        let mut had = function.secret_names();
        had.extend(before.into_iter().flat_map(|alias| alias.env.values()).filter_map(EnvValue::secret).cloned());
        let same = env.values().flatten().filter_map(EnvValue::secret).all(|secret| had.contains(secret));
        if same || self.1.scopes.may_write_secrets() { Ok(()) } else { Err(needs_secrets_write()) }
    }
}

fn needs_secrets_write() -> ApiError {
    Refusal::Missing("secrets:write, to give a function a secret".to_owned()).into()
}

/// Whether each secret goes to where it went before. One that instances have may go anywhere, since their code could send it.
fn secrets_stay(spec: &FunctionSpec, before: Option<&FunctionSpec>) -> bool {
    let given = before.map(FunctionSpec::secret_names).unwrap_or_default();
    let told = |broker: &str, secret| {
        before.is_some_and(|before| {
            before.sources.iter().any(|one| match one {
                Source::Mqtt(one) => {
                    one.broker == broker && one.password.as_ref().map(|had| &had.secret) == Some(secret)
                }
                _ => false,
            })
        })
    };
    let sources = spec.sources.iter().all(|one| match one {
        Source::Mqtt(one) => {
            let secret = one.password.as_ref().map(|password| &password.secret);
            secret.is_none_or(|secret| given.contains(secret) || told(&one.broker, secret))
        }
        _ => true,
    });
    let named = before.map(FunctionSpec::all_secret_names).unwrap_or_default();
    sources && spec.secret_names().is_subset(&given) && spec.all_secret_names().is_subset(&named)
}

/// Whether all of the host's folders were there before, and none may now be written that could only be read.
fn folders_stay(spec: &FunctionSpec, before: Option<&FunctionSpec>) -> bool {
    let Some(before) = before else { return spec.mounts.is_empty() && folders(spec).is_empty() };
    let mounted =
        |one: &Mount| before.mounts.iter().any(|had| had.host == one.host && (one.read_only || !had.read_only));
    let had = folders(before);
    let watched = |(folder, writes): &(&HostFolder, bool)| had.iter().any(|one| one.0 == *folder && (one.1 || !writes));
    spec.mounts.iter().all(mounted) && folders(spec).iter().all(watched)
}

fn folders(spec: &FunctionSpec) -> Vec<(&HostFolder, bool)> {
    spec.sources.iter().flat_map(Source::folders).collect()
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let actor = parts.extensions.get::<Self>().cloned();
        let nobody = || model::Fault::new(model::FaultCode::Unauthorized, "nobody is known to make this request");
        actor.ok_or_else(|| nobody().into())
    }
}
