//! From the inner tar's bytes to the destination: compress on all cores, encrypt, lay out, hand over. One pipeline,
//! measured at each stage.

use std::{
    io::{self, Read, Write},
    num::NonZeroUsize,
    sync::Arc,
    time::Instant,
};

use habackup::{
    index::Sum,
    outer::{Member, Placement},
    securetar::{Encryptor, SecureTarError},
};
use pargz::{CompressError, PieceTable};
use store::{Cancellation, outbound::Outbound};

use crate::progress::{Clock, Progress};

/// How many uncompressed bytes move at once.
const BLOCK: usize = 1 << 20;

/// One thread per core this process may use.
pub fn all_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The destinations as the archive's layout sees them; records the time that the pipeline waits for them.
pub(crate) struct Output {
    outbound: Outbound,
    progress: Arc<Progress>,
}

impl Output {
    pub(crate) fn new(outbound: Outbound, progress: Arc<Progress>) -> Self {
        progress.watch(outbound.writers(), outbound.meters());
        Self { outbound, progress }
    }

    pub(crate) fn into_outbound(self) -> Outbound {
        self.outbound
    }
}

impl Placement for Output {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let started = Instant::now();
        let result = self.outbound.append(bytes);
        self.progress.append.add_bytes(started, bytes.len());
        result
    }

    fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.outbound.patch(offset, bytes);
        Ok(())
    }

    fn late(&mut self, offset: u64, length: u64) {
        self.outbound.late(offset, length);
    }
}

/// The inner archive's way out: as it is, or through SecureTar.
pub(crate) enum InnerSink<'a> {
    Plain(Box<Member<&'a mut Output>>),
    Encrypted(Box<Encryptor<Member<&'a mut Output>>>),
}

impl<'a> InnerSink<'a> {
    /// Completes the encryption, fills in its size if that `is_late`, and gives the member back with the nonces that
    /// make its middle readable.
    pub(crate) fn finish(self, is_late: bool) -> Result<(Member<&'a mut Output>, Vec<[u8; 8]>), SecureTarError> {
        match self {
            Self::Plain(member) => Ok((*member, Vec::new())),
            Self::Encrypted(encryptor) => {
                let (mut member, sealed) = encryptor.finish()?;
                if is_late {
                    member.patch(sealed.size_field_offset, &sealed.size_field())?;
                }
                Ok((member, sealed.nonces))
            }
        }
    }
}

impl Write for InnerSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(member) => member.write(bytes),
            Self::Encrypted(encryptor) => encryptor.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds up the time spent inside a reader or writer, and its bytes.
struct Timed<'a, T> {
    inner: T,
    clock: &'a Clock,
}

impl<T: Read> Read for Timed<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        let count = self.inner.read(buffer)?;
        self.clock.add_bytes(started, count);
        Ok(count)
    }
}

impl<T: Write> Write for Timed<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let started = Instant::now();
        let count = self.inner.write(bytes)?;
        self.clock.add_bytes(started, count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Moves the whole source through compression into the sink.
pub(crate) fn compress<R: Read + Send, W: Write + Send>(
    source: R,
    sink: W,
    compressor: &pargz::Compressor<'_>,
    progress: &Progress,
    cancel: &Cancellation,
) -> Result<PieceTable, CompressError> {
    let source = Timed { inner: source, clock: &progress.reading };
    let sink = Timed { inner: sink, clock: &progress.sinking };
    Ok(compressor.meters(&progress.pipeline).cancel(cancel.flag()).compress(source, sink)?.pieces)
}

/// As [`compress`], into exactly the announced length.
pub(crate) fn compress_to_length<R: Read + Send, W: Write + Send>(
    source: R,
    sink: W,
    compressor: &pargz::Compressor<'_>,
    announced: pargz::Announced<'_>,
    progress: &Progress,
    cancel: &Cancellation,
) -> Result<PieceTable, CompressError> {
    let source = Timed { inner: source, clock: &progress.reading };
    let sink = Timed { inner: sink, clock: &progress.sinking };
    Ok(compressor.meters(&progress.pipeline).cancel(cancel.flag()).compress_to_length(source, sink, announced)?.pieces)
}

/// Copies the whole source into the sink unchanged. Returns what shows whether it arrived so.
pub(crate) fn copy<R: Read, W: Write>(
    source: R,
    sink: W,
    progress: &Progress,
    cancel: &Cancellation,
) -> Result<Sum, CompressError> {
    let mut source = Timed { inner: source, clock: &progress.reading };
    let mut sink = Timed { inner: sink, clock: &progress.sinking };
    let mut block = vec![0; BLOCK];
    let mut crc = crc32fast::Hasher::new();
    let mut length = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(CompressError::Cancelled);
        }
        match source.read(&mut block).map_err(CompressError::Source)? {
            0 => return Ok(Sum { length, crc32: crc.finalize() }),
            count => {
                crc.update(&block[..count]);
                length += count as u64;
                sink.write_all(&block[..count]).map_err(CompressError::Sink)?;
            }
        }
    }
}
