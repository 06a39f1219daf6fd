//! The measuring pass: computes every length of an archive before its first byte, for destinations where nothing can be
//! corrected afterwards.
//!
//! The source runs through the compressor without output, and Haul announces the resulting length with some slack. Then
//! it replays the source, from the same open snapshots, into exactly that length: empty deflate blocks fill the slack
//! that no changed file used up. An uncompressed archive needs no such pass: its sizes follow from the sizes of the
//! files.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use habackup::{
    index::Sum,
    outer,
    securetar::{SecureTarVersion, container_len, nonce_count},
};
use pargz::{Announced, CompressError, Compressor, PieceTable};
use store::Cancellation;

use crate::{
    backup::{
        plan::Plan,
        source::{self, Ledger, Recording, TarSource},
    },
    findings::Findings,
    progress::{Phase, Progress},
    write::{broken::Broken, pipeline},
};

/// Of the measured length, and …
const SLACK_PER_MILLE: u64 = 4;
/// … for any archive. docs/FORMAT.md names both bounds.
const SLACK_AT_LEAST: u64 = 32 << 10;
/// This part of the slack is never promised to changed blocks: zeros instead of a lost file may compress a little worse
/// than the file.
const KEPT_BACK: u64 = 4;

/// A source that was gone through once, and what its archive's lengths will be.
pub(crate) struct Measured {
    recording: Recording,
    root: PathBuf,
    compression: Option<(Compressor<'static>, PieceTable)>,
    slack: u64,
    /// `backup.json`.
    pub(crate) json: Vec<u8>,
    /// Bytes of the inner archive before encryption.
    pub(crate) inner: u64,
}

/// What the headers of an archive say before its members are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// The body of the inner archive's member.
    pub(crate) member: u64,
    /// The whole archive.
    pub(crate) total: u64,
}

/// What one sending brought.
pub(crate) struct Sent {
    pub(crate) pieces: Option<PieceTable>,
    /// Of an archive that is not compressed.
    pub(crate) sum: Option<Sum>,
    pub(crate) findings: Findings,
}

/// Goes through the source. `compression`: `None` for a plain inner tar. `holds_writers`: after databases in a rollback
/// mode have changed between measuring and sending, their writers must wait until they are sent.
pub(crate) fn measure(
    plan: Plan,
    inner_name: &str,
    compression: Option<pargz::Compressor<'static>>,
    holds_writers: bool,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Measured, CompressError> {
    progress.begin(Phase::Measuring, plan.bytes);
    let root = plan.scope.root.clone();
    let source =
        TarSource::new(inner_name, &plan.scope, plan.first, plan.findings, Arc::clone(progress), cancel.clone());
    let mut source = source.recorded(holds_writers, compression.is_none());
    let (compression, measured) = if let Some(options) = compression {
        // The pass that sends reports what limits a backup.
        let summary = options.cancel(cancel.flag()).compress(&mut source, io::sink())?;
        (Some((options, summary.pieces)), summary.bytes_out)
    } else {
        source.skim();
        (None, source.position())
    };
    if cancel.is_cancelled() {
        return Err(CompressError::Cancelled);
    }
    let Some(mut recording) = source.into_recording() else { return Err(CompressError::Cancelled) };
    // Its length is known before the sum is.
    recording.index.sum(compression.is_none().then(Sum::default));
    let slack = if compression.is_some() { measured / 1000 * SLACK_PER_MILLE + SLACK_AT_LEAST } else { 0 };
    Ok(Measured { recording, root, compression, slack, json: Vec::new(), inner: measured + slack })
}

impl Measured {
    /// What `backup.json` will say, also for the index.
    pub(crate) fn describe(&mut self, json: Vec<u8>) {
        self.recording.index.describe(&json);
        self.json = json;
    }

    /// What was met in this pass.
    pub(crate) fn findings(&self) -> &Findings {
        &self.recording.findings
    }

    /// Bytes of the inner tar.
    pub(crate) fn tar_len(&self) -> u64 {
        self.recording.length
    }

    /// Every length of an archive of `manifest` (name and length), the inner archive and the index, encrypted if a
    /// `version` is given.
    pub(crate) fn lengths(
        &self,
        manifest: (&str, u64),
        inner: &str,
        index: &str,
        version: Option<SecureTarVersion>,
        mtime: (i64, u32),
    ) -> Lengths {
        let sealed = |length: u64| version.and_then(|version| container_len(version, length)).unwrap_or(length);
        let member = sealed(self.inner);
        let pieces = self.compression.as_ref().map(|(_, pieces)| pieces.lengths.len());
        let nonces = version.map_or(0, |version| nonce_count(version, self.inner));
        let index_len = sealed(self.recording.index.finished_len(pieces, nonces as usize) as u64);
        Lengths { member, total: outer::archive_len(&[manifest, (inner, member), (index, index_len)], mtime) }
    }

    /// Sends the inner archive, [`Self::inner`] bytes of it. Can be called again after it failed.
    pub(crate) fn send(
        &mut self,
        sink: impl Write + Send,
        progress: &Arc<Progress>,
        cancel: &Cancellation,
    ) -> Result<Sent, Broken> {
        let tar_len = self.recording.length;
        let ledger = self
            .compression
            .as_ref()
            .map(|(_, pieces)| Ledger::new(pieces.clone(), self.slack - self.slack / KEPT_BACK));
        let mut source = source::replay(&mut self.recording, &self.root, ledger.as_ref(), Arc::clone(progress), cancel)
            .map_err(|source::Stale| Broken::Stale)?;
        let (pieces, sum) = if let (Some((options, _)), Some(ledger)) = (&self.compression, &ledger) {
            progress.set_threads(options.get_threads().get());
            let announced = Announced { length: self.inner, piece: &|piece, length| ledger.settle(piece, length) };
            (Some(pipeline::compress_to_length(&mut source, sink, options, announced, progress, cancel)?), None)
        } else {
            (None, Some(pipeline::copy(&mut source, sink, progress, cancel)?))
        };
        if source.position() != tar_len {
            return Err(Broken::Inside(format!(
                "the inner archive has {} bytes instead of {tar_len}",
                source.position()
            )));
        }
        Ok(Sent { pieces, sum, findings: source.finish() })
    }

    /// The index of the archive that was sent.
    pub(crate) fn index(&mut self, pieces: Option<&PieceTable>, sum: Option<Sum>, nonces: &[[u8; 8]]) -> Vec<u8> {
        self.recording.index.sum(sum);
        self.recording.index.finish(pieces, nonces)
    }
}
