//! Which names an entry of a package may have.

use super::Limits;

/// The parts of an entry's path, from the outside in; none for the root itself. A part `.` says nothing and is
/// left out, as `bsdtar` writes it. The error says what was expected.
pub(super) fn parts<'a>(name: &'a str, limits: &Limits) -> Result<Vec<&'a str>, String> {
    if name.is_empty() {
        return Err("it has no name".into());
    }
    if name.len() > limits.path_bytes {
        return Err(format!("its name is {} bytes, expected at most {}", name.len(), limits.path_bytes));
    }
    if name.starts_with('/') {
        return Err("an absolute path, expected a relative one".into());
    }
    if name.contains('\\') {
        return Err("a backslash in its name, expected / between folders".into());
    }
    if let [letter, b':', ..] = name.as_bytes()
        && letter.is_ascii_alphabetic()
    {
        return Err("a path with a drive, expected a relative one".into());
    }
    if let Some(sign) = name.chars().find(|&c| c.is_control() || is_direction(c)) {
        return Err(format!("the control character U+{:04X} in its name, expected none", sign as u32));
    }
    let mut parts = Vec::new();
    for part in name.strip_suffix('/').unwrap_or(name).split('/') {
        match part {
            "" => return Err("an empty part in its path (//), expected none".into()),
            "." => continue,
            ".." => return Err("`..` in its path, expected none".into()),
            _ if part.len() > limits.part_bytes => {
                return Err(format!(
                    "a part of its path is {} bytes, expected at most {}",
                    part.len(),
                    limits.part_bytes
                ));
            }
            _ if disguised(part) => {
                return Err("a disguised `..` or control character in its path, expected none".into());
            }
            _ => parts.push(part),
        }
    }
    if parts.len() > limits.depth {
        return Err(format!("{} folders inside one another, expected at most {}", parts.len(), limits.depth));
    }
    Ok(parts)
}

/// Signs that turn the direction of the text around them: they make a name look like another one.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a tool that decodes `%2e` or folds look-alikes would read `..`, or a control character, out of it.
/// To the file system such a name is an ordinary one, so this is the second wall, not the first.
fn disguised(part: &str) -> bool {
    if part.is_ascii() && !part.contains('%') {
        return false;
    }
    let mut plain = String::new();
    let mut rest = part;
    while let Some(c) = rest.chars().next() {
        let escaped = rest.as_bytes().get(..3).filter(|code| code[0] == b'%');
        let byte = escaped.and_then(|code| u8::from_str_radix(std::str::from_utf8(&code[1..]).ok()?, 16).ok());
        match (byte, c) {
            (Some(byte), _) => {
                plain.push(char::from(byte));
                rest = &rest[3..];
                continue;
            }
            (_, '\u{ff0e}' | '\u{fe52}' | '\u{2024}') => plain.push('.'),
            (_, '\u{2025}') => plain.push_str(".."),
            (_, '\u{ff0f}' | '\u{2044}' | '\u{2215}' | '\u{29f8}') => plain.push('/'),
            (_, '\u{ff3c}' | '\u{fe68}' | '\u{2216}' | '\u{29f5}' | '\u{29f9}') => plain.push('\\'),
            _ => plain.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    plain != part
        && (plain.chars().any(|c| c.is_ascii_control())
            || plain.split(['/', '\\']).any(|part| matches!(part, "." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_names_that_packages_have() {
        let limits = Limits::default();
        let good = [
            "app.py",
            "node_modules/@scope/x/..hidden/...",
            "a b/c:d",
            "日本語/写真.jpg",
            "emoji👩‍💻.txt",
            "100%",
            "50%2foff",
            "it%zz",
            "folder/",
        ];
        for name in good {
            assert!(parts(name, &limits).is_ok(), "{name}");
        }
        assert_eq!(parts("./a/./b", &limits).unwrap(), ["a", "b"]);
        assert!(parts("./", &limits).unwrap().is_empty());
        assert!(parts(&"x".repeat(255), &limits).is_ok());
    }

    #[test]
    fn refuses_the_names_that_lead_elsewhere() {
        let limits = Limits::default();
        let long = "x".repeat(256);
        let longer = "x/".repeat(5_000);
        let deep = "x/".repeat(101);
        let bad = [
            ("", "no name"),
            ("..", "`..`"),
            ("../a", "`..`"),
            ("a/../b", "`..`"),
            ("a/..", "`..`"),
            ("/etc/passwd", "absolute"),
            ("//x", "absolute"),
            ("a//b", "empty part"),
            ("a\\b", "backslash"),
            ("..\\a", "backslash"),
            ("C:/x", "drive"),
            ("c:x", "drive"),
            ("a\0b", "U+0000"),
            ("a\nb", "U+000A"),
            ("a\u{1b}[0m", "U+001B"),
            ("a\u{85}", "U+0085"),
            ("\u{202e}gpj.exe", "U+202E"),
            ("%2e%2e/a", "disguised"),
            ("%2e%2e%2fa", "disguised"),
            (".%2E", "disguised"),
            ("a%00", "disguised"),
            ("\u{ff0e}\u{ff0e}/a", "disguised"),
            ("\u{2025}/a", "disguised"),
            ("..\u{2215}a", "disguised"),
            (&long, "256 bytes"),
            (&longer, "10000 bytes"),
            (&deep, "101 folders"),
        ];
        for (name, why) in bad {
            let error = parts(name, &limits).unwrap_err();
            assert!(error.contains(why), "{name:?}: {error}");
        }
    }
}
