//! The result of one call of a decoder; both libraries return it.

/// The compressed bytes are not a deflate stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// What one step of inflating did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes taken from the front of the input.
    pub(crate) consumed: usize,
    /// Bytes written to the front of the output.
    pub(crate) produced: usize,
    /// The last block has ended and all of its bytes are out.
    pub(crate) ended: bool,
    /// With `ended`: how many of the consumed bytes (now or earlier, eight at most) follow the end of the stream.
    pub(crate) unused: usize,
}
