//! Cuts an archive's bytes into the parts that a destination accepts, and holds back those with bytes that are not
//! final yet. Pure: nothing here waits or sends.
//!
//! A part is held back only as long as a late range in it is open. Members come one after the other, each with its late
//! fields at its beginning, so at most two parts (those on either side of a boundary in such a field) are held at a
//! time, however many members there are.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;

use super::late::LateRanges;
use crate::{
    parts::{Activity, Part, Segments},
    store::{Abilities, PartRules, Placement},
};

/// How large the parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartPlan {
    base: u64,
    // The number of parts of the base size; after them sizes double, so that the number of parts always suffices.
    steady: u32,
    step: u32,
    largest: u64,
    // Set where all parts must be of one size: then there can be no more than these.
    most: Option<u32>,
}

impl PartPlan {
    /// For an archive of about `about` bytes. `requested` replaces the destination's preference. If parts can't grow
    /// during the upload, they start large enough for twice as much.
    pub(crate) fn new(abilities: &Abilities, about: Option<u64>, requested: Option<u64>) -> Self {
        let multiple = abilities.multiple.max(1);
        let anything = PartRules { smallest: 1, largest: u64::MAX, most: u32::MAX, equal: false };
        let rules = match abilities.placement {
            Placement::Parts(rules) => rules,
            Placement::Random | Placement::Sequential => anything,
        };
        let steady = if rules.equal { u32::MAX } else { rules.most / 10 * 8 };
        let about = about.unwrap_or(0);
        let needed = if rules.equal {
            about.saturating_mul(2).div_ceil(u64::from(rules.most.max(1)))
        } else {
            about.div_ceil(u64::from(steady.max(1)))
        };
        let base = requested.unwrap_or(abilities.preferred).max(rules.smallest).max(needed).min(rules.largest);
        // Whole mebibytes are what the archive comes in.
        let grain = if base > 1 << 20 { multiple.max(1 << 20) } else { multiple };
        Self {
            base: base.next_multiple_of(grain),
            steady: steady.max(1),
            step: (rules.most / 20).max(1),
            largest: rules.largest,
            most: rules.equal.then_some(rules.most),
        }
    }

    /// Bytes of part `index`, if it is not the last.
    pub(crate) fn size(&self, index: u32) -> u64 {
        let doublings = if index < self.steady { 0 } else { (index - self.steady) / self.step + 1 };
        self.base.saturating_mul(1 << doublings.min(20)).min(self.largest)
    }
}

/// What belongs to a segment until its part has arrived (its share of the memory budget).
pub(crate) type Ready<T> = (Part, Vec<T>);

/// The archive on its way into parts. `T` goes with each segment and comes out with the part in which the segment ends.
pub(crate) struct Chunker<T> {
    plan: PartPlan,
    holds: bool,
    index: u32,
    offset: u64,
    filling: Segments,
    tokens: Vec<T>,
    late: LateRanges,
    held: BTreeMap<u32, Ready<T>>,
}

impl<T> Chunker<T> {
    pub(crate) fn new(plan: PartPlan, placement: Placement) -> Self {
        let holds = matches!(placement, Placement::Parts(_));
        Self {
            plan,
            holds,
            index: 0,
            offset: 0,
            filling: Segments::new(),
            tokens: Vec::new(),
            late: LateRanges::default(),
            held: BTreeMap::new(),
        }
    }

    /// These bytes will be overwritten; none of them is in a part that was given out.
    pub(crate) fn late(&mut self, range: Range<u64>) {
        if self.holds {
            self.late.open(range);
        }
    }

