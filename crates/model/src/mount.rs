//! Mounts: folders of the host that a function sees, and which of them its operator allows.
//!
//! Everything here is about texts. Whoever mounts looks at the folders themselves, and follows no link.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Mounts that one function may have.
pub const MAX_MOUNTS: usize = 16;

/// Where mounts are seen: AWS Lambda's place for file systems, and nothing else's in any sandbox.
pub const MOUNTS_FOLDER: &str = "/mnt";

/// A folder of the host's in a function's sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Which, by its absolute path on the host.
    pub host: HostFolder,
    /// Where it is seen: `/mnt/NAME`.
    pub path: MountPath,
    /// Whether nothing can be changed in it.
    #[serde(default = "default_read_only")]
    pub read_only: bool,
}

/// An absolute path in its shortest form: no `.`, no `..`, no slash twice or at the end. Never `/` itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostFolder(String);

/// `/mnt/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountPath(String);

/// A folder that functions may mount, and everything below it. Written `/srv/photos`, or `/srv/photos:ro`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowedMount {
    pub host: HostFolder,
    /// Whether functions may change what is in it.
    pub writable: bool,
}

/// Why a text is not the path of a mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMount {
    #[error(
        "host folder {0:?} is not valid: expected an absolute path without . or .., like /srv/photos, and not / itself"
    )]
    Host(String),
    #[error("mount path {0:?} is not valid: expected /mnt/NAME, NAME of 1 to 64 of A-Z a-z 0-9 . _ -")]
    Path(String),
}

/// Why a mount is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountRefused {
    #[error(
        "the host folder {host} may not be mounted: whoever runs Hearth can allow it with `hearth up --allow-mount {host}{}`",
        if *read_only { ":ro" } else { "" }
    )]
    Outside { host: HostFolder, read_only: bool },
    #[error(
        "the host folder {host} may be mounted read-only only (--allow-mount {allowed}): say read-only = true, or have whoever \
         runs Hearth allow it with `hearth up --allow-mount {host}`"
    )]
    ReadOnly { host: HostFolder, allowed: AllowedMount },
}

fn default_read_only() -> bool {
    true
}

/// The part of the list that allows the mount: the longest that allows what it asks for.
pub fn allowed<'a>(list: &'a [AllowedMount], mount: &Mount) -> Result<&'a AllowedMount, MountRefused> {
    let holding = || list.iter().filter(|one| mount.host.below(&one.host).is_some());
    let fits = holding().filter(|one| one.writable || mount.read_only);
    if let Some(found) = fits.max_by_key(|one| one.host.0.len()) {
        return Ok(found);
    }
    let host = mount.host.clone();
    Err(match holding().max_by_key(|one| one.host.0.len()) {
        Some(allowed) => MountRefused::ReadOnly { host, allowed: allowed.clone() },
        None => MountRefused::Outside { host, read_only: mount.read_only },
    })
}

// === impl HostFolder ===

impl HostFolder {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its path from `other` on, empty for `other` itself; none if it is not in it.
    pub fn below<'a>(&'a self, other: &HostFolder) -> Option<&'a str> {
        match self.0.strip_prefix(&other.0)? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        }
    }
}

impl FromStr for HostFolder {
    type Err = InvalidMount;
    fn from_str(text: &str) -> Result<Self, InvalidMount> {
        let part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control());
        match text.strip_prefix('/') {
            Some(rest) if text.len() < 4096 && rest.split('/').all(part) => Ok(Self(text.to_owned())),
            _ => Err(InvalidMount::Host(text.chars().take(200).collect())),
        }
    }
}

// === impl MountPath ===

impl MountPath {
    /// What comes after `/mnt/`.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }
}

impl FromStr for MountPath {
    type Err = InvalidMount;
    fn from_str(text: &str) -> Result<Self, InvalidMount> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits =
            |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(letter) && !matches!(name, "." | "..");
        match text.strip_prefix("/mnt/") {
            Some(name) if fits(name) => Ok(Self(text.to_owned())),
            _ => Err(InvalidMount::Path(text.chars().take(200).collect())),
        }
    }
}

// === impl AllowedMount ===

