//! Who has a token, and what it lets them do: all that are valid now, in memory.
//!
//! ```text
//! made ──► valid ──expired, revoked──► nobody: from the next request on
//!            └─ login ──► a session, carried by a token of its own that ends with either
//! ```
//!
//! Tokens are looked up by their SHA-256: how long that takes tells something of hashes at most, and a hash lets nobody
//! in.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use http::HeaderValue;
use model::{SecretName, Timestamp, TokenId};
use store::StoredToken;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bucket::{Bucket, Pace};
use crate::scope::{Scope, Scopes};
use crate::token::Token;

type Hash = [u8; 32];

/// Whoever has one token.
pub struct Holder {
    pub id: TokenId,
    pub name: SecretName,
    pub scopes: Scopes,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub access_key_id: Option<String>,
    /// Whether it is the installation's own.
    pub own: bool,
    sha256: Hash,
    /// When it was last used, and of that what the store knows; 0: never.
    used: AtomicI64,
    noted: AtomicI64,
    bucket: Bucket,
    /// Of records of what they failed to do.
    failures: Bucket,
    /// Of logs that they follow.
    following: Arc<Semaphore>,
}

/// The tokens that are valid now.
#[derive(Default)]
pub struct TokenSet {
    kept: RwLock<Kept>,
    /// What sessions go on with: tokens that are in nobody's hands.
    carried: Mutex<HashMap<Hash, TokenId>>,
    /// Access keys that are the installation's own token's.
    own_keys: OnceLock<Vec<String>>,
    pace: Pace,
}

#[derive(Default)]
struct Kept {
    by_hash: HashMap<Hash, Arc<Holder>>,
    by_id: HashMap<TokenId, Arc<Holder>>,
    by_key: HashMap<String, Arc<Holder>>,
}

/// A token that a session goes on with; it ends when this is dropped.
pub(crate) struct Carried {
    tokens: Arc<TokenSet>,
    hash: Hash,
    pub header: HeaderValue,
}

// === impl Holder ===

impl Holder {
    fn new(token: StoredToken) -> Self {
        let StoredToken { id, name, sha256, scopes, created, expires, last_used, access_key_id, own } = token;
        // A scope of a newer Hearth's gives nothing here.
        let known = scopes.iter().map(String::as_str).filter(|text| text.parse::<Scope>().is_ok());
        let scopes = Scopes::read(known).unwrap_or_else(|_| Scopes::none());
        let used = last_used.map_or(0, Timestamp::micros);
        let (used, noted) = (AtomicI64::new(used), AtomicI64::new(used));
        let (bucket, failures) = (Bucket::default(), Bucket::default());
        // Whoever has less than all rights leaves room for others.
        let following =
            Arc::new(Semaphore::new(if scopes.is_admin() { crate::FOLLOWERS } else { crate::FOLLOWERS / 8 }));
        Self {
            id,
            name,
            scopes,
            created,
            expires,
            access_key_id,
            own,
            sha256,
            used,
            noted,
            bucket,
            failures,
            following,
        }
    }

    pub fn last_used(&self) -> Option<Timestamp> {
        let used = self.used.load(Ordering::Relaxed);
        (used != 0).then_some(Timestamp(used))
    }

    /// Whether one more failure of theirs is worth a record: with less than all rights, nobody shall drive other records out
    /// of the audit log by what they are refused.
    pub(crate) fn may_be_told_of(&self, now: Instant) -> bool {
        self.scopes.is_admin() || self.failures.take(Pace::of_failures(), now).is_ok()
    }

    /// A place among those who follow logs; none if they have as many as they may.
    pub(crate) fn follow(&self) -> Option<OwnedSemaphorePermit> {
        self.following.clone().try_acquire_owned().ok()
    }

    fn lives(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

// Nothing of the hash.
impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) of {:?}", self.id, self.name, self.scopes)
    }
}

// === impl TokenSet ===

