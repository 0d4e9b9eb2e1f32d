//! Classic BPF as seccomp takes it: the instruction, the few opcodes used, and `struct seccomp_data`.

/// One instruction: `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SockFilter {
    pub code: u16,
    /// Instructions to skip where the comparison holds, and where it does not.
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

const _: () = {
    assert!(size_of::<SockFilter>() == size_of::<libc::sock_filter>());
    assert!(align_of::<SockFilter>() == align_of::<libc::sock_filter>());
};

/// A := 32-bit word of the data at offset k.
pub const LOAD: u16 = 0x20;
/// A := A & k.
pub const AND: u16 = 0x54;
/// Skip k instructions.
pub const JUMP: u16 = 0x05;
/// A == k?
pub const JUMP_EQUAL: u16 = 0x15;
/// A >= k, unsigned?
pub const JUMP_AT_LEAST: u16 = 0x35;
/// A & k != 0?
pub const JUMP_ANY_BIT: u16 = 0x45;
/// The answer is k.
pub const RETURN: u16 = 0x06;

/// A 32-bit word of `struct seccomp_data { int nr; u32 arch; u64 ip; u64 args[6]; }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    Number,
    Arch,
    /// The low half of an argument: all of it, where the kernel takes an `int`.
    Low(u8),
    High(u8),
}

/// What the kernel shall do with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Allow,
    /// The call is not made, and returns this error; success if 0.
    Errno(u16),
    KillProcess,
}

// === impl Word ===

impl Word {
    /// Offset in the data. Both machines that Hearth knows are little-endian.
    pub const fn offset(self) -> u32 {
        match self {
            Self::Number => 0,
            Self::Arch => 4,
            Self::Low(index) => 16 + 8 * index as u32,
            Self::High(index) => 20 + 8 * index as u32,
        }
    }
}

// === impl Action ===

impl Action {
    pub const fn encode(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::KillProcess => 0x8000_0000,
        }
    }
}
