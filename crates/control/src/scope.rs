//! What a token lets its holder do: a list of scopes, as people write them.
//!
//! ```text
//! admin            everything
//! read             to see everything but secrets, tokens and what functions wrote
//! secrets:write    to set and remove secrets, and to give them to functions
//! invoke:NAME      to call a function
//! deploy:NAME      to make, change and remove a function, its versions, aliases and canaries
//! logs:NAME        to read what a function wrote, and the records of its calls
//! ```
//!
//! `*` in a NAME is any text. Nothing follows from anything else: who may deploy may not call. Pure: no clock, no I/O.

use std::fmt;
use std::str::FromStr;

/// Scopes of one token at most.
pub const MOST: usize = 50;
/// Longest name with stars.
const LONGEST: usize = 64;

/// One thing that may be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    Admin,
    Read,
    SecretsWrite,
    Invoke(Names),
    Deploy(Names),
    Logs(Names),
}

/// Names of functions: one, or all that fit a text with stars.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Names(Box<str>);

/// Why a text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "scope {given:?} is not known: expected admin, read, secrets:write, invoke:NAME, deploy:NAME or logs:NAME, where \
     NAME is a function's name and may have * for any text"
)]
pub struct InvalidScope {
    given: String,
}

/// All that one token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Box<[Scope]>);

// === impl Names ===

impl Names {
    /// Whether the name fits.
    pub fn has(&self, name: &str) -> bool {
        // Back to the last star where it does not go on: time is the product of both lengths at most.
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut seen, mut back) = (0, 0, None);
        while seen < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    back = Some((at + 1, seen));
                    at += 1;
                }
                Some(byte) if *byte == name[seen] => (at, seen) = (at + 1, seen + 1),
                _ => match &mut back {
                    Some((after, from)) => {
                        *from += 1;
                        (at, seen) = (*after, *from);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }

    /// Whether every name fits.
    fn all(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }
}

// === impl Scope ===

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        // Whoever takes the token for a scope shall not find it in an error.
        let shown = if text.starts_with("hth_") { "hth_…" } else { text };
        let refuse = || InvalidScope { given: shown.chars().take(80).collect() };
        let names = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
            let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(fits);
            if fits { Ok(Names(text.into())) } else { Err(refuse()) }
        };
        match text.split_once(':') {
            None if text == "admin" => Ok(Self::Admin),
            None if text == "read" => Ok(Self::Read),
            Some(("secrets", "write")) => Ok(Self::SecretsWrite),
            Some(("invoke", name)) => Ok(Self::Invoke(names(name)?)),
            Some(("deploy", name)) => Ok(Self::Deploy(names(name)?)),
            Some(("logs", name)) => Ok(Self::Logs(names(name)?)),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::Read => f.write_str("read"),
            Self::SecretsWrite => f.write_str("secrets:write"),
            Self::Invoke(Names(name)) => write!(f, "invoke:{name}"),
            Self::Deploy(Names(name)) => write!(f, "deploy:{name}"),
            Self::Logs(Names(name)) => write!(f, "logs:{name}"),
        }
    }
}

// === impl Scopes ===

impl Scopes {
    /// Those of the installation's own token.
    pub fn admin() -> Self {
        Self([Scope::Admin].into())
    }

    /// Nothing at all.
    pub fn none() -> Self {
        Self([].into())
    }

    /// None twice, 1 to [`MOST`].
    pub fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut scopes = Vec::new();
        for text in texts {
            let scope: Scope = text.parse().map_err(|error: InvalidScope| error.to_string())?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        if !(1..=MOST).contains(&scopes.len()) {
            return Err(format!("{} scopes: expected 1 to {MOST}", scopes.len()));
        }
        Ok(Self(scopes.into()))
    }

    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    pub fn is_admin(&self) -> bool {
        self.0.contains(&Scope::Admin)
    }

