//! A buffer that begins on a page boundary, as writing past the page cache requires.

/// The alignment of memory, offsets and lengths that satisfies every block device in use.
pub(crate) const ALIGN: usize = 4096;

/// A fixed-size buffer, filled from the front.
pub(crate) struct AlignedBuffer {
    // Never grows after `new`: a reallocation would move the aligned start.
    memory: Vec<u8>,
    start: usize,
    capacity: usize,
    filled: usize,
}

impl AlignedBuffer {
    /// `capacity` is rounded up to a multiple of [`ALIGN`].
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(ALIGN);
        let memory = vec![0; capacity + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN);
        Self { memory, start, capacity, filled: 0 }
    }

    /// Takes as many of `bytes` as fit and says how many.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity - self.filled);
        let at = self.start + self.filled;
        self.memory[at..at + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        count
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.capacity
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.filled]
    }

    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_page_and_fills_up_exactly() {
        let mut buffer = AlignedBuffer::new(5000);
        assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGN), 0);
        assert_eq!(buffer.take(&[1; 9000]), 8192);
        assert!(buffer.is_full());
        assert!(buffer.bytes().iter().all(|&b| b == 1));
        buffer.clear();
        assert_eq!(buffer.take(&[2; 3]), 3);
        assert_eq!(buffer.bytes(), [2; 3]);
    }
}
