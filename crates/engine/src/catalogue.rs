//! Which functions there are, as the store has them, with their versions and aliases, and which secrets they refer to.
//! Read on every call, replaced entry by entry.
//!
//! ```text
//! NAME ────────────► latest ◄── the rest of a canary's calls: stable
//! NAME:VERSION ────► versions
//! NAME:ALIAS ──────► route ──► one of the versions, by its share
//! ```
//!
//! A changed function, and one whose secret was changed, gets new pools. They are put in place first and the old ones are closed after: the old ones'
//! waiters move over, their busy instances finish, their idle ones are killed. So no call fails. Where instances are
//! always kept, the new ones are ready first. An alias that is pointed elsewhere closes nothing but what was its own.

mod aliased;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use model::{
    Alias, AliasName, Canary, Fault, FaultCode, Function, FunctionName, PublishedVersion, Qualifier, SecretName,
    Version, Weight,
};
use store::{Provisioned, Published, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::entry::{Entry, Kept};
use crate::secrets;
use crate::shared::Shared;
use aliased::{Aliased, Around};

/// Wait after the store failed to answer.
const RETRY: Duration = Duration::from_millis(250);

/// How long a new revision's instances may take to be ready before the old one's go all the same.
const HAND_OVER: Duration = Duration::from_secs(5);

/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(5);

pub struct Catalogue {
    entries: RwLock<HashMap<FunctionName, Named>>,
    /// The change that `entries` are up to.
    seen: watch::Sender<u64>,
    /// Functions whose new instances are awaited.
    handing: watch::Sender<usize>,
}

/// A function: what its name may mean.
struct Named {
    latest: Arc<Entry>,
    /// What will be, once its instances are ready.
    coming: Option<Arc<Entry>>,
    /// While a canary runs: what served before, and what of the calls the new revision gets.
    stable: Option<(Arc<Entry>, Arc<Route>)>,
    versions: HashMap<u64, Arc<Entry>>,
    aliases: HashMap<AliasName, Aliased>,
}

/// Where an alias leads.
struct Route {
    version: Version,
    second: Option<(u64, Weight)>,
    calls: AtomicU64,
}

/// What the catalogue is made of.
struct Stored {
    functions: Vec<Function>,
    published: Published,
    secrets: BTreeMap<SecretName, u64>,
}

/// One function, as the store has it.
struct Wanted {
    function: Function,
    versions: Vec<Function>,
    aliases: Vec<Alias>,
    canary: Option<Canary>,
    provisioned: Vec<Provisioned>,
}

/// What is left to do when the catalogue is in place.
#[derive(Default)]
struct Turns {
    opened: Vec<Arc<Entry>>,
    closed: Vec<Arc<Entry>>,
    /// Versions, and what is kept ready of them.
    kept: Vec<(Arc<Entry>, Kept)>,
    handing: Vec<(FunctionName, Arc<Entry>)>,
}

/// Counts a function whose new instances are awaited, until dropped.
struct Handing(Weak<Shared>);

// === impl Stored ===

impl Stored {
    async fn read(shared: &Shared) -> Result<Self, StoreError> {
        let mut published = shared.functions.published().await?;
        // Of one moment with the canaries, or for a moment a revision that was rolled back would get all calls.
        let functions = match published.functions.take() {
            Some(functions) => functions,
            None => shared.functions.list().await?,
        };
        Ok(Self { functions, published, secrets: shared.secrets.secret_versions().await? })
    }

    /// By function, and all that the secrets are.
    fn wanted(self) -> (Vec<Wanted>, BTreeMap<SecretName, u64>) {
        let Published { functions: _, versions, aliases, canaries, provisioned } = self.published;
        let (mut by_version, mut by_alias) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for PublishedVersion { function, .. } in versions {
            by_version.entry(function.spec.name.clone()).or_default().push(function);
        }
        let mut ready = HashMap::<_, Vec<_>>::new();
        for one in provisioned {
            ready.entry(one.function.clone()).or_default().push(one);
        }
        for alias in aliases {
            by_alias.entry(alias.function.clone()).or_default().push(alias);
        }
        let mut canaries: HashMap<_, _> =
            canaries.into_iter().map(|canary| (canary.function.clone(), canary)).collect();
        let wanted = self.functions.into_iter().map(|function| {
            let name = &function.spec.name;
            // One of another revision is over.
            let canary = canaries.remove(name).filter(|canary| canary.revision == function.revision);
            let versions = by_version.remove(name).unwrap_or_default();
            let (aliases, provisioned) = (by_alias.remove(name), ready.remove(name).unwrap_or_default());
            Wanted { versions, aliases: aliases.unwrap_or_default(), canary, provisioned, function }
        });
        (wanted.collect(), self.secrets)
    }
}

// === impl Route ===

impl Route {
    fn new(version: Version, second: Option<(u64, Weight)>) -> Self {
        Self { version, second, calls: AtomicU64::new(0) }
    }

    fn leads(&self, version: Version, second: Option<(u64, Weight)>) -> bool {
        self.version == version && self.second == second
    }

    /// The version that the next call goes to.
    fn next(&self) -> Version {
        match self.second {
            Some((second, weight)) if weight.takes(self.calls.fetch_add(1, Ordering::Relaxed)) => {
                Version::Number(second)
            }
            _ => self.version,
        }
    }
}

// === impl Named ===

impl Named {
    /// All but what is an alias' own.
    fn deployed(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let beside = self.coming.iter().chain(self.stable.as_ref().map(|(entry, _)| entry));
        [&self.latest].into_iter().chain(beside).chain(self.versions.values())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.deployed().chain(self.aliases.values().flat_map(Aliased::own))
    }

    fn version(&self, version: Version) -> Option<&Arc<Entry>> {
        match version {
            Version::Latest => Some(&self.latest),
            Version::Number(number) => self.versions.get(&number),
        }
    }

    /// Where a call goes that says `qualifier`.
    fn route(&self, qualifier: Option<&Qualifier>) -> Option<&Arc<Entry>> {
        match qualifier {
            None => Some(match &self.stable {
                // The new revision is the second of the two.
                Some((stable, route)) if route.next() == Version::Latest => stable,
                _ => &self.latest,
            }),
            Some(Qualifier::Version(version)) => self.version(*version),
            Some(Qualifier::Alias(name)) => self.aliases.get(name)?.next().map_or_else(|it| self.version(it), Some),
        }
    }

    /// What the store has it be, with as much as possible of what it was.
    fn renewed(
        shared: &Arc<Shared>,
        before: Option<Named>,
        wanted: Wanted,
        secrets: &BTreeMap<SecretName, u64>,
        turns: &mut Turns,
    ) -> Self {
        let Wanted { function, versions, aliases, canary, provisioned } = wanted;
        let of = |function: &Function| secrets::versions_of(function, secrets);
        // The whole function is compared: one that was removed and deployed anew is at revision 1 again.
        let same = |entry: &Entry, function: &Function| *entry.function == *function && entry.secrets == of(function);
        let make = |turns: &mut Turns, function: Function, before: Option<&Entry>, kept: Kept| {
            let secrets = of(&function);
            let entry = Arc::new(Entry::new(shared, function, secrets, before, kept));
            turns.opened.push(entry.clone());
            entry
        };
        let (mut coming, mut spare, mut old_stable) = (None, None, None);
        let (mut old_versions, mut old_aliases) = (HashMap::new(), HashMap::new());
        let latest = match before {
            None => make(turns, function, None, Kept::AS_SAID),
            Some(before) => {
                let latest = before.latest;
                (old_stable, old_versions, old_aliases) = (before.stable, before.versions, before.aliases);
                if same(&latest, &function) {
                    turns.closed.extend(before.coming);
                    latest
                } else if let Some(soon) = before.coming.as_ref().filter(|soon| same(soon, &function)) {
                    coming = Some(soon.clone());
                    latest
                } else {
                    turns.closed.extend(before.coming);
                    let name = function.spec.name.clone();
                    let waits = function.spec.scale.min > 0 && canary.is_none();
                    let entry = make(turns, function, Some(&latest), Kept::AS_SAID);
                    if waits {
                        turns.handing.push((name, entry.clone()));
                        coming = Some(entry);
                        latest
                    } else {
                        spare = Some(latest);
                        entry
                    }
                }
            }
        };
        let stable = canary.map(|canary| {
            let share = Some((canary.revision.0, canary.rules.weight));
            let (old, route) = old_stable.take().unzip();
            let route = route.filter(|route: &Arc<Route>| route.leads(Version::Latest, share));
            let route = route.unwrap_or_else(|| Arc::new(Route::new(Version::Latest, share)));
            let (good, bad): (Vec<_>, Vec<_>) =
                old.into_iter().chain(spare.take()).partition(|entry: &Arc<Entry>| same(entry, &canary.stable));
            turns.closed.extend(bad);
            let good = good.into_iter().next();
            (good.unwrap_or_else(|| make(turns, canary.stable, Some(&latest), Kept::AS_SAID)), route)
        });
        turns.closed.extend(old_stable.map(|(entry, _)| entry));
        turns.closed.extend(spare);
        // What is kept ready for an alias with variables of its own is its own.
        let led = |alias: &Alias| [alias.version.number(), alias.second.map(|(number, _)| number)];
        let used: HashSet<u64> = aliases.iter().filter(|alias| alias.env.is_empty()).flat_map(led).flatten().collect();
        let versions = versions
            .into_iter()
            .filter_map(|function| {
                let number = function.version.number()?;
                let ready = provisioned.iter().filter(|one| match &one.qualifier {
                    Qualifier::Version(version) => *version == function.version,
                    // Of an alias that leads to two, the first.
                    Qualifier::Alias(name) => aliases
                        .iter()
                        .any(|alias| alias.name == *name && alias.version == function.version && alias.env.is_empty()),
                });
                let provisioned = ready.map(|one| one.count).max().unwrap_or_default();
                let kept = Kept { as_said: used.contains(&number), provisioned };
                let old = old_versions.remove(&number);
                if let Some(old) = old.as_ref().filter(|old| same(old, &function)) {
                    turns.kept.push((old.clone(), kept));
                    return Some((number, old.clone()));
                }
                let entry = make(turns, function, old.as_deref(), kept);
                turns.closed.extend(old);
                Some((number, entry))
            })
            .collect::<HashMap<_, _>>();
        turns.closed.extend(old_versions.into_values());
        let around = Around { shared, secrets, latest: coming.as_ref().unwrap_or(&latest), versions: &versions };
        let aliases = aliases
            .into_iter()
            .map(|alias| {
                let renewed = Aliased::renewed(&around, &alias, old_aliases.remove(&alias.name), turns);
                (alias.name, renewed)
            })
            .collect();
        turns.closed.extend(old_aliases.values().flat_map(Aliased::own).cloned());
        Self { latest, coming, stable, versions, aliases }
    }
}

// === impl Catalogue ===

impl Default for Catalogue {
    fn default() -> Self {
        Self { entries: RwLock::default(), seen: watch::Sender::new(0), handing: watch::Sender::new(0) }
    }
}

impl Catalogue {
    /// `$LATEST` of a function.
    pub fn find(&self, name: &FunctionName) -> Option<Arc<Entry>> {
        Some(self.read().get(name)?.latest.clone())
    }

    /// Where the next call goes.
    pub fn route(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> Option<Arc<Entry>> {
        self.read().get(name)?.route(qualifier).cloned()
    }

    /// What a name and a qualifier mean at present; of two, the first.
    pub fn resolve(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> Option<Arc<Function>> {
        let entries = self.read();
        let named = entries.get(name)?;
        let version = match qualifier {
            None => Version::Latest,
            Some(Qualifier::Version(version)) => *version,
            Some(Qualifier::Alias(alias)) => named.aliases.get(alias)?.route.version,
        };
        Some(named.version(version)?.function.clone())
    }

    /// Why a call finds nothing.
    pub fn absent(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> Fault {
        let text = match qualifier {
            Some(qualifier) if self.read().contains_key(name) => {
                format!("function {name} has no version or alias {qualifier}")
            }
            _ => format!("there is no function named {name}"),
        };
        Fault::new(FaultCode::NotFound, text)
    }

    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.read().values().flat_map(Named::all).cloned().collect()
    }

    /// Every version there is, as it was deployed.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.read().values().flat_map(Named::deployed).map(|entry| entry.function.clone()).collect()
    }

    pub async fn settled(&self, change: u64, limit: Duration) {
        let (mut seen, mut handing) = (self.seen.subscribe(), self.handing.subscribe());
        let _ = tokio::time::timeout(limit, async {
            let _ = seen.wait_for(|seen| *seen >= change).await;
            let _ = handing.wait_for(|functions| *functions == 0).await;
        })
        .await;
    }

    /// Takes every function out.
    pub fn clear(&self) -> Vec<Arc<Entry>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.drain().flat_map(|(_, named)| named.all().cloned().collect::<Vec<_>>()).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<FunctionName, Named>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the catalogue hold `stored` and nothing else.
    fn apply(&self, shared: &Arc<Shared>, stored: Stored) {
        let mut turns = Turns::default();
        let (wanted, secrets) = stored.wanted();
        {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            let mut before = std::mem::take(&mut *entries);
            for one in wanted {
                let name = one.function.spec.name.clone();
                let named = Named::renewed(shared, before.remove(&name), one, &secrets, &mut turns);
                entries.insert(name, named);
            }
            turns.closed.extend(before.values().flat_map(Named::all).cloned());
        }
        let Turns { opened, closed, kept, handing } = turns;
        for entry in opened {
            entry.open(shared);
        }
        for (entry, kept) in kept {
            entry.keep(shared, kept);
        }
        for entry in closed {
            entry.close(shared, None);
        }
        for (name, entry) in handing {
            self.handing.send_modify(|functions| *functions += 1);
            let counted = Handing(Arc::downgrade(shared));
            shared.spawn(hand_over(Arc::downgrade(shared), name, entry, counted));
        }
    }

    /// What was coming is there.
    fn arrived(&self, name: &FunctionName, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let named = entries.get_mut(name)?;
        // Else it was overtaken, and is closed already.
        let coming = named.coming.take_if(|coming| Arc::ptr_eq(coming, entry))?;
        Some(std::mem::replace(&mut named.latest, coming))
    }
}

impl Drop for Handing {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.catalogue.handing.send_modify(|functions| *functions = functions.saturating_sub(1));
        }
    }
}

/// Has a new revision take the calls once its instances are ready, or cannot be, or take too long.
async fn hand_over(shared: Weak<Shared>, name: FunctionName, entry: Arc<Entry>, _counted: Handing) {
    let until = Instant::now() + HAND_OVER;
    while !entry.is_warm() && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    let Some(shared) = shared.upgrade() else { return };
    if let Some(old) = shared.catalogue.arrived(&name, &entry) {
        old.close(&shared, None);
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
