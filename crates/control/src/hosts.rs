//! The host allow-list: against DNS rebinding, where a page on `evil.example` makes its own name point at
//! 127.0.0.1 and talks to us as its own origin. The browser then still sends `Host: evil.example`.

use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock};

/// The names under which the control listener may be spoken to.
#[derive(Debug)]
pub struct Hosts {
    listen: IpAddr,
    names: RwLock<Vec<String>>,
}

// === impl Hosts ===

impl Hosts {
    /// `listen` is where the control listener is bound; `names` are further DNS names it is known by.
    pub fn new(listen: SocketAddr, names: impl IntoIterator<Item = String>) -> Self {
        Self { listen: listen.ip(), names: RwLock::new(named(names)) }
    }

    /// From now on these DNS names and no others. `*.lan` stands for one more label.
    pub fn set_names(&self, names: impl IntoIterator<Item = String>) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = named(names);
    }

    /// Whether a `Host` header's value names us; any port will do.
    pub fn allows(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        if let Ok(ip) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            // An address is no name that could be pointed elsewhere; but only ours, where we know ours.
            return ip.is_loopback() || ip == self.listen || self.listen.is_unspecified();
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let under = |star: &str| name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == star);
        let is = |one: &String| one.strip_prefix("*.").map_or(*one == name, under);
        name == "localhost" || self.names.read().unwrap_or_else(PoisonError::into_inner).iter().any(is)
    }
}

fn named(names: impl IntoIterator<Item = String>) -> Vec<String> {
    names.into_iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect()
}

/// `localhost:7070` → `localhost`, `[::1]:7070` → `[::1]`; none where it is no host.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(']') {
        Some(end) => (&host[..=end], &host[end + 1..]),
        None => host.find(':').map_or((host, ""), |at| (&host[..at], &host[at..])),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let fits = !name.is_empty() && digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_allowed() {
        let hosts = Hosts::new("127.0.0.1:7070".parse().unwrap(), ["Hearth.LAN".to_owned()]);
        for good in ["localhost", "LOCALHOST:7070", "127.0.0.1:1", "[::1]:7070", "[::1]", "hearth.lan.", "127.0.0.2"] {
            assert!(hosts.allows(good), "{good}");
        }
        for bad in
            ["", "evil.example", "localhost.evil.example", "192.168.1.4", "localhost:x", ":7070", "[::2]", "a:b:c", "]"]
        {
            assert!(!hosts.allows(bad), "{bad}");
        }
    }

    #[test]
    fn names_may_change_and_a_star_is_one_label() {
        let hosts = Hosts::new("127.0.0.1:7070".parse().unwrap(), ["old.lan".to_owned()]);
        hosts.set_names(["*.Home.lan".to_owned(), "hearth.lan".to_owned()]);
        for good in ["hearth.lan:7070", "a.home.lan", "localhost"] {
            assert!(hosts.allows(good), "{good}");
        }
        for bad in ["old.lan", "home.lan", "a.b.home.lan", ".home.lan", "xhome.lan"] {
            assert!(!hosts.allows(bad), "{bad}");
        }
    }

    #[test]
    fn bound_to_every_address_any_address_is_ours_but_no_name() {
        let hosts = Hosts::new("0.0.0.0:7070".parse().unwrap(), []);
        assert!(hosts.allows("192.168.1.4:7070"));
        assert!(!hosts.allows("evil.example"));
    }
}
