//! Checksums of an archive's blocks, noted while all of it is read, so that later a part of it is enough to see that it
//! has not changed.
//!
//! Each check reads another tenth of the blocks. What is found is rot, not what somebody did on purpose: CRC-32.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use store::Cancellation;

use crate::read::{ProgressFn, Source};

/// So many checks read everything.
pub const ROUNDS: u32 = 10;
/// A block has as many bytes, or a multiple of that where there would be too many of them.
const BLOCK: u64 = 1 << 20;
const MOST_BLOCKS: u64 = 4096;
/// Of an archive that is no larger than that a part is not worth it.
const LEAST: u64 = 32 * BLOCK;

/// What is known of an archive's blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Bytes of the archive.
    size: u64,
    /// The number of checks so far.
    checks: u32,
    sums: Vec<u32>,
}

fn block_of(size: u64) -> u64 {
    size.div_ceil(MOST_BLOCKS).next_multiple_of(BLOCK)
}

impl Samples {
    /// Whether it is of an archive of that size.
    pub fn fits(&self, size: u64) -> bool {
        self.size == size
    }

    fn block(&self, number: usize) -> Range<u64> {
        let block = block_of(self.size);
        let start = number as u64 * block;
        start..(start + block).min(self.size)
    }

    /// Reads the blocks whose turn it is. Returns how many they were, and what is known from now on; nothing if one of
    /// them is not what it was.
    pub fn check(
        mut self,
        source: &dyn Source,
        progress: ProgressFn<'_>,
        cancel: &Cancellation,
    ) -> io::Result<Option<(usize, Self)>> {
        if source.length() != self.size {
            return Ok(None);
        }
        let is_turn = |number: usize| number as u64 % u64::from(ROUNDS) == u64::from(self.checks % ROUNDS);
        let turn: Vec<(Range<u64>, u32)> = (0..self.sums.len())
            .filter(|number| is_turn(*number))
            .map(|number| (self.block(number), self.sums[number]))
            .collect();
        let total = turn.iter().map(|(range, _)| range.end - range.start).sum();
        let (mut buffer, mut done) = (Vec::new(), 0);
        for (range, sum) in &turn {
            if cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            buffer.resize((range.end - range.start) as usize, 0);
            source.announce(range.clone());
            source.read_exact_at(&mut buffer, range.start)?;
            if crc32fast::hash(&buffer) != *sum {
                return Ok(None);
            }
            done += range.end - range.start;
            progress(done, Some(total));
        }
        source.unchanged()?;
        self.checks = (self.checks + 1) % ROUNDS;
        Ok(Some((turn.len(), self)))
    }

    /// As bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12 + self.sums.len() * 4);
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.checks.to_le_bytes());
        for sum in &self.sums {
            bytes.extend(sum.to_le_bytes());
        }
        bytes
    }

    /// From these bytes; nothing if they are something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let (checks, rest) = rest.split_first_chunk()?;
        let size = u64::from_le_bytes(*size);
        let (sums, []) = rest.as_chunks::<4>() else { return None };
        let sums: Vec<u32> = sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
        let samples = Self { size, checks: u32::from_le_bytes(*checks), sums };
        (samples.sums.len() as u64 == size.div_ceil(block_of(size).max(1))).then_some(samples)
    }
}

/// A source that notes the checksums of what is read from it.
pub struct Recorder {
    source: Arc<dyn Source>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    sums: BTreeMap<u64, u32>,
    // Blocks that are read in order, and how far.
    begun: BTreeMap<u64, (u64, crc32fast::Hasher)>,
}

impl Recorder {
    /// Of what is read from this.
    pub fn new(source: Arc<dyn Source>) -> Self {
        Self { source, noted: Mutex::default() }
    }

    /// What was noted, if it was nearly all of it and worth it. The few blocks that were not read in order are read now.
    pub fn samples(&self) -> Option<Samples> {
        let size = self.source.length();
        let blocks = size.div_ceil(block_of(size).max(1));
        let mut sums = std::mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner).sums);
        if size <= LEAST || (sums.len() as u64) * 10 < blocks * 9 {
            return None;
        }
        let mut samples = Samples { size, checks: 0, sums: vec![0; blocks as usize] };
        for number in 0..samples.sums.len() {
            let known = sums.remove(&(number as u64));
            let read = |range: Range<u64>| {
                let mut buffer = vec![0; (range.end - range.start) as usize];
                self.source.read_exact_at(&mut buffer, range.start).ok().map(|()| crc32fast::hash(&buffer))
            };
            samples.sums[number] = known.or_else(|| read(samples.block(number)))?;
        }
        self.source.unchanged().ok().map(|()| samples)
    }

    fn note(&self, mut bytes: &[u8], mut offset: u64) {
        let size = self.source.length();
        let block = block_of(size);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            let number = offset / block;
            let end = ((number + 1) * block).min(size);
            let (now, rest) = bytes.split_at(bytes.len().min((end - offset) as usize));
            if offset == number * block {
                noted.begun.insert(number, (offset, crc32fast::Hasher::new()));
            }
            if let Some((reached, hasher)) = noted.begun.get_mut(&number).filter(|(reached, _)| *reached == offset) {
                hasher.update(now);
                *reached += now.len() as u64;
                if *reached == end
                    && let Some((_, hasher)) = noted.begun.remove(&number)
                {
                    noted.sums.insert(number, hasher.finalize());
                }
            }
            (bytes, offset) = (rest, offset + now.len() as u64);
        }
    }
}

