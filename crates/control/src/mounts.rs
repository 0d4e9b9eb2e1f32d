//! Mounts: whether the operator allows them, and whether what makes the sandboxes can mount at all. Texts only: whoever
//! mounts looks at the folders themselves.

use model::{Fault, FaultCode, FunctionSpec, allowed_mount};

use crate::Shared;
use crate::error::ApiError;

/// Refuses a function with a mount that would fail its calls.
pub(crate) fn require_allowed(api: &Shared, spec: &FunctionSpec) -> Result<(), ApiError> {
    if spec.mounts.is_empty() {
        return Ok(());
    }
    let refuse = |text: String| Err(Fault::new(FaultCode::MountRefused, text).into());
    let list = api.platform.allowed_mounts();
    for mount in &spec.mounts {
        if let Err(why) = allowed_mount(&list, mount) {
            return refuse(format!("mount at {}: {why}", mount.path));
        }
    }
    let known = api.platform.isolations();
    let works = |isolation| known.iter().any(|one| one.isolation == isolation && one.works);
    for (isolation, _) in spec.isolation.resolve(spec.at_least, works) {
        let why = known.iter().find(|one| one.isolation == isolation).and_then(|one| one.no_mounts.as_ref());
        if let Some(why) = why {
            return refuse(format!("the {isolation} isolation cannot mount folders of the host's here: {why}"));
        }
    }
    Ok(())
}