impl TokenSet {
    pub fn new(tokens: Vec<StoredToken>, pace: Pace) -> Self {
        let set = Self { pace, ..Self::default() };
        for token in tokens {
            set.add(token);
        }
        set
    }

    /// These access keys are the installation's own token's; said once.
    pub fn set_own_keys(&self, ids: Vec<String>) {
        let _ = self.own_keys.set(ids);
    }

    /// From now on this one as well.
    pub fn add(&self, token: StoredToken) -> Arc<Holder> {
        let holder = Arc::new(Holder::new(token));
        let mut kept = self.write();
        kept.by_hash.insert(holder.sha256, holder.clone());
        kept.by_id.insert(holder.id.clone(), holder.clone());
        if let Some(id) = &holder.access_key_id {
            kept.by_key.insert(id.clone(), holder.clone());
        }
        holder
    }

    /// From now on not this one: not for requests, sessions nor access keys.
    pub fn remove(&self, id: &TokenId) {
        let mut kept = self.write();
        let Some(holder) = kept.by_id.remove(id) else { return };
        kept.by_hash.remove(&holder.sha256);
        if let Some(key) = &holder.access_key_id {
            kept.by_key.remove(key);
        }
    }

    /// Who has this token, or the session that goes on with it.
    pub fn of_token(&self, text: &str) -> Option<Arc<Holder>> {
        let hash = Token::hash_of(text);
        let carried = self.carried().get(&hash).cloned();
        match carried {
            Some(id) => self.of_id(&id),
            None => self.of_hash(&hash),
        }
    }

    /// Who was given this token: none that a session goes on with.
    pub(crate) fn of_given(&self, text: &str) -> Option<Arc<Holder>> {
        self.of_hash(&Token::hash_of(text))
    }

    fn of_hash(&self, hash: &Hash) -> Option<Arc<Holder>> {
        let found = self.read().by_hash.get(hash).cloned();
        living(found)
    }

    pub fn of_id(&self, id: &TokenId) -> Option<Arc<Holder>> {
        let found = self.read().by_id.get(id).cloned();
        living(found)
    }

    /// Whose token an access key goes with.
    pub fn of_access_key(&self, id: &str) -> Option<Arc<Holder>> {
        let own = self.own_keys.get().is_some_and(|own| own.iter().any(|one| one == id));
        if own {
            return living(self.own());
        }
        let found = self.read().by_key.get(id).cloned();
        living(found)
    }

    /// The installation's own.
    pub fn own(&self) -> Option<Arc<Holder>> {
        self.read().by_id.values().find(|holder| holder.own).cloned()
    }

