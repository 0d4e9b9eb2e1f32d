//! Sessions: how a browser is known after it showed the token once.
//!
//! ```text
//! token ──login──► session ──12 h, 2 h unused, logout, token revoked or expired──► gone
//!            ▲
//! link ──────┘  (once, within ten minutes)
//! ```
//!
//! A session is two secrets: a cookie that no script can read, and a key that the page keeps and sends in a header.
//! Either alone is worth nothing: cookies ignore ports, so that a function's own page has them sent too; and a header
//! no other site's page or form can set. They live in memory: a restart asks for the token again.
//!
//! What has a session goes on as if it had sent a token, one that is never written anywhere ([`carry`]) and is worth what
//! the token is worth that was shown, or that the link was made with: the API and the Invoke door stay as they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use model::TokenId;
use subtle::ConstantTimeEq;

use crate::Hosts;
use crate::attempts::Attempts;
use crate::auth::{cross_site, host_of};
use crate::holders::{Carried, Holder, TokenSet};
use crate::token::Token;

/// The page's half of a session.
pub const SESSION_HEADER: HeaderName = HeaderName::from_static("x-hearth-session");

/// What the cookie's name begins with. The port follows: cookies ignore ports, and two Hearths may share a host. The
/// gateway takes such cookies out of what functions see.
const COOKIE: &str = "hearth_session_";

/// A session ends this long after its login, whatever happens.
pub const LASTS: Duration = Duration::from_secs(12 * 3600);
/// And when nothing was asked with it for this long.
pub const IDLE: Duration = Duration::from_secs(2 * 3600);
/// A link can be used this long.
pub const LINK_LASTS: Duration = Duration::from_secs(600);

/// Sessions and links at once; the oldest goes first.
const MOST: usize = 256;
/// The same of one token.
const MOST_OWN: usize = 64;

type Hash = [u8; 32];

/// Everyone who is logged in.
pub struct Sessions {
    tokens: Arc<TokenSet>,
    hosts: Arc<Hosts>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// By the hash of the cookie.
    sessions: HashMap<Hash, Session>,
    links: Vec<Link>,
    attempts: Attempts,
}

struct Link {
    code: Hash,
    until: Instant,
    /// Whose token made it.
    by: TokenId,
}

struct Session {
    key: Hash,
    /// The token that was shown, or that made the link.
    token: TokenId,
    /// What its requests go on with.
    carried: Carried,
    made: Instant,
    used: Instant,
}

/// What a login leaves with the browser.
pub(crate) struct Login {
    pub cookie: Token,
    pub key: Token,
    /// Whose session it is.
    pub holder: Arc<Holder>,
}

/// Why there is no session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Neither a valid token nor a link that is still good.
    Wrong,
    /// After too many failures.
    Wait(Duration),
    /// The system has no randomness to give.
    NoRandomness,
}

// === impl Sessions ===

impl Sessions {
    pub fn new(tokens: Arc<TokenSet>, hosts: Arc<Hosts>) -> Self {
        Self { tokens, hosts, book: Mutex::default() }
    }

    /// A link's code: whoever shows it first, within [`LINK_LASTS`], is logged in as the holder of that token.
    pub fn link(&self, by: &TokenId, now: Instant) -> Result<Token, getrandom::Error> {
        let code = Token::generate()?;
        let mut book = self.book();
        book.links.retain(|link| link.until > now);
        // Of the same token's first: nobody drives out another's.
        let own = book.links.iter().filter(|link| link.by == *by).count();
        if own >= MOST_OWN || book.links.len() >= MOST {
            let oldest = book.links.iter().position(|link| own == 0 || link.by == *by);
            oldest.map(|at| book.links.remove(at));
        }
        book.links.push(Link { code: code.sha256(), until: now + LINK_LASTS, by: by.clone() });
        Ok(code)
    }

    /// Logs in whoever shows a valid token.
    pub(crate) fn login(&self, token: &str, from: Option<IpAddr>, now: Instant) -> Result<Login, Refused> {
        self.admit(from, now, |_| self.tokens.of_given(token))
    }

    /// Logs in whoever shows a link's code, once.
    pub(crate) fn login_by_link(&self, code: &str, from: Option<IpAddr>, now: Instant) -> Result<Login, Refused> {
        let hash = Token::hash_of(code);
        self.admit(from, now, |book| {
            let fits = |link: &Link| bool::from(link.code.ct_eq(&hash)) && link.until > now;
            let at = book.links.iter().position(fits)?;
            let Link { by, .. } = book.links.remove(at);
            self.tokens.of_id(&by)
        })
    }

