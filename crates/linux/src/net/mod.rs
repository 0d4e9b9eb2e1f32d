//! Networks for sandboxes that are to reach something: a router of Hearth's own between them and the host, in a network
//! namespace of its own, which goes when Hearth goes.
//!
//! ```text
//! sandbox's namespace        router's namespace                         host's namespace
//! eth0 A/32 ──── pair ─────► h<n>, in a group ─ rules by group ─ NAT ─► uplink ── pair ──► hrt-<name> ─ NAT ─► world
//!   default by 169.254.100.53      └ nothing to other sandboxes             └ nothing to the host but questions
//!                                                                             about names, handed to its resolver
//! ```
//!
//! A sandbox's pair is made right where its ends are to be: moving a device that was made before takes twenty times as
//! long (17 ms, most of it the kernel's waiting for all processors), so there is no store of pairs. Which rules are for a
//! sandbox is told by its device's group, so a start changes no rules. A sandbox cannot change its end: it has no
//! capability; should it lie about its address all the same, the router takes no packet that it would not answer
//! through the same device.
//!
//! Nothing is on the host before the first sandbox wants a network. What is: a device, which goes with the router; a
//! table of rules and, where it was off, the forwarding of packets, both noted in a file before, so that the next Hearth
//! takes away what a killed one left.
//!
//! Refuses IPv6 throughout.

mod netlink;
mod nft;
mod range;
mod router;
mod rules;
mod space;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use driver::{Finding, Severity};
use model::Egress;
use serde::{Deserialize, Serialize};

pub use range::Range;
pub use rules::GATEWAY;
pub use space::Space;

use router::Router;

/// What the names of all our devices on the host begin with.
const DEVICE: &str = "hrt-";

/// What it is given by the composition root; it may cross to another process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Names the table and, by its last part, the device on the host.
    pub name: String,
    pub range: Range,
    /// A file of the caller's own, in which is noted what is to be put back; in a folder that is there.
    pub state: PathBuf,
    /// Without root there is none.
    pub rootless: bool,
}

/// The network of one process's sandboxes, shared by its drivers.
#[derive(Debug, Clone)]
pub struct Network(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    options: Options,
    /// Or why there can be none, and what to do.
    home: Result<Space, (String, String)>,
    router: Option<Router>,
}

/// How a sandbox is connected.
#[derive(Debug)]
pub struct Attached {
    pub lease: Lease,
    /// What its devices carry: [`driver::UsageFiles::network`]. It is not to be kept by who keeps the lease, whose place is
    /// free only when this is closed everywhere; until then, another is found.
    pub traffic: Option<OwnedFd>,
}

/// A sandbox's place in the network; given back when dropped, which must be when the sandbox is gone.
#[derive(Debug)]
pub struct Lease {
    network: Network,
    number: u32,
    group: u32,
}

// === impl Network ===

impl Network {
    /// Takes away what a killed process left, and tries, in a namespace that nobody sees, whether this kernel can do it:
    /// some 20 ms. What does not work is in [`Network::why_not`].
    pub fn new(options: Options) -> Self {
        let home = match options.rootless {
            true => Err((
                "Hearth was started as an ordinary user, who may not connect sandboxes to a network".to_owned(),
                "start Hearth as root".to_owned(),
            )),
            false => router::prepare(&options),
        };
        Self(Arc::new(Mutex::new(Inner { options, home, router: None })))
    }

    /// Why no sandbox can have a network; none if they can.
    pub fn why_not(&self) -> Option<String> {
        let inner = self.inner();
        inner
            .home
            .as_ref()
            .err()
            .map(|(why, advice)| if advice.is_empty() { why.clone() } else { format!("{why}: {advice}") })
    }

    /// The same for `hearth doctor`. It weakens nothing: functions without a network need none.
    pub fn finding(&self) -> Finding {
        let finding = |severity, state: String, advice: &str| Finding {
            severity,
            subject: "network".into(),
            state,
            advice: advice.to_owned(),
        };
        match &self.inner().home {
            Ok(_) => {
                let state = "functions can be given one (egress), filtered outside of their sandboxes";
                finding(Severity::Ok, state.into(), "")
            }
            Err((why, advice)) => {
                let state = format!("no function can have one, which is egress = \"none\" for all: {why}");
                finding(Severity::Weaker, state, advice)
            }
        }
    }

    /// Connects a sandbox's namespace, in which there is nothing but loopback: some 1 ms, the first time 50. None: it is
    /// to have no network. The error is for people.
    pub fn attach(&self, egress: &Egress, sandbox: &Space) -> Result<Option<Attached>, String> {
        if egress.is_none() {
            return Ok(None);
        }
        let mut inner = self.inner();
        let Inner { options, home, router } = &mut *inner;
        let home = home.as_ref().map_err(|(why, advice)| format!("{why}: {advice}"))?;
        let router = match router {
            Some(router) => router,
            None => router.insert(Router::make(options, home).map_err(|error| format!("make the network: {error}"))?),
        };
        let attached = router.attach(egress, sandbox, home, options);
        let (number, group, traffic) = attached.map_err(|error| format!("connect it to the network: {error}"))?;
        let lease = Lease { network: self.clone(), number, group };
        Ok(Some(Attached { lease, traffic }))
    }

    /// Takes away what is on the host. Every sandbox must be gone.
    pub fn close(&self) {
        let mut inner = self.inner();
        if let Some(router) = inner.router.take() {
            router.close(&inner.options);
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(router) = &mut self.network.inner().router {
            router.release(self.number, self.group);
        }
    }
}
