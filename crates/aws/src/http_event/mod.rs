//! HTTP to event and back, in AWS's payload format 2.0 as function URLs speak it.
//!
//! `event` never fails: whatever HTTP carried becomes valid JSON. `reply` refuses what cannot be an HTTP
//! response, and drops what is the connection's and not the function's.

mod reply;
mod request;
mod server;

pub use reply::{BadReply, HttpReply, head, is_empty, reply};
pub use request::{Forwarded, HttpRequest, Routed, event};
pub use server::{Posted, plain, posted, result};

use http::HeaderName;
use http::header;

/// Prefixes of cookies that are Hearth's own. Browsers send cookies to every port of a host, so a function on
/// the ingress could read or set the dashboard's: these are taken out in both directions.
const OUR_COOKIES: &[&str] = &["hearth_", "hearth-", "__host-hearth", "__secure-hearth"];

/// Whether a cookie, by its name, is Hearth's own and hidden from functions.
pub fn is_our_cookie(name: &str) -> bool {
    let name = name.trim_start();
    OUR_COOKIES.iter().any(|own| name.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own)))
}

/// Headers that belong to one connection, RFC 9110 section 7.6.1 and the customary ones.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cookies_are_known_by_their_names() {
        for ours in ["hearth_session", "Hearth_x=1", "__Host-hearth", "__Secure-hearth_a=b", " hearth-token"] {
            assert!(is_our_cookie(ours), "{ours}");
        }
        for theirs in ["session", "my_hearth_", "", "hearth", "__Host-x", "heärth_"] {
            assert!(!is_our_cookie(theirs), "{theirs}");
        }
    }
}
