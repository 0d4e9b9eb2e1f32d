//! Paths as layers write them, taken apart.

use crate::error::show;

/// Bytes of one part of a path, the most that file systems take.
const PART: usize = 255;

/// The whiteout prefix: `.wh.x` takes `x` of the layers below away.
const WHITEOUT: &[u8] = b".wh.";

/// Names of AUFS's own, which no layer means as files.
const AUFS: &[u8] = b".wh..wh.";

const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an entry's path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// The root folder itself.
    Root,
    Path(&'a [u8]),
    /// Take this name of the layers below away.
    Whiteout(&'a [u8]),
    /// Take all that the layers below have in this folder away.
    Opaque,
    /// Not for the file system.
    Nothing,
}

/// Takes a path apart: the parts of its folder, and what its last part means. Slashes too many, leading ones and `.` do
/// not count.
pub(super) fn parse<'a>(path: &'a [u8], max: usize) -> Result<(Vec<&'a [u8]>, Meaning<'a>), String> {
    let mut parts = parts(path, max)?;
    let Some(last) = parts.pop() else { return Ok((parts, Meaning::Root)) };
    if last == OPAQUE {
        return match hidden(&parts)? {
            true => Ok((parts, Meaning::Nothing)),
            false => Ok((parts, Meaning::Opaque)),
        };
    }
    if hidden(&parts)? || last.starts_with(AUFS) {
        return Ok((parts, Meaning::Nothing));
    }
    let Some(hides) = last.strip_prefix(WHITEOUT) else { return Ok((parts, Meaning::Path(last))) };
    match hides {
        b"" | b"." | b".." => Err("it is a whiteout of nothing".into()),
        name => Ok((parts, Meaning::Whiteout(name))),
    }
}

/// The parts of a path that must not climb.
pub(super) fn parts(path: &[u8], max: usize) -> Result<Vec<&[u8]>, String> {
    if path.len() > max {
        return Err(format!("its path has {} bytes, expected at most {max}", path.len()));
    }
    if path.contains(&0) {
        return Err("its path holds a zero byte".into());
    }
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    for part in &parts {
        if *part == b".." {
            return Err("its path climbs with `..`, which could lead out of the image".into());
        }
        if part.len() > PART {
            return Err(format!("a part of its path has {} bytes, expected at most {PART}", part.len()));
        }
    }
    Ok(parts)
}

/// Whether the folder is AUFS's own; a folder with another whiteout's name is nothing that a tool makes.
fn hidden(parts: &[&[u8]]) -> Result<bool, String> {
    if parts.iter().any(|part| part.starts_with(AUFS)) {
        return Ok(true);
    }
    match parts.iter().find(|part| part.starts_with(WHITEOUT)) {
        Some(part) => Err(format!("its folder {} has the name of a whiteout", show(part))),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_what_builders_mean_by_it() {
        let parse = |path: &'static str| parse(path.as_bytes(), 100);
        let parts = |parts: &[&'static str]| parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>();
        assert_eq!(parse("./"), Ok((parts(&[]), Meaning::Root)));
        assert_eq!(parse("./a//b/"), Ok((parts(&["a"]), Meaning::Path(b"b"))));
        assert_eq!(parse("/etc/x"), Ok((parts(&["etc"]), Meaning::Path(b"x"))));
        assert_eq!(parse("a/.wh.b"), Ok((parts(&["a"]), Meaning::Whiteout(b"b"))));
        assert_eq!(parse("a/.wh..wh..opq"), Ok((parts(&["a"]), Meaning::Opaque)));
        assert_eq!(parse(".wh..wh.aufs"), Ok((parts(&[]), Meaning::Nothing)));
        assert_eq!(parse(".wh..wh.plnk/12.34").map(|(_, meaning)| meaning), Ok(Meaning::Nothing));
        assert_eq!(parse("..."), Ok((parts(&[]), Meaning::Path(b"..."))));
    }

    #[test]
    fn a_path_that_climbs_or_is_absurd_is_refused() {
        for bad in ["..", "a/../b", "../../etc/passwd", "/..", "a\0b", ".wh.", ".wh..", ".wh...", ".wh.a/b"] {
            assert!(parse(bad.as_bytes(), 100).is_err(), "{bad:?}");
        }
        assert!(parse(&[b'a'; 256], 1000).is_err());
        assert!(parse(&b"ab/".repeat(40), 100).is_err());
    }
}
