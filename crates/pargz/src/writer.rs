//! Compression as a [`Write`]: passes what is written to a compressor that runs on its own threads.

use std::{
    io::{self, Read, Write},
    mem,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use crate::{CompressError, Compressor, PIECE, Summary};

/// How many full buffers may wait for the compressor.
const WAITING: usize = 2;

impl Compressor<'static> {
    /// Compresses what is written into it. [`Writer::finish`] ends the member; a writer that is dropped before leaves
    /// an incomplete one in `sink`. One thread more than in [`compress`](Self::compress) exists, which the writer
    /// feeds.
    pub fn writer<W: Write + Send + 'static>(self, sink: W) -> io::Result<Writer<W>> {
        let (sender, receiver) = sync_channel(WAITING);
        let worker = thread::Builder::new().name("compress".to_owned()).spawn(move || {
            let mut sink = sink;
            let result = self.compress(Chunks { receiver, chunk: Vec::new(), at: 0, ended: false }, &mut sink);
            result.map(|summary| (sink, summary))
        })?;
        Ok(Writer { buffer: Vec::new(), sender: Some(sender), worker: Some(worker) })
    }
}

/// Made by [`Compressor::writer`].
#[derive(Debug)]
pub struct Writer<W> {
    buffer: Vec<u8>,
    /// An empty chunk is the end; a sender that goes away without one is an abort.
    sender: Option<SyncSender<Vec<u8>>>,
    worker: Option<JoinHandle<Result<(W, Summary), CompressError>>>,
}

impl<W> Writer<W> {
    /// Ends the member and gives the sink back, flushed.
    pub fn finish(mut self) -> Result<(W, Summary), CompressError> {
        let rest = mem::take(&mut self.buffer);
        if rest.is_empty() || self.send(rest).is_ok() {
            let _ = self.send(Vec::new());
        }
        self.join()
    }

    fn send(&self, chunk: Vec<u8>) -> Result<(), ()> {
        self.sender.as_ref().ok_or(())?.send(chunk).map_err(|_| ())
    }

    /// Why the compressor ended, once it has.
    fn join(&mut self) -> Result<(W, Summary), CompressError> {
        self.sender = None;
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(CompressError::Codec("the compressor has ended already".to_owned())),
        }
    }
}

impl<W> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(PIECE);
        }
        let length = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..length]);
        if self.buffer.len() == PIECE {
            let full = mem::take(&mut self.buffer);
            if self.send(full).is_err() {
                return Err(match self.join() {
                    Err(CompressError::Sink(error)) => error,
                    Err(error) => io::Error::other(error),
                    Ok(_) => io::ErrorKind::BrokenPipe.into(), // it does not end before it is told to
                });
            }
        }
        Ok(length)
    }

    /// Does nothing: a member is whole only when it is finished, and flushing pieces early would change its bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W> Drop for Writer<W> {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join(); // no thread is left behind; there is nobody to hear of an error
        }
    }
}

/// What was written, as the compressor's source.
struct Chunks {
    receiver: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if self.at == self.chunk.len() {
            let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the writer was dropped before it was finished");
            self.chunk = self.receiver.recv().map_err(gone)?;
            self.at = 0;
            self.ended = self.chunk.is_empty();
        }
        let length = buf.len().min(self.chunk.len() - self.at);
        buf[..length].copy_from_slice(&self.chunk[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