impl FromStr for AllowedMount {
    type Err = InvalidMount;
    fn from_str(text: &str) -> Result<Self, InvalidMount> {
        let (host, writable) = match text.strip_suffix(":ro") {
            Some(host) => (host, false),
            None => (text, true),
        };
        // People's shells complete folders with a slash.
        let host = if host.len() > 1 { host.strip_suffix('/').unwrap_or(host) } else { host };
        Ok(Self { host: host.parse()?, writable })
    }
}

impl fmt::Display for AllowedMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.writable {
            false => ":ro",
            // Its name is no word about it.
            true if self.host.as_str().ends_with(":ro") => "/",
            true => "",
        };
        write!(f, "{}{end}", self.host)
    }
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidMount;
            fn try_from(text: String) -> Result<Self, InvalidMount> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(one: $name) -> String {
                one.to_string()
            }
        }
    )*};
}
text!(HostFolder MountPath AllowedMount);

impl fmt::Display for HostFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(texts: &[&str]) -> Vec<AllowedMount> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn mount(host: &str, read_only: bool) -> Mount {
        Mount { host: host.parse().unwrap(), path: "/mnt/x".parse().unwrap(), read_only }
    }

    #[test]
    fn a_mount_is_read_only_unless_it_says_otherwise() {
        let read: Mount = serde_json::from_str(r#"{"host":"/srv/photos","path":"/mnt/photos"}"#).unwrap();
        assert!(read.read_only);
    }

    #[test]
    fn what_is_outside_the_list_is_refused_with_what_to_allow() {
        let allow = list(&["/srv/photos:ro", "/srv/photos/new", "/backup/"]);
        assert!(allowed(&allow, &mount("/srv/photos", true)).is_ok());
        assert!(allowed(&allow, &mount("/srv/photos/2026/may", true)).is_ok());
        assert_eq!(allowed(&allow, &mount("/srv/photos/new/a", false)).unwrap().host.as_str(), "/srv/photos/new");
        assert!(allowed(&allow, &mount("/backup", false)).is_ok());
        let said = |host, read_only| allowed(&allow, &mount(host, read_only)).unwrap_err().to_string();
        assert!(said("/srv/photos", false).contains("read-only only (--allow-mount /srv/photos:ro)"));
        assert!(said("/srv/photos2", true).contains("--allow-mount /srv/photos2:ro"));
        assert!(said("/srv", false).ends_with("--allow-mount /srv`"));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_none() {
        for host in ["", "/", "srv", "/srv/", "/srv//a", "/srv/../etc", "/srv/.", "/a\0b", "/a\nb"] {
            assert!(host.parse::<HostFolder>().is_err(), "{host:?}");
        }
        for path in ["/mnt", "/mnt/", "/mnt/a/b", "/mnt/..", "/etc", "/mnt/a b", "mnt/a", "/proc/self", "/mnt/ä"] {
            assert!(path.parse::<MountPath>().is_err(), "{path:?}");
        }
        assert_eq!("/mnt/a.b-c_1".parse::<MountPath>().unwrap().name(), "a.b-c_1");
    }

    #[test]
    fn what_may_be_mounted_reads_what_it_writes() {
        for (text, host, writable) in
            [("/a/", "/a", true), ("/a:ro", "/a", false), ("/a:ro/", "/a:ro", true), ("/a:ro:ro", "/a:ro", false)]
        {
            let one: AllowedMount = text.parse().unwrap();
            assert_eq!((one.host.as_str(), one.writable), (host, writable), "{text}");
            assert_eq!(one.to_string().parse(), Ok(one), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_allowed_that_is_not_below_what_is(allow in "(/[ab]{1,2}){1,3}", host in "(/[ab]{1,2}){1,4}") {
            let granted = allowed(&list(&[&allow]), &mount(&host, true)).is_ok();
            prop_assert_eq!(granted, std::path::Path::new(&host).starts_with(&allow));
        }

        #[test]
        fn a_host_folder_is_its_own_shortest_form(text in "[a./]{0,12}") {
            if let Ok(folder) = text.parse::<HostFolder>() {
                let parts: std::path::PathBuf = std::path::Path::new(&text).components().collect();
                prop_assert_eq!(parts.to_str(), Some(folder.as_str()));
                prop_assert!(!text.split('/').any(|part| part == ".."));
            }
        }
    }
}
