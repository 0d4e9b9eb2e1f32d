//! Decides what is run in an image: command, environment, user, working directory. Pure.

use std::collections::BTreeMap;

use crate::{ImageConfig, ImageError};

/// What a process finds programs by if the image does not say; Docker's default.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a function puts in the image's place, as in AWS Lambda's `ImageConfig`: each on its own, and an empty one is
/// as good as none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub work_dir: Option<String>,
}

/// Whom the image wants to run as, in its own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Other groups that the image's `group` lists the user in; empty if the image names a group itself.
    pub groups: Vec<u32>,
    /// The home directory of the user's `passwd` entry; `/` without one.
    pub home: String,
}

/// The command to run: entrypoint, then arguments. The first is a path, or a name to be found in `PATH`.
pub fn command(config: &ImageConfig, overrides: &Overrides) -> Result<Vec<String>, ImageError> {
    let pick = |over: &Option<Vec<String>>, own: &Vec<String>| match over {
        Some(over) if !over.is_empty() => over.clone(),
        _ => own.clone(),
    };
    let mut command = pick(&overrides.entrypoint, &config.entrypoint);
    command.extend(pick(&overrides.command, &config.cmd));
    match command.first() {
        Some(program) if !program.is_empty() => Ok(command),
        _ => Err(ImageError::NoCommand),
    }
}

/// The environment: [`DEFAULT_PATH`], over it the image's, over it `own`, which is the function's. Entries of the image
/// without `=` or without a name are left out: no process could get them.
pub fn environment(config: &ImageConfig, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut merged = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    let image = config.env.iter().filter_map(|entry| entry.split_once('='));
    merged.extend(image.filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned())));
    merged.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    merged
}

/// The working directory, absolute: the function's, else the image's, else `/`.
pub fn work_dir(config: &ImageConfig, overrides: &Overrides) -> String {
    let over = overrides.work_dir.as_deref().filter(|dir| !dir.is_empty());
    let dir = over.unwrap_or(&config.work_dir);
    if dir.starts_with('/') { dir.to_owned() } else { format!("/{dir}") }
}