    /// Overwrites bytes that were pushed; of those that come later, the pusher has the right ones. Gives the parts that
    /// waited for nothing else. `None` when some lie in a part that has left.
    pub(crate) fn patch(&mut self, offset: u64, bytes: &[u8]) -> Option<Vec<Ready<T>>> {
        if !self.holds {
            return Some(Vec::new());
        }
        let patched = offset..offset + bytes.len() as u64;
        let taken = self.offset + self.filling.len();
        let mut found = patched.end.saturating_sub(taken.max(offset));
        let held = self.held.values_mut().map(|(part, _)| (part.offset, &mut part.data));
        for (start, data) in held.chain(std::iter::once((self.offset, &mut self.filling))) {
            let (from, to) = (patched.start.max(start), patched.end.min(start + data.len()));
            if from < to {
                data.overwrite(from - start, &bytes[(from - offset) as usize..(to - offset) as usize]);
                found += to - from;
            }
        }
        if found < bytes.len() as u64 {
            return None;
        }
        self.late.close(&patched);
        let (late, held) = (&self.late, std::mem::take(&mut self.held));
        let (waiting, ready) = held.into_iter().partition(|(_, (part, _))| late.touches(part.offset..part.end()));
        self.held = waiting;
        Some(BTreeMap::into_values(ready).collect())
    }

