//! Reads a source on its own thread and hands the bytes over in order.
//!
//! The end is a message of its own: a thread that dies can't look like the end of the data.

use std::{
    io::{self, Read},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

/// Bytes per message.
const CHUNK: usize = 512 << 10;
/// Messages under way at once.
const AHEAD: usize = 3;

enum Message {
    Bytes(Vec<u8>),
    End,
    Failed(io::Error),
}

/// Lets `consume` read what `source` yields on another thread. What `consume` leaves unread is not read.
pub(super) fn piped<R: Read + Send, T>(source: R, stop: &AtomicBool, consume: impl FnOnce(&mut dyn Read) -> T) -> T {
    let (sender, receiver) = sync_channel(AHEAD);
    let (give_back, empty) = channel();
    thread::scope(|scope| {
        scope.spawn(move || pump(source, &sender, &empty, stop));
        // Moved in and dropped with the reader: a pump that waits to send then ends.
        let mut reader = PipedReader::new(receiver, give_back);
        let result = consume(&mut reader);
        drop(reader);
        result
    })
}

/// As [`piped`], with a second thread that reads the first one's bytes through `wrap`.
pub(super) fn piped_through<R: Read + Send, W: Read, T>(
    source: R,
    wrap: impl FnOnce(PipedReader) -> W + Send,
    stop: &AtomicBool,
    consume: impl FnOnce(&mut dyn Read) -> T,
) -> T {
    let (sender, receiver) = sync_channel(AHEAD);
    let (give_back, empty) = channel();
    let (second_sender, second_receiver) = sync_channel(AHEAD);
    let (second_give_back, second_empty) = channel();
    thread::scope(|scope| {
        scope.spawn(move || pump(source, &sender, &empty, stop));
        scope.spawn(move || pump(wrap(PipedReader::new(receiver, give_back)), &second_sender, &second_empty, stop));
        let mut reader = PipedReader::new(second_receiver, second_give_back);
        let result = consume(&mut reader);
        drop(reader);
        result
    })
}

fn pump(mut source: impl Read, sender: &SyncSender<Message>, empty: &Receiver<Vec<u8>>, stop: &AtomicBool) {
    loop {
        let mut bytes = empty.try_recv().unwrap_or_default();
        bytes.resize(CHUNK, 0);
        let message = match fill(&mut source, &mut bytes, stop) {
            Ok(0) => Message::End,
            Ok(count) => {
                bytes.truncate(count);
                Message::Bytes(bytes)
            }
            Err((0, error)) => Message::Failed(error),
            Err((count, error)) => {
                bytes.truncate(count);
                // What came before the damage is still worth having.
                let _ = sender.send(Message::Bytes(bytes));
                Message::Failed(error)
            }
        };
        let last = !matches!(message, Message::Bytes(_));
        if sender.send(message).is_err() || last {
            return;
        }
    }
}

fn fill(source: &mut impl Read, bytes: &mut [u8], stop: &AtomicBool) -> Result<usize, (usize, io::Error)> {
    let mut count = 0;
    while count < bytes.len() {
        if stop.load(Ordering::Relaxed) {
            return Err((count, io::Error::other("interrupted")));
        }
        match source.read(&mut bytes[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((count, error)),
        }
    }
    Ok(count)
}

pub(super) struct PipedReader {
    receiver: Receiver<Message>,
    give_back: Sender<Vec<u8>>,
    current: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl PipedReader {
    fn new(receiver: Receiver<Message>, give_back: Sender<Vec<u8>>) -> Self {
        Self { receiver, give_back, current: Vec::new(), taken: 0, ended: false }
    }
}

impl Read for PipedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.current.len() {
            if self.ended {
                return Ok(0);
            }
            match self.receiver.recv() {
                Ok(Message::Bytes(bytes)) => {
                    let _ = self.give_back.send(std::mem::replace(&mut self.current, bytes));
                    self.taken = 0;
                }
                Ok(Message::End) => {
                    self.ended = true;
                    return Ok(0);
                }
                Ok(Message::Failed(error)) => return Err(error),
                Err(_) => return Err(io::Error::other("the reading thread stopped")),
            }
        }
        let count = buffer.len().min(self.current.len() - self.taken);
        buffer[..count].copy_from_slice(&self.current[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
