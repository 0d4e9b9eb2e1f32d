//! The tree that a package will be: every entry in its place, before anything is written.

use std::collections::HashMap;

use super::contents::{Broken, copy};
use super::directory::Entry;
use super::{Limits, name, refuse, show};
use crate::StoreError;

/// Index of a node; the root is 0.
pub(super) type Id = usize;

pub(super) struct Tree<'a> {
    pub nodes: Vec<Node<'a>>,
}

pub(super) struct Node<'a> {
    pub name: &'a str,
    pub parent: Id,
    pub kind: Kind<'a>,
}

pub(super) enum Kind<'a> {
    /// `named`: by an entry of its own, not only as a parent.
    Folder {
        children: Vec<Id>,
        named: bool,
    },
    File {
        entry: Entry<'a>,
        executable: bool,
    },
    Link {
        target: String,
    },
}

const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Steps that following all links may take together, far more than an honest package needs.
const LINK_STEPS: usize = 200_000;

pub(super) fn build<'a>(entries: Vec<Entry<'a>>, limits: &Limits) -> Result<Tree<'a>, StoreError> {
    let root = Node { name: "", parent: 0, kind: Kind::Folder { children: Vec::new(), named: false } };
    let mut builder = Builder { nodes: vec![root], by_name: HashMap::new(), limits };
    for entry in entries {
        let name = entry.name;
        builder.add(entry).map_err(|why| StoreError::BadPackage(format!("entry {}: {why}", show(name))))?;
    }
    let tree = Tree { nodes: builder.nodes };
    tree.check_links()?;
    Ok(tree)
}

struct Builder<'a, 'l> {
    nodes: Vec<Node<'a>>,
    /// By parent and name with its case folded.
    by_name: HashMap<(Id, String), Id>,
    limits: &'l Limits,
}

// === impl Builder ===

impl<'a> Builder<'a, '_> {
    fn add(&mut self, entry: Entry<'a>) -> Result<(), String> {
        let Ok(path) = std::str::from_utf8(entry.name) else {
            return Err("its name is not UTF-8".into());
        };
        let kind = self.kind(path, entry)?;
        let parts = name::parts(path, self.limits)?;
        let Some((last, parents)) = parts.split_last() else {
            // `./`, the root itself.
            return if matches!(kind, Kind::Folder { .. }) { Ok(()) } else { Err("it has no name".into()) };
        };
        let mut at = 0;
        for part in parents {
            at = match self.find(at, part)? {
                None => self.insert(at, part, Kind::Folder { children: Vec::new(), named: false })?,
                Some(id) => match self.nodes[id].kind {
                    Kind::Folder { .. } => id,
                    Kind::File { .. } => return Err(format!("{} is a file, expected a folder", self.path(id))),
                    Kind::Link { .. } => {
                        return Err(format!("its path leads through the symbolic link {}", self.path(id)));
                    }
                },
            };
        }
        match self.find(at, last)? {
            None => self.insert(at, last, kind).map(drop),
            Some(id) => match (&mut self.nodes[id].kind, kind) {
                (Kind::Folder { named: named @ false, .. }, Kind::Folder { .. }) => {
                    *named = true;
                    Ok(())
                }
                (Kind::Folder { .. }, Kind::Folder { .. })
                | (Kind::File { .. }, Kind::File { .. })
                | (Kind::Link { .. }, Kind::Link { .. }) => Err("it is there twice".into()),
                (Kind::Link { .. }, _) => Err("it is also a symbolic link".into()),
                (Kind::Folder { .. }, _) => Err("it is also a folder".into()),
                (Kind::File { .. }, _) => Err("it is also a file".into()),
            },
        }
    }

    fn kind(&self, path: &str, entry: Entry<'a>) -> Result<Kind<'a>, String> {
        let slash = path.ends_with('/');
        match entry.mode & TYPE {
            0 | REGULAR | FOLDER if slash || entry.mode & TYPE == FOLDER => {
                if entry.size != 0 {
                    return Err(format!("a folder of {} bytes, expected none", entry.size));
                }
                Ok(Kind::Folder { children: Vec::new(), named: true })
            }
            0 | REGULAR => Ok(Kind::File { executable: entry.mode & 0o111 != 0, entry }),
            LINK if !slash => Ok(Kind::Link { target: self.target(&entry)? }),
            0o020_000 | 0o060_000 => Err("it is a device, expected a file, a folder or a symbolic link".into()),
            0o010_000 => Err("it is a named pipe, expected a file, a folder or a symbolic link".into()),
            0o140_000 => Err("it is a socket, expected a file, a folder or a symbolic link".into()),
            other => Err(format!("its type {other:#o} is unknown, expected a file, a folder or a symbolic link")),
        }
    }

    /// Reads a link's target: text, relative, short.
    fn target(&self, entry: &Entry<'_>) -> Result<String, String> {
        let longest = self.limits.link_bytes;
        if entry.size == 0 || entry.size > longest {
            return Err(format!("a symbolic link of {} bytes, expected 1 to {longest}", entry.size));
        }
        let mut text = Vec::new();
        copy(entry, &mut [0; 1024], &mut text).map_err(|broken| match broken {
            Broken::Refused(why) => why,
            Broken::Io(error) => error.to_string(),
        })?;
        let target = String::from_utf8(text).map_err(|_| "a symbolic link to what is not UTF-8".to_owned())?;
        if target.chars().any(|c| c.is_control() || c == '\\') {
            return Err("a symbolic link with a control character or backslash in its target".into());
        }
        if target.starts_with('/') {
            return Err(format!("a symbolic link to {}, expected a relative path", show(target.as_bytes())));
        }
        Ok(target)
    }

    fn find(&self, parent: Id, name: &str) -> Result<Option<Id>, String> {
        let Some(&id) = self.by_name.get(&(parent, fold(name))) else { return Ok(None) };
        if self.nodes[id].name != name {
            return Err(format!("it differs from {} only in upper and lower case", self.path(id)));
        }
        Ok(Some(id))
    }

    fn insert(&mut self, parent: Id, name: &'a str, kind: Kind<'a>) -> Result<Id, String> {
        let id = self.nodes.len();
        // Folders that are only named as parents cost as much as entries, so they count.
        if id > self.limits.entries {
            return Err(format!("it brings the package over {} files and folders", self.limits.entries));
        }
        self.by_name.insert((parent, fold(name)), id);
        self.nodes.push(Node { name, parent, kind });
        if let Kind::Folder { children, .. } = &mut self.nodes[parent].kind {
            children.push(id);
        }
        Ok(id)
    }

    fn path(&self, id: Id) -> String {
        path(&self.nodes, id)
    }
}