/// Resolves `USER`, which is `""`, `name`, `name:group`, `uid`, `uid:gid` or a mixture, by the image's own `etc/passwd`
/// and `etc/group`, whose texts are given (empty if the image has none). As in Docker, a number need not be
/// listed, a name must be; a number without a group and a `passwd` entry has the group 0.
pub fn user(spec: &str, passwd: &str, group: &str) -> Result<User, ImageError> {
    let refuse = |why: String| ImageError::User { user: spec.chars().take(100).collect(), why };
    let (name, wanted) = match spec.split_once(':') {
        Some((name, wanted)) => (name, Some(wanted).filter(|wanted| !wanted.is_empty())),
        None => (spec, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = id(name);
    let lines = || passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let listed = |fields: &Vec<&str>| fields[0] == name || (number.is_some() && id(fields[2]) == number);
    let entry = lines().find(|fields| fields.len() >= 4 && listed(fields));
    let (login, uid, primary, home) = match (&entry, number) {
        (Some(fields), _) => {
            let uid = id(fields[2]).ok_or_else(|| refuse("its uid in etc/passwd is not a number".into()))?;
            let gid = id(fields[3]).ok_or_else(|| refuse("its gid in etc/passwd is not a number".into()))?;
            (Some(fields[0]), uid, gid, fields.get(5).copied().filter(|home| home.starts_with('/')))
        }
        (None, Some(uid)) => (None, uid, 0, None),
        (None, None) => return Err(refuse(format!("the image's etc/passwd has no {name}"))),
    };
    let groups = || group.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() >= 3);
    let home = home.unwrap_or("/").to_owned();
    if let Some(wanted) = wanted {
        let named = groups().find(|fields| fields[0] == wanted).and_then(|fields| id(fields[2]));
        let gid = named.or_else(|| id(wanted));
        let gid = gid.ok_or_else(|| refuse(format!("the image's etc/group has no {wanted}")))?;
        return Ok(User { uid, gid, groups: vec![], home });
    }
    let member = |fields: &Vec<&str>| {
        fields.len() >= 4 && login.is_some_and(|login| fields[3].split(',').any(|one| one == login))
    };
    let others = groups().filter(member).filter_map(|fields| id(fields[2])).filter(|gid| *gid != primary).collect();
    Ok(User { uid, gid: primary, groups: others, home })
}

/// An id that the kernel takes: all bits set means "none" there.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n\nbroken\nbad:x:y:z::/:\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nwww:x:33:app,other\nvideo:x:44:other\nstaff:x:50:app\n";

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn ids(spec: &str) -> Result<(u32, u32, Vec<u32>), String> {
        user(spec, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_is_entrypoint_and_cmd_each_overridden_on_its_own() {
        let config = ImageConfig { entrypoint: texts(&["/e"]), cmd: texts(&["c", "d"]), ..ImageConfig::default() };
        let with = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
            let overrides =
                Overrides { entrypoint: entrypoint.map(texts), command: cmd.map(texts), ..Overrides::default() };
            command(&config, &overrides)
        };
        assert_eq!(with(None, None), Ok(texts(&["/e", "c", "d"])));
        assert_eq!(with(Some(&["/x", "y"]), None), Ok(texts(&["/x", "y", "c", "d"])));
        assert_eq!(with(None, Some(&["z"])), Ok(texts(&["/e", "z"])));
        assert_eq!(with(Some(&[]), Some(&[])), Ok(texts(&["/e", "c", "d"])));
        assert_eq!(command(&ImageConfig::default(), &Overrides::default()), Err(ImageError::NoCommand));
    }

    #[test]
    fn the_users_of_the_image_are_resolved_by_its_own_files() {
        assert_eq!(ids(""), Ok((0, 0, vec![])));
        assert_eq!(ids("root"), Ok((0, 0, vec![])));
        assert_eq!(ids("app"), Ok((1000, 1001, vec![33, 50])));
        assert_eq!(ids("1000"), Ok((1000, 1001, vec![33, 50])));
        assert_eq!(ids("app:www"), Ok((1000, 33, vec![])));
        assert_eq!(ids("app:"), Ok((1000, 1001, vec![33, 50])));
        assert_eq!(ids("4711"), Ok((4711, 0, vec![])));
        assert_eq!(ids("4711:4712"), Ok((4711, 4712, vec![])));
        assert_eq!(user("app", PASSWD, "").map(|user| user.home), Ok("/home/app".into()));
        assert_eq!(user("1:2", "", "").map(|user| user.home), Ok("/".into()));
    }

    #[test]
    fn a_name_that_the_image_does_not_list_is_an_error_that_says_where() {
        assert_eq!(ids("ghost"), Err("image user \"ghost\": the image's etc/passwd has no ghost".into()));
        assert_eq!(ids("app:ghosts"), Err("image user \"app:ghosts\": the image's etc/group has no ghosts".into()));
        assert!(ids("bad").is_err());
        for bad in ["4294967295", "99999999999", "-1", "+1", "0x1"] {
            assert!(ids(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_working_directory_is_absolute() {
        let dir = |own: &str, over: Option<&str>| {
            let config = ImageConfig { work_dir: own.into(), ..ImageConfig::default() };
            work_dir(&config, &Overrides { work_dir: over.map(Into::into), ..Overrides::default() })
        };
        assert_eq!(dir("", None), "/");
        assert_eq!(dir("/var/task", None), "/var/task");
        assert_eq!(dir("app", None), "/app");
        assert_eq!(dir("/a", Some("/b")), "/b");
        assert_eq!(dir("/a", Some("")), "/a");
    }

    proptest! {
        #[test]
        fn the_functions_environment_wins_and_there_is_always_a_path(
            image in prop::collection::vec("[A-C]{0,2}=?[a-z=]{0,3}", 0..8),
            own in prop::collection::btree_map("[A-C]{1,2}", "[a-z]{0,3}", 0..4),
        ) {
            let config = ImageConfig { env: image.clone(), ..ImageConfig::default() };
            let merged = environment(&config, &own);
            prop_assert!(merged.contains_key("PATH"));
            for (name, value) in &own {
                prop_assert_eq!(&merged[name], value);
            }
            for (name, value) in merged.iter().filter(|(name, _)| *name != "PATH" && !own.contains_key(*name)) {
                let last = image.iter().rev().find_map(|entry| entry.strip_prefix(&format!("{name}=")));
                prop_assert_eq!(last, Some(value.as_str()));
            }
        }

        #[test]
        fn no_text_of_passwd_or_group_makes_it_panic(spec in "[a-c0-9:]{0,6}", passwd in "[a-c0-9:\n]{0,60}", group in "[a-c0-9:,\n]{0,60}") {
            if let Ok(user) = user(&spec, &passwd, &group) {
                prop_assert!(user.uid != u32::MAX && user.gid != u32::MAX);
            }
        }
    }
}
