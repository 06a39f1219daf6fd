//! Bytes of an archive that are announced before they are known.

use std::ops::Range;

/// Ranges whose bytes will be overwritten, as far as they have not been yet.
#[derive(Debug, Default)]
pub(super) struct LateRanges(Vec<Range<u64>>);

impl LateRanges {
    /// These bytes will be overwritten.
    pub(super) fn open(&mut self, range: Range<u64>) {
        self.0.push(range);
    }

    /// These bytes are final.
    pub(super) fn close(&mut self, closed: &Range<u64>) {
        let around =
            |range: &Range<u64>| [range.start..range.end.min(closed.start), range.start.max(closed.end)..range.end];
        self.0 = self.0.iter().flat_map(around).filter(|range| !range.is_empty()).collect();
    }

    /// Whether any of these bytes is not final.
    pub(super) fn touches(&self, range: Range<u64>) -> bool {
        self.0.iter().any(|late| late.start < range.end && range.start < late.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_open_until_its_last_byte_came() {
        let mut late = LateRanges::default();
        late.open(10..20);
        late.open(30..31);
        late.close(&(5..12));
        late.close(&(14..16));
        assert_eq!(late.0, [12..14, 16..20, 30..31]);
        assert!(late.touches(0..13) && late.touches(15..17) && !late.touches(14..16) && !late.touches(20..30));
        late.close(&(12..40));
        assert!(late.0.is_empty());
    }
}
