//! Opens an archive for reading: what its outer tar holds, the password, the index, and each inner archive as plain tar
//! bytes.
//!
//! With a usable index an inner archive is decrypted and inflated on all cores, without one as a stream. What the bytes
//! mean, and what is wrong with an archive beyond not being readable, is for `verify` and `restore` to say.

pub(crate) mod beginning;
mod body;
mod file;
pub(crate) mod lenient;
mod outer;
mod piped;
mod ranges;
pub(crate) mod scan;
pub(crate) mod zip;

use std::{
    io::{self, Read},
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

use habackup::{
    archive::ArchiveError,
    format::Format,
    index::{self, Index, Sum},
    read_at::{ReadAt, Window},
    securetar::{Decryptor, Expect, Header, Keyring, Password, RandomAccess, SecureTarError, SecureTarVersion},
};
use pargz::{IndexedInflater, InflateError};
use store::StoreError;

pub use file::{ArchiveSource, ProgressFn, Source};
pub(crate) use outer::{Member, Outside, Shape};
pub(crate) use ranges::{Ranges, join};

pub(crate) use body::Stream;
pub(crate) use file::ArchiveFile;

use body::{Body, Strict, Summed};
use piped::piped;

/// Holds the headers of all members before the first large one.
const BEGINNING: u64 = 64 << 10;
/// No header of an encrypted member is longer.
const LONGEST_HEADER: u64 = 1 << 10;
/// No more of the archive's end is fetched unasked.
const LONGEST_END: u64 = 1 << 20;

/// Why an archive can't be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file itself.
    #[error("can't read {}: {}", path.display(), crate::text::plain(source))]
    Read {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a tar archive, or one beyond all bounds.
    #[error("{} is not a Home Assistant backup: {reason}", path.display())]
    NotABackup {
        /// The archive.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is encrypted and no password was given.
    #[error("{} is encrypted: a password is needed", .0.display())]
    PasswordNeeded(PathBuf),
    /// For SecureTar 3 this is certain; for older versions a damaged beginning looks the same.
    #[error("the password is wrong")]
    WrongPassword,
    /// A destination that can't be read from any more, or that holds something else than before.
    #[error(transparent)]
    Destination(StoreError),
}

impl OpenError {
    pub(crate) fn of(path: PathBuf, source: io::Error) -> Self {
        match source.downcast::<StoreError>() {
            Ok(error) => Self::Destination(error),
            Err(source) => Self::Read { path, source },
        }
    }
}

/// What became of the index.
pub(crate) enum IndexState {
    /// The archive has none.
    Absent,
    Usable(Index),
    /// It is there and broken.
    Damaged(String),
    /// It is there and not for us: of a later version, or encrypted with another password than the archive.
    Foreign(String),
}

/// An archive opened for reading.
pub(crate) struct Opened<'a> {
    pub(crate) file: ArchiveFile<'a>,
    pub(crate) outside: Outside,
    pub(crate) index: IndexState,
    keyring: Option<Mutex<Keyring>>,
    /// A password was given that opens none of the parts, of an archive whose configuration needs none.
    has_wrong_password: bool,
}

/// What went wrong below the tar.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

impl From<SecureTarError> for Broken {
    fn from(error: SecureTarError) -> Self {
        Self(error.to_string())
    }
}

impl From<InflateError> for Broken {
    fn from(error: InflateError) -> Self {
        Self(error.to_string())
    }
}

impl<'a> Opened<'a> {
    /// Walks the outer archive, tries the password, reads the index.
    pub(crate) fn open(
        source: &ArchiveSource,
        password: Option<&Password>,
        progress: ProgressFn<'a>,
    ) -> Result<Self, OpenError> {
        let path = source.shown();
        let file =
            ArchiveFile::open(source, progress).map_err(|source| OpenError::Read { path: path.clone(), source })?;
        announce_ends(&file);
        let outside = Outside::read(&file).map_err(|error| match (file.failure(), error) {
            (Some(source), _) | (None, ArchiveError::Io(source)) => OpenError::of(path.clone(), source),
            (None, error) => OpenError::NotABackup { path: path.clone(), reason: error.to_string() },
        })?;
        let sealed = outside.inner().any(|member| member.shape == Shape::Encrypted);
        // Home Assistant leaves parts encrypted when it decrypts a download; the configuration can be read without
        // their password.
        let is_needed = outside.home_assistant().is_none_or(|member| member.shape == Shape::Encrypted);
        let keyring = match password {
            None if sealed && is_needed => return Err(OpenError::PasswordNeeded(path)),
            password => password.filter(|_| sealed).map(|password| Mutex::new(Keyring::new(password.clone()))),
        };
        let mut opened = Self { file, outside, index: IndexState::Absent, keyring, has_wrong_password: false };
        opened.index = opened.read_index();
        let mut password = opened.check_password();
        if !is_needed && matches!(password, Err(OpenError::WrongPassword)) {
            (opened.keyring, opened.has_wrong_password) = (None, true);
            password = Ok(());
        }
        if !matches!(source, ArchiveSource::Path(_))
            && (password.is_err() || matches!(opened.index, IndexState::Damaged(_)))
        {
            opened.reached(source)?;
        }
        password?;
        Ok(opened)
    }

    /// Fails if bytes could not be read, or are no longer those of one archive: then other errors mean nothing.
    pub(crate) fn reached(&self, source: &ArchiveSource) -> Result<(), OpenError> {
        self.file.failure().map_or(Ok(()), |error| Err(OpenError::of(source.shown(), error)))
    }

    /// A password that opens nothing is wrong; one that opens anything is right, and what stays shut is damaged.
    fn check_password(&self) -> Result<(), OpenError> {
        if self.keyring.is_none() || matches!(self.index, IndexState::Usable(_)) {
            return Ok(());
        }
        let mut wrong = false;
        for member in self.outside.inner().filter(|member| member.shape == Shape::Encrypted) {
            match self.decryptor(member) {
                Ok(_) => return Ok(()),
                Err(SecureTarError::WrongPassword) => wrong = true,
                // Whoever reads the member reports the damage.
                Err(_) => {}
            }
        }
        if wrong { Err(OpenError::WrongPassword) } else { Ok(()) }
    }

    /// Why an encrypted member stays shut.
    pub(crate) fn lock_of(&self, path: PathBuf) -> OpenError {
        if self.has_wrong_password { OpenError::WrongPassword } else { OpenError::PasswordNeeded(path) }
    }

    /// Whether a member is encrypted and there is no password to open it with.
    pub(crate) fn is_locked(&self, member: &Member) -> bool {
        member.shape == Shape::Encrypted && self.keyring.is_none()
    }

    fn window(&self, member: &Member) -> Result<Window<&ArchiveFile<'a>>, SecureTarError> {
        Window::new(&self.file, member.data_offset, member.present)
            .ok_or_else(|| SecureTarError::Io(io::ErrorKind::UnexpectedEof.into()))
    }

    fn with_keyring<T>(
        &self,
        use_it: impl FnOnce(&mut Keyring) -> Result<T, SecureTarError>,
    ) -> Result<T, SecureTarError> {
        let keyring = self.keyring.as_ref().ok_or(SecureTarError::WrongPassword)?;
        use_it(&mut keyring.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn decryptor(&self, member: &Member) -> Result<Decryptor<Stream<Window<&ArchiveFile<'a>>>>, SecureTarError> {
        let stream = Stream::new(self.window(member)?);
        self.with_keyring(|keyring| Decryptor::open_with(stream, keyring, Expect::Archive))
    }

    /// Whether the tar in a member is compressed.
    pub(crate) fn is_compressed(&self, member: &Member) -> bool {
        match member.shape {
            Shape::Gzip => true,
            Shape::Tar | Shape::Unknown => false,
            Shape::Encrypted => self
                .decryptor(member)
                .is_ok_and(|mut plain| Format::next(&mut plain).is_ok_and(|format| format == Format::Gzip)),
        }
    }

    /// The SecureTar header of an encrypted member.
    pub(crate) fn sealed_header(&self, member: &Member) -> Result<Header, SecureTarError> {
        // No more than a header: it may be all that is wanted of something far away.
        Header::read(&mut Stream::new(self.window(member)?).range(0..LONGEST_HEADER))
    }

    fn read_index(&self) -> IndexState {
        let Some(member) = self.outside.index() else { return IndexState::Absent };
        let mut keyring = self.keyring.as_ref().map(|keyring| keyring.lock().unwrap_or_else(PoisonError::into_inner));
        read_index(&self.file, member.data_offset, member.size, keyring.as_deref_mut())
    }

    /// The index, if it is about this member and has what is needed to enter it anywhere.
    pub(crate) fn index_of(&self, member: &Member) -> Option<&Index> {
        let IndexState::Usable(index) = &self.index else { return None };
        let enterable = match member.shape {
            Shape::Tar => true,
            Shape::Gzip => index.pieces().is_some(),
            // An archive whose encryption was changed brings its old index along.
            Shape::Encrypted => self.sealed_header(member).is_ok_and(|header| header.fits_nonces(index.nonces())),
            Shape::Unknown => false,
        };
        (index.member() == member.name && enterable).then_some(index)
    }

    fn body(&self, member: &Member, index: &Index) -> Result<Body<'_, 'a>, SecureTarError> {
        let window = self.window(member)?;
        if member.shape != Shape::Encrypted {
            return Ok(Body::Plain(window));
        }
        self.with_keyring(|keyring| RandomAccess::open(window, keyring, Expect::Archive, index.nonces().to_vec()))
            .map(|body| Body::Encrypted(Box::new(body)))
    }

    /// Hands `consume` the inner tar, on all threads by the index. Everything is read and checked even if `consume`
    /// stops early, unless `stop` is set.
    pub(crate) fn read_indexed<T>(
        &self,
        member: &Member,
        index: &Index,
        threads: NonZeroUsize,
        stop: &AtomicBool,
        consume: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<(T, Result<(), Broken>), Broken> {
        let body = self.body(member, index)?;
        let Some(table) = index.pieces() else {
            let stream = Summed::new(Stream::new(body), self.sum_of(member));
            return Ok(match (member.shape, threads.get()) {
                // Decrypting and looking at the result each have a core.
                (Shape::Encrypted, 2..) => piped(stream, stop, |reader| finish(reader, stop, consume)),
                _ => finish(stream, stop, consume),
            });
        };
        // What `consume` made is wanted even when the member then turns out to be broken.
        let mut made = None;
        let result = IndexedInflater::new(table)
            .threads(threads)
            .cancel(stop)
            .inflate(&body, |reader| made = Some(consume(reader)));
        match (made, result) {
            (Some(made), result) => Ok((made, result.map_err(Broken::from))),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) => Err(Broken("nothing was read".into())),
        }
    }

    /// Hands `consume` the inner tar as a stream, with decrypting and inflating on threads of their own.
    pub(crate) fn read_streaming<T>(
        &self,
        member: &Member,
        threads: NonZeroUsize,
        stop: &AtomicBool,
        consume: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<(T, Result<(), Broken>), Broken> {
        if member.shape == Shape::Encrypted {
            let mut plain = self.decryptor(member)?;
            let format = Format::next(&mut plain).map_err(|error| Broken(error.to_string()))?;
            return Ok(match (format == Format::Gzip, threads.get()) {
                (false, 1) => finish(Summed::new(plain, self.sum_of(member)), stop, consume),
                (false, _) => {
                    piped(Summed::new(plain, self.sum_of(member)), stop, |reader| finish(reader, stop, consume))
                }
                (true, 1) => finish(Strict::new(plain), stop, consume),
                (true, 2) => piped(Strict::new(plain), stop, |reader| finish(reader, stop, consume)),
                // The pipe's reading end stays on the thread that inflates.
                (true, _) => piped_twice(plain, stop, consume),
            });
        }
        let stream = Stream::new(self.window(member)?);
        if member.shape == Shape::Gzip {
            return Ok(if threads.get() == 1 {
                finish(Strict::new(stream), stop, consume)
            } else {
                piped(Strict::new(stream), stop, |reader| finish(reader, stop, consume))
            });
        }
        Ok(finish(Summed::new(stream, self.sum_of(member)), stop, consume))
    }

    /// The checksum of an uncompressed inner archive. It stays valid if the encryption was changed.
    fn sum_of(&self, member: &Member) -> Option<Sum> {
        let IndexState::Usable(index) = &self.index else { return None };
        index.sum().filter(|_| index.member() == member.name)
    }

    /// Would a changed byte in the content of a file be noticed? Gzip and SecureTar 3 carry checksums; a plain tar, by
    /// itself or in an older SecureTar, has none but for its headers, unless there is one in the index.
    pub(crate) fn has_checksum(&self, member: &Member) -> bool {
        match member.shape {
            // Nothing is read of what is unknown.
            Shape::Gzip | Shape::Unknown => true,
            Shape::Tar => self.sum_of(member).is_some(),
            Shape::Encrypted => {
                let is_authenticated =
                    || self.sealed_header(member).is_ok_and(|header| header.version() == SecureTarVersion::V3);
                self.sum_of(member).is_some() || is_authenticated() || self.is_compressed(member)
            }
        }
    }

    /// Stretches of the inner tar, by the index.
    pub(crate) fn ranges<'o>(&'o self, member: &Member, index: &'o Index) -> Result<Ranges<'o, 'a>, Broken> {
        let body = self.body(member, index)?;
        let table = index.pieces();
        if let Some(table) = table {
            table.check(body.len()).map_err(|error| Broken(error.to_string()))?;
        }
        Ok(Ranges::new(body, table))
    }
}

/// The index at this position.
pub(crate) fn read_index(file: &ArchiveFile<'_>, offset: u64, size: u64, keyring: Option<&mut Keyring>) -> IndexState {
    let Some(window) = Window::new(file, offset, size) else { return IndexState::Damaged("it is cut short".into()) };
    if size > index::MAX_LEN {
        return IndexState::Damaged("it is too long".into());
    }
    let mut bytes = Vec::new();
    if let Err(error) = Stream::new(window).read_to_end(&mut bytes) {
        return IndexState::Damaged(error.to_string());
    }
    if Format::of(&bytes) == Format::SecureTar {
        let Some(keyring) = keyring else { return IndexState::Foreign("it is still encrypted".into()) };
        bytes = match unseal_index(&bytes, keyring) {
            Ok(plain) => plain,
            Err(SecureTarError::WrongPassword) => {
                return IndexState::Foreign("it can't be opened with this password".into());
            }
            Err(error) => return IndexState::Damaged(error.to_string()),
        };
    }
    match Index::parse(&bytes) {
        Ok(index) => IndexState::Usable(index),
        Err(error @ index::IndexError::NewerVersion(_)) => IndexState::Foreign(error.to_string()),
        Err(error) => IndexState::Damaged(error.to_string()),
    }
}

fn unseal_index(container: &[u8], keyring: &mut Keyring) -> Result<Vec<u8>, SecureTarError> {
    let mut decryptor = Decryptor::open_with(container, keyring, Expect::Magic(index::MAGIC))?;
    if decryptor.header().reserved != [0; 8] {
        return Err(SecureTarError::ReservedBytes);
    }
    let mut plain = Vec::new();
    decryptor.read_to_end(&mut plain)?;
    Ok(plain)
}

/// Where the description and the index are, usually: one way there and back for both.
fn announce_ends(file: &ArchiveFile<'_>) {
    let length = file.len();
    file.announce(0..length.min(BEGINNING));
    // An index is about as long as a four-thousandth of a real archive; what is missing of it is fetched when that
    // shows.
    let end = (length / 4096).clamp(BEGINNING, LONGEST_END);
    file.announce(length.saturating_sub(end)..length);
}

fn piped_twice<T>(
    plain: impl Read + Send,
    stop: &AtomicBool,
    consume: impl FnOnce(&mut dyn Read) -> T,
) -> (T, Result<(), Broken>) {
    piped::piped_through(plain, Strict::new, stop, |reader| finish(reader, stop, consume))
}

/// Lets `consume` read, then reads what it left, so that everything is checked.
fn finish<T>(
    mut source: impl Read,
    stop: &AtomicBool,
    consume: impl FnOnce(&mut dyn Read) -> T,
) -> (T, Result<(), Broken>) {
    let made = consume(&mut source);
    let mut buffer = vec![0; 256 << 10];
    loop {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return (made, Ok(()));
        }
        match source.read(&mut buffer) {
            Ok(0) => return (made, Ok(())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (made, Err(Broken(error.to_string()))),
        }
    }
}
