//! What a scratch file consists of: ranges of archives that are at the destination, and a few bytes of its own.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use store::Entry;

/// Memory that one extent takes beside its bytes.
const EACH: usize = 128;

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In an archive, from this offset on.
    Archive(Arc<Entry>, u64),
    /// Here.
    Memory(Bytes),
}

impl Origin {
    fn skip(self, count: u64) -> Self {
        match self {
            Self::Archive(archive, begins) => Self::Archive(archive, begins + count),
            // A copy, because a slice keeps all of it.
            Self::Memory(bytes) => Self::Memory(Bytes::copy_from_slice(&bytes[count as usize..])),
        }
    }

    fn keep(self, count: u64) -> Self {
        match self {
            Self::Archive(..) => self,
            Self::Memory(bytes) => Self::Memory(Bytes::copy_from_slice(&bytes[..count as usize])),
        }
    }
}

#[derive(Clone, Debug)]
struct Extent {
    length: u64,
    origin: Origin,
}

impl Extent {
    fn weight(&self) -> usize {
        match &self.origin {
            Origin::Archive(..) => EACH,
            Origin::Memory(bytes) => EACH + bytes.len(),
        }
    }
}

/// The content of one file. What was never written is zeros.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    // By their offsets in the file; they don't overlap.
    pieces: BTreeMap<u64, Extent>,
    length: u64,
    weight: usize,
}

impl Extents {
    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Memory that it takes.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Memory that writing `origins` takes at most: what is overwritten may be split in two.
    pub(crate) fn weight_of(origins: &[(u64, Origin)]) -> usize {
        let own = |(length, origin): &(u64, Origin)| match origin {
            Origin::Archive(..) => 2 * EACH,
            Origin::Memory(_) => 2 * EACH + *length as usize,
        };
        origins.iter().map(own).sum()
    }

    /// Where the byte at `offset` would be if the file continued what is before it.
    pub(crate) fn continuation(&self, offset: u64) -> Option<(&Arc<Entry>, u64)> {
        let (begins, extent) = self.pieces.range(..offset).next_back()?;
        match &extent.origin {
            Origin::Archive(archive, from) => Some((archive, from + (offset - begins))),
            Origin::Memory(_) => None,
        }
    }

    /// Replaces `length` bytes at `offset`.
    pub(crate) fn write(&mut self, offset: u64, length: u64, origin: Origin) {
        if length == 0 {
            return;
        }
        self.cut(offset, offset + length);
        self.length = self.length.max(offset + length);
        if let (Origin::Archive(archive, from), Some((begins, before))) =
            (&origin, self.pieces.range_mut(..offset).next_back())
            && begins + before.length == offset
            && matches!(&before.origin, Origin::Archive(of, at) if of == archive && at + before.length == *from)
        {
            before.length += length;
            return;
        }
        self.insert(offset, Extent { length, origin });
    }

    /// Makes it so long.
    pub(crate) fn truncate(&mut self, length: u64) {
        self.cut(length, u64::MAX);
        self.length = length;
    }

    /// What is at `offset`, and how many bytes of it follow; `None`: zeros.
    pub(crate) fn at(&self, offset: u64) -> (u64, Option<Origin>) {
        if let Some((begins, extent)) = self.pieces.range(..=offset).next_back()
            && offset < begins + extent.length
        {
            let origin = match &extent.origin {
                Origin::Archive(archive, from) => Origin::Archive(Arc::clone(archive), from + (offset - begins)),
                Origin::Memory(bytes) => Origin::Memory(bytes.slice((offset - begins) as usize..)),
            };
            return (begins + extent.length - offset, Some(origin));
        }
        let next = self.pieces.range(offset..).next().map_or(self.length, |(begins, _)| *begins);
        (next.saturating_sub(offset), None)
    }

    fn insert(&mut self, offset: u64, extent: Extent) {
        self.weight += extent.weight();
        self.pieces.insert(offset, extent);
    }

