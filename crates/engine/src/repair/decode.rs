//! One inner archive as a plain tar stream, as far as it can be had: decrypted, inflated member after member, and ended where damage begins. What was met stays to be
//! asked for.

use std::{
    io::{self, BufRead, Read},
    sync::{Arc, Mutex, PoisonError},
};

use habackup::{
    read_at::{ReadAt, Window},
    securetar::{Decryptor, Expect, Header, Keyring, SecureTarError, SecureTarVersion},
};
use pargz::{Behind, InflateError, Inflater};

use super::{bytes::Bytes, parts::Piece};
use crate::read::Stream;

const GZIP: [u8; 3] = [0x1f, 0x8b, 8];

pub(super) type Source<'a> = Box<dyn Read + Send + 'a>;

/// What was met on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    /// Members of the gzip stream that were read.
    pub(super) members: u64,
    /// A checksum or length was wrong: something before it is not as it was.
    pub(super) unequal: bool,
    /// Something follows that is neither zeros nor a member.
    pub(super) trailing: bool,
    /// Why it ended before its end.
    pub(super) broken: Option<String>,
}

/// Told while the stream is read; [`Meeting::told`] after it.
#[derive(Clone, Default)]
pub(super) struct Meeting(Arc<Mutex<Met>>);

impl Meeting {
    pub(super) fn told(&self) -> Met {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Met)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a part is, by its first bytes and the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) sealed: Option<SecureTarVersion>,
    pub(super) compressed: bool,
}

/// Why a part can't be opened.
#[derive(Debug)]
pub(super) enum Shut {
    /// No password was given.
    Locked,
    /// It is another one's.
    WrongPassword,
    /// It is no known form, unless it is the oldest encryption and another password's.
    Unmarked,
    /// Nothing of it can be told.
    Unknown(String),
    /// Its bytes can't be had.
    Io(io::Error),
}

impl From<io::Error> for Shut {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A part opened.
pub(super) struct Plain<'a> {
    pub(super) form: Form,
    pub(super) tar: Source<'a>,
    met: Meeting,
}

impl<'a> Plain<'a> {
    pub(super) fn split(self) -> (Source<'a>, Meeting) {
        (self.tar, self.met)
    }
}

/// Opens a part from its beginning; can be done again.
pub(super) fn open<'a>(bytes: &'a Bytes<'_>, piece: &Piece, keyring: &Mutex<Option<Keyring>>) -> Result<Plain<'a>, Shut> {
    let window = || Window::new(bytes, piece.offset, piece.size).ok_or(io::Error::from(io::ErrorKind::UnexpectedEof));
    let mut first = vec![0; piece.size.min(512) as usize];
    window()?.read_exact_at(&mut first, 0)?;
    let met = Meeting::default();
    let is_tar = |first: &[u8]| first.get(257..262) == Some(b"ustar") || (first.len() == 512 && first.iter().all(|byte| *byte == 0));
    let is_sealed = first.starts_with(b"SecureTar");
    if first.is_empty() {
        return Err(Shut::Unknown("it is empty".into()));
    }
    if !is_sealed && (first.starts_with(&GZIP) || is_tar(&first)) {
        let stream: Source<'a> = Box::new(Stream::new(window()?));
        let compressed = first.starts_with(&GZIP);
        return Ok(Plain { form: Form { sealed: None, compressed }, tar: inflated(stream, compressed, &met), met });
    }
    // The oldest form of encryption has no mark, but whole blocks.
    if !is_sealed && (piece.size < 48 || (!piece.size.is_multiple_of(16) && !piece.cut)) {
        return Err(Shut::Unmarked);
    }
    let mut keyring = keyring.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(keyring) = keyring.as_mut() else { return Err(Shut::Locked) };
    let opened = Decryptor::open_with(Stream::new(window()?), keyring, Expect::Archive);
    let mut plain = match opened {
        Ok(plain) => plain,
        Err(SecureTarError::Io(error)) => return Err(Shut::Io(error)),
        Err(SecureTarError::WrongPassword) if is_sealed => return Err(Shut::WrongPassword),
        Err(SecureTarError::WrongPassword) => return Err(Shut::Unmarked),
        Err(error) => return Err(Shut::Unknown(error.to_string())),
    };
    let version = plain.header().version();
    let compressed = match plain.fill_buf() {
        Ok(first) => first.starts_with(&GZIP),
        Err(error) => match SecureTarError::from(error) {
            SecureTarError::Io(error) => return Err(Shut::Io(error)),
            error => return Err(Shut::Unknown(error.to_string())),
        },
    };
    let lenient: Source<'a> = Box::new(Lenient { plain, met: met.clone(), ended: false });
    Ok(Plain { form: Form { sealed: Some(version), compressed }, tar: inflated(lenient, compressed, &met), met })
}

/// Whether the header of an encrypted part says another size than it has.
pub(super) fn sizes_lie(bytes: &Bytes<'_>, piece: &Piece) -> bool {
    let Some(window) = Window::new(bytes, piece.offset, piece.size) else { return false };
    let Ok(header) = Header::read(&mut Stream::new(window)) else { return false };
    let expected = header.plaintext_len.and_then(|length| habackup::securetar::container_len(header.version(), length));
    header.plaintext_len.is_some() && expected != Some(piece.size)
}

/// All members of a gzip stream, or what is not compressed as it is.
pub(super) fn inflated<'a>(source: Source<'a>, compressed: bool, met: &Meeting) -> Source<'a> {
    if compressed { Box::new(Gunzip { member: Some(Inflater::new(source)), met: met.clone() }) } else { source }
}

/// Ends where decrypting fails.
struct Lenient<R: Read> {
    plain: Decryptor<R>,
    met: Meeting,
    ended: bool,
}

impl<R: Read> Read for Lenient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        self.plain.read(buffer).or_else(|error| match SecureTarError::from(error) {
            SecureTarError::Io(error) => Err(error),
            error => {
                self.ended = true;
                self.met.note(|met| met.broken = Some(error.to_string()));
                Ok(0)
            }
        })
    }
}

/// All members of a gzip stream.
struct Gunzip<'a> {
    member: Option<Inflater<Source<'a>>>,
    met: Meeting,
}

impl Gunzip<'_> {
    /// Goes on behind a member that came to its end, well or with a wrong checksum.
    fn behind(&mut self) -> io::Result<()> {
        let Some(mut member) = self.member.take() else { return Ok(()) };
        self.met.note(|met| met.members += 1);
        match member.next_member()? {
            Behind::Nothing => {}
            Behind::Garbage => self.met.note(|met| met.trailing = true),
            Behind::Member => self.member = Some(member),
        }
        Ok(())
    }
}

impl Read for Gunzip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(buffer) {
                Ok(0) if !buffer.is_empty() => self.behind()?,
                Ok(count) => return Ok(count),
                Err(error) => match InflateError::from(error) {
                    InflateError::WrongChecksum | InflateError::WrongLength => {
                        self.met.note(|met| met.unequal = true);
                        self.behind()?;
                    }
                    error => {
                        self.member = None;
                        if let InflateError::Io(error) = error {
                            return Err(error);
                        }
                        self.met.note(|met| {
                            met.broken.get_or_insert(error.to_string());
                        });
                    }
                },
            }
        }
        Ok(0)
    }
}
