//! Reads a part as far as possible: decrypted, inflated member after member, and ended where damage begins. It records
//! what it met.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use habackup::securetar::{Decryptor, SecureTarError};
use pargz::{Behind, InflateError, Inflater};

/// What was met on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DecodeStatus {
    /// Members of the gzip stream that were read to their end.
    pub(crate) members: u64,
    /// A member follows another one, whether it was read or not.
    pub(crate) several: bool,
    /// A checksum or length was wrong: something before it is not as it was.
    pub(crate) unequal: bool,
    /// Something follows that is neither zeros nor a member.
    pub(crate) trailing: bool,
    /// Why decrypting ended before its end.
    pub(crate) undecrypted: Option<String>,
    /// Why inflating did.
    pub(crate) uninflated: Option<Uninflated>,
}

/// Why a gzip stream can't be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uninflated {
    /// There is no more of it.
    pub(crate) is_cut: bool,
    pub(crate) reason: String,
}

impl DecodeStatus {
    /// Why it ended before its end.
    pub(crate) fn broken(&self) -> Option<String> {
        self.undecrypted.clone().or_else(|| self.uninflated.as_ref().map(|uninflated| uninflated.reason.clone()))
    }
}

/// Written while the stream is read, read after it.
#[derive(Clone, Default)]
pub(crate) struct SharedStatus(Arc<Mutex<DecodeStatus>>);

impl SharedStatus {
    pub(crate) fn get(&self) -> DecodeStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut DecodeStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Ends where decrypting fails. What can't be read from below stays an error.
pub(crate) struct Decrypted<R: Read> {
    plain: Decryptor<R>,
    status: SharedStatus,
    ended: bool,
    /// The same answer to everybody who asks again.
    failed: Option<(io::ErrorKind, String)>,
}

impl<R: Read> Decrypted<R> {
    pub(crate) fn new(plain: Decryptor<R>, status: &SharedStatus) -> Self {
        Self { plain, status: status.clone(), ended: false, failed: None }
    }
}

impl<R: Read> Read for Decrypted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if let Some((kind, text)) = &self.failed {
            return Err(io::Error::new(*kind, text.clone()));
        }
        self.plain.read(buffer).or_else(|error| match SecureTarError::from(error) {
            SecureTarError::Io(error) => {
                self.failed = Some((error.kind(), error.to_string()));
                Err(error)
            }
            error => {
                self.ended = true;
                self.status.note(|status| status.undecrypted = Some(error.to_string()));
                Ok(0)
            }
        })
    }
}

/// How far a gzip stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// To the end of its first member.
    FirstMember,
    /// Member after member, to one whose checksum is wrong.
    WrongChecksum,
    /// Member after member, whatever their checksums are.
    End,
}

/// The content of a gzip stream. Ends where inflating fails.
pub(crate) struct Gunzip<R: Read> {
    member: Option<Inflater<R>>,
    until: Until,
    status: SharedStatus,
}

impl<R: Read> Gunzip<R> {
    pub(crate) fn new(source: R, until: Until, status: &SharedStatus) -> Self {
        Self { member: Some(Inflater::new(source)), until, status: status.clone() }
    }

    /// Continues after a member that came to its end, well or with a wrong checksum.
    fn behind(&mut self) -> io::Result<()> {
        let Some(mut member) = self.member.take() else { return Ok(()) };
        self.status.note(|status| status.members += 1);
        match member.next_member()? {
            Behind::Nothing => {}
            Behind::Garbage => self.status.note(|status| status.trailing = true),
            Behind::Member => {
                self.status.note(|status| status.several = true);
                self.member = Some(member).filter(|_| self.until != Until::FirstMember);
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> io::Result<()> {
        match InflateError::from(error) {
            InflateError::WrongChecksum | InflateError::WrongLength => {
                self.status.note(|status| status.unequal = true);
                if self.until == Until::End {
                    return self.behind();
                }
                self.member = None;
            }
            error => {
                self.member = None;
                if let InflateError::Io(error) = error {
                    return Err(error);
                }
                let uninflated =
                    Uninflated { is_cut: matches!(error, InflateError::Truncated { .. }), reason: error.to_string() };
                self.status.note(|status| status.uninflated = Some(uninflated));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(buffer) {
                Ok(0) if !buffer.is_empty() => self.behind()?,
                Ok(count) => return Ok(count),
                Err(error) => self.fail(error)?,
            }
        }
        Ok(0)
    }
}
