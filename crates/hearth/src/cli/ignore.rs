//! What stays out of a package: things that no function needs at run time, and what `.hearthignore` names.
//!
//! `.hearthignore` is read as git reads `.gitignore`: `#` comments, `!` takes back, a `/` at the end means
//! folders only, a `/` elsewhere binds to the root, `*` and `?` stay within a name, `**` crosses folders. The
//! last pattern that fits decides.

/// Left out everywhere unless `.hearthignore` takes it back.
const ALWAYS: &str = "
.git
.hg
.svn
.DS_Store
.idea/
.vscode/
__pycache__/
*.pyc
.pytest_cache/
.mypy_cache/
.ruff_cache/
.venv/
/venv/
.tox/
node_modules/.cache/
.env
.npmrc
.hearthignore
/hearth.toml
*~
.#*
*.swp
*.swo
";

/// Patterns in their order.
#[derive(Debug, Default)]
pub struct Ignore(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    /// Takes back what an earlier pattern left out.
    keep: bool,
    folder_only: bool,
    /// Bound to the root; otherwise it may begin in any folder.
    rooted: bool,
    parts: Vec<String>,
}

// === impl Ignore ===

impl Ignore {
    /// The defaults, and then the text of a `.hearthignore`.
    pub fn new(text: &str) -> Self {
        Self(ALWAYS.lines().chain(text.lines()).filter_map(Pattern::parse).collect())
    }

    /// Whether a path, with `/` between its names, is left out. What is in a folder that is left out is not asked
    /// about.
    pub fn leaves_out(&self, path: &str, folder: bool) -> bool {
        let names: Vec<&str> = path.split('/').collect();
        self.0.iter().rev().find(|pattern| pattern.fits(&names, folder)).is_some_and(|pattern| !pattern.keep)
    }
}

// === impl Pattern ===

impl Pattern {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (keep, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let line = line.strip_prefix('\\').unwrap_or(line);
        let (folder_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
        let rooted = line.starts_with('/');
        let parts: Vec<String> = line.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        // As in git: a slash within binds to the root too. Our own defaults mean such a folder anywhere.
        let rooted = rooted || (parts.len() > 1 && parts[0] != "node_modules");
        (!parts.is_empty()).then_some(Self { keep, folder_only, rooted, parts })
    }

    fn fits(&self, names: &[&str], folder: bool) -> bool {
        if self.folder_only && !folder {
            return false;
        }
        let starts = if self.rooted { 0..=0 } else { 0..=names.len().saturating_sub(self.parts.len()) };
        starts.into_iter().any(|start| path_fits(&self.parts, &names[start..]))
    }
}

fn path_fits(parts: &[String], names: &[&str]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((part, rest)), _) if part == "**" => {
            // At the end it means everything below, and not the folder itself.
            if rest.is_empty() {
                !names.is_empty()
            } else {
                (0..=names.len()).any(|skip| path_fits(rest, &names[skip..]))
            }
        }
        (Some((part, parts)), Some((name, names))) => {
            name_fits(part.as_bytes(), name.as_bytes()) && path_fits(parts, names)
        }
        _ => false,
    }
}

/// `*` and `?` within one name. Linear: a star that did not work out is tried one further, and never an earlier
/// one again.
fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((at, tried)) = star else { return false };
                star = Some((at, tried + 1));
                (p, n) = (at + 1, tried + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str, path: &str) -> bool {
        let folder = path.ends_with('/');
        Ignore::new(text).leaves_out(path.trim_end_matches('/'), folder)
    }

    #[test]
    fn what_no_function_needs_is_left_out() {
        for path in [
            ".git/",
            "a/.git",
            "__pycache__/",
            "a/b/__pycache__/",
            "a/x.pyc",
            "hearth.toml",
            ".env",
            "node_modules/.cache/",
            "venv/",
            "app.py~",
            "a/.app.py.swp",
            ".#app.py",
        ] {
            assert!(out("", path), "{path}");
        }
        for path in ["app.py", "a/hearth.toml", "node_modules/", "node_modules/x/index.js", "a/venv/", "git", "test.py"]
        {
            assert!(!out("", path), "{path}");
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        assert!(out("*.md", "a/b/README.md"));
        assert!(out("/*.md", "README.md"));
        assert!(!out("/*.md", "a/README.md"));
        assert!(out("data/", "x/data/"));
        assert!(!out("data/", "x/data"));
        assert!(out("docs/*.txt", "docs/a.txt"));
        assert!(!out("docs/*.txt", "x/docs/a.txt"));
        assert!(out("**/gen/*.js", "a/b/gen/x.js"));
        assert!(out("a/**", "a/b/c"));
        assert!(!out("a/**", "a/"));
        assert!(out("t?st", "test"));
        assert!(!out("# no pattern", "# no pattern"));
    }

    #[test]
    fn a_later_line_takes_back() {
        assert!(!out("*.md\n!README.md", "README.md"));
        assert!(out("!README.md\n*.md", "README.md"));
        assert!(!out("!.env", ".env"));
    }

    #[test]
    fn many_stars_end_soon() {
        assert!(!name_fits("*a".repeat(60).as_bytes(), "a".repeat(50).as_bytes()));
    }
}
