//! Reads all of an archive and says everything that is wrong with it, in plain words.
//!
//! Home Assistant's own readers pass over much of it: a wrong checksum, an archive cut inside a header, bytes changed
//! under encryption without authentication. Here every byte is either compared with something or known to mean nothing.
//!
//! | module | owns |
//! |---|---|
//! | `outer` | headers, padding and end of the outer tar |
//! | `manifest` | `backup.json` against both schemas and against what is really there |
//! | `inner` | one pass over an inner archive: tar, names, databases, index |
//! | `findings` | the texts, and how serious they are |

mod findings;
mod inner;
mod manifest;
mod outer;

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Instant};

use habackup::{
    archive::{MANIFEST, NO_END},
    problem::{self, Problem},
    readers::{self, GzipEnd},
    securetar::{Password, SecureTarVersion},
};
use serde::Serialize;

use crate::{
    inspect,
    read::{ArchiveSource, Broken, IndexState, Member, OpenError, Opened, ProgressFn, Shape},
    verdict::{Judgement, Verdict},
};

pub use crate::verdict::Summary;
pub use findings::{Finding, Severity};
pub use inner::DatabaseVerdict;

use findings::Findings;
use inner::{Content, Pass, Seen};
use store::Cancellation;

/// More losses are not named in the verdict.
const NAMED_LOSSES: usize = 3;

/// The options of a verification.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// For encrypted archives.
    pub password: Option<Password>,
    /// Threads that inflate and decrypt, including the one that checks the result.
    pub threads: NonZeroUsize,
}

/// What a whole archive was found to be.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// What it is worth.
    pub judgement: Judgement,
    /// Everything found, the gravest first. Empty: nothing is wrong.
    pub findings: Vec<Finding>,
    /// Files, directories and links in all inner archives.
    pub entries: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// The SQLite databases of the config directory.
    pub databases: Vec<DatabaseVerdict>,
    /// What `backup.json` says.
    pub manifest: Summary,
    /// Whether it is encrypted, and how.
    pub protected: Option<&'static str>,
    /// Inner archives in which a changed byte of a file would not be noticed: they carry no checksum.
    pub without_checksum: Vec<String>,
    /// Whether the index was there and right, so that all cores could read.
    pub used_index: bool,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl Verification {
    /// Whether Home Assistant restores this archive and, as far as there are checksums, every byte is as it was
    /// written.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Warning)
    }
}

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It can't be read, is something else, or the password is wrong.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

/// Verifies `archive`: a path, or something far away.
pub fn verify(
    archive: impl Into<ArchiveSource>,
    options: &VerifyOptions,
    progress: ProgressFn<'_>,
    cancel: &Cancellation,
) -> Result<Verification, VerifyError> {
    let source = archive.into();
    let opened = Opened::open(&source, options.password.as_ref(), progress)?;
    let verification = look(&opened, &source, options, cancel)?;
    if !verification.is_good() {
        opened.reached(&source)?;
    }
    Ok(verification)
}

fn look(
    opened: &Opened<'_>,
    source: &ArchiveSource,
    options: &VerifyOptions,
    cancel: &Cancellation,
) -> Result<Verification, VerifyError> {
    let started = Instant::now();
    let mut job = Job { opened, options, cancel, findings: Findings::default(), used_index: false };
    // What readers refuse or lose is judged by the facts.
    let is_own = |problem: &&Problem| {
        matches!(problem.severity, problem::Severity::Notice | problem::Severity::Damaged) && problem.text != NO_END
    };
    for problem in opened.outside.problems.iter().filter(is_own) {
        job.findings.problem(problem);
    }
    outer::check(opened, cancel, &mut job.findings)?;
    job.index_itself();

    let mut entries = 0;
    let mut bytes = 0;
    let mut databases = Vec::new();
    let mut read = BTreeMap::new();
    let mut without_checksum = Vec::new();
    for member in opened.outside.inner() {
        let mut seen = job.inner(member)?;
        if !opened.has_checksum(member) {
            without_checksum.push(member.name.clone());
        }
        let content = &seen.collector.content;
        entries += content.entries - content.tops;
        bytes += content.bytes;
        let is_config = job.is_config(member);
        if is_config {
            databases = std::mem::take(&mut seen.databases);
        }
        if seen.sound {
            let compressed = opened.is_compressed(member);
            let gzip = if compressed { GzipEnd::Sound } else { GzipEnd::None };
            read.insert(
                member.data_offset,
                (is_config, readers::Content { compressed, gzip, ..seen.collector.finish() }),
            );
        }
    }
    // What could not be read as it was written is read as readers do.
    let known = |offset, is_config| {
        read.remove(&offset).filter(|(as_config, _)| *as_config == is_config).map(|(_, content)| content)
    };
    let facts = inspect::facts(&opened.file, options.password.as_ref(), cancel, known)
        .map_err(|error| OpenError::of(source.shown(), error))?;
    if cancel.is_cancelled() {
        return Err(VerifyError::Cancelled);
    }
    let (summary, mut judgement) = manifest::check(&opened.outside, &facts, &opened.index, &mut job.findings);
    let protected = job.protected();
    let findings = job.findings.into_list();
    // The gravest comes first.
    judgement.at_least(match findings.first().map(|finding| finding.severity) {
        None | Some(Severity::Warning) => Verdict::Whole,
        Some(Severity::Wrapper) => Verdict::Wrapper,
        Some(Severity::Loss) => Verdict::Incomplete,
        Some(Severity::WouldNotRestore) => Verdict::Unrestorable,
        Some(Severity::Damage) => Verdict::Damaged,
    });
    if judgement.verdict == Verdict::Incomplete && judgement.missing.is_empty() {
        for finding in findings.iter().filter(|finding| finding.severity == Severity::Loss).take(NAMED_LOSSES) {
            judgement.lose(
                if matches!(finding.member.as_str(), "" | MANIFEST) { &finding.message } else { &finding.member },
                true,
            );
        }
    }
    Ok(Verification {
        judgement,
        findings,
        entries,
        bytes,
        databases,
        manifest: summary,
        protected,
        without_checksum,
        used_index: job.used_index,
        seconds: started.elapsed().as_secs_f64(),
    })
}

