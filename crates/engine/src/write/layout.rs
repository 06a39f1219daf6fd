//! How an archive's bytes are laid out: its description, members that are compressed and encrypted, its index.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use habackup::{
    index::Sum,
    manifest::Manifest,
    outer::{Member, Outer},
    securetar::{Encryptor, Keys, SIZE_FIELD_OFFSET, SecureTarVersion},
    version::HaVersion,
};
use pargz::{CompressError, PieceTable};
use store::Cancellation;

use crate::{
    progress::Progress,
    verdict::Judgement,
    write::{
        broken::Broken,
        pipeline::{self, InnerSink, Output},
    },
};

/// The last member: where everything in the inner archive is.
pub(crate) const INDEX: &str = "haul.index";

/// Which encryption format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecureTar {
    /// By Home Assistant's version.
    Auto,
    /// Read by every Home Assistant.
    V2,
    /// Read by Home Assistant 2026.3 and later.
    V3,
}

pub(crate) fn container_version(choice: SecureTar, version: &HaVersion) -> SecureTarVersion {
    match choice {
        SecureTar::V3 => SecureTarVersion::V3,
        SecureTar::Auto if version.uses_securetar_v3() => SecureTarVersion::V3,
        SecureTar::Auto | SecureTar::V2 => SecureTarVersion::V2,
    }
}

/// What of an archive is known before its source is read.
pub(crate) struct Layout {
    /// `backup.json`, but for the verdict.
    pub(crate) manifest: Manifest,
    /// Seconds and nanoseconds since 1970, for the outer members.
    pub(crate) mtime: (i64, u32),
    /// `None`: the inner archive is a plain tar.
    pub(crate) compression: Option<pargz::Compressor<'static>>,
    /// `None`: not encrypted.
    pub(crate) keys: Option<Keys>,
}

/// How an inner archive was packed, for the index.
pub(crate) struct Packed {
    pub(crate) pieces: Option<PieceTable>,
    pub(crate) sum: Option<Sum>,
    pub(crate) nonces: Vec<[u8; 8]>,
}

impl Layout {
    /// `backup.json` with this verdict, or without one; its length is the same with any.
    pub(crate) fn json(&self, judgement: Option<&Judgement>) -> Vec<u8> {
        self.manifest.to_stamped_json(judgement.map(Judgement::stamp).as_ref())
    }

    /// The inner archive's name in the outer one.
    pub(crate) fn inner_name(&self) -> &'static str {
        if self.compression.is_some() { "homeassistant.tar.gz" } else { "homeassistant.tar" }
    }

    /// The way into a member, whose plain length is announced or put in afterwards.
    pub(crate) fn sink<'o>(
        &self,
        mut member: Member<&'o mut Output>,
        announced: Option<u64>,
    ) -> Result<InnerSink<'o>, Broken> {
        Ok(match (&self.keys, announced) {
            (Some(keys), Some(inner)) => {
                InnerSink::Encrypted(Box::new(Encryptor::with_known_size(keys, inner, member)?))
            }
            (Some(keys), None) => {
                member.late(SIZE_FIELD_OFFSET, 8);
                InnerSink::Encrypted(Box::new(Encryptor::with_keys(keys, member)?))
            }
            (None, _) => InnerSink::Plain(Box::new(member)),
        })
    }

    /// Brings a plain tar into a member of its own, compressed and encrypted; its size is put in afterwards. Gives what
    /// an index says of that.
    pub(crate) fn member<'o>(
        &self,
        outer: Outer<&'o mut Output>,
        name: &str,
        source: impl Read + Send,
        progress: &Arc<Progress>,
        cancel: &Cancellation,
    ) -> Result<(Outer<&'o mut Output>, Packed), Broken> {
        let mut sink = self.sink(outer.begin_late(name)?, None)?;
        let (pieces, sum) = self.pack(source, &mut sink, progress, cancel)?;
        let (member, nonces) = sink.finish(true)?;
        Ok((member.end()?.0, Packed { pieces, sum, nonces }))
    }

    /// Adds the index after everything else.
    pub(crate) fn index<'o>(
        &self,
        outer: Outer<&'o mut Output>,
        index: Vec<u8>,
    ) -> Result<Outer<&'o mut Output>, Broken> {
        Ok(outer.member(INDEX, &sealed(index, self.keys.as_ref())?)?)
    }

    /// Brings a plain tar into the inner archive. Gives where the pieces of a compressed one are, and the checksum of
    /// another.
    pub(crate) fn pack(
        &self,
        source: impl Read + Send,
        sink: impl Write + Send,
        progress: &Arc<Progress>,
        cancel: &Cancellation,
    ) -> Result<(Option<PieceTable>, Option<Sum>), CompressError> {
        let Some(compression) = &self.compression else {
            return Ok((None, Some(pipeline::copy(source, sink, progress, cancel)?)));
        };
        progress.set_threads(compression.get_threads().get());
        Ok((Some(pipeline::compress(source, sink, compression, progress, cancel)?), None))
    }
}

/// File names are private too: in an encrypted archive the index is a container of its own, opened by the same
/// password.
fn sealed(index: Vec<u8>, keys: Option<&Keys>) -> Result<Vec<u8>, Broken> {
    let Some(keys) = keys else { return Ok(index) };
    let mut encryptor = Encryptor::with_keys(keys, Vec::with_capacity(index.len() + 4096))?;
    encryptor.write_all(&index)?;
    let (mut container, done) = encryptor.finish()?;
    let at = done.size_field_offset as usize;
    container[at..at + 8].copy_from_slice(&done.size_field());
    Ok(container)
}
