//! What is done with archives that exist: list, send, remove, verify, pin.

use std::sync::Arc;

use bytes::Bytes;
use engine::{
    inventory::{Called, Item, PIN},
    read::{ArchiveSource, OpenError, Source},
    samples::Recorder,
    verdict::Verdict,
    verify::{VerifyError, VerifyOptions},
};
use jiff::Timestamp;
use keeper::{
    facts::Copy,
    service::Sampling,
    status::{CopyVerdict, Ending, Failure as Reason},
    sync::{Removal, Source as From},
    task::{Arrived, Found, Location, Outcome},
};
use store::{
    Checked, Entry, Kind, Sink, Store,
    inbound::RemoteFile,
    machine::ArrivalNote,
    outbound::{Original, PushOptions, UploadMeter, push},
    small,
};

use super::doing::{Doing, reason};
use crate::{
    command::{list, pin as pinning},
    destination::{Destination, Far, Network},
    failure::{FAILED, Failure},
    mounted, password, text,
};

/// Lists a destination; archives that have not changed are not read again.
pub(super) fn look(doing: &Doing<'_>, name: &str) -> Result<Outcome, Failure> {
    let destination = doing.destination(None, name)?;
    mounted::check(&destination, None, false)?;
    let network = doing.network()?;
    let before = &doing.started.before;
    // A folder that is not there yet is made, where nothing was ever seen; where there was something it is missing.
    let is_new = doing.started.is_new && destination.local_archive().is_none();
    let store = if is_new { network.connect(&destination)? } else { network.connect_to_look(&destination)? };
    let known =
        |entry: &Entry| before.get(&entry.name).filter(|copy| is_unchanged(copy, entry)).map(|copy| copy.item.clone());
    let list::Inventory { mut items, twice, modified } = list::inventory_but(&network, &destination, &store, known)?;
    for item in items.iter_mut().filter(|item| twice.iter().any(|name| item.name == *name)) {
        item.doubtful("its name is listed there more than once");
    }
    let free = network.ask(&destination, || store.space())?;
    let items: Vec<(Item, Option<Timestamp>)> = items
        .into_iter()
        .map(|item| {
            let modified = modified.get(&*item.name).copied();
            (item, modified)
        })
        .collect();
    let message = format!("{name} holds {}", text::count(items.len() as u64, "archive", "archives"));
    let append_only = store.append_only();
    let address = destination.address.to_string();
    Ok(Outcome::done(message, Found::Listed { address, items, free, append_only }))
}

/// What was read of it before still holds. What a connection broke is read again.
fn is_unchanged(copy: &Copy, entry: &Entry) -> bool {
    let modified = entry.modified.and_then(|modified| Timestamp::try_from(modified).ok());
    copy.item.size == entry.size
        && copy.item.link == entry.link
        && copy.modified.is_some()
        && copy.modified == modified
        && copy.item.arrival.is_none()
        && !matches!(copy.item.verdict, Called::Unknown)
}

/// An archive at a destination, for reading.
pub(super) struct Readable {
    path: Option<std::path::PathBuf>,
    remote: Option<(Network, Destination, Arc<dyn Store>)>,
    name: String,
}

impl Readable {
    /// For work that happens by itself: it keeps to the rate of the job.
    pub(super) fn open(doing: &Doing<'_>, job: Option<&str>, at: &Location) -> Result<Self, Failure> {
        Self::of(doing, doing.destination(job, &at.destination)?.reading_within_limit(), at)
    }

    /// For somebody who waits for it, as for a restore: as fast as possible.
    pub(super) fn open_in_haste(doing: &Doing<'_>, at: &Location) -> Result<Self, Failure> {
        Self::of(doing, doing.destination(None, &at.destination)?, at)
    }

    fn of(doing: &Doing<'_>, mut destination: Destination, at: &Location) -> Result<Self, Failure> {
        destination.name = Some(at.name.clone());
        if let Some(path) = destination.local_archive() {
            return Ok(Self { path: Some(path), remote: None, name: at.name.clone() });
        }
        destination.name = None;
        let network = doing.network()?;
        let store = network.connect_to_look(&destination)?;
        Ok(Self { path: None, remote: Some((network, destination, store)), name: at.name.clone() })
    }

