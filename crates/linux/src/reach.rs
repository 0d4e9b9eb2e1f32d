//! Which files a process may open, by Landlock: those beneath the folders it names. What it has open stays open.
//!
//! A rule holds for a folder itself, not for its name: a folder that comes later, by a mount or a move, is beneath the
//! folder that it comes to.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};

/// The youngest set of rights that is asked for: Linux 6.12. An older kernel gives what it has.
const RIGHTS: ABI = ABI::V6;

/// What is beneath these, and nothing else. Those that are not there are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// To be read, listed and executed.
    pub read: Vec<PathBuf>,
    /// And written, made, moved and removed.
    pub write: Vec<PathBuf>,
}

/// How much of it the kernel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// All of it, and no signals and no abstract sockets to processes outside.
    Whole,
    /// Opening files, by a kernel before 6.12; something beside is not.
    Part,
    /// Nothing: a kernel before 5.13, or Landlock is not among its `lsm=`.
    Nothing,
}

/// The kernel did not take the rules.
#[derive(Debug, thiserror::Error)]
#[error("restrict what files may be opened: {0}")]
pub struct Error(#[from] landlock::RulesetError);

// === impl Reach ===

impl Reach {
    /// Holds the calling thread, and all that it will start, to it, for good.
    pub fn restrict(&self) -> Result<Held, Error> {
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(RIGHTS))?
            .scope(Scope::from_all(RIGHTS))?
            .create()?
            .add_rules(path_beneath_rules(&self.read, AccessFs::from_read(RIGHTS)))?
            .add_rules(path_beneath_rules(&self.write, AccessFs::from_all(RIGHTS)))?;
        Ok(match rules.restrict_self()?.ruleset {
            RulesetStatus::FullyEnforced => Held::Whole,
            RulesetStatus::PartiallyEnforced => Held::Part,
            RulesetStatus::NotEnforced => Held::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// In a thread of its own, which ends with its restriction.
    fn restricted(reach: Reach, then: impl FnOnce() + Send + 'static) {
        let tried = thread::spawn(move || {
            let held = reach.restrict().unwrap();
            if held == Held::Nothing {
                return println!("skipped: this kernel has no Landlock");
            }
            then();
        });
        tried.join().unwrap();
    }

    #[test]
    fn what_is_not_named_is_not_opened_whatever_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["data", "read", "other"] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("file"), "text").unwrap();
        }
        symlink(at("other"), at("data").join("link")).unwrap();
        let open = fs::File::open(at("other/file")).unwrap();
        let system = ["/usr", "/bin", "/lib", "/lib64", "/etc"].map(PathBuf::from);
        let reach = Reach {
            read: system.into_iter().chain([at("read"), at("absent")]).collect(),
            write: vec![at("data"), "/dev/null".into()],
        };
        let at = {
            let root = dir.path().to_owned();
            move |name: &str| root.join(name)
        };
        restricted(reach, move || {
            // Links and moves out of a folder are refused as those to another disk, which programs know how to take.
            let refusals = [ErrorKind::PermissionDenied, ErrorKind::CrossesDevices];
            let denied = |result: std::io::Result<()>| assert!(refusals.contains(&result.unwrap_err().kind()));
            assert_eq!(fs::read_to_string(at("read/file")).unwrap(), "text");
            assert_eq!(fs::read_to_string(at("data/file")).unwrap(), "text");
            fs::write(at("data/new"), "more").unwrap();
            fs::create_dir(at("data/folder")).unwrap();
            fs::rename(at("data/new"), at("data/folder/new")).unwrap();
            fs::remove_file(at("data/folder/new")).unwrap();
            denied(fs::write(at("read/file"), ""));
            denied(fs::write(at("read/new"), ""));
            denied(fs::remove_file(at("read/file")));
            denied(fs::read(at("other/file")).map(drop));
            denied(fs::read(at("data/link/file")).map(drop));
            denied(fs::read_dir(at("other")).map(drop));
            denied(fs::rename(at("other/file"), at("data/file")));
            denied(fs::hard_link(at("other/file"), at("data/hard")));
            denied(fs::create_dir(at("made")));
            assert_eq!(std::io::read_to_string(open).unwrap(), "text", "what was open stays so");
            // And what it starts.
            assert!(Command::new("/bin/true").status().unwrap().success());
            let other = Command::new("/bin/cat").arg(at("other/file")).output().unwrap();
            assert!(!other.status.success() && other.stdout.is_empty());
        });
    }
}
