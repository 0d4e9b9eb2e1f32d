//! Unpacks a layer's bytes: gzip with several members, zstd with several frames.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::manifest::Packing;

const BUFFER: usize = 64 * 1024;

/// Yields the tar stream of a layer.
pub(super) enum Decoder<R> {
    Tar(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<Zstd<R>>),
}

/// All frames of a zstd stream. Windows over 128 MiB are refused by the decoder.
pub(super) struct Zstd<R> {
    from: BufReader<R>,
    decoder: FrameDecoder,
    inside: bool,
}

// === impl Decoder ===

impl<R: Read> Decoder<R> {
    pub fn new(packing: Packing, from: R) -> Self {
        let from = BufReader::with_capacity(BUFFER, from);
        match packing {
            Packing::Tar => Self::Tar(from),
            Packing::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(from))),
            Packing::Zstd => Self::Zstd(Box::new(Zstd { from, decoder: FrameDecoder::new(), inside: false })),
        }
    }

    /// The packed bytes below; what the buffer holds is lost.
    pub fn get_ref(&self) -> &R {
        match self {
            Self::Tar(from) => from.get_ref(),
            Self::Gzip(decoder) => decoder.get_ref().get_ref(),
            Self::Zstd(decoder) => decoder.from.get_ref(),
        }
    }

    pub fn into_inner(self) -> R {
        match self {
            Self::Tar(from) => from.into_inner(),
            Self::Gzip(decoder) => decoder.into_inner().into_inner(),
            Self::Zstd(decoder) => decoder.from.into_inner(),
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tar(from) => from.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

// === impl Zstd ===

impl<R: Read> Zstd<R> {
    /// Enters the next frame; false at the end of the stream.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.from.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.from) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.from).take(length), &mut io::sink())? != length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.inside && !self.decoder.is_finished() {
                let decoded = self.decoder.decode_blocks(&mut self.from, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(io::Error::other)?;
            } else {
                self.inside = self.enter()?;
                if !self.inside {
                    return Ok(0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn all(packing: Packing, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(packing, bytes).read_to_end(&mut out).map(|_| out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("finished")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn several_members_and_frames_are_one_stream() {
        let (one, two) = (vec![1; 300_000], b"two".to_vec());
        let both = [one.clone(), two.clone()].concat();
        assert_eq!(all(Packing::Tar, &both).expect("read"), both);
        assert_eq!(all(Packing::Gzip, &[gzip(&one), gzip(&two)].concat()).expect("read"), both);
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let frames = [zstd(&one), skipped.clone(), zstd(b""), zstd(&two), skipped].concat();
        assert_eq!(all(Packing::Zstd, &frames).expect("read"), both);
    }

    #[test]
    fn a_stream_that_is_cut_is_an_error() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for packed in [(Packing::Gzip, gzip(&text)), (Packing::Zstd, zstd(&text))] {
            let (packing, bytes) = packed;
            for cut in [3, bytes.len() / 2, bytes.len() - 1] {
                assert!(all(packing, &bytes[..cut]).is_err(), "{packing:?} cut at {cut}");
            }
            assert!(all(packing, b"neither of them").is_err());
        }
    }
}
