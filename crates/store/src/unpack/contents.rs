//! The contents of one entry, held against what the archive says of them.

use std::io::{self, Read, Write};

use flate2::bufread::DeflateDecoder;

use super::directory::{Entry, Method};

/// Why an entry's contents did not come out whole.
pub(super) enum Broken {
    /// The archive's fault.
    Refused(String),
    /// The fault of where they were to be written.
    Io(io::Error),
}

/// Copies the contents to `to`, and holds them against size and checksum. Stops at the first byte too many.
pub(super) fn copy(entry: &Entry<'_>, buffer: &mut [u8], to: &mut dyn Write) -> Result<(), Broken> {
    match entry.method {
        Method::Stored => checked(entry, buffer, &mut &*entry.data, to),
        Method::Deflate => {
            let mut inflate = DeflateDecoder::new(entry.data);
            checked(entry, buffer, &mut inflate, to)?;
            match inflate.total_in() == entry.data.len() as u64 {
                true => Ok(()),
                false => Err(Broken::Refused("more data follows its end".into())),
            }
        }
    }
}

fn checked(entry: &Entry<'_>, buffer: &mut [u8], from: &mut dyn Read, to: &mut dyn Write) -> Result<(), Broken> {
    let refused = |why: String| Err(Broken::Refused(why));
    let mut checksum = crc32fast::Hasher::new();
    let mut size = 0_u64;
    loop {
        let read = match from.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return refused(format!("it cannot be decompressed: {error}")),
        };
        size += read as u64;
        if size > entry.size {
            return refused(format!("it says {} bytes, but holds more", entry.size));
        }
        checksum.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(Broken::Io)?;
    }
    if size != entry.size {
        return refused(format!("it says {} bytes, but holds {size}", entry.size));
    }
    if checksum.finalize() != entry.crc {
        return refused("its contents do not match their checksum".into());
    }
    Ok(())
}
