//! Who may call routes, and which routes there are: what the gateway asks, kept as the store has it.
//!
//! Secrets that callers are verified with are read from the store for each request and kept nowhere; the gateway learns
//! only whether a signature fits.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use engine::Engine;
use gateway::KeyWorth;
use hmac::{Hmac, KeyInit, Mac};
use model::{Fault, FaultCode, FunctionName, RoutePattern, SecretName};
use sha2::{Digest, Sha256};
use store::{ApiKey, ApiKeys, Functions, SecretValues, StoreError};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;

use crate::doors::Doors;

/// Wait after the store failed to answer.
const RETRY: Duration = Duration::from_millis(250);

/// What callers show, and what it is worth.
pub struct Callers {
    keys: RwLock<Arc<[ApiKey]>>,
    secrets: Arc<dyn SecretValues>,
}

/// How far the doors have followed the store.
#[derive(Clone)]
pub struct Followed(watch::Receiver<u64>);

// === impl Callers ===

impl Callers {
    pub fn new(secrets: Arc<dyn SecretValues>) -> Self {
        Self { keys: RwLock::new(Arc::new([])), secrets }
    }

    /// What a key is worth. Takes the same time for each key there is, fitting or not.
    pub fn worth(&self, key: &str, function: &FunctionName, route: &RoutePattern) -> KeyWorth {
        let given: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut known, mut fits) = (Choice::from(0), Choice::from(0));
        for one in keys.iter() {
            let same = one.sha256.ct_eq(&given);
            known |= same;
            fits |= same & Choice::from(u8::from(one.fits(function, route)));
        }
        match (known.into(), fits.into()) {
            (_, true) => KeyWorth::Valid,
            (true, false) => KeyWorth::Elsewhere,
            (false, false) => KeyWorth::Unknown,
        }
    }

    /// Whether one of the codes is the message's under the secret.
    pub async fn signed(&self, secret: &SecretName, message: &[&[u8]], codes: &[[u8; 32]]) -> Result<bool, Fault> {
        let names = BTreeSet::from([secret.clone()]);
        let found = self.secrets.reveal(names).await.map_err(|error| match error {
            StoreError::SecretLocked { .. } => Fault::new(FaultCode::SecretUnusable, error.to_string()),
            other => Fault::new(FaultCode::Store, "the secrets could not be read from the store").with_detail(other),
        })?;
        let value = found.get(secret).ok_or_else(|| {
            let text = format!("the secret {secret} is not there: set it with `hearth secret set {secret}`");
            Fault::new(FaultCode::SecretUnusable, text)
        })?;
        let mut hash = <Hmac<Sha256> as KeyInit>::new_from_slice(value.expose())
            .map_err(|error| Fault::new(FaultCode::Internal, "no HMAC with this secret").with_detail(error))?;
        message.iter().for_each(|piece| hash.update(piece));
        // Compared in constant time, each.
        Ok(codes.iter().filter(|code| hash.clone().verify_slice(&code[..]).is_ok()).count() > 0)
    }

    async fn read(&self, keys: &dyn ApiKeys) -> Result<(), StoreError> {
        let keys = keys.api_keys().await?.into();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

// === impl Followed ===

impl Followed {
    /// Resolves once the doors go by this change.
    pub fn settled(&self, change: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut seen = self.0.clone();
        async move {
            // An error means that the server ends.
            let _ = seen.wait_for(|seen| *seen >= change).await;
        }
    }
}

/// Gives the doors routes and keys as they are, then follows changes of them in a task that ends with the store.
pub async fn follow<S: Functions + ApiKeys + 'static>(
    store: Arc<S>,
    engine: Engine,
    doors: Doors,
    callers: Arc<Callers>,
) -> Result<Followed, StoreError> {
    let mut changes = store.changes();
    let first = *changes.borrow_and_update();
    callers.read(store.as_ref()).await?;
    doors.set_routes(&engine.functions());
    let seen = watch::Sender::new(first);
    let followed = Followed(seen.subscribe());
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            let change = *changes.borrow_and_update();
            // A route leads to no function that the engine does not have yet.
            engine.settled(change).await;
            loop {
                match callers.read(store.as_ref()).await {
                    Ok(()) => break,
                    Err(StoreError::Closed) => return,
                    Err(error) => tracing::error!(%error, "the API keys could not be read from the store"),
                }
                tokio::time::sleep(RETRY).await;
            }
            doors.set_routes(&engine.functions());
            seen.send_replace(change);
        }
    });
    Ok(followed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{SecretValue, Timestamp};

    use super::*;

    /// One secret, by the name of `hook`.
    struct OneSecret(&'static str);

    #[async_trait::async_trait]
    impl SecretValues for OneSecret {
        async fn secret_versions(&self) -> Result<BTreeMap<SecretName, u64>, StoreError> {
            unreachable!("nobody asks")
        }
        async fn reveal(&self, names: BTreeSet<SecretName>) -> Result<BTreeMap<SecretName, SecretValue>, StoreError> {
            let value = SecretValue::new(self.0.as_bytes().to_vec()).unwrap();
            Ok(names.into_iter().filter(|name| name.as_str() == "hook").map(|name| (name, value.clone())).collect())
        }
    }

    fn callers(secret: &'static str) -> Callers {
        Callers::new(Arc::new(OneSecret(secret)))
    }

    fn code(hex: &str) -> [u8; 32] {
        std::array::from_fn(|place| u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).unwrap())
    }

    #[tokio::test]
    async fn a_signature_fits_as_github_documents_it() {
        let callers = callers("It's a Secret to Everybody");
        let right = code("757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
        let mut wrong = right;
        wrong[31] ^= 1;
        let hook: SecretName = "hook".parse().unwrap();
        let signed = async |message: &[&[u8]], codes: &[[u8; 32]]| callers.signed(&hook, message, codes).await.unwrap();
        assert!(signed(&[b"Hello, World!"], &[right]).await);
        assert!(signed(&[b"Hello, ", b"World!"], &[wrong, right]).await, "one of several, over a message in pieces");
        assert!(!signed(&[b"Hello, World!"], &[wrong]).await);
        assert!(!signed(&[b"Hello, World"], &[right]).await);
        assert!(!signed(&[b"Hello, World!"], &[]).await);
        let fault = callers.signed(&"gone".parse().unwrap(), &[b""], &[right]).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::SecretUnusable, "{fault:?}");
    }

    #[test]
    fn a_key_is_worth_what_its_hash_says() {
        let callers = callers("-");
        let key = |text: &str, functions: &[&str]| ApiKey {
            name: text.parse().unwrap(),
            sha256: Sha256::digest(text).into(),
            functions: functions.iter().map(|one| one.parse().unwrap()).collect(),
            routes: vec![],
            created: Timestamp(0),
        };
        *callers.keys.write().unwrap() = [key("all", &[]), key("bell", &["bell"])].into();
        let worth = |key: &str| callers.worth(key, &"door".parse().unwrap(), &"GET /a".parse().unwrap());
        assert_eq!([worth("all"), worth("bell"), worth("")], [KeyWorth::Valid, KeyWorth::Elsewhere, KeyWorth::Unknown]);
    }
}
