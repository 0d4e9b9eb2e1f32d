//! The rules, as nft reads them: pure text. Two tables, in two network namespaces.
//!
//! ```text
//! sandbox ──► router's namespace: who may reach what, by the device's group ──► host's namespace: none of the host
//! ```
//!
//! The router's table goes with its namespace. The host's has the installation's name, and is replaced as a whole.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use model::{Destinations, NEVER, PRIVATE};

use super::range::Range;

/// The router's device towards the host.
pub const UPLINK: &str = "uplink";

/// What every sandbox knows as its gateway and resolver. Link-local, so that it is nobody's anywhere else.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 100, 53);

/// Device groups. Lists have the numbers from the last on.
pub const INTERNET: u32 = 1;
pub const LAN: u32 = 2;
pub const FIRST_LIST: u32 = 16;

/// Connections of one sandbox at once: the host keeps a record of each.
const CONNECTIONS: u32 = 1024;

/// An answer at once: nobody waits for a time-out.
const REFUSE: &str = "goto refuse";

/// Of the answers that ICMP has, those that are heard by TCP and UDP of Linux and of gVisor.
const REFUSAL: &str = "chain refuse {
		meta l4proto tcp reject with icmpx host-unreachable
		reject with icmpx port-unreachable
	}";

const DNS: &str = "meta l4proto { tcp, udp } th dport 53";

/// Both ends of the wire between the router and the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub host: Ipv4Addr,
    pub router: Ipv4Addr,
}

/// What the host's table depends on.
#[derive(Debug)]
pub struct Host<'a> {
    pub table: &'a str,
    /// Its device towards the router.
    pub device: &'a str,
    pub ends: Ends,
    /// Who answers questions about names.
    pub resolver: Option<Ipv4Addr>,
    /// Devices between which nothing is forwarded, because nothing was before Hearth came.
    pub apart: &'a [String],
}

/// The router's table.
pub fn router(ends: Ends, range: Range) -> String {
    let never = set(NEVER.iter().map(|(network, prefix, _)| (*network, *prefix)));
    let private = set(PRIVATE.iter().copied());
    let host = ends.host;
    format!(
        r#"table inet hearth {{
	map policies {{
		type devgroup : verdict
		elements = {{ {INTERNET} : goto internet, {LAN} : goto lan }}
	}}
	set connections {{
		type iface_index
		flags dynamic
		size 65535
	}}
	{REFUSAL}
	chain raw {{
		type filter hook prerouting priority raw; policy accept;
		meta nfproto != ipv4 drop
		fib saddr . iif oif missing drop
	}}
	chain names {{
		type nat hook prerouting priority dstnat; policy accept;
		meta iifgroup {{ {INTERNET}, {LAN} }} ip daddr {GATEWAY} {DNS} dnat ip to {host}
	}}
	chain input {{
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		{REFUSE}
	}}
	chain internet {{
		ip daddr {private} {REFUSE}
		accept
	}}
	chain lan {{
		accept
	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		iifname "{UPLINK}" drop
		oifname != "{UPLINK}" {REFUSE}
		ct state new add @connections {{ iif ct count over {CONNECTIONS} }} {REFUSE}
		ct status dnat ip daddr {host} {DNS} accept
		ip daddr {never} {REFUSE}
		ip daddr {range} {REFUSE}
		meta iifgroup vmap @policies
	}}
	chain out {{
		type nat hook postrouting priority srcnat; policy accept;
		oifname "{UPLINK}" masquerade
	}}
}}
"#
    )
}

/// The rules of one list, of its own group.
pub fn list(group: u32, destinations: &Destinations) -> String {
    let mut text = format!("table inet hearth {{\n\tchain list-{group} {{\n");
    for one in destinations.iter() {
        let _ = write!(text, "\t\tip daddr {}/{} ", one.network(), one.prefix());
        if let Some(port) = one.port() {
            let _ = write!(text, "meta l4proto {{ tcp, udp }} th dport {port} ");
        }
        text.push_str("accept\n");
    }
    let _ =
        writeln!(text, "\t\t{REFUSE}\n\t}}\n}}\nadd element inet hearth policies {{ {group} : goto list-{group} }}");
    text
}

