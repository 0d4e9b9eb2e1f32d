//! What the image holds so far, and what an entry does to it. Decides in memory, and orders the file system to follow.
//!
//! Links on the way to an entry's folder are followed here, inside the root, so that every order names its folder without
//! links; the writer then holds the kernel to that. Where a folder is needed and a file, or a link to nothing, is
//! in the way, a folder takes its place.

use std::collections::BTreeMap;

use super::Limits;
use crate::ImageError;

/// Links that one path may lead through, as in the kernel.
const LINKS: usize = 40;

/// Steps of following links, for all entries together: bounds the time that links to links take.
const STEPS: u64 = 20_000_000;

pub(super) type Name = Box<[u8]>;

/// The way from the root to a folder, without links.
pub(super) type Way = Vec<Name>;

/// Who carries the orders out. Folders are given by their way; names are single parts.
pub(super) trait Disk {
    fn make_folder(&mut self, folder: &[Name], name: &[u8]) -> Result<(), ImageError>;

    /// Removes a file or a link.
    fn remove_file(&mut self, folder: &[Name], name: &[u8]) -> Result<(), ImageError>;

    /// Removes an empty folder.
    fn remove_folder(&mut self, folder: &[Name], name: &[u8]) -> Result<(), ImageError>;
}

pub(super) struct Tree<D> {
    pub disk: D,
    root: Folder,
    /// Counts from one.
    layer: usize,
    limits: Limits,
    entries: u64,
    names_bytes: u64,
    steps: u64,
}

#[derive(Default)]
struct Folder {
    /// The last layer that had an entry for it.
    layer: usize,
    children: BTreeMap<Name, Node>,
}

enum Node {
    Folder(Folder),
    File { layer: usize },
    Link { layer: usize, target: Name },
}

/// Why an entry cannot be.
#[derive(Debug)]
pub(super) enum Refusal {
    Entry(String),
    Image(ImageError),
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

// === impl Tree ===

impl<D: Disk> Tree<D> {
    pub fn new(disk: D, limits: Limits) -> Self {
        Self { disk, root: Folder::default(), layer: 0, limits, entries: 0, names_bytes: 0, steps: 0 }
    }

    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// The folder that the parts of an entry's path lead to; it is made if need be.
    pub fn folder_for(&mut self, parts: &[&[u8]]) -> Result<Way, Refusal> {
        let mut at = Way::new();
        for part in parts {
            match self.folder(&at).children.get(*part) {
                Some(Node::Folder(_)) => at.push((*part).into()),
                Some(Node::Link { target, .. }) => {
                    let target = target.clone();
                    match self.follow(&at, &target)? {
                        Some(way) => at = way,
                        None => self.make(&mut at, part)?,
                    }
                }
                Some(Node::File { .. }) | None => self.make(&mut at, part)?,
            }
        }
        Ok(at)
    }

    fn make(&mut self, at: &mut Way, part: &[u8]) -> Result<(), Refusal> {
        self.put_folder(at, part)?;
        at.push(part.into());
        Ok(())
    }

    /// The folder that the parts lead to, if there is one.
    pub fn existing(&mut self, parts: &[&[u8]]) -> Result<Option<Way>, Refusal> {
        self.follow(&Way::new(), &parts.join(&b'/'))
    }

    /// Sees to it that there is a folder of this name. True if it was made, false if it was there.
    pub fn put_folder(&mut self, folder: &Way, name: &[u8]) -> Result<bool, Refusal> {
        let layer = self.layer;
        self.count(folder, name.len())?;
        if let Some(Node::Folder(there)) = self.folder_mut(folder).children.get_mut(name) {
            there.layer = layer;
            return Ok(false);
        }
        self.clear(folder, name)?;
        self.disk.make_folder(folder, name)?;
        let made = Node::Folder(Folder { layer, children: BTreeMap::new() });
        self.folder_mut(folder).children.insert(name.into(), made);
        Ok(true)
    }

    /// Makes room for a file of this name, which the caller then writes.
    pub fn put_file(&mut self, folder: &Way, name: &[u8]) -> Result<(), Refusal> {
        self.count(folder, name.len())?;
        self.clear(folder, name)?;
        let layer = self.layer;
        self.folder_mut(folder).children.insert(name.into(), Node::File { layer });
        Ok(())
    }

