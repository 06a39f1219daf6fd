//! Recognises the format of a file or of a part by its first bytes.

use std::io;

use crate::read_at::ReadAt;
use crate::read_at::at_most;

/// How many bytes are needed.
const BLOCK: usize = 512;

/// A form that an inner archive can have, encrypted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// There is nothing.
    Empty,
    /// An encrypted container with its mark; the oldest kind has none.
    SecureTar,
    /// A gzip stream.
    Gzip,
    /// A tar.
    Tar,
    /// A block of zeros, as a tar begins that holds nothing.
    Zeros,
    /// None of these.
    Unknown,
}

impl Format {
    /// By the first block, or all there is of it.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [] => Self::Empty,
            _ if first.starts_with(b"SecureTar") => Self::SecureTar,
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            _ if first.get(257..262) == Some(b"ustar") => Self::Tar,
            _ if first.len() >= BLOCK && first[..BLOCK].iter().all(|byte| *byte == 0) => Self::Zeros,
            _ => Self::Unknown,
        }
    }

    /// The same for what a reader gives next.
    pub fn next(source: &mut impl io::BufRead) -> io::Result<Self> {
        source.fill_buf().map(Self::of)
    }

    /// The same for content at a position.
    pub fn at(bytes: &impl ReadAt) -> io::Result<Self> {
        first_block(bytes).map(|first| Self::of(&first))
    }
}

/// The first block, or all there is of it.
pub fn first_block(bytes: &impl ReadAt) -> io::Result<Vec<u8>> {
    let mut first = vec![0; at_most(bytes.len(), BLOCK)];
    bytes.read_exact_at(&mut first, 0)?;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_recognised_by_its_first_bytes() {
        let mut tar = [0; BLOCK];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], Format); 8] = [
            (b"", Format::Empty),
            (b"SecureTar\x03", Format::SecureTar),
            (&[0x1f, 0x8b, 8], Format::Gzip),
            (&[0x1f, 0x8b, 7], Format::Unknown),
            (&tar, Format::Tar),
            (&[0; BLOCK], Format::Zeros),
            (&[0; BLOCK - 1], Format::Unknown),
            (b"something else", Format::Unknown),
        ];
        for (first, format) in cases {
            assert_eq!(Format::of(first), format, "{first:?}");
        }
    }
}
