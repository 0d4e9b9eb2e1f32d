//! Who called: the address at the other end of the socket; or, where that is a proxy that the operator trusts, the one
//! that it says it serves.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

/// Addresses of proxies: `10.0.0.0/8`, `192.168.1.2`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: expected ADDRESS or ADDRESS/BITS, like 10.0.0.0/8")]
pub struct InvalidNetwork(String);

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub peer: SocketAddr,
    /// Whom limits count.
    pub address: IpAddr,
    /// Whether what the peer says of its own client is believed.
    pub trusted: bool,
}

// === impl Caller ===

impl Caller {
    pub fn of(peer: SocketAddr, headers: &HeaderMap, proxies: &[Network]) -> Self {
        let trusts = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
        let mut address = peer.ip().to_canonical();
        let trusted = trusts(address);
        // From the nearest to the farthest: each entry is believed as far as whoever wrote it is.
        // Bytes that are no text stand for themselves: a stranger's must not hide what a proxy wrote into the same line.
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            if !trusts(address) {
                break;
            }
            match std::str::from_utf8(entry).ok().and_then(|entry| address_of(entry.trim())) {
                Some(before) => address = before,
                None => break,
            }
        }
        Self { peer, address, trusted }
    }
}

/// `10.0.0.1`, `10.0.0.1:80`, `fd00::1`, `[fd00::1]:80`.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.split(']').next()).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|one| one.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

// === impl Network ===

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => v4(network, self.bits) == v4(address, self.bits),
            (IpAddr::V6(network), IpAddr::V6(address)) => v6(network, self.bits) == v6(address, self.bits),
            _ => false,
        }
    }
}

fn v4(address: Ipv4Addr, bits: u8) -> u32 {
    address.to_bits().checked_shr(32 - u32::from(bits)).unwrap_or(0)
}

fn v6(address: Ipv6Addr, bits: u8) -> u128 {
    address.to_bits().checked_shr(128 - u32::from(bits)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let fail = || InvalidNetwork(text.chars().take(60).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| fail())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| fail()))?;
        if bits > most { Err(fail()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;
    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn caller(peer: &str, forwarded: &[&str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let proxies: Vec<Network> = proxies.iter().map(|one| one.parse().unwrap()).collect();
        Caller::of(SocketAddr::new(peer.parse().unwrap(), 1), &headers, &proxies).address.to_string()
    }

    #[test]
    fn a_header_counts_only_from_those_who_are_trusted() {
        assert_eq!(caller("9.9.9.9", &["1.1.1.1"], &[]), "9.9.9.9");
        assert_eq!(caller("9.9.9.9", &["1.1.1.1"], &["10.0.0.0/8"]), "9.9.9.9");
        assert_eq!(caller("10.1.1.1", &["1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(caller("10.1.1.1", &["6.6.6.6, 1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(caller("10.1.1.1", &["6.6.6.6, 1.1.1.1, 10.2.2.2:80"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(caller("10.1.1.1", &["1.1.1.1", "10.2.2.2"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(caller("10.1.1.1", &["6.6.6.6", "ü, 1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(caller("10.1.1.1", &["6.6.6.6", "ü"], &["10.0.0.0/8"]), "10.1.1.1");
        assert_eq!(caller("10.1.1.1", &["nonsense"], &["10.0.0.0/8"]), "10.1.1.1");
        assert_eq!(caller("10.1.1.1", &[], &["10.0.0.0/8"]), "10.1.1.1");
        assert_eq!(caller("::ffff:10.1.1.1", &["[fd00::1]:80"], &["10.1.1.1"]), "fd00::1");
    }

    #[test]
    fn a_network_is_an_address_and_its_bits() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
        let v6: Network = "fd00::/8".parse().unwrap();
        assert!(v6.contains("fdab::1".parse().unwrap()) && !v6.contains("fe80::1".parse().unwrap()));
        for wrong in ["", "10.0.0.0/33", "10.0.0", "a/8", "10.0.0.0/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