fn fold(name: &str) -> String {
    if name.is_ascii() { name.to_ascii_lowercase() } else { name.to_uppercase().to_lowercase() }
}

fn path(nodes: &[Node<'_>], mut id: Id) -> String {
    let mut parts = Vec::new();
    while id != 0 {
        parts.push(nodes[id].name);
        id = nodes[id].parent;
    }
    parts.reverse();
    show(parts.join("/").as_bytes())
}

// === impl Tree ===

impl Tree<'_> {
    pub fn path(&self, id: Id) -> String {
        path(&self.nodes, id)
    }

    /// Follows every link, also through other links, as the kernel would, and refuses those that leave the root
    /// anywhere on the way. One that leads nowhere inside is harmless, and common.
    fn check_links(&self) -> Result<(), StoreError> {
        let mut by_name = HashMap::new();
        if self.nodes.iter().any(|node| matches!(node.kind, Kind::Link { .. })) {
            by_name.extend(self.nodes.iter().enumerate().skip(1).map(|(id, node)| ((node.parent, node.name), id)));
        }
        let mut steps = 0;
        for (id, node) in self.nodes.iter().enumerate() {
            if let Kind::Link { target } = &node.kind
                && let Err(why) = self.follow(node.parent, target, &by_name, &mut steps)
            {
                let target = show(target.as_bytes());
                return refuse(format!("entry {}: a symbolic link to {target}, which {why}", self.path(id)));
            }
        }
        Ok(())
    }

    fn follow<'s>(
        &'s self,
        from: Id,
        target: &'s str,
        by_name: &HashMap<(Id, &str), Id>,
        steps: &mut usize,
    ) -> Result<(), &'static str> {
        let mut at = from;
        // Folders below what exists: a dangling path may go down and come back up.
        let mut missing = 0_usize;
        let mut links = 0;
        let mut todo: Vec<&str> = target.rsplit('/').collect();
        while let Some(part) = todo.pop() {
            *steps += 1;
            if *steps > LINK_STEPS {
                return Err("with the others takes too long to follow");
            }
            match part {
                "" | "." => {}
                ".." if missing > 0 => missing -= 1,
                ".." if at == 0 => return Err("leads out of the package"),
                ".." => at = self.nodes[at].parent,
                _ if missing > 0 => missing += 1,
                name => match by_name.get(&(at, name)) {
                    None => missing += 1,
                    Some(&id) => match &self.nodes[id].kind {
                        Kind::Folder { .. } => at = id,
                        // What follows cannot be reached; it is as good as missing.
                        Kind::File { .. } => missing += 1,
                        Kind::Link { target } => {
                            links += 1;
                            if links > 40 {
                                return Err("leads in a circle");
                            }
                            todo.extend(target.rsplit('/'));
                        }
                    },
                },
            }
        }
        Ok(())
    }
}
