//! The checksums that S3's clients send with what they store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Those that are known here; SHA-1 is not one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha256,
}

// === impl Checksum ===

impl Checksum {
    pub const ALL: [Self; 4] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha256];

    /// Of a header or trailer: `x-amz-checksum-crc32`.
    pub fn of_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.header() == name)
    }

    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// As S3 writes it, in base64.
    pub fn of(self, bytes: &[u8]) -> String {
        match self {
            Self::Crc32 => STANDARD.encode(crc32fast::hash(bytes).to_be_bytes()),
            Self::Crc32c => STANDARD.encode((crc(bytes, 0x82F6_3B78, 0xFFFF_FFFF) as u32).to_be_bytes()),
            Self::Crc64Nvme => STANDARD.encode(crc(bytes, 0x9A6C_9329_AC4B_C9B5, u64::MAX).to_be_bytes()),
            Self::Sha256 => STANDARD.encode(Sha256::digest(bytes)),
        }
    }
}

/// Reflected, begun and ended with all ones, a byte at a time.
fn crc(bytes: &[u8], polynomial: u64, ones: u64) -> u64 {
    let table: [u64; 256] = std::array::from_fn(|byte| {
        (0..8).fold(byte as u64, |value, _| if value & 1 == 1 { value >> 1 ^ polynomial } else { value >> 1 })
    });
    bytes.iter().fold(ones, |value, byte| value >> 8 ^ table[usize::from(value as u8 ^ byte)]) ^ ones
}

/// An entity tag, without its quotes: MD5 in hexadecimal.
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    md5::Md5::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_are_right() {
        let check = b"123456789";
        assert_eq!(Checksum::Crc32.of(check), STANDARD.encode([0xCB, 0xF4, 0x39, 0x26]));
        assert_eq!(Checksum::Crc32c.of(check), STANDARD.encode([0xE3, 0x06, 0x92, 0x83]));
        assert_eq!(Checksum::Crc64Nvme.of(check), STANDARD.encode([0xAE, 0x8B, 0x14, 0x86, 0x0A, 0x79, 0x98, 0x88]));
    }

    #[test]
    fn headers_name_them() {
        for one in Checksum::ALL {
            assert_eq!(Checksum::of_header(one.header()), Some(one));
        }
        assert_eq!(Checksum::of_header("x-amz-checksum-sha1"), None);
    }
}