    pub fn may_read(&self) -> bool {
        self.is_admin() || self.0.contains(&Scope::Read)
    }

    pub fn may_write_secrets(&self) -> bool {
        self.is_admin() || self.0.contains(&Scope::SecretsWrite)
    }

    pub fn may_invoke(&self, function: &str) -> bool {
        self.any(|scope| matches!(scope, Scope::Invoke(names) if names.has(function)))
    }

    pub fn may_deploy(&self, function: &str) -> bool {
        self.any(|scope| matches!(scope, Scope::Deploy(names) if names.has(function)))
    }

    /// Whether there is any function that it may deploy.
    pub fn may_deploy_any(&self) -> bool {
        self.any(|scope| matches!(scope, Scope::Deploy(_)))
    }

    pub fn may_deploy_all(&self) -> bool {
        self.any(|scope| matches!(scope, Scope::Deploy(names) if names.all()))
    }

    pub fn may_read_logs(&self, function: &str) -> bool {
        self.any(|scope| matches!(scope, Scope::Logs(names) if names.has(function)))
    }

    pub fn may_read_all_logs(&self) -> bool {
        self.any(|scope| matches!(scope, Scope::Logs(names) if names.all()))
    }

    /// Whether anything may be done with the function: otherwise the holder does not learn whether there is one.
    pub fn reach(&self, function: &str) -> bool {
        self.may_read()
            || self.any(|scope| match scope {
                Scope::Invoke(names) | Scope::Deploy(names) | Scope::Logs(names) => names.has(function),
                _ => false,
            })
    }

    fn any(&self, fits: impl Fn(&Scope) -> bool) -> bool {
        self.0.iter().any(|scope| *scope == Scope::Admin || fits(scope))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scopes(texts: &[&str]) -> Scopes {
        Scopes::read(texts.iter().copied()).unwrap()
    }

    #[test]
    fn a_scope_reads_back_and_others_are_refused() {
        for text in ["admin", "read", "secrets:write", "invoke:a", "deploy:web-*", "logs:*"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for bad in
            ["", "Admin", "invoke", "invoke:", "invoke:a/b", "write", "secrets:read", "logs:a b", "admin:*", "read "]
        {
            let error = bad.parse::<Scope>().unwrap_err().to_string();
            assert!(error.contains("expected admin, read"), "{bad}: {error}");
        }
        assert!(!"hth_secret".parse::<Scope>().unwrap_err().to_string().contains("secret\""));
        assert!(Scopes::read([]).is_err());
        assert_eq!(scopes(&["read", "read"]).texts(), ["read"]);
    }

    #[test]
    fn nothing_follows_from_anything_but_admin() {
        let one = scopes(&["invoke:a-*"]);
        assert!(one.may_invoke("a-1") && one.reach("a-1"));
        assert!(!one.may_invoke("b") && !one.reach("b") && !one.may_deploy("a-1") && !one.may_read_logs("a-1"));
        assert!(!one.may_read() && !one.may_write_secrets() && !one.may_deploy_any() && !one.is_admin());
        let read = scopes(&["read"]);
        assert!(read.reach("x") && !read.may_invoke("x") && !read.may_read_logs("x") && !read.may_write_secrets());
        let all = Scopes::admin();
        assert!(all.may_invoke("x") && all.may_deploy_all() && all.may_read_all_logs() && all.may_write_secrets());
        assert!(scopes(&["deploy:*"]).may_deploy_all() && !scopes(&["deploy:a*"]).may_deploy_all());
    }

    /// As one would say it, however slow.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => plainly(&pattern[1..], name) || (!name.is_empty() && plainly(pattern, &name[1..])),
            (Some(one), Some(other)) => one == other && plainly(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn stars_fit_as_one_would_say_it(pattern in "[ab*]{1,8}", name in "[ab]{0,8}") {
            prop_assert_eq!(Names(pattern.clone().into()).has(&name), plainly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