    fn file(&self) -> Result<Option<RemoteFile>, Failure> {
        let Some((network, destination, store)) = &self.remote else { return Ok(None) };
        Ok(Some(RemoteFile::open(&network.bridge, &network.context_for(destination), Arc::clone(store), &self.name)?))
    }

    /// The same, and what notes its blocks while it is read. Copies on this machine are always read whole.
    fn recorded(&self, wanted: bool) -> Result<(ArchiveSource, Option<Arc<Recorder>>), Failure> {
        match self.source()? {
            ArchiveSource::Remote(source) if wanted => {
                let recorder = Arc::new(Recorder::new(source));
                Ok((ArchiveSource::Remote(Arc::clone(&recorder) as Arc<dyn Source>), Some(recorder)))
            }
            source => Ok((source, None)),
        }
    }

    pub(super) fn source(&self) -> Result<ArchiveSource, Failure> {
        match (&self.path, self.file()?) {
            (Some(path), _) => Ok(ArchiveSource::Path(path.clone())),
            (None, Some(file)) => Ok(ArchiveSource::Remote(Arc::new(Far(file)))),
            (None, None) => Err(Failure::new(FAILED, format!("there is no {}", self.name))),
        }
    }
}

/// Sends an archive from the first source that can be read.
pub(super) fn copy(
    doing: &Doing<'_>,
    job: &str,
    from: &[From],
    (to, size): (&Location, u64),
) -> Result<Outcome, Failure> {
    let goal = doing.destination(Some(job), &to.destination)?;
    mounted::check(&goal, None, false)?;
    let network = doing.network()?;
    let store = network.connect(&goal)?;
    let mut failed = None;
    for source in from {
        match send(doing, job, source, (&goal, &network, &store), (to, size)) {
            Err(failure) if !doing.cancel().is_cancelled() && source != &from[from.len() - 1] => failed = Some(failure),
            Err(failure) => return Err(failed.unwrap_or(failure)),
            // It was sent before, and a list was late or Haul was killed.
            Ok(None) => {
                let message = format!("{} is at {} already", to.name, to.destination);
                return Ok(Outcome::done(message, Found::Nothing));
            }
            Ok(Some(arrived)) => {
                if let Some(directory) = goal.local_archive() {
                    mounted::remember(&directory.join(&to.name), None);
                }
                let message = format!(
                    "{} ({}) was copied from {} to {}",
                    to.name,
                    text::bytes(size),
                    source.destination,
                    to.destination
                );
                return Ok(Outcome { size: Some(size), ..Outcome::done(message, Found::Sent(arrived)) });
            }
        }
    }
    Err(failed.unwrap_or_else(|| Failure::new(FAILED, format!("there is no copy of {} any more", to.name))))
}

fn send(
    doing: &Doing<'_>,
    job: &str,
    source: &From,
    (goal, network, store): (&Destination, &Network, &Arc<dyn Store>),
    (to, size): (&Location, u64),
) -> Result<Option<Arrived>, Failure> {
    let at = Location { destination: source.destination.clone(), name: source.name.clone() };
    let original = Readable::open(doing, Some(job), &at)?;
    let file = original.file()?;
    let archive = match (&original.path, &file) {
        (Some(path), _) => Original::File(path),
        (None, Some(file)) => Original::Remote(file),
        (None, None) => return Err(Failure::new(FAILED, format!("there is no {}", source.name))),
    };
    let sink: Arc<dyn Sink> = Arc::clone(store) as Arc<dyn Sink>;
    let meter = Arc::new(UploadMeter::new(sink.label()));
    doing.started.progress.send(&meter, size);
    let context = network.context_for(goal);
    let sockets = store::outbound::Network { bridge: &network.bridge, context: &context };
    let options = PushOptions { archive, name: &to.name, read_back: false };
    let arrived = match push(&options, &sink, &sockets, &meter) {
        Err(error) if error.kind() == Some(Kind::Exists) => return Ok(None),
        arrived => arrived?,
    };
    let compared = matches!(arrived.checked, Checked::Checksum | Checked::PartChecksums | Checked::ReadBack);
    Ok(Some(Arrived { name: to.name.clone(), compared }))
}