    /// Makes room for a symbolic link of this name, which the caller then writes.
    pub fn put_link(&mut self, folder: &Way, name: &[u8], target: &[u8]) -> Result<(), Refusal> {
        self.count(folder, name.len() + target.len())?;
        self.clear(folder, name)?;
        let link = Node::Link { layer: self.layer, target: target.into() };
        self.folder_mut(folder).children.insert(name.into(), link);
        Ok(())
    }

    /// Makes room for a hard link of this name to a file or link that is there, which the caller then writes. None if
    /// it is there already, being its own target.
    pub fn put_hard_link(
        &mut self,
        folder: &Way,
        name: &[u8],
        target: &[&[u8]],
    ) -> Result<Option<(Way, Name)>, Refusal> {
        let missing = || Refusal::Entry("it is a hard link to what is not in the image".into());
        let (last, parts) = target.split_last().ok_or_else(missing)?;
        let from = self.existing(parts)?.ok_or_else(missing)?;
        if from == *folder && *last == name {
            return match self.folder(&from).children.get(*last) {
                Some(Node::File { .. } | Node::Link { .. }) => Ok(None),
                _ => Err(missing()),
            };
        }
        self.count(folder, name.len() + last.len())?;
        let layer = self.layer;
        let copy = |tree: &Self| match tree.find(&from, last) {
            Some(Node::File { .. }) => Ok(Node::File { layer }),
            Some(Node::Link { target, .. }) => Ok(Node::Link { layer, target: target.clone() }),
            Some(Node::Folder(_)) => Err(Refusal::Entry("it is a hard link to a folder".into())),
            None => Err(missing()),
        };
        copy(self)?;
        self.clear(folder, name)?;
        // The target may have been in the folder whose place the link takes.
        let node = copy(self)?;
        if let Node::Link { target, .. } = &node {
            self.names_bytes += target.len() as u64;
        }
        self.folder_mut(folder).children.insert(name.into(), node);
        Ok(Some((from, (*last).into())))
    }

    /// Removes what has this name, if anything has.
    pub fn clear(&mut self, folder: &Way, name: &[u8]) -> Result<(), Refusal> {
        match self.folder_mut(folder).children.remove(name) {
            Some(node) => Ok(demolish(&mut self.disk, &mut folder.clone(), name, node)?),
            None => Ok(()),
        }
    }

    /// Takes what the layers below have under this name away; what this layer has put there stays.
    pub fn whiteout(&mut self, parts: &[&[u8]], name: &[u8]) -> Result<(), Refusal> {
        let Some(mut way) = self.existing(parts)? else { return Ok(()) };
        let layer = self.layer;
        let Some((name, node)) = self.folder_mut(&way).children.remove_entry(name) else { return Ok(()) };
        if let Some(kept) = prune(&mut self.disk, &mut way, &name, node, layer)? {
            self.folder_mut(&way).children.insert(name, kept);
        }
        Ok(())
    }

    /// Takes all that the layers below have in this folder away.
    pub fn opaque(&mut self, parts: &[&[u8]]) -> Result<(), Refusal> {
        let Some(mut way) = self.existing(parts)? else { return Ok(()) };
        let children = std::mem::take(&mut self.folder_mut(&way).children);
        let kept = prune_all(&mut self.disk, &mut way, children, self.layer)?;
        self.folder_mut(&way).children = kept;
        Ok(())
    }

    /// Follows a link's target from `from`, inside the root, to a folder. None if it leads to anything else.
    fn follow(&mut self, from: &Way, target: &[u8]) -> Result<Option<Way>, Refusal> {
        let mut steps = self.steps;
        let mut way: Vec<(&[u8], &Folder)> = Vec::new();
        let mut here = &self.root;
        if !target.starts_with(b"/") {
            for name in from {
                match here.children.get(name) {
                    Some(Node::Folder(folder)) => here = folder,
                    _ => return Ok(None),
                }
                way.push((name, here));
            }
        }
        let mut links = 0;
        let mut todo: Vec<&[u8]> = target.rsplit(|byte| *byte == b'/').collect();
        while let Some(part) = todo.pop() {
            steps += 1;
            if steps > STEPS {
                return Err(Refusal::Entry("the links of the image take too long to follow".into()));
            }
            let here = way.last().map_or(&self.root, |(_, folder)| *folder);
            match part {
                b"" | b"." => {}
                b".." => drop(way.pop()),
                name => match here.children.get_key_value(name) {
                    Some((name, Node::Folder(folder))) => way.push((name, folder)),
                    Some((_, Node::Link { target, .. })) if links < LINKS => {
                        links += 1;
                        if target.starts_with(b"/") {
                            way.clear();
                        }
                        todo.extend(target.rsplit(|byte| *byte == b'/'));
                    }
                    _ => {
                        self.steps = steps;
                        return Ok(None);
                    }
                },
            }
        }
        let way = way.into_iter().map(|(name, _)| name.into()).collect();
        self.steps = steps;
        Ok(Some(way))
    }

