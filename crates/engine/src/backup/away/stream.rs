//! What is sent over the connection: the inner tar in blocks, each after its length (four bytes, big endian); a length
//! of zero; and the tar's index, to the end.

use std::{
    io::{self, Read, Write},
    sync::mpsc::Receiver,
};

use bytes::{Buf, Bytes};
use habackup::{
    index::{Index, MAX_LEN},
    outer::Placement,
};

/// The sending end.
pub(super) struct Blocks<'a, P>(pub(super) &'a mut P);

impl<P: Placement> Blocks<'_, P> {
    /// The tar is complete.
    pub(super) fn finish(self, index: &[u8]) -> io::Result<()> {
        self.0.append(&0_u32.to_be_bytes())?;
        self.0.append(index)
    }
}

impl<P: Placement> Write for Blocks<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let block = &bytes[..bytes.len().min(u32::MAX as usize)];
        self.0.append(&(block.len() as u32).to_be_bytes())?;
        self.0.append(block)?;
        Ok(block.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What arrives.
pub(super) enum Piece {
    Bytes(Bytes),
    /// That was all; so many bytes in all.
    End(u64),
}

/// The receiving end: read as a file it is the tar, and then ends.
pub(crate) struct Delivery {
    pieces: Receiver<Piece>,
    piece: Bytes,
    /// Of everything that arrived.
    taken: u64,
    ended: bool,
    /// Left of the block.
    left: u32,
    /// The block of length zero has come.
    complete: bool,
    tar_len: u64,
}

impl Delivery {
    pub(super) fn new(pieces: Receiver<Piece>) -> Self {
        Self { pieces, piece: Bytes::new(), taken: 0, ended: false, left: 0, complete: false, tar_len: 0 }
    }

    /// Makes sure of bytes in `piece`; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.piece.is_empty() {
            if self.ended {
                return Ok(false);
            }
            match self.pieces.recv() {
                Ok(Piece::Bytes(bytes)) => {
                    self.taken += bytes.len() as u64;
                    self.piece = bytes;
                }
                Ok(Piece::End(length)) if length == self.taken => self.ended = true,
                Ok(Piece::End(length)) => {
                    return Err(io::Error::other(format!("{} bytes arrived instead of {length}", self.taken)));
                }
                // Stopping the work drops the other end.
                Err(_) => return Err(io::Error::other("the sender aborted")),
            }
        }
        Ok(true)
    }

    fn raw(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || !self.fill()? {
            return Ok(0);
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }

    fn length(&mut self) -> io::Result<u32> {
        let mut prefix = [0; 4];
        let mut have = 0;
        while have < prefix.len() {
            match self.raw(&mut prefix[have..])? {
                0 => return Err(io::Error::other("the data for the archive ends early")),
                count => have += count,
            }
        }
        Ok(u32::from_be_bytes(prefix))
    }

    /// Behind the tar: its length, and its index.
    pub(crate) fn finish(mut self) -> io::Result<(u64, Index)> {
        let mut bytes = Vec::new();
        while self.fill()? {
            if bytes.len() as u64 + self.piece.len() as u64 > MAX_LEN {
                return Err(io::Error::other("the index is too long"));
            }
            bytes.extend_from_slice(&self.piece);
            self.piece.clear();
        }
        let index =
            Index::parse(&bytes).map_err(|error| io::Error::other(format!("the index can't be used: {error}")))?;
        Ok((self.tar_len, index))
    }
}

impl Read for Delivery {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.complete {
            self.left = self.length()?;
            self.complete = self.left == 0;
        }
        if self.complete {
            return Ok(0);
        }
        let wanted = buffer.len().min(self.left as usize);
        let count = self.raw(&mut buffer[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::other("the data for the archive ends early"));
        }
        self.left -= count as u32;
        self.tar_len += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use habackup::index::IndexBuilder;
    use proptest::prelude::*;

    use super::*;

    struct Sent(Vec<u8>);

    impl Placement for Sent {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn patch(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            unreachable!("nothing is corrected on this line")
        }
    }

    fn delivered(bytes: &[u8], grain: usize, said: u64) -> io::Result<(Vec<u8>, u64)> {
        let (sender, pieces) = mpsc::channel();
        for piece in bytes.chunks(grain) {
            sender.send(Piece::Bytes(Bytes::copy_from_slice(piece))).unwrap();
        }
        sender.send(Piece::End(said)).unwrap();
        let mut delivery = Delivery::new(pieces);
        let mut tar = Vec::new();
        delivery.read_to_end(&mut tar)?;
        let (length, _) = delivery.finish()?;
        Ok((tar, length))
    }

    fn sent(blocks: &[Vec<u8>]) -> Vec<u8> {
        let mut sent = Sent(Vec::new());
        let mut stream = Blocks(&mut sent);
        for block in blocks {
            stream.write_all(block).unwrap();
        }
        stream.finish(&IndexBuilder::new("homeassistant.tar").finish(None, &[])).unwrap();
        sent.0
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_tar_arrives(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8), grain in 1_usize..40) {
            let bytes = sent(&blocks);
            let (tar, length) = delivered(&bytes, grain, bytes.len() as u64).unwrap();
            prop_assert_eq!(&tar, &blocks.concat());
            prop_assert_eq!(length, tar.len() as u64);
        }

        #[test]
        fn whatever_comes_is_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), grain in 1_usize..40) {
            let _ = delivered(&bytes, grain, bytes.len() as u64);
        }
    }

    #[test]
    fn what_is_cut_short_is_refused_at_every_byte() {
        let bytes = sent(&[b"hello".to_vec(), b"world".to_vec()]);
        for cut in 0..bytes.len() {
            assert!(delivered(&bytes[..cut], 7, cut as u64).is_err(), "{cut}");
        }
        assert!(delivered(&bytes, 7, bytes.len() as u64 + 1).is_err());
    }

    #[test]
    fn a_sender_that_goes_away_ends_the_wait() {
        let (sender, pieces) = mpsc::channel::<Piece>();
        let mut delivery = Delivery::new(pieces);
        drop(sender);
        assert!(delivery.read(&mut [0; 4]).unwrap_err().to_string().contains("aborted"));
    }
}
