//! The private addresses that sandboxes and the wires to the host have, and which of them are free: pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::rules::Ends;

/// A private network between /12 and /22: a sixteenth of it for wires, the rest for sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    network: Ipv4Addr,
    prefix: u8,
}

/// A route of the host's: network, prefix, device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub network: Ipv4Addr,
    pub prefix: u8,
    pub device: String,
}

// === impl Range ===

impl Default for Range {
    /// One that home routers, VPNs and container tools leave alone.
    fn default() -> Self {
        Self { network: Ipv4Addr::new(10, 201, 0, 0), prefix: 16 }
    }
}

impl Range {
    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + offset)
    }

    /// How many addresses sandboxes have.
    pub fn sandboxes(self) -> u32 {
        self.size() - self.size() / 16
    }

    /// A sandbox's, by number.
    pub fn sandbox(self, number: u32) -> Ipv4Addr {
        self.at(self.size() / 16 + number % self.sandboxes())
    }

    /// A wire that nobody has yet, from this number on; the error names what is in the way.
    pub fn wire(self, first: u32, routes: &[Route]) -> Result<Ends, String> {
        let ours = |route: &&Route| route.device.starts_with(super::DEVICE);
        if let Some(other) = routes.iter().find(|one| !ours(one) && one.overlaps(self.network, self.prefix)) {
            return Err(format!(
                "{self}, which sandboxes are to have, is in use: {}/{} is reached through {}",
                other.network, other.prefix, other.device
            ));
        }
        let wires = self.size() / 16 / 4;
        let place = |number: u32| self.at(first.wrapping_add(number) % wires * 4);
        let free = |network: &Ipv4Addr| !routes.iter().any(|route| route.overlaps(*network, 30));
        let network = (0..wires).map(place).find(free).ok_or_else(|| format!("all of {self} is in use"))?.to_bits();
        Ok(Ends { host: Ipv4Addr::from_bits(network + 1), router: Ipv4Addr::from_bits(network + 2) })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a range: expected a private network like 10.201.0.0/16, /12 to /22");
        let (network, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let network: Ipv4Addr = network.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let range = Self { network, prefix };
        let fits = network.is_private() && (12..=22).contains(&prefix);
        if !fits || network.to_bits() & (range.size() - 1) != 0 || !range.at(range.size() - 1).is_private() {
            return Err(wrong());
        }
        Ok(range)
    }
}

impl TryFrom<String> for Range {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

// === impl Route ===

impl Route {
    /// Those of `/proc/net/route`; the one that leads everywhere else is none.
    pub fn read(text: &str) -> Vec<Self> {
        let address = |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
        let route = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (network, mask) = (address(fields.get(1)?)?, address(fields.get(7)?)?);
            let prefix = mask.to_bits().leading_ones() as u8;
            (prefix != 0).then(|| Self { network, prefix, device: fields[0].to_owned() })
        };
        text.lines().skip(1).filter_map(route).collect()
    }

    fn overlaps(&self, network: Ipv4Addr, prefix: u8) -> bool {
        let shift = 32 - u32::from(self.prefix.min(prefix));
        let shared = |one: Ipv4Addr| u64::from(one.to_bits()) >> shift;
        shared(self.network) == shared(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
        hrt-aa\t0000C90A\t00000000\t0001\t0\t0\t0\tFCFFFFFF\t0\t0\t0\n";

    #[test]
    fn a_wire_is_where_nobody_is() {
        let routes = Route::read(TABLE);
        assert_eq!(routes.len(), 2);
        assert_eq!((routes[0].network, routes[0].prefix), (Ipv4Addr::new(192, 0, 2, 0), 24));
        let wire = Range::default().wire(0, &routes).unwrap();
        assert_eq!(wire, Ends { host: Ipv4Addr::new(10, 201, 0, 5), router: Ipv4Addr::new(10, 201, 0, 6) });
        let lan = Route { network: Ipv4Addr::new(10, 0, 0, 0), prefix: 8, device: "eth1".into() };
        let refused = Range::default().wire(0, &[lan]).unwrap_err();
        assert!(refused.contains("10.0.0.0/8 is reached through eth1"), "{refused}");
    }

    #[test]
    fn sandboxes_and_wires_share_no_address() {
        let range: Range = "172.20.4.0/22".parse().unwrap();
        let wire = range.wire(u32::MAX, &[]).unwrap();
        assert!(wire.router < range.sandbox(0));
        assert_eq!(range.sandbox(range.sandboxes()), range.sandbox(0));
        assert_eq!(range.sandbox(range.sandboxes() - 1), Ipv4Addr::new(172, 20, 7, 255));
    }

    #[test]
    fn a_range_is_private_and_neither_tiny_nor_huge() {
        for wrong in ["10.0.0.0/8", "10.201.0.1/16", "8.8.0.0/16", "10.0.0.0/24", "10.0.0.0", "172.0.0.0/12", "x/16"] {
            assert!(wrong.parse::<Range>().unwrap_err().contains("expected a private network"), "{wrong}");
        }
    }
}