    fn count(&mut self, folder: &Way, name_bytes: usize) -> Result<(), Refusal> {
        self.entries += 1;
        self.names_bytes += name_bytes as u64;
        let limits = &self.limits;
        let over = |what, limit| Err(ImageError::Limit { what, limit }.into());
        if self.entries > limits.entries {
            return over("entries", limits.entries);
        }
        if self.names_bytes > limits.names_bytes {
            return over("bytes of names", limits.names_bytes);
        }
        if folder.len() >= limits.depth {
            return over("folders inside one another", limits.depth as u64);
        }
        // Of the way with links resolved: the path that was written is checked where it is parsed.
        let bytes = folder.iter().map(|part| part.len() + 1).sum::<usize>() + name_bytes.min(256);
        match bytes > limits.path_bytes {
            true => over("bytes in a path", limits.path_bytes as u64),
            false => Ok(()),
        }
    }

    fn find(&self, way: &[Name], name: &[u8]) -> Option<&Node> {
        let mut here = &self.root;
        for part in way {
            match here.children.get(part) {
                Some(Node::Folder(folder)) => here = folder,
                _ => return None,
            }
        }
        here.children.get(name)
    }

    fn folder(&self, way: &[Name]) -> &Folder {
        way.iter().fold(&self.root, |here, name| match here.children.get(name) {
            Some(Node::Folder(folder)) => folder,
            _ => unreachable!("a way leads through folders"),
        })
    }

    fn folder_mut(&mut self, way: &[Name]) -> &mut Folder {
        way.iter().fold(&mut self.root, |here, name| match here.children.get_mut(name) {
            Some(Node::Folder(folder)) => folder,
            _ => unreachable!("a way leads through folders"),
        })
    }
}

/// Removes a node with all in it. Recursion is bounded by `Limits::depth`, here and below.
fn demolish(disk: &mut impl Disk, way: &mut Way, name: &[u8], node: Node) -> Result<(), ImageError> {
    let Node::Folder(folder) = node else { return disk.remove_file(way, name) };
    way.push(name.into());
    for (name, node) in folder.children {
        demolish(disk, way, &name, node)?;
    }
    way.pop();
    disk.remove_folder(way, name)
}

/// Removes of a node what is not of `layer`; gives back what is left.
fn prune(
    disk: &mut impl Disk,
    way: &mut Way,
    name: &[u8],
    node: Node,
    layer: usize,
) -> Result<Option<Node>, ImageError> {
    match node {
        Node::File { layer: of } | Node::Link { layer: of, .. } if of == layer => Ok(Some(node)),
        Node::File { .. } | Node::Link { .. } => disk.remove_file(way, name).map(|()| None),
        Node::Folder(mut folder) => {
            way.push(name.into());
            folder.children = prune_all(disk, way, folder.children, layer)?;
            way.pop();
            match folder.layer == layer || !folder.children.is_empty() {
                true => Ok(Some(Node::Folder(folder))),
                false => disk.remove_folder(way, name).map(|()| None),
            }
        }
    }
}

fn prune_all(
    disk: &mut impl Disk,
    way: &mut Way,
    children: BTreeMap<Name, Node>,
    layer: usize,
) -> Result<BTreeMap<Name, Node>, ImageError> {
    let mut kept = BTreeMap::new();
    for (name, node) in children {
        if let Some(node) = prune(disk, way, &name, node, layer)? {
            kept.insert(name, node);
        }
    }
    Ok(kept)
}
