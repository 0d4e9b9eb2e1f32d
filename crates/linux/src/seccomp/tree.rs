//! Compiles decisions to BPF: each choice among ranges becomes a balanced binary search, equal ends are shared.
//!
//! The program is written backwards, from its last instruction to its first. BPF jumps only forward, so
//! whatever an instruction jumps to has then been placed already and its distance is known. A conditional
//! jump reaches 255 instructions; what is further away is reached over an unconditional one placed nearby.

use std::collections::HashMap;

use super::bpf::{self, Action, SockFilter, Word};

/// What to decide, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    Return(Action),
    /// `word & mask` lies in one of these ranges. Each begins at its number and ends before the next begins;
    /// the first begins at 0.
    Ranges {
        word: Word,
        mask: u32,
        ranges: Vec<(u32, Node)>,
    },
    /// Is any bit of `mask` set in `word`?
    AnyBit {
        word: Word,
        mask: u32,
        yes: Box<Node>,
        no: Box<Node>,
    },
}

pub const ALLOW: Node = Node::Return(Action::Allow);

pub const fn errno(errno: i32) -> Node {
    Node::Return(Action::Errno(errno as u16))
}

/// Where a node's code begins, counted from the program's end.
#[derive(Debug, Clone, Copy)]
struct Label(usize);

/// Far enough below 255 that two jumps' worth of detours fit between measuring and jumping.
const REACH: usize = 250;

#[derive(Default)]
struct Writer<'a> {
    backwards: Vec<SockFilter>,
    placed: HashMap<&'a Node, Label>,
}

pub fn compile(root: &Node) -> Vec<SockFilter> {
    let mut writer = Writer::default();
    // The root is placed last, hence stands first.
    writer.place(root);
    writer.backwards.reverse();
    writer.backwards
}

// === impl Node ===

impl Node {
    /// `cases` hold single values of `word & mask`; everything else is `otherwise`.
    pub fn cases(word: Word, mask: u32, cases: impl IntoIterator<Item = (u32, Node)>, otherwise: Node) -> Self {
        let mut cases: Vec<_> = cases.into_iter().collect();
        cases.sort_by_key(|(value, _)| *value);
        let mut ranges = vec![(0, otherwise.clone())];
        for (value, node) in cases {
            ranges.push((value, node));
            if let Some(next) = value.checked_add(1) {
                ranges.push((next, otherwise.clone()));
            }
        }
        Self::ranges(word, mask, ranges)
    }

    /// Sorted ranges, of which empty ones vanish and equal neighbours become one.
    pub fn ranges(word: Word, mask: u32, ranges: Vec<(u32, Node)>) -> Self {
        let mut merged: Vec<(u32, Node)> = Vec::with_capacity(ranges.len());
        for (start, node) in ranges {
            if merged.last().is_some_and(|(last, _)| *last == start) {
                merged.pop();
            }
            if merged.last().is_none_or(|(_, last)| *last != node) {
                merged.push((start, node));
            }
        }
        match merged.len() {
            1 => merged.remove(0).1,
            _ => Self::Ranges { word, mask, ranges: merged },
        }
    }
}

// === impl Writer ===

impl<'a> Writer<'a> {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.backwards.push(SockFilter { code, jt, jf, k });
        Label(self.backwards.len() - 1)
    }

    /// How many instructions lie between the next one to be pushed and the label.
    fn distance(&self, label: Label) -> usize {
        self.backwards.len() - label.0 - 1
    }

    /// The label, or a jump to it close enough for a conditional jump.
    fn near(&mut self, label: Label) -> Label {
        let distance = self.distance(label);
        if distance <= REACH { label } else { self.push(bpf::JUMP, 0, 0, distance as u32) }
    }

    fn test(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let (yes, no) = (self.near(yes), self.near(no));
        let (yes, no) = (self.distance(yes), self.distance(no));
        self.push(code, u8::try_from(yes).expect("near"), u8::try_from(no).expect("near"), k)
    }

    fn place(&mut self, node: &'a Node) -> Label {
        if let Some(&label) = self.placed.get(node) {
            // A new return costs what a jump to the old one would.
            if self.distance(label) <= REACH || !matches!(node, Node::Return(_)) {
                return label;
            }
        }
        let label = match node {
            Node::Return(action) => self.push(bpf::RETURN, 0, 0, action.encode()),
            Node::Ranges { word, mask, ranges } => {
                self.search(ranges);
                if *mask != u32::MAX {
                    self.push(bpf::AND, 0, 0, *mask);
                }
                self.push(bpf::LOAD, 0, 0, word.offset())
            }
            Node::AnyBit { word, mask, yes, no } => {
                let (yes, no) = (self.place(yes), self.place(no));
                self.test(bpf::JUMP_ANY_BIT, *mask, yes, no);
                self.push(bpf::LOAD, 0, 0, word.offset())
            }
        };
        self.placed.insert(node, label);
        label
    }

    /// Places a search over at least one range; falls through into it must begin at the returned label.
    fn search(&mut self, ranges: &'a [(u32, Node)]) -> Label {
        match ranges {
            [] => unreachable!("a choice among no ranges"),
            [(_, node)] => self.place(node),
            // One value amid others: a single comparison.
            [(_, below), (value, node), (next, above)] if below == above && *next == value.wrapping_add(1) => {
                let (no, yes) = (self.place(below), self.place(node));
                self.test(bpf::JUMP_EQUAL, *value, yes, no)
            }
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let (yes, no) = (self.search(high), self.search(low));
                self.test(bpf::JUMP_AT_LEAST, high[0].0, yes, no)
            }
        }
    }
}
