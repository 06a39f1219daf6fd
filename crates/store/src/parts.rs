//! The archive's bytes on their way: shared segments, and the parts that a destination accepts at a time.
//!
//! Several destinations hold the same segments; none copies them. A part stays in memory until its destination has
//! acknowledged it, so a broken connection costs one part sent again and never a restart.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::limit::Limit;

/// Bytes in order, in pieces that are shared and not copied.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    pieces: Vec<Bytes>,
    length: u64,
}

impl Segments {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len() as u64;
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True without a byte.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// What follows the first `count` bytes; shares them.
    #[must_use]
    pub fn skip(&self, count: u64) -> Self {
        let mut left = count;
        let mut rest = Self::new();
        for piece in &self.pieces {
            let skipped = left.min(piece.len() as u64);
            left -= skipped;
            rest.push(piece.slice(skipped as usize..));
        }
        rest
    }

    /// The first `count` bytes; shares them.
    #[must_use]
    pub fn take(&self, count: u64) -> Self {
        let mut left = count;
        let mut head = Self::new();
        for piece in &self.pieces {
            let taken = left.min(piece.len() as u64);
            left -= taken;
            head.push(piece.slice(..taken as usize));
        }
        head
    }

    /// Overwrites bytes that lie inside; the pieces concerned are copied, everybody else keeps the old ones.
    pub fn overwrite(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = 0;
        for piece in &mut self.pieces {
            let end = at + piece.len() as u64;
            let (from, to) = (offset.max(at), (offset + bytes.len() as u64).min(end));
            if from < to {
                let mut own = piece.to_vec();
                own[(from - at) as usize..(to - at) as usize]
                    .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
                *piece = Bytes::from(own);
            }
            at = end;
        }
    }

    /// All bytes in one piece; copies when there are several.
    pub fn to_bytes(&self) -> Bytes {
        match self.pieces.as_slice() {
            [] => Bytes::new(),
            [only] => only.clone(),
            several => several.concat().into(),
        }
    }
}

impl From<Bytes> for Segments {
    fn from(bytes: Bytes) -> Self {
        let mut segments = Self::new();
        segments.push(bytes);
        segments
    }
}

/// Whether bytes move: this distinguishes a silent server from a slow one. It also keeps them to a rate, if there is
/// one, and knows when everything was sent and only the server's answer is missing.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    count: Arc<AtomicU64>,
    limit: Option<Limit>,
    awaited: Awaited,
}

/// How long the wait for the server's final answer may last; shared with the progress display.
#[derive(Clone, Debug, Default)]
pub struct Awaited(Arc<Mutex<Option<Instant>>>);

impl Awaited {
    /// `None`: there is something else to do than to wait.
    pub fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// The answer is awaited as long as this lives.
#[derive(Debug)]
pub struct Awaiting(Awaited);

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl Activity {
    /// Bytes that keep to this rate.
    pub fn limited(limit: Option<&Limit>) -> Self {
        Self { count: Arc::default(), limit: limit.cloned(), awaited: Awaited::default() }
    }

    /// Shows the awaited answer to whoever holds `awaited`.
    #[must_use]
    pub fn shown_to(mut self, awaited: &Awaited) -> Self {
        self.awaited = awaited.clone();
        self
    }

    /// From here on nothing is left to send, and the answer may take so long.
    pub fn await_answer(&self, most: Duration) -> Awaiting {
        self.awaited.set(Some(Instant::now() + most));
        Awaiting(self.awaited.clone())
    }

    /// Whether they keep to a rate.
    pub fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// So many bytes are about to leave: waits until they may. Waiting for the rate is no silence.
    pub async fn pass(&self, bytes: u64) {
        if let Some(limit) = &self.limit {
            limit.pass(bytes, || self.touch()).await;
        }
        self.touch();
    }

    /// Bytes moved just now.
    pub fn touch(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes with every [`Self::touch`].
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// A stretch of the archive that a destination accepts in one step.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its number, from 0.
    pub index: u32,
    /// Where it begins in the archive.
    pub offset: u64,
    /// Its bytes.
    pub data: Segments,
    /// Length of the whole archive, once that is known: always for the part that ends it.
    pub total: Option<u64>,
    /// Whether the archive ends with this part.
    pub last: bool,
    /// Touched as the bytes leave; a part that is silent for too long is sent again.
    pub activity: Activity,
}

impl Part {
    /// The offset after its last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Segments {
        let mut segments = Segments::new();
        for piece in ["abc", "", "defg", "h"] {
            segments.push(Bytes::from_static(piece.as_bytes()));
        }
        segments
    }

    #[test]
    fn any_cut_gives_the_same_bytes() {
        let whole = segments();
        for at in 0..=whole.len() {
            let joined = [whole.take(at).to_bytes(), whole.skip(at).to_bytes()].concat();
            assert_eq!(joined, b"abcdefgh");
        }
    }

    #[test]
    fn overwriting_leaves_the_others_copy_alone() {
        let original = segments();
        let mut changed = original.clone();
        changed.overwrite(2, b"XYZ");
        assert_eq!(&changed.to_bytes()[..], b"abXYZfgh");
        assert_eq!(&original.to_bytes()[..], b"abcdefgh");
    }
}