/// Removes archives, each if the one on account of which it goes is really there.
pub(super) fn remove(doing: &Doing<'_>, name: &str, removals: &[Removal]) -> Result<Outcome, Failure> {
    let destination = doing.destination(None, name)?;
    mounted::check(&destination, None, false)?;
    let network = doing.network()?;
    let store = network.connect_to_look(&destination)?;
    let (mut gone, mut freed) = (Vec::new(), 0);
    for removal in removals {
        let instead = network.ask(&destination, || store.entry(&removal.instead))?;
        if instead.is_none_or(|now| now.size != removal.instead_size) {
            let message = format!(
                "{}, the newest that stays, is not at {name} as it was listed; nothing more was removed",
                removal.instead
            );
            return Err(Failure::new(FAILED, message).hint("Haul looks again"));
        }
        let known = doing.started.before.get(&removal.name);
        if remove_one(&network, (&destination, &store), &removal.name, known)? {
            freed += known.map_or(0, |known| known.item.size);
            gone.push(removal.name.clone());
        }
    }
    let message = match &gone[..] {
        [] => format!("nothing was removed from {name}: it is not as it was listed"),
        [one] => format!("removed {one} ({}) from {name}", text::bytes(freed)),
        several => format!("removed {} old archives ({}) from {name}", several.len(), text::bytes(freed)),
    };
    Ok(Outcome { size: Some(freed), ..Outcome::done(message, Found::Removed(gone)) })
}

/// Removes one copy because somebody said so.
pub(super) fn delete(doing: &Doing<'_>, at: &Location) -> Result<Outcome, Failure> {
    let destination = doing.destination(None, &at.destination)?;
    let network = doing.network()?;
    let store = network.connect_to_look(&destination)?;
    if !remove_one(&network, (&destination, &store), &at.name, None)? {
        let message = format!("{} at {} is protected from removal", at.name, at.destination);
        return Err(Failure::usage(message).hint("allow its removal first"));
    }
    Ok(Outcome::done(format!("removed {} from {}", at.name, at.destination), Found::Removed(vec![at.name.clone()])))
}

/// What is pinned, or no longer what it was, stays.
fn remove_one(
    network: &Network,
    (destination, store): (&Destination, &Arc<dyn Store>),
    name: &str,
    known: Option<&Copy>,
) -> Result<bool, Failure> {
    let pin = format!("{name}{PIN}");
    if network.ask(destination, || store.entry(&pin))?.is_some() {
        return Ok(false);
    }
    let now = network.ask(destination, || store.entry(name))?;
    let is_other = |now: Entry| known.is_some_and(|known| (now.size, now.link) != (known.item.size, known.item.link));
    if now.is_some_and(is_other) {
        return Ok(false);
    }
    network.ask(destination, || store.delete(name))?;
    let note = ArrivalNote::name(name);
    network.ask(destination, || store.delete(&note))?;
    Ok(true)
}

