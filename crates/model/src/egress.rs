//! What a function may reach over the network, as it is written and as it is checked.
//!
//! Refuses addresses that no function may reach whatever is asked for (loopback, link-local with the metadata address,
//! multicast), IPv6, which sandboxes do not have, and names, which would have to be followed wherever they lead.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Entries of one list at most: each is a rule that a new connection may be compared with.
pub const MAX_DESTINATIONS: usize = 64;

/// What a function may reach over the network. Never this machine, nor another sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Egress {
    /// Its own loopback only.
    #[default]
    None,
    /// All addresses that are not private or special.
    Internet,
    /// Those of the internet, and private ones.
    Lan,
    /// Exactly these.
    List(Destinations),
}

/// A list in order, each once, at least one and at most [`MAX_DESTINATIONS`]: equal lists are equal values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destinations(Vec<Destination>);

/// Addresses, and one port of them or all: `192.168.1.0/24`, `10.0.0.5:5432`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    network: Ipv4Addr,
    prefix: u8,
    port: Option<u16>,
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEgress {
    #[error(
        "egress {0:?} is not known: expected none, internet, lan, or a list of addresses like [\"192.168.1.10:5432\", \
         \"10.0.0.0/8\"]"
    )]
    Word(String),
    #[error("egress is an empty list: expected an address in it, or egress = \"none\"")]
    Empty,
    #[error("egress lists {0} destinations: expected at most {MAX_DESTINATIONS}")]
    TooMany(usize),
    #[error("egress {0:?} is not a destination: expected ADDRESS, ADDRESS/BITS, ADDRESS:PORT or ADDRESS/BITS:PORT")]
    Destination(String),
    #[error("egress {0:?} is a name, which is not supported: expected its addresses, or egress = \"internet\"")]
    Name(String),
    #[error("egress {0:?} is an IPv6 address: sandboxes have IPv4 only")]
    Ipv6(String),
    #[error("egress {given:?} has bits set beyond its network: expected {expected}")]
    HostBits { given: String, expected: String },
    #[error("egress {given:?} is {what}, which no function may reach")]
    Never { given: String, what: &'static str },
}

/// What no function reaches whatever it is allowed, and why.
pub const NEVER: [(Ipv4Addr, u8, &str); 5] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this machine"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "this machine's loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local: cloud machines tell their secrets there"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved or broadcast"),
];

/// What is not the internet: private, shared, and special addresses beside [`NEVER`] (RFC 6890).
pub const PRIVATE: [(Ipv4Addr, u8); 6] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
];

// === impl Egress ===

impl Egress {
    /// Whether it takes no network at all.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// A list of what is written.
    pub fn list<T: AsRef<str>>(texts: &[T]) -> Result<Self, InvalidEgress> {
        let list: Result<Vec<Destination>, _> = texts.iter().map(|text| text.as_ref().parse()).collect();
        let mut list = list?;
        list.sort();
        list.dedup();
        match list.len() {
            0 => Err(InvalidEgress::Empty),
            many if many > MAX_DESTINATIONS => Err(InvalidEgress::TooMany(many)),
            _ => Ok(Self::List(Destinations(list))),
        }
    }
}

