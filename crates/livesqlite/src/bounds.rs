//! Narrows numbers, each with the bound that makes it safe.

/// `count`, or `most` where that is less.
pub(crate) fn at_most(count: u64, most: usize) -> usize {
    usize::try_from(count).map_or(most, |count| count.min(most))
}

/// The number of a page that is counted in 64 bits. SQLite keeps page numbers in 32; above those there is no page, and
/// the highest number is no page either.
pub(crate) fn page_number(page: u64) -> u32 {
    u32::try_from(page).unwrap_or(u32::MAX)
}
