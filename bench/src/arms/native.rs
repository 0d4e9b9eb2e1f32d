//! Goal 5: a native function, cold, against posix_spawn of the same static binary. Hearth has no runtime for native
//! functions yet; the arm says so until one is listed, and then says that itself has to be written.

use crate::report::Outcome;
use crate::suite::Suite;

pub fn run(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let runtimes = suite.plain()?.runtimes()?;
    let native = runtimes.iter().find(|runtime| runtime.starts_with("provided"));
    Ok(Outcome::Skipped(match native {
        None => format!("not built yet: no runtime for native functions among {}", runtimes.join(", ")),
        Some(runtime) => format!("not measured yet: Hearth has {runtime}, and this arm is still to be written for it"),
    }))
}
