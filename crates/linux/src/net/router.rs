//! The router: made with the first sandbox that wants a network, gone with the last process that holds its namespace.
//!
//! ```text
//! prepare ─► (first sandbox) make: lock, wire, note, device, rules, forwarding ─► attach ⇄ release ─► close
//!    │ what a killed one left is taken away             └─ fails: taken away, told; tried again by the next
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use model::{Destinations, Egress};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::netlink::{Netlink, Pair};
use super::range::Route;
use super::rules::{self, Ends, FIRST_LIST, GATEWAY, INTERNET, LAN, UPLINK};
use super::space::Space;
use super::{DEVICE, Options, nft};

/// The calling thread's.
const ROUTES: &str = "/proc/thread-self/net/route";

/// The same's devices, and what they have carried.
const DEVICES: &str = "/proc/thread-self/net/dev";

/// Two Hearths that start must not choose the same wire.
const LOCK: &[u8] = b"hearth-network";
const LOCK_LIMIT: Duration = Duration::from_secs(3);

/// Where a machine's resolvers are named; the second has those behind a systemd-resolved that listens on loopback only.
const RESOLVERS: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

/// Devices' numbers in the router's namespace begin here: below are loopback and the uplink.
const FIRST_INDEX: u32 = 16;
const LOOPBACK_INDEX: u32 = 1;
const UPLINK_INDEX: u32 = 2;

/// A sandbox's device, in it.
const INSIDE: (&str, u32) = ("eth0", 2);

const MTU: u32 = 1500;

/// Lists that nobody is in are kept up to this many, since a function that was called is called again.
const LISTS: usize = 64;

/// Places that turn out to be taken, by a sandbox whose namespace the kernel is still taking apart, before it is an
/// error.
const TRIES: usize = 64;

#[derive(Debug)]
pub struct Router {
    space: Space,
    netlink: Netlink,
    ends: Ends,
    device: String,
    next: u32,
    used: HashSet<u32>,
    lists: BTreeMap<Destinations, List>,
    next_group: u32,
    resolver: Resolver,
    /// Devices between which nothing is forwarded; none where forwarding was on before.
    apart: Vec<String>,
    sandboxes: super::Range,
}

#[derive(Debug)]
struct List {
    group: u32,
    users: usize,
}

/// Who answers questions about names, and when that was read.
#[derive(Debug, PartialEq, Eq)]
struct Resolver {
    address: Option<Ipv4Addr>,
    of: [Option<SystemTime>; 2],
}

/// The host's own namespace, if all that it takes is here; or why not, and what to do.
pub fn prepare(options: &Options) -> Result<Space, (String, String)> {
    let wrong =
        |what: &'static str| move |error: io::Error| (format!("{what}: {error}"), String::from("see hearth's log"));
    let home = Space::current().map_err(wrong("open this machine's network namespace"))?;
    if options.state.exists() {
        let Some(_) = nft::program() else { return Err(no_nft()) };
        tracing::info!("taking away the network that an earlier run left");
        undo(options).map_err(wrong("take away the network that an earlier run left"))?;
    }
    let Some(_) = nft::program() else { return Err(no_nft()) };
    let routes = Route::read(&fs::read_to_string(ROUTES).unwrap_or_default());
    let advice = "choose another: hearth up --network-range 172.28.0.0/16";
    options.range.wire(0, &routes).map_err(|why| (why, advice.to_owned()))?;
    trial(options, &home).map_err(|error| {
        let advice = "it takes a kernel with veth, nf_tables, NAT and fib expressions, as distributions' have";
        (format!("a trial failed: {error}"), advice.to_owned())
    })?;
    Ok(home)
}

fn no_nft() -> (String, String) {
    let advice = "install it (on Debian and Ubuntu: apt install nftables), then start Hearth again";
    ("the program nft is not here".to_owned(), advice.to_owned())
}