    fn admit(
        &self,
        from: Option<IpAddr>,
        now: Instant,
        check: impl FnOnce(&mut Book) -> Option<Arc<Holder>>,
    ) -> Result<Login, Refused> {
        let mut book = self.book();
        book.attempts.may(from, now).map_err(Refused::Wait)?;
        let Some(holder) = check(&mut book) else {
            book.attempts.failed(from, now);
            return Err(Refused::Wrong);
        };
        book.attempts.succeeded(from);
        let fresh = || Token::generate().map_err(|_| Refused::NoRandomness);
        let (cookie, key) = (fresh()?, fresh()?);
        let carried = self.tokens.carry(holder.id.clone()).map_err(|_| Refused::NoRandomness)?;
        book.sessions.retain(|_, session| session.lives(now));
        let own = book.sessions.values().filter(|one| one.token == holder.id).count();
        if own >= MOST_OWN || book.sessions.len() >= MOST {
            let candidates = book.sessions.iter().filter(|(_, one)| own == 0 || one.token == holder.id);
            if let Some(oldest) = candidates.min_by_key(|(_, one)| one.used).map(|(cookie, _)| *cookie) {
                book.sessions.remove(&oldest);
            }
        }
        let session = Session { key: key.sha256(), token: holder.id.clone(), carried, made: now, used: now };
        book.sessions.insert(cookie.sha256(), session);
        Ok(Login { cookie, key, holder })
    }

    /// What a request with these headers goes on with, if they are of a session that lives; it then counts as used.
    pub(crate) fn knows(&self, headers: &HeaderMap, port: &str, now: Instant) -> Option<HeaderValue> {
        let key = Token::hash_of(headers.get(SESSION_HEADER)?.to_str().ok()?);
        let mut book = self.book();
        for cookie in cookies(headers, port) {
            let cookie = Token::hash_of(cookie);
            let Some(session) = book.sessions.get_mut(&cookie) else { continue };
            if self.tokens.of_id(&session.token).is_none() || !session.lives(now) {
                book.sessions.remove(&cookie);
            } else if session.key.ct_eq(&key).into() {
                session.used = now;
                return Some(session.carried.header.clone());
            }
        }
        None
    }

    /// When the session of these headers ends, if nothing is asked with it.
    pub(crate) fn left(&self, headers: &HeaderMap, port: &str, now: Instant) -> Option<Duration> {
        let book = self.book();
        let session = cookies(headers, port).find_map(|cookie| book.sessions.get(&Token::hash_of(cookie)))?;
        Some((session.made + LASTS).min(session.used + IDLE).saturating_duration_since(now))
    }