    /// How many parts wait for late bytes.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the archive's next bytes; gives the parts that are full and certainly not the last. To be called until it
    /// gives no more.
    pub(crate) fn push(&mut self, mut bytes: Bytes, token: T) -> Vec<Ready<T>> {
        let mut ready = Vec::new();
        let mut token = Some(token);
        while !bytes.is_empty() {
            let left = self.plan.size(self.index) - self.filling.len();
            if left == 0 {
                let part = self.cut(None, false);
                ready.extend(self.hold(part));
                continue;
            }
            let piece = bytes.split_to(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            self.filling.push(piece);
            if bytes.is_empty() {
                self.tokens.extend(token.take());
            }
        }
        ready
    }

    /// The maximum that can be sent this way, if the archive turns out longer: it needs one part more than the
    /// destination accepts, and a part larger than those before would be refused.
    pub(crate) fn outgrown(&self) -> Option<u64> {
        let most = self.plan.most.filter(|most| self.index >= *most && !self.filling.is_empty())?;
        Some(self.plan.size(0).saturating_mul(u64::from(most)))
    }

    /// Size of the part being filled.
    pub(crate) fn filling_size(&self) -> u64 {
        self.plan.size(self.index)
    }

    /// The archive is complete: gives the last part, after those whose late bytes stayed as they were. And how many
    /// parts there are.
    pub(crate) fn seal(mut self) -> (Vec<Ready<T>>, u32) {
        let total = self.offset + self.filling.len();
        let last = self.cut(Some(total), true);
        let mut ready: Vec<Ready<T>> = std::mem::take(&mut self.held).into_values().collect();
        ready.push(last);
        for (part, _) in &mut ready {
            part.total = Some(total);
        }
        (ready, self.index)
    }

    fn cut(&mut self, total: Option<u64>, last: bool) -> Ready<T> {
        let data = std::mem::take(&mut self.filling);
        let part = Part { index: self.index, offset: self.offset, data, total, last, activity: Activity::default() };
        self.index += 1;
        self.offset = part.end();
        (part, std::mem::take(&mut self.tokens))
    }

    fn hold(&mut self, ready: Ready<T>) -> Option<Ready<T>> {
        if self.holds && self.late.touches(ready.0.offset..ready.0.end()) {
            self.held.insert(ready.0.index, ready);
            return None;
        }
        Some(ready)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn abilities(placement: Placement, preferred: u64, multiple: u64) -> Abilities {
        Abilities {
            placement,
            multiple,
            preferred,
            concurrency: 1,
            needs_length: false,
            restarts: false,
            md5: false,
            resumable: false,
        }
    }

    fn s3() -> Placement {
        Placement::Parts(PartRules { smallest: 5 * MIB, largest: 5 << 30, most: 10_000, equal: false })
    }

    #[test]
    fn ten_thousand_parts_suffice_for_what_was_expected_and_for_twice_that() {
        for gigabytes in [1_u64, 80, 500, 5000] {
            let about = gigabytes << 30;
            let plan = PartPlan::new(&abilities(s3(), 8 * MIB, 1), Some(about), None);
            let capacity: u64 = (0..10_000).map(|index| plan.size(index)).sum();
            assert!(capacity > 2 * about, "{gigabytes} GB");
        }
        assert_eq!(PartPlan::new(&abilities(s3(), 8 * MIB, 1), Some(25 << 30), None).size(0), 8 * MIB);
        assert_eq!(PartPlan::new(&abilities(s3(), MIB, 1), None, None).size(0), 5 * MIB);
    }

    #[test]
    fn where_parts_must_be_equal_they_are_and_suffice_for_twice_what_was_expected() {
        let equal = Placement::Parts(PartRules { smallest: 5 * MIB, largest: 5 << 30, most: 10_000, equal: true });
        for about in [None, Some(0), Some(1 << 30), Some(30 << 30), Some(100 << 30), Some(5000 << 30)] {
            let plan = PartPlan::new(&abilities(equal, 8 * MIB, 1), about, None);
            let first = plan.size(0);
            assert!((0..10_000).all(|index| plan.size(index) == first), "{about:?}");
            assert!(first * 10_000 >= 2 * about.unwrap_or(0) && first * 10_000 >= 80_000 * MIB, "{about:?}");
        }
        // What nobody needs is not requested.
        assert_eq!(PartPlan::new(&abilities(equal, 8 * MIB, 1), Some(35 << 30), None).size(0), 8 * MIB);
    }

    #[test]
    fn an_archive_too_long_for_equal_parts_is_noticed_before_one_too_many_leaves() {
        let equal = Placement::Parts(PartRules { smallest: 1, largest: 100, most: 3, equal: true });
        let mut chunker = Chunker::new(PartPlan::new(&abilities(equal, 4, 1), None, None), equal);
        chunker.late(0..1);
        assert!(chunker.push(Bytes::from_static(b"aaaabbbb"), ()).iter().all(|(part, _)| part.index < 3));
        assert!(
            chunker.push(Bytes::from_static(b"cccc"), ()).len() == 1 && chunker.outgrown().is_none(),
            "three parts are allowed"
        );
        assert!(chunker.push(Bytes::from_static(b"d"), ()).iter().all(|(part, _)| part.index < 3));
        assert_eq!(chunker.outgrown(), Some(12));
    }

    #[test]
    fn only_the_part_with_a_late_field_is_held_back() {
        let plan = PartPlan { base: 4, steady: 100, step: 5, largest: 100, most: None };
        let mut chunker = Chunker::new(plan, s3());
        let mut left = Vec::new();
        left.extend(chunker.push(Bytes::from_static(b"aa??bbbb"), 1));
        chunker.late(2..4);
        left.extend(chunker.push(Bytes::from_static(b"ccccd"), 2));
        // The first part left before it was known to be late: that is what must not happen, so the order of calls
        // matters.
        assert_eq!(left.iter().map(|(part, _)| part.index).collect::<Vec<_>>(), [0, 1, 2]);

        let mut chunker = Chunker::new(plan, s3());
        assert!(chunker.push(Bytes::from_static(b"aa??"), 1).is_empty());
        chunker.late(2..4);
        let left = chunker.push(Bytes::from_static(b"bbbbccccd"), 2);
        assert_eq!(left.iter().map(|(part, _)| part.index).collect::<Vec<_>>(), [1, 2]);
        let freed: Vec<_> = chunker
            .patch(2, b"XY")
            .unwrap()
            .into_iter()
            .map(|(part, token)| (part.index, part.data.to_bytes(), token))
            .collect();
        assert_eq!(freed, [(0, Bytes::from_static(b"aaXY"), vec![1])], "it leaves as soon as it is right");
        let (rest, count) = chunker.seal();
        assert_eq!(count, 4);
        let rest: Vec<_> =
            rest.iter().map(|(part, _)| (part.index, part.data.to_bytes(), part.total, part.last)).collect();
        assert_eq!(rest, [(3, Bytes::from_static(b"d"), Some(13), true)]);
    }

    #[test]
    fn a_part_waits_for_every_late_byte_in_it_and_no_part_is_changed_that_left() {
        let plan = PartPlan { base: 4, steady: 100, step: 5, largest: 100, most: None };
        let mut chunker = Chunker::new(plan, s3());
        chunker.late(1..2);
        chunker.late(3..6);
        assert!(
            chunker.push(Bytes::from_static(b"a?a???bbcccc"), ()).is_empty(),
            "two parts wait, and the third is being filled"
        );
        assert_eq!(chunker.held(), 2);
        assert!(
            chunker
                .patch(3, b"XYZ")
                .unwrap()
                .iter()
                .map(|(part, _)| part.data.to_bytes())
                .eq([Bytes::from_static(b"YZbb")])
        );
        assert!(
            chunker
                .patch(1, b"W")
                .unwrap()
                .iter()
                .map(|(part, _)| part.data.to_bytes())
                .eq([Bytes::from_static(b"aWaX")])
        );
        assert!(chunker.patch(1, b"V").is_none(), "it has left");
        assert!(chunker.patch(11, b"cd").unwrap().is_empty(), "the second byte comes later, and is right then");
        // What was announced and never came stays as it is.
        chunker.late(8..9);
        assert!(chunker.push(Bytes::from_static(b"dd"), ()).is_empty());
        let rest: Vec<_> = chunker.seal().0.into_iter().map(|(part, _)| part.data.to_bytes()).collect();
        assert_eq!(rest, [Bytes::from_static(b"cccc"), Bytes::from_static(b"dd")]);
    }

    /// Two late fields of a member's header, as an archive has them: one of its size, one of size and checksum.
    const HEADER: usize = 40;
    const FIELDS: [Range<usize>; 2] = [5..9, 20..30];

    proptest! {
        #[test]
        fn any_number_of_late_members_gives_the_same_archive_every_token_once_and_holds_two_parts_at_most(
            members in proptest::collection::vec(0_usize..2500, 0..=20), base in 41_u64..900, step in 1_usize..300, destination in 0_usize..3,
        ) {
            let placement = [Placement::Random, Placement::Sequential, s3()][destination];
            let mut chunker = Chunker::new(PartPlan { base, steady: 3, step: 2, largest: 2000, most: None }, placement);
            let (mut parts, mut expected, mut given, mut most_held) = (Vec::new(), Vec::new(), 0, 0);
            for (n, length) in members.iter().enumerate() {
                let start = expected.len();
                let member: Vec<u8> = (0..HEADER + length).map(|byte| (byte * 7 + n) as u8).collect();
                let mut as_sent = member.clone();
                for field in FIELDS {
                    chunker.late((start + field.start) as u64..(start + field.end) as u64);
                    as_sent[field].fill(b'?');
                }
                for piece in as_sent.chunks(step) {
                    parts.extend(chunker.push(Bytes::copy_from_slice(piece), given));
                    given += 1;
                    most_held = most_held.max(chunker.held());
                }
                for field in FIELDS {
                    parts.extend(chunker.patch((start + field.start) as u64, &member[field]).unwrap());
                }
                let settled = if placement == s3() { &member } else { &as_sent };
                expected.extend_from_slice(settled);
                prop_assert_eq!(chunker.held(), 0);
            }
            let (rest, count) = chunker.seal();
            parts.extend(rest);
            parts.sort_by_key(|(part, _)| part.index);
            let mut tokens: Vec<usize> = parts.iter().flat_map(|(_, tokens)| tokens.clone()).collect();
            tokens.sort_unstable();
            prop_assert_eq!(tokens, (0..given).collect::<Vec<_>>());
            prop_assert_eq!(parts.len() as u32, count);
            prop_assert!(parts.last().unwrap().0.last);
            prop_assert!(most_held <= 2);
            let mut joined = Vec::new();
            for (part, _) in &parts {
                prop_assert_eq!(part.offset, joined.len() as u64);
                joined.extend_from_slice(&part.data.to_bytes());
            }
            prop_assert_eq!(joined, expected);
        }
    }
}