/// All that is ever asked of the kernel, in two namespaces that are gone afterwards.
fn trial(options: &Options, home: &Space) -> io::Result<()> {
    let (one, other) = (Space::make(home)?, Space::make(home)?);
    let ends = options.range.wire(0, &[]).map_err(io::Error::other)?;
    let host = rules::Host { table: &options.name, device: UPLINK, ends, resolver: Some(ends.host), apart: &[] };
    let text = rules::router(ends, options.range) + &rules::host(&host);
    one.inside(home, || {
        nft::run(&text)?;
        pair(&mut Netlink::open()?, "h0", FIRST_INDEX, INTERNET, &other)
    })
}

fn pair(netlink: &mut Netlink, name: &str, index: u32, group: u32, sandbox: &Space) -> io::Result<()> {
    let (peer, peer_index) = INSIDE;
    netlink.add_pair(&Pair { name, index, group, peer, peer_index, peer_namespace: sandbox.as_fd(), peer_mtu: MTU })
}

fn device_of(options: &Options) -> String {
    let name = options.name.split_once('-').map_or(options.name.as_str(), |(_, last)| last);
    format!("{DEVICE}{name}").chars().take(15).collect()
}

// === impl Router ===

impl Router {
    pub fn make(options: &Options, home: &Space) -> io::Result<Self> {
        let _lock = lock()?;
        let routes = Route::read(&fs::read_to_string(ROUTES)?);
        let first = options.name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte));
        let ends = options.range.wire(first, &routes).map_err(io::Error::other)?;
        let device = device_of(options);
        // Before anything is done to the host.
        let off = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?.trim() == "0";
        let apart = if off { devices()? } else { vec![] };
        fs::write(&options.state, if off { apart.join(" ") } else { String::new() })?;
        let made = Self::build(options, home, ends, device, apart);
        if made.is_err()
            && let Err(error) = undo(options)
        {
            tracing::warn!(%error, "what was made of a network could not be taken away");
        }
        made
    }

    fn build(options: &Options, home: &Space, ends: Ends, device: String, apart: Vec<String>) -> io::Result<Self> {
        let space = Space::make(home)?;
        let mut netlink = space.inside(home, || {
            set("ipv4/ip_forward", "1")?;
            // Every refusal is told: it goes no further than to the sandbox that asked.
            set("ipv4/icmp_ratemask", "0")?;
            for which in ["all", "default"] {
                without_ipv6(which)?;
                set(&format!("ipv4/conf/{which}/accept_redirects"), "0")?;
                set(&format!("ipv4/conf/{which}/send_redirects"), "0")?;
            }
            nft::run(&rules::router(ends, options.range))?;
            Netlink::open()
        })?;
        let mut here = Netlink::open()?;
        here.remove(&device)?;
        netlink.add_pair(&Pair {
            name: UPLINK,
            index: UPLINK_INDEX,
            group: 0,
            peer: &device,
            peer_index: 0,
            peer_namespace: home.as_fd(),
            peer_mtu: MTU,
        })?;
        netlink.up(LOOPBACK_INDEX)?;
        netlink.add_address(LOOPBACK_INDEX, GATEWAY, 32)?;
        netlink.add_address(UPLINK_INDEX, ends.router, 30)?;
        netlink.add_route(None, Some(ends.host), UPLINK_INDEX)?;
        let router = Self {
            space,
            netlink,
            ends,
            device,
            next: 0,
            used: HashSet::new(),
            lists: BTreeMap::new(),
            next_group: FIRST_LIST,
            resolver: Resolver::read(),
            apart,
            sandboxes: options.range,
        };
        // The wall before the way: the device has no address and forwards nothing until the rules are there.
        router.write_host(options)?;
        without_ipv6(&router.device)?;
        let index = name_to_index(&router.device)?;
        here.up(index)?;
        here.add_address(index, ends.host, 30)?;
        set(&format!("ipv4/conf/{}/forwarding", router.device), "1")?;
        if !router.apart.is_empty() {
            set("ipv4/ip_forward", "1")?;
        }
        Ok(router)
    }

    /// Puts the host's rules in the place of the ones that are there.
    fn write_host(&self, options: &Options) -> io::Result<()> {
        let resolver = self.resolver.address;
        let own = resolver.is_some_and(|address| address.is_loopback());
        // Packets of this one device may be handed to loopback, and the rules let only those to the resolver.
        set(&format!("ipv4/conf/{}/route_localnet", self.device), if own { "1" } else { "0" })?;
        nft::run(&rules::host(&rules::Host {
            table: &options.name,
            device: &self.device,
            ends: self.ends,
            resolver,
            apart: &self.apart,
        }))
    }

    /// A place for a sandbox: its number, its group, and the file that says what its devices carry, if it can be opened.
    pub fn attach(
        &mut self,
        egress: &Egress,
        sandbox: &Space,
        home: &Space,
        options: &Options,
    ) -> io::Result<(u32, u32, Option<OwnedFd>)> {
        let resolver = Resolver::read();
        if resolver != self.resolver {
            self.resolver = resolver;
            self.write_host(options)?;
        }
        let (mut there, traffic) = sandbox.inside(home, || {
            // For the device that is made next; loopback keeps its `::1`.
            without_ipv6("default")?;
            // It goes on telling of this namespace, whoever reads it.
            let traffic = fs::File::open(DEVICES).ok().map(OwnedFd::from);
            Ok((Netlink::open()?, traffic))
        })?;
        let group = match egress {
            Egress::None => return Err(io::ErrorKind::InvalidInput.into()),
            Egress::Internet => INTERNET,
            Egress::Lan => LAN,
            Egress::List(list) => self.group(list, home)?,
        };
        let connected = self.connect(group, sandbox, &mut there);
        if connected.is_err() {
            self.leave(group);
        }
        Ok((connected?, group, traffic))
    }

    fn connect(&mut self, group: u32, sandbox: &Space, there: &mut Netlink) -> io::Result<u32> {
        let number = self.place(group, sandbox)?;
        let address = self.sandboxes.sandbox(number);
        let wired = (|| {
            self.netlink.add_route(Some(address), None, FIRST_INDEX + number)?;
            there.up(INSIDE.1)?;
            there.add_address(INSIDE.1, address, 32)?;
            there.add_route(Some(GATEWAY), None, INSIDE.1)?;
            there.add_route(None, Some(GATEWAY), INSIDE.1)
        })();
        if wired.is_err() {
            self.used.remove(&number);
        }
        wired.map(|()| number)
    }

    /// Makes the pair, at the next number that nobody has.
    fn place(&mut self, group: u32, sandbox: &Space) -> io::Result<u32> {
        let most = self.sandboxes.sandboxes();
        for _ in 0..TRIES {
            self.next = (self.next + 1) % most;
            let number = self.next;
            if self.used.contains(&number) {
                continue;
            }
            match pair(&mut self.netlink, &format!("h{number}"), FIRST_INDEX + number, group, sandbox) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                made => {
                    made?;
                    self.used.insert(number);
                    return Ok(number);
                }
            }
        }
        Err(io::Error::other(format!("{} has no free address", self.sandboxes)))
    }

    /// The group of a list, which has one user more.
    fn group(&mut self, list: &Destinations, home: &Space) -> io::Result<u32> {
        if let Some(known) = self.lists.get_mut(list) {
            known.users += 1;
            return Ok(known.group);
        }
        let group = self.next_group;
        let mut text = rules::list(group, list);
        let unused: Vec<_> = match self.lists.len() < LISTS {
            true => vec![],
            false => self.lists.iter().filter(|(_, one)| one.users == 0).map(|(list, _)| list.clone()).collect(),
        };
        for one in &unused {
            text += &rules::without_list(self.lists[one].group);
        }
        self.space.inside(home, || nft::run(&text))?;
        // Never again the same number: a device that the kernel is still taking away may be in the old group.
        self.next_group += 1;
        self.lists.retain(|list, _| !unused.contains(list));
        self.lists.insert(list.clone(), List { group, users: 1 });
        Ok(group)
    }

    pub fn release(&mut self, number: u32, group: u32) {
        self.used.remove(&number);
        self.leave(group);
    }

    fn leave(&mut self, group: u32) {
        if let Some(list) = self.lists.values_mut().find(|list| list.group == group) {
            list.users = list.users.saturating_sub(1);
        }
    }

    /// Takes away what is on the host.
    pub fn close(self, options: &Options) {
        if let Err(error) = undo(options) {
            tracing::warn!(%error, "the network could not be taken away: the next start tries again");
        }
    }
}