    /// Removes what is between two offsets.
    fn cut(&mut self, from: u64, to: u64) {
        let mut first = from;
        if let Some((begins, extent)) = self.pieces.range(..from).next_back()
            && begins + extent.length > from
        {
            first = *begins;
        }
        let touched: Vec<u64> = self.pieces.range(first..to).map(|(begins, _)| *begins).collect();
        for begins in touched {
            let Some(extent) = self.pieces.remove(&begins) else { continue };
            self.weight -= extent.weight();
            let ends = begins + extent.length;
            if begins < from {
                let length = from - begins;
                self.insert(begins, Extent { length, origin: extent.origin.clone().keep(length) });
            }
            if ends > to {
                self.insert(to, Extent { length: ends - to, origin: extent.origin.skip(to - begins) });
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn archive(name: &str) -> Arc<Entry> {
        Arc::new(Entry { name: name.to_owned(), size: 1 << 20, modified: None, link: false })
    }

    /// What an archive has at an offset.
    fn byte(name: &str, at: u64) -> u8 {
        (at * 7 + name.len() as u64 * 31) as u8
    }

    fn content(extents: &Extents) -> Vec<u8> {
        let (mut all, mut at) = (Vec::new(), 0);
        while at < extents.length() {
            let (count, origin) = extents.at(at);
            assert!(count > 0, "nothing at {at}");
            match origin {
                None => all.resize(all.len() + count as usize, 0),
                Some(Origin::Memory(bytes)) => all.extend_from_slice(&bytes[..count as usize]),
                Some(Origin::Archive(archive, from)) => {
                    all.extend((from..from + count).map(|at| byte(&archive.name, at)));
                }
            }
            at += count;
        }
        all
    }

    #[derive(Clone, Debug)]
    enum Change {
        Refer(u64, u64, u64, bool),
        Own(u64, Vec<u8>),
        Truncate(u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (0..300_u64, 1..100_u64, 0..1000_u64, any::<bool>())
                .prop_map(|(at, count, from, which)| Change::Refer(at, count, from, which)),
            (0..300_u64, proptest::collection::vec(any::<u8>(), 1..60)).prop_map(|(at, bytes)| Change::Own(at, bytes)),
            (0..350_u64).prop_map(Change::Truncate),
        ]
    }

    proptest! {
        #[test]
        fn a_file_has_what_was_written_last(changes in proptest::collection::vec(change(), 1..40)) {
            let (mut extents, mut model) = (Extents::default(), Vec::new());
            for change in changes {
                match change {
                    Change::Refer(at, count, from, which) => {
                        let name = if which { "a.tar" } else { "other.tar" };
                        extents.write(at, count, Origin::Archive(archive(name), from));
                        let ends = (at + count) as usize;
                        model.resize(model.len().max(ends), 0);
                        for step in 0..count {
                            model[(at + step) as usize] = byte(name, from + step);
                        }
                    }
                    Change::Own(at, bytes) => {
                        let ends = at as usize + bytes.len();
                        model.resize(model.len().max(ends), 0);
                        model[at as usize..ends].copy_from_slice(&bytes);
                        extents.write(at, bytes.len() as u64, Origin::Memory(bytes.into()));
                    }
                    Change::Truncate(length) => {
                        model.resize(length as usize, 0);
                        extents.truncate(length);
                    }
                }
                prop_assert_eq!(&content(&extents), &model);
                let weight: usize = extents.pieces.values().map(Extent::weight).sum();
                prop_assert_eq!(extents.weight(), weight);
            }
        }
    }

    #[test]
    fn what_continues_is_one_extent() {
        let mut extents = Extents::default();
        for at in 0..100 {
            extents.write(at * 10, 10, Origin::Archive(archive("a.tar"), 512 + at * 10));
        }
        assert_eq!(extents.pieces.len(), 1);
        let (of, at) = extents.continuation(1000).unwrap();
        assert_eq!((of.name.as_str(), at), ("a.tar", 1512));
    }
}