impl Source for Recorder {
    fn label(&self) -> String {
        self.source.label()
    }

    fn length(&self) -> u64 {
        self.source.length()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_exact_at(buffer, offset)?;
        self.note(buffer, offset);
        Ok(())
    }

    fn announce(&self, range: Range<u64>) {
        self.source.announce(range);
    }

    fn unchanged(&self) -> io::Result<()> {
        self.source.unchanged()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Memory {
        bytes: Mutex<Vec<u8>>,
        read: AtomicU64,
    }

    impl Memory {
        fn new(size: u64) -> Arc<Self> {
            let bytes = (0..size).map(|at| (at / 3 + at / 70_000) as u8).collect();
            Arc::new(Self { bytes: Mutex::new(bytes), read: AtomicU64::new(0) })
        }
    }

    impl Source for Memory {
        fn label(&self) -> String {
            "memory".to_owned()
        }

        fn length(&self) -> u64 {
            self.bytes.lock().unwrap().len() as u64
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let bytes = self.bytes.lock().unwrap();
            buffer.copy_from_slice(&bytes[offset as usize..offset as usize + buffer.len()]);
            self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            Ok(())
        }

        fn unchanged(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn recorded(memory: &Arc<Memory>, piece: usize) -> Recorder {
        let recorder = Recorder::new(Arc::clone(memory) as Arc<dyn Source>);
        let size = memory.length();
        // The end is looked at first, as for an index.
        recorder.read_exact_at(&mut [0; 512], size - 512).unwrap();
        let mut at = 0;
        while at < size {
            let mut buffer = vec![0; piece.min((size - at) as usize)];
            recorder.read_exact_at(&mut buffer, at).unwrap();
            at += buffer.len() as u64;
        }
        recorder
    }

    #[test]
    fn ten_checks_read_all_of_it_and_find_each_change() {
        let size = LEAST + 3 * BLOCK + 77;
        let memory = Memory::new(size);
        let samples = recorded(&memory, 70_001).samples().unwrap();
        assert_eq!(Samples::from_bytes(&samples.to_bytes()), Some(samples.clone()));
        memory.read.store(0, Ordering::Relaxed);
        let mut now = samples.clone();
        let never = Cancellation::default();
        for _ in 0..ROUNDS {
            let (count, next) = now.check(&*memory, &|_, _| {}, &never).unwrap().unwrap();
            assert!((3..=4).contains(&count), "{count}");
            now = next;
        }
        assert_eq!((memory.read.load(Ordering::Relaxed), &now), (size, &samples), "each byte once");
        for at in [0, BLOCK, size / 2, size - 1] {
            memory.bytes.lock().unwrap()[at as usize] ^= 1;
            let found = (0..ROUNDS).filter(|checks| {
                let turn = Samples { checks: *checks, ..samples.clone() };
                turn.check(&*memory, &|_, _| {}, &never).unwrap().is_none()
            });
            assert_eq!(found.count(), 1, "a change at {at} is found once in ten times");
            memory.bytes.lock().unwrap()[at as usize] ^= 1;
        }
        memory.bytes.lock().unwrap().pop();
        assert!(samples.check(&*memory, &|_, _| {}, &never).unwrap().is_none(), "a shorter one is another one");
    }

    #[test]
    fn what_was_not_read_in_order_or_is_small_is_not_noted() {
        assert!(recorded(&Memory::new(LEAST), 1 << 20).samples().is_none(), "small");
        let memory = Memory::new(LEAST + BLOCK);
        let recorder = Recorder::new(Arc::clone(&memory) as Arc<dyn Source>);
        recorder.read_exact_at(&mut vec![0; 2 << 20], 10 * BLOCK + 5).unwrap();
        assert!(recorder.samples().is_none(), "too little");
        for bytes in [&b""[..], b"12345678", &[0xff; 12], &[7; 18]] {
            assert_eq!(Samples::from_bytes(bytes), None);
        }
        // Blocks of a large archive are larger, and never too many.
        let large = 25_000_000_000;
        assert!(large / block_of(large) <= MOST_BLOCKS && block_of(large).is_multiple_of(BLOCK));
    }
}