/// Takes away what this installation has on the host, as far as it is there.
fn undo(options: &Options) -> io::Result<()> {
    let apart = fs::read_to_string(&options.state)?;
    let before: Vec<&str> = apart.split_whitespace().collect();
    Netlink::open()?.remove(&device_of(options))?;
    if !before.is_empty() {
        // Whoever came meanwhile found it on, and may count on it.
        match devices()?.iter().find(|name| !before.contains(&name.as_str())) {
            Some(other) => tracing::warn!(other, "packets are still forwarded: a device that came later may need it"),
            None => set("ipv4/ip_forward", "0")?,
        }
    }
    nft::run(&rules::without_table(&options.name))?;
    fs::remove_file(&options.state)
}

/// The devices of this network namespace, without loopback and what is ours.
fn devices() -> io::Result<Vec<String>> {
    let text = fs::read_to_string(DEVICES)?;
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    Ok(names.filter(|name| name != "lo" && !name.starts_with(DEVICE)).collect())
}

fn name_to_index(device: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(rustix::net::netdevice::name_to_index(socket, device)?)
}

fn set(key: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(key);
    fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("set net/{key} = {value}: {error}")))
}

/// Where the kernel has IPv6 at all.
fn without_ipv6(device: &str) -> io::Result<()> {
    match set(&format!("ipv6/conf/{device}/disable_ipv6"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A name of this network namespace's that one process can have: it leaves nothing behind, whatever happens.
fn lock() -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let name = SocketAddrUnix::new_abstract_name(LOCK)?;
    let until = Instant::now() + LOCK_LIMIT;
    loop {
        match rustix::net::bind(&socket, &name) {
            Err(Errno::ADDRINUSE) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(Errno::ADDRINUSE) => {
                let why = format!("another Hearth has been making its network for {LOCK_LIMIT:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            result => return Ok(result.map(|()| socket)?),
        }
    }
}

// === impl Resolver ===

impl Resolver {
    fn read() -> Self {
        let of = RESOLVERS.map(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
        let found = RESOLVERS.iter().find_map(|path| first_resolver(&fs::read_to_string(path).ok()?));
        Self { address: found, of }
    }
}

/// The first that has an address of IPv4.
fn first_resolver(text: &str) -> Option<Ipv4Addr> {
    text.lines().find_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_is_the_first_that_can_be_asked() {
        let text = "# nameserver 9.9.9.9\nsearch lan\nnameserver fd00::1\nnameserver 192.168.1.1\nnameserver 8.8.8.8\n";
        assert_eq!(first_resolver(text), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(first_resolver("search lan\n"), None);
    }

    #[test]
    fn a_device_has_the_installations_name() {
        let options = |name: &str| Options {
            name: name.into(),
            range: super::super::Range::default(),
            state: "/nowhere".into(),
            rootless: false,
        };
        assert_eq!(device_of(&options("hearth-0a1b2c3d")), "hrt-0a1b2c3d");
        assert_eq!(device_of(&options("hearth-0a1b2c3d-docker")), "hrt-0a1b2c3d-do");
    }
}