struct Job<'a> {
    opened: &'a Opened<'a>,
    options: &'a VerifyOptions,
    cancel: &'a Cancellation,
    findings: Findings,
    used_index: bool,
}

impl Job<'_> {
    fn index_itself(&mut self) {
        let name = habackup::index::MEMBER;
        match &self.opened.index {
            // What is wrong with a damaged one is among the facts.
            IndexState::Absent | IndexState::Usable(_) | IndexState::Damaged(_) => {}
            IndexState::Foreign(reason) => self
                .findings
                .warn(name, format!("the index was not used: {reason}; the archive itself does not need it")),
        }
    }

    fn protected(&self) -> Option<&'static str> {
        let main = self.opened.outside.home_assistant();
        let member = main
            .or_else(|| self.opened.outside.inner().find(|member| member.shape == Shape::Encrypted))
            .filter(|member| member.shape == Shape::Encrypted)?;
        Some(match self.opened.sealed_header(member).ok()?.version() {
            SecureTarVersion::V1 => "SecureTar 1",
            SecureTarVersion::V2 => "SecureTar 2",
            SecureTarVersion::V3 => "SecureTar 3",
        })
    }

    fn inner(&mut self, member: &Member) -> Result<Seen, VerifyError> {
        if member.shape == Shape::Unknown {
            self.findings.damage(&member.name, "is neither a tar archive, nor compressed, nor encrypted");
            return Ok(Seen::default());
        }
        if self.opened.is_locked(member) {
            let why = match self.opened.lock_of(PathBuf::new()) {
                OpenError::WrongPassword => "the password that was given does not open it",
                _ => "no password was given",
            };
            self.findings.warn(&member.name, format!("is unread: it is encrypted, and {why}"));
            return Ok(Seen::default());
        }
        if member.shape == Shape::Encrypted
            && self.opened.sealed_header(member).is_ok_and(|header| header.reserved != [0; 8])
        {
            self.findings.damage(&member.name, "the reserved bytes of the encryption header are not zero");
        }
        let (seen, broken) = match self.by_index(member)? {
            Some(read) => read,
            None => self.by_stream(member)?,
        };
        let mut seen = seen;
        seen.sound &= broken.is_none() && !seen.findings.has_damage();
        if let Some(broken) = broken
            && !seen.findings.has_damage()
        {
            seen.findings.damage(&member.name, broken.0);
        }
        self.findings.append(std::mem::take(&mut seen.findings));
        Ok(seen)
    }

    fn is_config(&self, member: &Member) -> bool {
        self.opened.outside.home_assistant().is_some_and(|home_assistant| home_assistant.name == member.name)
    }

    fn pass<'p>(&'p self, member: &'p Member) -> Pass<'p> {
        Pass {
            content: if self.is_config(member) { Content::HomeAssistant } else { Content::Other },
            archive: &member.name,
            cancel: self.cancel,
        }
    }

    /// Reads on all cores. `None` when there is no index, or when the data may be better than the index.
    fn by_index(&mut self, member: &Member) -> Result<Option<(Seen, Option<Broken>)>, VerifyError> {
        let Some(index) = self.opened.index_of(member) else { return Ok(None) };
        let pass = self.pass(member);
        let read = self.opened.read_indexed(member, index, self.options.threads, self.cancel.flag(), |reader| {
            pass.run(reader, Some(index.files()))
        });
        let index_name = habackup::index::MEMBER;
        match read {
            Ok((seen, _)) if seen.cancelled => Err(VerifyError::Cancelled),
            Ok((mut seen, Ok(()))) if !seen.findings.has_damage() => {
                self.used_index = seen.index_differs.is_none();
                if let Some(first) = seen.index_differs.take() {
                    self.findings.add(
                        Severity::Wrapper,
                        index_name,
                        format!("the index does not list what the archive holds, first at {first}"),
                    );
                }
                Ok(Some((seen, None)))
            }
            Ok(_) | Err(_) => {
                // Either may be wrong: read once more without the index.
                let (seen, broken) = self.by_stream(member)?;
                if broken.is_none() && !seen.findings.has_damage() {
                    self.findings.add(
                        Severity::Wrapper,
                        index_name,
                        "the index does not match the archive, which is intact without it",
                    );
                }
                Ok(Some((seen, broken)))
            }
        }
    }

    fn by_stream(&self, member: &Member) -> Result<(Seen, Option<Broken>), VerifyError> {
        let pass = self.pass(member);
        match self
            .opened
            .read_streaming(member, self.options.threads, self.cancel.flag(), |reader| pass.run(reader, None))
        {
            Ok((seen, _)) if seen.cancelled => Err(VerifyError::Cancelled),
            Ok((seen, rest)) => Ok((seen, rest.err())),
            Err(broken) => Ok((Seen::default(), Some(broken))),
        }
    }
}