/// A word, or a destination alone.
impl FromStr for Egress {
    type Err = InvalidEgress;
    fn from_str(text: &str) -> Result<Self, InvalidEgress> {
        match text.trim() {
            "none" => Ok(Self::None),
            "internet" => Ok(Self::Internet),
            "lan" => Ok(Self::Lan),
            list if list.contains(',') => Self::list(&list.split(',').map(str::trim).collect::<Vec<_>>()),
            one if one.contains(['.', ':', '/']) => Self::list(&[one]),
            other => Err(InvalidEgress::Word(other.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Internet => f.write_str("internet"),
            Self::Lan => f.write_str("lan"),
            Self::List(list) => {
                for (place, one) in list.iter().enumerate() {
                    write!(f, "{}{one}", if place == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Egress {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(list) => to.collect_seq(list.iter().map(Destination::to_string)),
            word => to.collect_str(word),
        }
    }
}

impl<'de> Deserialize<'de> for Egress {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected none, internet, lan, or a list of addresses in quotes")]
        enum Raw {
            Word(String),
            List(Vec<String>),
        }
        let read = match Raw::deserialize(from)? {
            Raw::Word(word) => word.parse(),
            Raw::List(list) => Self::list(&list),
        };
        read.map_err(serde::de::Error::custom)
    }
}

// === impl Destinations ===

impl Destinations {
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.iter()
    }
}

// === impl Destination ===

impl Destination {
    pub fn network(&self) -> Ipv4Addr {
        self.network
    }

    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Of TCP and UDP; none: all, and other protocols too.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether an address is one of them.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network.to_bits()
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Destination {
    type Err = InvalidEgress;
    fn from_str(text: &str) -> Result<Self, InvalidEgress> {
        let text = text.trim();
        let given = || text.chars().take(80).collect::<String>();
        let bad = || InvalidEgress::Destination(given());
        if text.starts_with('[') || text.matches(':').count() > 1 {
            return Err(InvalidEgress::Ipv6(given()));
        }
        let (network, port) = match text.split_once(':') {
            Some((network, port)) => (network, Some(number(port).filter(|port| *port != 0).ok_or_else(bad)?)),
            None => (text, None),
        };
        let (address, prefix) = match network.split_once('/') {
            Some((address, bits)) => (address, number(bits).filter(|bits| *bits <= 32).ok_or_else(bad)?),
            None => (network, 32),
        };
        let prefix = u8::try_from(prefix).map_err(|_| bad())?;
        if address.contains(|c: char| c.is_ascii_alphabetic()) {
            return Err(InvalidEgress::Name(given()));
        }
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let network = Ipv4Addr::from_bits(address.to_bits() & mask(prefix));
        let destination = Self { network, prefix, port };
        if network != address {
            return Err(InvalidEgress::HostBits { given: given(), expected: destination.to_string() });
        }
        // One that is wider than these is right: what is never reached stays so in it.
        let inside =
            |never: &&(Ipv4Addr, u8, &str)| prefix >= never.1 && network.to_bits() & mask(never.1) == never.0.to_bits();
        match NEVER.iter().find(inside) {
            Some((_, _, what)) => Err(InvalidEgress::Never { given: given(), what }),
            None => Ok(destination),
        }
    }
}

/// Digits only: not `+1`, nor what takes more room than a port.
fn number(text: &str) -> Option<u16> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)?;
        if self.prefix != 32 {
            write!(f, "/{}", self.prefix)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(text: &str) -> String {
        text.parse::<Egress>().unwrap_err().to_string()
    }

    #[test]
    fn words_and_lists_are_read() {
        assert_eq!("internet".parse(), Ok(Egress::Internet));
        assert_eq!(serde_json::from_str::<Egress>("\"lan\"").unwrap(), Egress::Lan);
        let list: Egress = serde_json::from_str(r#"["10.0.0.5:5432", "192.168.0.0/16", "10.0.0.5:5432"]"#).unwrap();
        assert_eq!(list.to_string(), "10.0.0.5:5432,192.168.0.0/16");
        assert_eq!(list.to_string().parse(), Ok(list.clone()));
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"["10.0.0.5:5432","192.168.0.0/16"]"#);
        assert!("0.0.0.0/0:443".parse::<Egress>().is_ok(), "wider than what is never reached");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        for (text, expected) in [
            ("world", "expected none, internet, lan, or a list"),
            ("127.0.0.1:80", "this machine's loopback"),
            ("169.254.169.254", "link-local"),
            ("0.0.0.0", "this machine"),
            ("239.1.1.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("fd00:ec2::254", "IPv6"),
            ("[::1]:80", "IPv6"),
            ("api.example.com:443", "is a name"),
            ("10.0.0.1/8", "expected 10.0.0.0/8"),
            ("10.0.0.0/33", "expected ADDRESS"),
            ("10.0.0.1:0", "expected ADDRESS"),
            ("10.0.0.1:99999", "expected ADDRESS"),
            ("10.0.0.1:+1", "expected ADDRESS"),
            ("10.1", "expected ADDRESS"),
            ("0300.0.0.1", "expected ADDRESS"),
        ] {
            assert!(said(text).contains(expected), "{text}: {}", said(text));
        }
        assert_eq!(Egress::list::<&str>(&[]), Err(InvalidEgress::Empty));
        let many: Vec<_> = (0..65).map(|last| format!("10.0.0.{last}")).collect();
        assert_eq!(Egress::list(&many), Err(InvalidEgress::TooMany(65)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<Egress>();
        }

        #[test]
        fn what_is_written_is_read_as_it_was(bits: u32, prefix in 0u8..=32, port in proptest::option::of(1u16..)) {
            let network = Ipv4Addr::from_bits(bits & mask(prefix));
            let one = Destination { network, prefix, port };
            match one.to_string().parse::<Destination>() {
                Ok(read) => {
                    prop_assert_eq!(read, one);
                    prop_assert!(one.has(Ipv4Addr::from_bits(bits)));
                }
                Err(error) => prop_assert!(matches!(error, InvalidEgress::Never { .. }), "{}", error),
            }
        }
    }
}