/// Reads a copy to its end.
pub(super) fn verify(doing: &Doing<'_>, job: Option<&str>, at: &Location) -> Result<Outcome, Failure> {
    let readable = Readable::open(doing, job, at)?;
    let making = job.map(|job| doing.job(job)).transpose()?.map(|job| &job.making);
    let progress = &doing.started.progress;
    if let Some(sampled) = sampled(doing, &readable, at)? {
        return Ok(sampled);
    }
    let (source, recorder) = readable.recorded(doing.started.sampling != Sampling::Never)?;
    let verify = |password| {
        // Nobody waits for it, so it leaves the cores to others.
        let options = VerifyOptions { password, threads: std::num::NonZeroUsize::MIN };
        let report = |done, total| progress.report(done, total);
        engine::verify::verify(source.clone(), &options, &report, doing.cancel())
    };
    let does_not_fit = |error: &VerifyError| matches!(error, VerifyError::Open(why) if password::does_not_fit(why));
    let verification = match password::of_job_in_turn(making, doing.cancel(), does_not_fit, verify) {
        // A key that can't be read now says nothing of the copy.
        Err(failure) => return Ok(Outcome::failed(Reason { passes: true, ..reason(&failure) })),
        Ok(done) => match done {
            // Not even its beginning is what was written.
            Err(VerifyError::Open(OpenError::NotABackup { reason, .. })) => {
                let message = format!("{} at {}: DAMAGED: {reason}", at.name, at.destination);
                let verdict = CopyVerdict { whole: false, damaged: true, sentence: reason.into(), samples: false };
                let done = Outcome::done(text::sanitize(&message), Found::Verified(verdict));
                return Ok(Outcome { ending: Ending::Incomplete, ..done });
            }
            Err(VerifyError::Open(error @ OpenError::WrongPassword)) => return Ok(never(error)),
            verification => verification?,
        },
    };
    let judgement = &verification.judgement;
    let headline = text::sanitize(&judgement.headline());
    // That it is damaged is said anyway.
    let gravest = verification.findings.first().filter(|_| judgement.verdict == Verdict::Damaged);
    let sentence = gravest.map_or_else(
        || headline.clone(),
        |found| {
            let of = Some(&found.member).filter(|member| !member.is_empty());
            let of = of.map(|member| verification.manifest.called(member));
            text::sanitize(&format!("{}{}", of.map_or_else(String::new, |of| format!("{of}: ")), found.message))
        },
    );
    let verdict = CopyVerdict {
        whole: judgement.verdict == Verdict::Whole,
        damaged: matches!(judgement.verdict, Verdict::Damaged | Verdict::Unrestorable),
        sentence: sentence.as_str().into(),
        samples: false,
    };
    let more = if sentence == headline { String::new() } else { format!(": {sentence}") };
    let message = format!("{} at {}: {headline}{more}", at.name, at.destination);
    let ending = if verdict.whole { Ending::Done } else { Ending::Incomplete };
    let samples = recorder.filter(|_| verdict.whole).and_then(|recorder| recorder.samples());
    Ok(Outcome { ending, samples, ..Outcome::done(message, Found::Verified(verdict)) })
}

/// Checks the part of a copy whose turn it is. Nothing: all of it has to be read, also because the part is not as it
/// was; what is wrong then, only the whole says.
fn sampled(doing: &Doing<'_>, readable: &Readable, at: &Location) -> Result<Option<Outcome>, Failure> {
    let Sampling::Go(samples) = &doing.started.sampling else { return Ok(None) };
    let Some(file) = readable.file()? else { return Ok(None) };
    let progress = &doing.started.progress;
    let checked = samples.clone().check(&Far(file), &|done, total| progress.report(done, total), doing.cancel());
    let checked = checked.map_err(|error| {
        let why = engine::plain_reason(&error);
        Failure::new(FAILED, format!("{} at {} can't be read: {why}", at.name, at.destination))
    })?;
    Ok(checked.map(|(count, samples)| {
        let sentence =
            format!("{} as they were when all of it was good", text::count(count as u64, "sample is", "samples are"));
        let message = format!("{} at {}: {sentence}", at.name, at.destination);
        let verdict = CopyVerdict { whole: true, damaged: false, sentence: sentence.into(), samples: true };
        Outcome { samples: Some(samples), ..Outcome::done(message, Found::Verified(verdict)) }
    }))
}

/// The failure of what another attempt does not change: another key would be needed.
pub(super) fn never(error: OpenError) -> Outcome {
    Outcome::failed(Reason { passes: false, ..reason(&Failure::from(error)) })
}

/// Protects a copy from removal, or no longer.
pub(super) fn pin(doing: &Doing<'_>, at: &Location, pinned: bool) -> Result<Outcome, Failure> {
    let destination = doing.destination(None, &at.destination)?;
    let network = doing.network()?;
    let store = network.connect_to_look(&destination)?;
    let mark = format!("{}{PIN}", at.name);
    if pinned {
        let put = async || match small::put(&*store, &mark, Bytes::from_static(pinning::CONTENT)).await {
            Err(error) if error.kind() == Some(Kind::Exists) => Ok(()),
            put => put,
        };
        network.ask(&destination, put)?;
    } else {
        network.ask(&destination, || store.delete(&mark))?;
    }
    let what = if pinned { "is protected from removal" } else { "may be removed again" };
    Ok(Outcome::done(format!("{} at {} {what}", at.name, at.destination), Found::Pinned(pinned)))
}
