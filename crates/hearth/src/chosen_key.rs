//! An access key that the operator chose: for set-ups that have theirs written down already.
//!
//! The secret comes through the environment, which only the server's user reads, never through arguments. Tests use keys
//! as weak as `test`: those are taken only where nobody but this machine can reach the API.

use std::net::SocketAddr;

use anyhow::bail;

/// Where they are given.
pub const ID: &str = "HEARTH_AWS_ACCESS_KEY_ID";
pub const SECRET: &str = "HEARTH_AWS_SECRET_ACCESS_KEY";

/// Longest, each.
const LONGEST: usize = 128;
/// A secret that others could try to guess has at least so many characters.
const STRONG: usize = 32;

/// Id and secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ChosenKey {
    pub id: String,
    pub secret: String,
}

impl ChosenKey {
    /// What the environment says, for an API that listens here; none where it says nothing.
    pub fn from_environment(listen: SocketAddr) -> anyhow::Result<Option<Self>> {
        let said = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::read(said(ID), said(SECRET), listen)
    }

    fn read(id: Option<String>, secret: Option<String>, listen: SocketAddr) -> anyhow::Result<Option<Self>> {
        let (id, secret) = match (id, secret) {
            (None, None) => return Ok(None),
            (Some(id), Some(secret)) => (id, secret),
            (Some(_), None) => bail!("{ID} is set and {SECRET} is not: expected both or neither"),
            (None, Some(_)) => bail!("{SECRET} is set and {ID} is not: expected both or neither"),
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if id.len() > LONGEST || !id.bytes().all(word) {
            bail!("{ID} is no access key id: expected 1 to {LONGEST} of A-Z a-z 0-9 _");
        }
        if secret.len() > LONGEST || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!(
                "{SECRET} is no secret access key: expected 1 to {LONGEST} printable ASCII characters without spaces"
            );
        }
        if secret.len() < STRONG && !listen.ip().is_loopback() {
            bail!(
                "{SECRET} has {} characters, and the API listens on {listen}, where others can try to guess it: expected \
                 {STRONG} or more, or --listen on this machine's own address",
                secret.len()
            );
        }
        Ok(Some(Self { id, secret }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_or_neither_and_a_weak_one_only_at_home() {
        let read = |id: &str, secret: &str, listen: &str| {
            let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let read = ChosenKey::read(said(id), said(secret), listen.parse().unwrap());
            read.map(|key| key.is_some()).map_err(|error| error.to_string())
        };
        let (home, out) = ("127.0.0.1:7070", "0.0.0.0:7070");
        assert_eq!(read("", "", out), Ok(false));
        assert_eq!(read("test", "test", home), Ok(true));
        assert_eq!(read("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", out), Ok(true));
        for (id, secret, listen, said) in [
            ("test", "", home, SECRET),
            ("", "test", home, ID),
            ("a b", "test", home, "1 to 128 of"),
            ("test", "a b", home, "printable"),
            ("test", "test", out, "32 or more"),
        ] {
            let error = read(id, secret, listen).unwrap_err();
            assert!(error.contains(said), "{error}");
            assert!(secret.is_empty() || !error.contains(&format!("{secret} ")), "{error}");
        }
    }
}
