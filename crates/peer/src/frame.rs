//! How a message is laid out on the connection: two lengths of four bytes (big endian), a head, a body.
//!
//! Lengths are checked against what the other side may say before a byte of memory is taken, and every read has its
//! time.

use std::{io, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::error::{PeerError, reason};

/// Bytes in front of a head.
pub const PREFIX: usize = 8;

/// How much the other side may say at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most bytes of a head.
    pub head: usize,
    /// Most bytes of a body.
    pub body: usize,
}

/// For a peer that has not shown who it is.
pub const STRANGER: Bounds = Bounds { head: 512, body: 0 };
/// For a machine that was paired.
pub const FRIEND: Bounds = Bounds { head: 64 << 10, body: 4 << 20 };

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    head: Bytes,
    /// The bytes after the head.
    pub body: Bytes,
}

impl Frame {
    /// What the head says.
    pub fn head<T: DeserializeOwned>(&self) -> Result<T, PeerError> {
        serde_json::from_slice(&self.head)
            .map_err(|_| PeerError::Protocol("the other side sent an invalid message".to_owned()))
    }
}

/// Head and body length, if they are within bounds.
pub fn lengths(prefix: [u8; PREFIX], bounds: Bounds) -> Result<(usize, usize), PeerError> {
    let both = u64::from_be_bytes(prefix);
    let (head, body) = ((both >> 32) as usize, (both & u64::from(u32::MAX)) as usize);
    if head > bounds.head || body > bounds.body {
        return Err(PeerError::Protocol("the other side announced a message of invalid size".to_owned()));
    }
    Ok((head, body))
}

/// A message's first bytes: lengths and head.
pub fn opening(head: &impl Serialize, body: usize) -> Result<Vec<u8>, PeerError> {
    let mut bytes = vec![0; PREFIX];
    serde_json::to_writer(&mut bytes, head)
        .map_err(|error| PeerError::Protocol(format!("a message could not be written: {error}")))?;
    let head = (bytes.len() - PREFIX) as u32;
    bytes[..4].copy_from_slice(&head.to_be_bytes());
    bytes[4..PREFIX].copy_from_slice(&(body as u32).to_be_bytes());
    Ok(bytes)
}

/// Reads a message; `None` when the other side has ended the conversation properly before it. Waits `first` for it to
/// begin, and `stall` for each further byte.
pub async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    bounds: Bounds,
    first: Duration,
    stall: Duration,
    moved: impl Fn(),
) -> Result<Option<Frame>, PeerError> {
    let mut prefix = [0; PREFIX];
    let mut have = 0;
    while have < PREFIX {
        let within = if have == 0 { first } else { stall };
        match in_time(within, reader.read(&mut prefix[have..])).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(broken(&io::ErrorKind::UnexpectedEof.into())),
            count => have += count,
        }
    }
    moved();
    let (head, body) = lengths(prefix, bounds)?;
    let head = exactly(reader, head, stall, &moved).await?;
    let body = exactly(reader, body, stall, &moved).await?;
    Ok(Some(Frame { head, body }))
}

async fn exactly(
    reader: &mut (impl AsyncRead + Unpin),
    length: usize,
    stall: Duration,
    moved: &impl Fn(),
) -> Result<Bytes, PeerError> {
    let mut bytes = BytesMut::with_capacity(length);
    while bytes.len() < length {
        let left = length - bytes.len();
        if in_time(stall, reader.read_buf(&mut (&mut bytes).limit(left))).await? == 0 {
            return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
        }
        moved();
    }
    Ok(bytes.freeze())
}

/// Writes a whole small message.
pub async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    head: &impl Serialize,
    body: &[u8],
    stall: Duration,
) -> Result<(), PeerError> {
    let opening = opening(head, body.len())?;
    in_time(stall, writer.write_all(&opening)).await?;
    for piece in body.chunks(SLICE) {
        in_time(stall, writer.write_all(piece)).await?;
    }
    in_time(stall, writer.flush()).await
}

/// Bytes handed to the line at once, each with its time.
pub const SLICE: usize = 64 << 10;

/// Waits for the line, but not for ever.
pub(crate) async fn in_time<T>(within: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, PeerError> {
    match timeout(within, work).await {
        Ok(done) => done.map_err(|error| broken(&error)),
        Err(_) => Err(PeerError::Broken("the other side stopped responding".to_owned())),
    }
}

pub(crate) fn broken(error: &io::Error) -> PeerError {
    PeerError::Broken(reason(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Envelope, Request};

    const SOON: Duration = Duration::from_millis(200);

    fn parse(bytes: &[u8], bounds: Bounds) -> Result<Option<Frame>, PeerError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(read(&mut &*bytes, bounds, SOON, SOON, || {}))
    }

    fn request() -> Envelope<Request> {
        let put = Request::Put {
            upload: ".haul-x.part".into(),
            index: 3,
            offset: 7,
            length: 5,
            at: 0,
            total: Some(12),
            last: true,
        };
        Envelope { id: 42, message: put }
    }

    #[test]
    fn a_stranger_can_not_make_memory_be_taken() {
        for (head, body) in [(513_u32, 0_u32), (0, 1), (u32::MAX, u32::MAX), (u32::MAX, 0)] {
            let prefix = [head.to_be_bytes(), body.to_be_bytes()].concat();
            let error = parse(&prefix, STRANGER).unwrap_err();
            assert!(matches!(error, PeerError::Protocol(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn whoever_says_half_a_message_and_falls_silent_is_left() {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(&[0, 0, 0]).await.unwrap();
        let mut far = far;
        let error = read(&mut far, STRANGER, SOON, SOON, || {}).await.unwrap_err();
        assert!(error.to_string().contains("stopped responding"), "{error}");
    }

    #[test]
    fn every_cut_of_a_message_is_noticed() {
        let mut bytes = opening(&request(), 5).unwrap();
        bytes.extend(b"hello");
        for cut in 1..bytes.len() {
            assert!(parse(&bytes[..cut], FRIEND).is_err(), "{cut}");
        }
        assert!(parse(&[], FRIEND).unwrap().is_none());
        let frame = parse(&bytes, FRIEND).unwrap().unwrap();
        assert_eq!(frame.head::<Envelope<Request>>().unwrap().message, request().message);
        assert_eq!(&frame.body[..], b"hello");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_understood_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            for bounds in [STRANGER, FRIEND] {
                if let Ok(Some(frame)) = parse(&bytes, bounds) {
                    let _ = frame.head::<Envelope<Request>>();
                }
            }
        }

        #[test]
        fn a_head_with_changed_bytes_is_understood_or_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = opening(&request(), 0).unwrap();
            for (index, byte) in changes {
                let at = PREFIX + index.index(bytes.len() - PREFIX);
                bytes[at] = byte;
            }
            let frame = parse(&bytes, FRIEND).unwrap().unwrap();
            let _ = frame.head::<Envelope<Request>>();
            let _ = frame.head::<Envelope<crate::message::Reply>>();
        }
    }
}
