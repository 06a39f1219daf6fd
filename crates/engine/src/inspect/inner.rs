//! One inner archive: what its first bytes show, whether the password opens it, and one pass over its tar as Python
//! makes it.

use std::io::{self, Read};

use super::{
    Job,
    gzip::{self, Gzip, Mode},
    history::STATES,
    python::{Python, is_failed},
};
use crate::{
    names::normal,
    read::{
        ArchiveFile, Stream,
        lenient::{Decrypted, SharedStatus},
        scan::{Flow, Stopped, scan},
    },
    verdict::collect::{Collector, kept},
};
use habackup::{
    format::{Format, first_block},
    read_at::{ReadAt, Window},
    readers::{Content, ContentEnd, Failing, GzipEnd, Inner, Sealing, Shape},
    securetar::{Decryptor, Expect, Header, SecureTarError, SecureTarVersion, container_len},
    settings::RECORDER,
    tar::{EntryKind, python::Member},
};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;
/// So many of the members that readers do not come to see are named.
const NAMED: usize = 3;
/// No header of an encrypted member is longer.
const LONGEST_HEADER: u64 = 1 << 10;

/// What is known of a member of the outer archive before it is opened.
fn outline(file: &ArchiveFile<'_>, member: &Member, protected: bool) -> io::Result<Inner> {
    let size = member.size.min(ReadAt::len(file).saturating_sub(member.data_offset));
    let window = Window::new(file, member.data_offset, size).ok_or(io::ErrorKind::UnexpectedEof)?;
    let shape = shape(&window, protected)?;
    let mut sealing = Sealing::default();
    if let Shape::Encrypted(version) = shape {
        sealing.sizes = sizes(version, size, &mut Stream::new(window).range(0..LONGEST_HEADER));
    }
    Ok(Inner { name: String::from_utf8_lossy(&member.name).into_owned(), size, shape, sealing, content: None })
}

/// A member that was read already, without an error.
pub(super) fn known(file: &ArchiveFile<'_>, member: &Member, protected: bool, content: Content) -> io::Result<Inner> {
    let mut inner = outline(file, member, protected)?;
    inner.sealing.opens = inner.is_sealed().then_some(true);
    Ok(Inner { content: Some(content), ..inner })
}

/// Looks at one member of the outer archive.
pub(super) fn look(job: &mut Job<'_>, member: &Member, protected: bool, configuration: bool) -> io::Result<Inner> {
    let mut inner = outline(job.file, member, protected)?;
    let size = inner.size;
    let file = job.file;
    let read = |from: u64| -> io::Result<Stream<Window<_>>> {
        let window = Window::new(file, member.data_offset, size).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Stream::new(window).range(from..size))
    };
    match inner.shape {
        Shape::Gzip => inner.content = Some(pass(job, Box::new(read(0)?), true, Mode::Seeking, configuration)?),
        Shape::Tar => inner.content = Some(pass(job, Box::new(read(0)?), false, Mode::Seeking, configuration)?),
        Shape::Encrypted(version) => {
            sealed(job, &mut inner, version, read(0)?, configuration)?;
            behind(job, &mut inner, read(0)?);
        }
        Shape::Empty | Shape::SealedUnknown | Shape::Unknown => {}
    }
    Ok(inner)
}

fn shape(window: &impl ReadAt, protected: bool) -> io::Result<Shape> {
    let first = first_block(window)?;
    Ok(match Format::of(&first) {
        Format::Empty => Shape::Empty,
        Format::SecureTar => match Header::read(&mut first.as_slice()) {
            Ok(header) => Shape::Encrypted(header.version()),
            Err(SecureTarError::UnknownVersion(_)) => Shape::SealedUnknown,
            Err(_) => Shape::Unknown,
        },
        Format::Gzip => Shape::Gzip,
        Format::Tar | Format::Zeros => Shape::Tar,
        // The oldest form has no mark.
        Format::Unknown if protected => Shape::Encrypted(SecureTarVersion::V1),
        Format::Unknown => Shape::Unknown,
    })
}

