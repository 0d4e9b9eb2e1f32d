//! Every text with rules of its own: refused with a short error, or written as something that is taken again as the same.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use model::*;

fn read<T: FromStr>(text: &str) -> Option<T>
where
    T::Err: Display,
{
    let read = text.parse::<T>();
    read.map_err(|error| assert!(error.to_string().len() < 4096 + 2 * text.len().min(4096), "{error}")).ok()
}

fn same<T: FromStr + Display + Debug + PartialEq>(text: &str) -> Option<String>
where
    T::Err: Display,
{
    let one = read::<T>(text)?;
    let written = one.to_string();
    assert_eq!(written.parse::<T>().ok(), Some(one), "{written:?}");
    Some(written)
}

/// It becomes a folder, a host name, a part of a path.
fn plain<T: FromStr + Display + Debug + PartialEq>(text: &str)
where
    T::Err: Display,
{
    let Some(name) = same::<T>(text) else { return };
    assert!(!name.is_empty() && name.len() <= 255 && name != "." && name != "..", "{name:?}");
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.$".contains(&byte)), "{name:?}");
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    plain::<FunctionName>(text);
    plain::<SecretName>(text);
    plain::<QueueName>(text);
    plain::<LayerName>(text);
    plain::<InstanceId>(text);
    plain::<CodeHash>(text);
    plain::<ImageDigest>(text);
    plain::<AliasName>(text);
    plain::<Qualifier>(text);
    same::<PinnedImage>(text);
    same::<HostFolder>(text);
    same::<MountPath>(text);
    same::<AllowedMount>(text);
    same::<Memory>(text);
    same::<Cpu>(text);
    same::<Runtime>(text);
    same::<Isolation>(text);
    same::<Version>(text);
    same::<RequestId>(text);
    same::<Destination>(text);
    same::<RoutePattern>(text);
    same::<Target>(text);
    let _ = (read::<IsolationChoice>(text), read::<Egress>(text), read::<HttpRoute>(text), read::<RouteAuth>(text));
    let _ = (read::<Rate>(text), read::<BodyLimit>(text), read::<Idle>(text), read::<Currency>(text));
    let _ = (read::<Lifetime>(text), read::<FaultCode>(text), read::<ComparisonId>(text), read::<InvokeMode>(text));
    let _ = (parse_duration(text), parse_region(text), parse_account(text));
    let _ = (read::<aws::FunctionRef>(text), read::<aws::LayerRef>(text));
    let _ = (read::<control::Scope>(text), read::<control::Token>(text));
});
