//! An alias in the catalogue: its route and, if it has variables of its own, an entry for each version that it leads to, so
//! that no instance is ever shared with calls that are to see others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::{Alias, Function, SecretName, Version};

use super::{Route, Turns};
use crate::entry::Entry;
use crate::secrets;
use crate::shared::Shared;

pub(super) struct Aliased {
    pub route: Arc<Route>,
    /// None without variables of its own.
    own: HashMap<Version, Arc<Entry>>,
}

/// What an alias is made of beside itself.
pub(super) struct Around<'a> {
    pub shared: &'a Arc<Shared>,
    pub secrets: &'a BTreeMap<SecretName, u64>,
    pub latest: &'a Arc<Entry>,
    pub versions: &'a HashMap<u64, Arc<Entry>>,
}

// === impl Aliased ===

impl Aliased {
    /// The entry that the next call goes to, if it is one of its own; else the version.
    pub fn next(&self) -> Result<&Arc<Entry>, Version> {
        let version = self.route.next();
        self.own.get(&version).ok_or(version)
    }

    pub fn own(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.own.values()
    }

    /// What the store has it be, with as much as possible of what it was.
    pub fn renewed(around: &Around<'_>, alias: &Alias, before: Option<Aliased>, turns: &mut Turns) -> Self {
        let (route, mut old) = before.map(|before| (before.route, before.own)).unzip();
        let route = route.filter(|route| route.leads(alias.version, alias.second));
        let route = route.unwrap_or_else(|| Arc::new(Route::new(alias.version, alias.second)));
        let mut own = HashMap::new();
        let leads = [Some(alias.version), alias.second.map(|(number, _)| Version::Number(number))];
        for version in leads.into_iter().flatten().filter(|_| !alias.env.is_empty()) {
            let base = match version {
                Version::Latest => Some(around.latest),
                Version::Number(number) => around.versions.get(&number),
            };
            let Some(base) = base else { continue };
            let function = alias.lay_over(Function::clone(&base.function));
            let secrets = secrets::versions_of(&function, around.secrets);
            let before = old.as_mut().and_then(|old| old.remove(&version));
            let (kept, gone): (Option<_>, Option<_>) = match before {
                Some(one) if *one.function == function && one.secrets == secrets && one.is_beside(base) => {
                    (Some(one), None)
                }
                other => (None, other),
            };
            let entry = kept.unwrap_or_else(|| {
                let learnt = gone.as_ref().unwrap_or(base);
                let entry = Entry::beside(around.shared, function, secrets, learnt, base);
                let entry = Arc::new(entry);
                turns.opened.push(entry.clone());
                entry
            });
            turns.closed.extend(gone);
            own.insert(version, entry);
        }
        turns.closed.extend(old.into_iter().flatten().map(|(_, entry)| entry));
        Self { route, own }
    }
}