fn sealed(
    job: &mut Job<'_>,
    inner: &mut Inner,
    version: SecureTarVersion,
    source: impl Read,
    configuration: bool,
) -> io::Result<()> {
    let Some(keyring) = job.keyring.as_mut() else { return Ok(()) };
    let opened = Decryptor::open_with(source, keyring, Expect::Archive);
    let mut plain = match opened {
        Ok(plain) => plain,
        Err(SecureTarError::Io(error)) => return Err(error),
        Err(SecureTarError::WrongPassword) => {
            inner.sealing.opens = Some(false);
            return Ok(());
        }
        Err(error) => {
            inner.sealing.damage = Some(error.to_string());
            return Ok(());
        }
    };
    inner.sealing.opens = Some(true);
    let compressed = match Format::next(&mut plain) {
        Ok(format) => format == Format::Gzip,
        Err(error) => {
            if let SecureTarError::Io(error) = SecureTarError::from(error) {
                return Err(error);
            }
            // None of it can be read; only the name is left.
            inner.content = Some(Content {
                compressed: inner.name.as_bytes().ends_with(b".gz"),
                end: ContentEnd::Failed(Failing::Tampered),
                ..Content::default()
            });
            return Ok(());
        }
    };
    let status = SharedStatus::default();
    let mut content = pass(job, Box::new(Decrypted::new(plain, &status)), compressed, Mode::Streaming, configuration)?;
    // The finding about the header's sizes says so already.
    if let Some(damage) = status.get().undecrypted.filter(|_| inner.sealing.sizes.is_none()) {
        if version == SecureTarVersion::V3
            && matches!(content.end, ContentEnd::Failed(_) | ContentEnd::Silent(_) | ContentEnd::Unmarked)
        {
            content.end = ContentEnd::Failed(Failing::Tampered);
        } else {
            inner.sealing.damage = Some(damage);
        }
    }
    inner.content = Some(content);
    Ok(())
}

/// The data after the first gzip member, where readers stop: a second pass, which continues.
fn behind(job: &mut Job<'_>, inner: &mut Inner, source: impl Read) {
    let Some(content) = inner.content.as_mut().filter(|content| content.gzip == GzipEnd::SecondMember) else { return };
    let Some(keyring) = job.keyring.as_mut() else { return };
    let Ok(plain) = Decryptor::open_with(source, keyring, Expect::Archive) else { return };
    let status = SharedStatus::default();
    let mut seen = 0;
    // Where this ends, and how, is not what any reader would come to see.
    let _: Result<_, Stopped<_>> = scan(
        &mut Python::new(Gzip::new(Decrypted::new(plain, &status), Mode::Seeking, &status)),
        job.cancel,
        |member, _| {
            seen += 1;
            if seen > content.entries && member.kind != EntryKind::Directory {
                content.behind_count += 1;
                if content.behind.len() < NAMED {
                    content.behind.push(normal(kept(&member.name)));
                }
            }
            Ok(Flow::Continue(()))
        },
    );
}

/// The size that the header declares and the one that the member's length allows, where these differ.
fn sizes(version: SecureTarVersion, size: u64, source: &mut impl Read) -> Option<(u64, u64)> {
    let header = Header::read(source).ok()?;
    let declared = header.plaintext_len?;
    let expected = container_len(version, declared)?;
    let body = size.saturating_sub(header.size());
    (expected != size).then_some((declared, body))
}

fn pass<'s>(
    job: &Job<'_>,
    source: Box<dyn Read + 's>,
    compressed: bool,
    mode: Mode,
    configuration: bool,
) -> io::Result<Content> {
    let status = SharedStatus::default();
    let mut source: Box<dyn Read + 's> = if compressed { Box::new(Gzip::new(source, mode, &status)) } else { source };
    let mut collector = Collector::default();
    collector.content.compressed = compressed;
    let scanned = scan(&mut Python::new(&mut source), job.cancel, |member, body| {
        let (ended, read) = collector.take(&member.into(), configuration, Some(STATES), body);
        if let Some(ended) = ended.filter(|ended| ended.below == RECORDER) {
            job.counts.set(ended.counts);
        }
        read.map(Flow::Continue)
    });
    let ended = match scanned {
        Err(Stopped::Broken(end)) => end?,
        Ok(_) | Err(Stopped::Cancelled) => ContentEnd::Clean,
    };
    // Readers stop here; what follows shows whether all of it was as it was written.
    if matches!(ended, ContentEnd::Clean | ContentEnd::Unmarked) {
        let mut buffer = vec![0; BUFFER];
        loop {
            match source.read(&mut buffer) {
                _ if job.cancel.is_cancelled() => break,
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_failed(&error).is_some() => break,
                Err(error) => return Err(error),
            }
        }
    }
    drop(source);
    Ok(Content { end: ended, gzip: gzip::ended(&status.get()), ..collector.finish() })
}