    /// All of them, expired ones as well, by name.
    pub fn all(&self) -> Vec<Arc<Holder>> {
        let mut all: Vec<_> = self.read().by_id.values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Who sent the value of this `Authorization` header.
    pub fn of_authorization(&self, authorization: &str) -> Option<Arc<Holder>> {
        let token = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        self.of_token(token?.1.trim())
    }

    /// Whether the value of an `Authorization` header carries a token with all rights: for what knows no scopes.
    pub fn authorizes(&self, authorization: &str) -> bool {
        self.of_authorization(authorization).is_some_and(|holder| holder.scopes.is_admin())
    }

    /// Counts a request of its holder's; or says when it is worth coming back.
    pub(crate) fn admit(&self, holder: &Holder, now: Instant) -> Result<(), Duration> {
        holder.bucket.take(self.pace, now)
    }

    /// Those that were used since this was last asked, and when.
    pub fn used(&self) -> Vec<(TokenId, Timestamp)> {
        let kept = self.read();
        let news = kept.by_id.values().filter_map(|holder| {
            let used = holder.used.load(Ordering::Relaxed);
            (holder.noted.swap(used, Ordering::Relaxed) != used).then(|| (holder.id.clone(), Timestamp(used)))
        });
        news.collect()
    }

    /// A token for a session to go on with, as its holder.
    pub(crate) fn carry(self: &Arc<Self>, id: TokenId) -> Result<Carried, getrandom::Error> {
        let token = Token::generate()?;
        let hash = token.sha256();
        // Letters and digits: it cannot fail to be a header's value.
        let text = format!("Bearer {}", token.as_str());
        let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        self.carried().insert(hash, id);
        Ok(Carried { tokens: self.clone(), hash, header })
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn carried(&self) -> MutexGuard<'_, HashMap<Hash, TokenId>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that did not expire; it then counts as used.
fn living(holder: Option<Arc<Holder>>) -> Option<Arc<Holder>> {
    let now = Timestamp::now();
    let holder = holder.filter(|holder| holder.lives(now))?;
    holder.used.store(now.micros(), Ordering::Relaxed);
    Some(holder)
}

// === impl Carried ===

impl Drop for Carried {
    fn drop(&mut self) {
        self.tokens.carried().remove(&self.hash);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What the store would keep of it.
    pub(crate) fn stored(token: &Token, name: &str, scopes: &[&str]) -> StoredToken {
        StoredToken {
            id: TokenId::of(&token.sha256()),
            name: name.parse().unwrap(),
            sha256: token.sha256(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            created: Timestamp::now(),
            expires: None,
            last_used: None,
            access_key_id: None,
            own: name == "admin",
        }
    }

    #[test]
    fn a_token_counts_until_it_is_revoked_or_expires() {
        let (admin, late) = (Token::generate().unwrap(), Token::generate().unwrap());
        let expired = StoredToken { expires: Some(Timestamp::now()), ..stored(&late, "late", &["admin"]) };
        let set = TokenSet::new(vec![stored(&admin, "admin", &["admin"]), expired], Pace::default());
        assert!(set.authorizes(&format!("Bearer {}", admin.as_str())));
        assert!(set.authorizes(&format!("bearer  {}", admin.as_str())));
        assert!(!set.authorizes(&format!("Basic {}", admin.as_str())));
        assert!(!set.authorizes(admin.as_str()) && !set.authorizes("Bearer "));
        assert!(set.of_token(late.as_str()).is_none());
        assert_eq!(set.all().len(), 2);

        assert_eq!(set.used().len(), 1);
        assert!(set.used().is_empty());
        set.remove(&TokenId::of(&admin.sha256()));
        assert!(set.of_token(admin.as_str()).is_none());
    }

    #[test]
    fn what_a_session_goes_on_with_ends_with_it_and_with_its_token() {
        let token = Token::generate().unwrap();
        let set = Arc::new(TokenSet::new(vec![stored(&token, "reader", &["read"])], Pace::default()));
        let id = TokenId::of(&token.sha256());
        let carried = set.carry(id.clone()).unwrap();
        let text = carried.header.to_str().unwrap().to_owned();
        assert_eq!(set.of_authorization(&text).unwrap().id, id);
        assert!(!set.authorizes(&text), "it is no more than its token");
        assert!(set.of_given(text.strip_prefix("Bearer ").unwrap()).is_none());
        drop(carried);
        assert!(set.of_authorization(&text).is_none());

        let again = set.carry(id.clone()).unwrap();
        set.remove(&id);
        assert!(set.of_authorization(again.header.to_str().unwrap()).is_none());
    }

    #[test]
    fn access_keys_are_their_tokens() {
        let (admin, other) = (Token::generate().unwrap(), Token::generate().unwrap());
        let key = StoredToken { access_key_id: Some("HKIAX".into()), ..stored(&other, "other", &["read"]) };
        let set = TokenSet::new(vec![stored(&admin, "admin", &["admin"]), key], Pace::default());
        set.set_own_keys(vec!["HKIAOWN".into()]);
        assert!(set.of_access_key("HKIAOWN").unwrap().own);
        let id = set.of_access_key("HKIAX").unwrap().id.clone();
        set.remove(&id);
        assert!(set.of_access_key("HKIAX").is_none() && set.of_access_key("HKIAY").is_none());
    }
}