/// Takes a list away whose group nobody is in any more.
pub fn without_list(group: u32) -> String {
    format!("delete element inet hearth policies {{ {group} }}\ndelete chain inet hearth list-{group}\n")
}

/// The host's table, in the place of the one that may be there.
pub fn host(host: &Host<'_>) -> String {
    let Host { table, device, ends, resolver, apart } = host;
    let Ends { host: here, router: there } = ends;
    let names = match resolver {
        Some(resolver) => format!("iifname \"{device}\" ip daddr {here} {DNS} dnat ip to {resolver}"),
        None => String::new(),
    };
    let apart = match apart {
        [] => String::new(),
        devices => {
            let devices = devices.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            format!("iifname {{ {devices} }} oifname {{ {devices} }} drop")
        }
    };
    format!(
        r#"{gone}table inet {table} {{
	{REFUSAL}
	chain raw {{
		type filter hook prerouting priority raw; policy accept;
		iifname != "{device}" accept
		meta nfproto != ipv4 drop
		ip saddr != {there} drop
		ip daddr {here} {DNS} accept
		fib daddr type != unicast {REFUSE}
	}}
	chain names {{
		type nat hook prerouting priority dstnat - 10; policy accept;
		{names}
	}}
	chain input {{
		type filter hook input priority filter - 10; policy accept;
		iifname != "{device}" accept
		ct status dnat {DNS} accept
		{REFUSE}
	}}
	chain forward {{
		type filter hook forward priority filter - 10; policy accept;
		oifname "{device}" ct state != {{ established, related }} drop
		iifname "{device}" tcp flags syn tcp option maxseg size set rt mtu
		{apart}
	}}
	chain out {{
		type nat hook postrouting priority srcnat - 10; policy accept;
		ip saddr {there} oifname != "{device}" masquerade
	}}
}}
"#,
        gone = without_table(table)
    )
}

/// Takes a table away, whether it is there or not.
pub fn without_table(table: &str) -> String {
    format!("table inet {table}\ndelete table inet {table}\n")
}

fn set(networks: impl Iterator<Item = (Ipv4Addr, u8)>) -> String {
    let each: Vec<_> = networks.map(|(network, prefix)| format!("{network}/{prefix}")).collect();
    format!("{{ {} }}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends { host: Ipv4Addr::new(10, 201, 0, 1), router: Ipv4Addr::new(10, 201, 0, 2) }
    }

    #[test]
    fn what_nobody_reaches_comes_before_what_somebody_may() {
        let text = router(ends(), Range::default());
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
        let policies = at("vmap @policies");
        for first in ["169.254.0.0/16", "127.0.0.0/8", "224.0.0.0/4", "ip daddr 10.201.0.0/16", "oifname !="] {
            assert!(at(first) < policies, "{first}");
        }
    }

    #[test]
    fn a_list_is_its_destinations_and_a_refusal() {
        let model::Egress::List(list) = "10.0.0.5:5432,192.168.0.0/16".parse().unwrap() else { panic!("a list") };
        let text = list_lines(16, &list);
        assert_eq!(
            text[2..5],
            [
                "ip daddr 10.0.0.5/32 meta l4proto { tcp, udp } th dport 5432 accept",
                "ip daddr 192.168.0.0/16 accept",
                REFUSE
            ]
        );
        assert!(text.last().unwrap().ends_with("{ 16 : goto list-16 }"));
    }

    fn list_lines(group: u32, destinations: &Destinations) -> Vec<String> {
        list(group, destinations).lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn what_was_apart_stays_apart() {
        let apart = ["eth0".to_owned(), "eth1".to_owned()];
        let with = |apart: &[String]| {
            host(&Host { table: "hearth-00", device: "hrt-00", ends: ends(), resolver: None, apart })
        };
        assert!(with(&apart).contains(r#"iifname { "eth0", "eth1" } oifname { "eth0", "eth1" } drop"#));
        assert!(!with(&[]).contains("iifname {"));
        assert!(!with(&[]).contains("dnat ip to"), "without a resolver");
    }
}
