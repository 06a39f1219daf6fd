//! Makes the report of a complete archive.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use data_encoding::HEXLOWER;
use livesqlite::page_cache::ReadGuard;
use sha2::{Digest, Sha256};

use crate::{
    backup::{
        free_space,
        intent::Intent,
        options::BackupOptions,
        report::{ArchiveReport, BackupReport},
    },
    findings::{Findings, Status},
    progress::{Phase, Progress},
    text::plain,
    verdict::{Judgement, Verdict},
    write::destination::CopyReport,
};

/// A complete archive.
pub(crate) struct Finished {
    /// Bytes of the inner tar.
    pub(crate) bytes_in: u64,
    pub(crate) length: u64,
    pub(crate) findings: Findings,
    pub(crate) copies: Vec<CopyReport>,
    /// Another machine made it of what this one read.
    pub(crate) elsewhere: bool,
}

/// Everything that the report shows.
pub(crate) fn report(options: &BackupOptions, intent: Intent, finished: Finished, progress: &Progress) -> BackupReport {
    let Finished { bytes_in, length, mut findings, copies, elsewhere } = finished;
    findings.warn_all(progress.pulse.late());
    findings.warn_all(free_space::about_copies(
        &intent.root,
        copies.iter().filter(|copy| copy.error.is_none()).map(|copy| copy.path.as_ref()),
    ));
    let judgement = Judgement::of_source(&findings, &intent.manifest);
    let protected = options.password.is_some();
    // What another machine encrypts takes no time here.
    let encrypted = protected && !elsewhere;
    let stages = progress.stages(encrypted);
    let limited_by = progress.limited_by(encrypted);
    let path = copies.iter().find_map(|copy| copy.path.clone());
    let sha256 = path.as_deref().filter(|_| options.digest).and_then(|path| {
        progress.enter(Phase::Rereading);
        // The archive is complete: if it can't be read again, the user should know, but that is no failure.
        digest(path)
            .map_err(|error| {
                findings.warn(format!("the archive could not be read back for its SHA-256: {}", plain(&error)));
            })
            .ok()
    });
    let is_fine = judgement.verdict == Verdict::Whole && copies.iter().all(CopyReport::is_fine);
    let status = if is_fine { findings.status() } else { Status::Incomplete };
    let entries = findings.entries;
    let (skipped, warnings, databases) = findings.into_lists();
    let slug = intent.manifest.slug().unwrap_or_default().to_owned();
    BackupReport {
        status,
        judgement,
        archive: ArchiveReport {
            file_name: intent.file_name,
            path,
            size_bytes: length,
            sha256,
            slug,
            name: intent.name,
            protected,
        },
        copies,
        division: None,
        entries,
        bytes_in,
        seconds: progress.elapsed().as_secs_f64(),
        limited_by,
        stages,
        skipped,
        warnings,
        databases,
    }
}

/// SHA-256 of what is on the disk: the file was dropped from the page cache, so this reads it back from there.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut cache = ReadGuard::new(&file, file.metadata()?.len());
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        position += count as u64;
        cache.passed(&file, position);
    }
    Ok(HEXLOWER.encode(&hasher.finalize()))
}
