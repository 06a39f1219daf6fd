//! Content on its way into packs: compressed on several threads, sealed, and handed to whoever uploads them.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use tokio::sync::mpsc as uploads;

use crate::{
    group,
    id::{Id, Kind},
    record::Place,
    seal::{MasterKey, ObjectKey},
};

/// A pack of at least so many bytes is complete.
const FULL: usize = 8 << 20;
/// What every object begins with: what made it, and the format.
pub(crate) const HEADER: [u8; 8] = *b"HaulVlt\x01";

/// A group that is to be written; it will have a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(u32);

/// How a group is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By zstd at this level.
    Compressed(i32),
    /// As it is: hashes.
    Stored,
}

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// Whoever uploads has stopped, and knows why.
    #[error("the upload has ended")]
    UploadEnded,
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// No thread could be started, or one has died.
    #[error("a thread of the compressor: {0}")]
    Thread(String),
}

/// A complete pack.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Its name.
    pub id: Id,
    /// Its bytes.
    pub bytes: Bytes,
}

struct Job {
    ticket: Ticket,
    plain: Vec<u8>,
    how: How,
}

struct Building {
    id: Id,
    key: ObjectKey,
    bytes: Vec<u8>,
}

/// Makes packs of groups.
pub(crate) struct Packer {
    master: MasterKey,
    jobs: Option<mpsc::Sender<Job>>,
    done: mpsc::Receiver<(Ticket, Vec<u8>)>,
    threads: Vec<JoinHandle<()>>,
    places: Vec<Option<Place>>,
    under_way: usize,
    most_under_way: usize,
    building: Option<Building>,
    uploads: uploads::Sender<Packed>,
}

impl Packer {
    /// Compresses on so many threads; complete packs go to `uploads`.
    pub(crate) fn new(
        master: MasterKey,
        threads: NonZeroUsize,
        uploads: uploads::Sender<Packed>,
    ) -> Result<Self, PackError> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let (finished, done) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |_| {
            let (waiting, finished) = (Arc::clone(&waiting), finished.clone());
            thread::Builder::new()
                .name("haul-vault".to_owned())
                .spawn(move || {
                    loop {
                        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(Job { ticket, plain, how }) = job else { return };
                        let packed = match how {
                            How::Compressed(level) => group::pack(&plain, level),
                            How::Stored => group::stored(&plain),
                        };
                        if finished.send((ticket, packed)).is_err() {
                            return;
                        }
                    }
                })
                .map_err(|error| PackError::Thread(error.to_string()))
        };
        let threads = (0..threads.get()).map(start).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            master,
            jobs: Some(jobs),
            done,
            most_under_way: threads.len() * 2 + 2,
            threads,
            places: Vec::new(),
            under_way: 0,
            building: None,
            uploads,
        })
    }

    /// A group that will be submitted under this ticket.
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.places.push(None);
        Ticket(u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX))
    }

    /// Takes a group's content. Waits while too many are under way.
    pub(crate) fn submit(&mut self, ticket: Ticket, plain: Vec<u8>, how: How) -> Result<(), PackError> {
        while self.under_way >= self.most_under_way {
            self.take_one()?;
        }
        let jobs = self.jobs.as_ref().ok_or(PackError::UploadEnded)?;
        jobs.send(Job { ticket, plain, how }).map_err(|_| PackError::Thread("it has ended".to_owned()))?;
        self.under_way += 1;
        Ok(())
    }

    /// Waits until every group has its place.
    pub(crate) fn settle(&mut self) -> Result<(), PackError> {
        while self.under_way > 0 {
            self.take_one()?;
        }
        Ok(())
    }

    /// Where a group is, once it is settled.
    pub(crate) fn place(&self, ticket: Ticket) -> Option<Place> {
        *self.places.get(ticket.0 as usize)?
    }

    /// Hands over the last pack.
    pub(crate) fn finish(&mut self) -> Result<(), PackError> {
        self.settle()?;
        self.hand_over()?;
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        Ok(())
    }

    fn take_one(&mut self) -> Result<(), PackError> {
        let (ticket, packed) = self.done.recv().map_err(|_| PackError::Thread("it has ended".to_owned()))?;
        self.under_way -= 1;
        let building = match &mut self.building {
            Some(building) => building,
            none => {
                let id = Id::random()?;
                let mut bytes = Vec::with_capacity(FULL + group::LARGEST);
                bytes.extend_from_slice(&HEADER);
                none.insert(Building { id, key: self.master.object(Kind::Pack, id), bytes })
            }
        };
        let at = building.bytes.len();
        building.key.seal(at as u64, &packed, &mut building.bytes);
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let place = Place { pack: building.id, at: short(at), length: short(building.bytes.len() - at) };
        if let Some(slot) = self.places.get_mut(ticket.0 as usize) {
            *slot = Some(place);
        }
        if building.bytes.len() >= FULL { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), PackError> {
        let Some(Building { id, bytes, .. }) = self.building.take() else { return Ok(()) };
        self.uploads.blocking_send(Packed { id, bytes: bytes.into() }).map_err(|_| PackError::UploadEnded)
    }
}
