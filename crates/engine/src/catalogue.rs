//! Which functions there are, as the store has them, and which secrets they refer to. Read on every call, replaced entry by entry.
//!
//! A changed function, and one whose secret was changed, gets new pools. They are put in place first and the old ones are closed after: the old ones'
//! waiters move over, their busy instances finish, their idle ones are killed. So no call fails.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use model::{Fault, FaultCode, Function, FunctionName, SecretName};
use store::StoreError;
use tokio::sync::watch;

use crate::entry::Entry;
use crate::secrets;
use crate::shared::Shared;

/// Wait after the store failed to answer.
const RETRY: Duration = Duration::from_millis(250);

pub struct Catalogue {
    entries: RwLock<HashMap<FunctionName, Arc<Entry>>>,
    /// The change that `entries` are up to.
    seen: watch::Sender<u64>,
}

/// What the catalogue is made of.
struct Stored {
    functions: Vec<Function>,
    secrets: BTreeMap<SecretName, u64>,
}

// === impl Stored ===

impl Stored {
    async fn read(shared: &Shared) -> Result<Self, StoreError> {
        let functions = shared.functions.list().await?;
        Ok(Self { functions, secrets: shared.secrets.secret_versions().await? })
    }
}

// === impl Catalogue ===

impl Default for Catalogue {
    fn default() -> Self {
        Self { entries: RwLock::default(), seen: watch::Sender::new(0) }
    }
}

impl Catalogue {
    pub fn find(&self, name: &FunctionName) -> Option<Arc<Entry>> {
        self.read().get(name).cloned()
    }

    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.read().values().cloned().collect()
    }

    pub async fn settled(&self, change: u64, limit: Duration) {
        let mut seen = self.seen.subscribe();
        let _ = tokio::time::timeout(limit, seen.wait_for(|seen| *seen >= change)).await;
    }

    /// Takes every function out.
    pub fn clear(&self) -> Vec<Arc<Entry>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.drain().map(|(_, entry)| entry).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<FunctionName, Arc<Entry>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the catalogue hold `functions` and nothing else.
    fn apply(&self, shared: &Arc<Shared>, Stored { functions, secrets }: Stored) {
        let (mut added, mut replaced) = (Vec::new(), Vec::new());
        {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            let mut gone: HashMap<FunctionName, ()> = entries.keys().map(|name| (name.clone(), ())).collect();
            for function in functions {
                gone.remove(&function.spec.name);
                // The whole function is compared: one that was removed and deployed anew is at revision 1 again.
                let secrets = secrets::versions_of(&function, &secrets);
                let same = |entry: &Arc<Entry>| *entry.function == function && entry.secrets == secrets;
                if entries.get(&function.spec.name).is_some_and(same) {
                    continue;
                }
                let name = function.spec.name.clone();
                let before = entries.get(&name).map(Arc::as_ref);
                let entry = Arc::new(Entry::new(shared, function, secrets, before));
                added.push(entry.clone());
                replaced.extend(entries.insert(name, entry));
            }
            replaced.extend(gone.keys().filter_map(|name| entries.remove(name)));
        }
        for entry in added {
            entry.open(shared);
        }
        for entry in replaced {
            entry.close(shared, None);
        }
    }
}

/// Loads the catalogue, then follows it in a task.
pub async fn follow(shared: &Arc<Shared>) -> Result<(), Fault> {
    let mut changes = shared.functions.changes();
    let change = *changes.borrow_and_update();
    let stored = Stored::read(shared).await.map_err(|error| {
        Fault::new(FaultCode::Store, "the functions could not be read from the store").with_detail(error)
    })?;
    shared.catalogue.apply(shared, stored);
    shared.catalogue.seen.send_replace(change);
    shared.spawn(keep_following(Arc::downgrade(shared), changes));
    Ok(())
}

async fn keep_following(shared: Weak<Shared>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        loop {
            let Some(shared) = shared.upgrade() else { return };
            if shared.is_draining() {
                return;
            }
            // Read before the list: what is in the list is at least as new.
            let change = *changes.borrow_and_update();
            match Stored::read(&shared).await {
                Ok(stored) => {
                    shared.catalogue.apply(&shared, stored);
                    shared.catalogue.seen.send_replace(change);
                    break;
                }
                Err(error) => tracing::error!(%error, "the functions could not be read from the store"),
            }
            drop(shared);
            tokio::time::sleep(RETRY).await;
        }
    }
}
