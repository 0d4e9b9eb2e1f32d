//! Runs a program the way the kernel does, and accepts only what the kernel accepts. For tests.

use super::bpf::{self, Action, SockFilter, Word};
use super::tree::Node;

/// `struct seccomp_data`, of which nothing reads the instruction pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub number: u32,
    pub arch: u32,
    pub args: [u64; 6],
}

/// The answer, and how many instructions it took.
pub fn run(program: &[SockFilter], call: &Call) -> (Action, usize) {
    let (mut at, mut a) = (0, 0_u32);
    for steps in 1.. {
        let SockFilter { code, jt, jf, k } = program[at];
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            bpf::LOAD => a = call.load(k),
            bpf::AND => a &= k,
            bpf::JUMP => at += k as usize,
            bpf::JUMP_EQUAL => jump(a == k),
            bpf::JUMP_AT_LEAST => jump(a >= k),
            bpf::JUMP_ANY_BIT => jump(a & k != 0),
            bpf::RETURN => return (decode(k), steps),
            other => panic!("the kernel refuses instruction {other:#x}"),
        }
    }
    unreachable!()
}

/// What a decision says, taken literally.
pub fn decide(node: &Node, call: &Call) -> Action {
    match node {
        Node::Return(action) => *action,
        Node::Ranges { word, mask, ranges } => {
            let value = call.word(*word) & mask;
            let (_, node) = ranges.iter().rev().find(|(start, _)| *start <= value).expect("the first starts at 0");
            decide(node, call)
        }
        Node::AnyBit { word, mask, yes, no } => {
            let any = call.word(*word) & mask != 0;
            decide(if any { yes } else { no }, call)
        }
    }
}

fn decode(answer: u32) -> Action {
    match (answer & 0xffff_0000, answer as u16) {
        (0x7fff_0000, 0) => Action::Allow,
        (0x8000_0000, 0) => Action::KillProcess,
        (0x0005_0000, errno) => Action::Errno(errno),
        _ => panic!("unknown answer {answer:#x}"),
    }
}

// === impl Call ===

impl Call {
    fn load(&self, offset: u32) -> u32 {
        assert_eq!(offset % 4, 0, "the kernel refuses it");
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 => (self.args[(offset as usize - 16) / 8] >> (8 * (offset % 8))) as u32,
            _ => panic!("a load from {offset}"),
        }
    }

    fn word(&self, word: Word) -> u32 {
        match word {
            Word::Number => self.number,
            Word::Arch => self.arch,
            Word::Low(index) => self.args[usize::from(index)] as u32,
            Word::High(index) => (self.args[usize::from(index)] >> 32) as u32,
        }
    }
}