    /// Ends the session of these headers, if there is one.
    pub(crate) fn logout(&self, headers: &HeaderMap, port: &str) {
        let mut book = self.book();
        for cookie in cookies(headers, port) {
            book.sessions.remove(&Token::hash_of(cookie));
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Session ===

impl Session {
    fn lives(&self, now: Instant) -> bool {
        now < self.made + LASTS && now < self.used + IDLE
    }
}

/// Lets a request with a session go on with a token; any other goes on as it is. Whoever brings credentials of their
/// own is judged by those.
pub async fn carry(sessions: Arc<Sessions>, mut request: Request, next: Next) -> Response {
    // A signed request says by itself who makes it, in its query too.
    if !request.headers().contains_key(header::AUTHORIZATION)
        && !aws::sigv4::is_signed(request.headers(), request.uri().query().unwrap_or_default())
        && let Some(host) = host_of(&request)
        && sessions.hosts.allows(host)
        && !cross_site(request.method(), request.uri(), request.headers())
        && let Some(bearer) = sessions.knows(request.headers(), port_of(host), Instant::now())
    {
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    next.run(request).await
}

/// The `Set-Cookie` of a session, or, without one, what ends it in the browser.
pub(crate) fn set_cookie(port: &str, cookie: Option<&Token>) -> Option<HeaderValue> {
    let (value, age) = cookie.map_or(("", 0), |cookie| (cookie.as_str(), LASTS.as_secs()));
    let text = format!("{COOKIE}{port}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The port in a `Host`; `80` where it has none.
pub(crate) fn port_of(host: &str) -> &str {
    let port = host.rsplit_once(':').map(|(_, port)| port);
    port.filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or("80")
}

/// What the session cookie of that port holds; more than one where an attacker set another.
fn cookies<'a>(headers: &'a HeaderMap, port: &'a str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter_map(move |(name, value)| (name.strip_prefix(COOKIE)? == port).then_some(value)).take(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: &str = "7070";

    fn made() -> (Sessions, Token, Arc<TokenSet>) {
        let token = Token::generate().unwrap();
        let stored = crate::holders::tests::stored(&token, "admin", &["admin"]);
        let tokens = Arc::new(TokenSet::new(vec![stored], Default::default()));
        let hosts = Arc::new(Hosts::new("127.0.0.1:7070".parse().unwrap(), []));
        (Sessions::new(tokens.clone(), hosts), token, tokens)
    }

    fn headers(cookie: &Token, key: &Token) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert("cookie", format!("a=1; hearth_session_7070={}", cookie.as_str()).parse().unwrap());
        map.insert(SESSION_HEADER, key.as_str().parse().unwrap());
        map
    }

    #[test]
    fn cookie_and_key_are_needed_both_and_on_their_port() {
        let (sessions, token, _) = made();
        let now = Instant::now();
        let login = sessions.login(token.as_str(), None, now).unwrap();
        let other = sessions.login(token.as_str(), None, now).unwrap();
        assert!(sessions.knows(&headers(&login.cookie, &login.key), PORT, now).is_some());
        assert!(sessions.knows(&headers(&login.cookie, &login.key), "7071", now).is_none());
        assert!(sessions.knows(&headers(&login.cookie, &other.key), PORT, now).is_none());
        let mut without = headers(&login.cookie, &login.key);
        without.remove(SESSION_HEADER);
        assert!(sessions.knows(&without, PORT, now).is_none());
    }

    #[test]
    fn a_session_ends_by_time_by_idleness_by_logout_and_with_its_token() {
        let (sessions, token, tokens) = made();
        let now = Instant::now();
        let login = |at| {
            let login = sessions.login(token.as_str(), None, at).unwrap();
            headers(&login.cookie, &login.key)
        };
        let idle = login(now);
        assert!(sessions.knows(&idle, PORT, now + IDLE - Duration::from_secs(1)).is_some());
        assert!(sessions.knows(&idle, PORT, now + IDLE * 3).is_none());
        let busy = login(now);
        let hourly = |hour: u32| sessions.knows(&busy, PORT, now + Duration::from_secs(3600) * hour).is_some();
        assert!((1..12).all(hourly));
        assert!(!hourly(12), "twelve hours, however busy");
        let left = login(now);
        sessions.logout(&left, PORT);
        assert!(sessions.knows(&left, PORT, now).is_none());
        let revoked = login(now);
        tokens.remove(&TokenId::of(&token.sha256()));
        assert!(sessions.knows(&revoked, PORT, now).is_none());
    }

    #[test]
    fn a_link_is_good_once_not_for_long_and_no_longer_than_its_token() {
        let (sessions, token, tokens) = made();
        let (now, id) = (Instant::now(), TokenId::of(&token.sha256()));
        let link = sessions.link(&id, now).unwrap();
        assert_eq!(sessions.login_by_link(link.as_str(), None, now).unwrap().holder.id, id);
        assert_eq!(sessions.login_by_link(link.as_str(), None, now).err(), Some(Refused::Wrong));
        let late = sessions.link(&id, now).unwrap();
        assert_eq!(sessions.login_by_link(late.as_str(), None, now + LINK_LASTS).err(), Some(Refused::Wrong));
        let then = now + LINK_LASTS;
        let revoked = sessions.link(&id, then).unwrap();
        tokens.remove(&id);
        assert_eq!(sessions.login_by_link(revoked.as_str(), None, then).err(), Some(Refused::Wrong));
    }

    #[test]
    fn failed_logins_of_an_address_make_it_wait_and_no_other() {
        let (sessions, token, _) = made();
        let (now, here, there) = (Instant::now(), Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
        for _ in 0..5 {
            assert_eq!(sessions.login("hth_no", here, now).err(), Some(Refused::Wrong));
        }
        let minute = Duration::from_secs(60);
        assert_eq!(sessions.login(token.as_str(), here, now).err(), Some(Refused::Wait(minute)));
        assert!(sessions.login(token.as_str(), there, now).is_ok());
        assert!(sessions.login(token.as_str(), here, now + minute).is_ok());
    }

    #[test]
    fn what_carries_requests_is_no_token_to_log_in_with() {
        let (sessions, token, tokens) = made();
        let login = sessions.login(token.as_str(), None, Instant::now()).unwrap();
        let own = sessions.knows(&headers(&login.cookie, &login.key), PORT, Instant::now()).unwrap();
        let own = own.to_str().unwrap();
        assert!(tokens.authorizes(own));
        let own = own.strip_prefix("Bearer ").unwrap();
        assert_eq!(sessions.login(own, None, Instant::now()).err(), Some(Refused::Wrong));
    }

    #[test]
    fn the_port_is_the_hosts() {
        assert_eq!(port_of("localhost:7070"), "7070");
        assert_eq!(port_of("[::1]:81"), "81");
        assert_eq!(port_of("[::1]"), "80");
        assert_eq!(port_of("localhost"), "80");
    }
}
