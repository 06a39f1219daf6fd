//! One inner archive as a plain tar stream, as far as it can be read.

use std::{
    io::{self, Read},
    sync::{Mutex, PoisonError},
};

use habackup::{
    format::Format,
    read_at::Window,
    securetar::{Decryptor, Expect, Header, Keyring, SecureTarError, SecureTarVersion},
};

use super::{bytes::Bytes, parts::Piece};
use crate::read::{
    Stream,
    lenient::{Decrypted, Gunzip, SharedStatus, Until},
};

pub(super) type Source<'a> = Box<dyn Read + Send + 'a>;

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
    /// Nothing is known of it.
    Unknown(String),
    /// Its bytes can't be read.
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
    status: SharedStatus,
}

impl<'a> Plain<'a> {
    pub(super) fn split(self) -> (Source<'a>, SharedStatus) {
        (self.tar, self.status)
    }
}

/// Opens a part from its beginning; can be done again.
pub(super) fn open<'a>(
    bytes: &'a Bytes<'_>,
    piece: &Piece,
    keyring: &Mutex<Option<Keyring>>,
) -> Result<Plain<'a>, Shut> {
    let window = || Window::new(bytes, piece.offset, piece.size).ok_or(io::Error::from(io::ErrorKind::UnexpectedEof));
    let status = SharedStatus::default();
    let format = Format::at(&window()?)?;
    let is_sealed = match format {
        Format::Empty => return Err(Shut::Unknown("it is empty".into())),
        Format::Gzip | Format::Tar | Format::Zeros => {
            let compressed = format == Format::Gzip;
            return Ok(Plain {
                form: Form { sealed: None, compressed },
                tar: inflated(Box::new(Stream::new(window()?)), compressed, &status),
                status,
            });
        }
        Format::SecureTar => true,
        Format::Unknown => false,
    };
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
    let compressed = match Format::next(&mut plain) {
        Ok(format) => format == Format::Gzip,
        Err(error) => match SecureTarError::from(error) {
            SecureTarError::Io(error) => return Err(Shut::Io(error)),
            error => return Err(Shut::Unknown(error.to_string())),
        },
    };
    let tar = inflated(Box::new(Decrypted::new(plain, &status)), compressed, &status);
    Ok(Plain { form: Form { sealed: Some(version), compressed }, tar, status })
}

/// Whether the header of an encrypted part says another size than it has.
pub(super) fn sizes_lie(bytes: &Bytes<'_>, piece: &Piece) -> bool {
    let Some(window) = Window::new(bytes, piece.offset, piece.size) else { return false };
    let Ok(header) = Header::read(&mut Stream::new(window)) else { return false };
    let expected = header.plaintext_len.and_then(|length| habackup::securetar::container_len(header.version(), length));
    header.plaintext_len.is_some() && expected != Some(piece.size)
}

/// All members of a gzip stream, or what is not compressed as it is.
fn inflated<'a>(source: Source<'a>, compressed: bool, status: &SharedStatus) -> Source<'a> {
    if compressed { Box::new(Gunzip::new(source, Until::End, status)) } else { source }
}
