//! What the archives at a destination are, from their beginnings and ends alone.

use std::io;

use habackup::{
    archive::{Archive, ArchiveError},
    manifest::WallTime,
    problem::Severity,
    read_at::ReadAt,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Entry, StoreError, machine::ArrivalNote};

use crate::{
    read::beginning::beginning,
    retention::{Arrival, Candidate, Origin, Worth},
    shared::SharedStr,
};

/// Ends the name of the mark that pins an archive.
pub const PIN: &str = ".pin";

/// What is known of an archive that nobody has read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Called {
    /// Its maker said that nothing is missing.
    Whole,
    /// Its maker said that something is missing.
    Incomplete,
    /// Its outer structure is damaged.
    Damaged,
    /// Its maker said nothing, and it looks sound from outside; or it can't be read.
    Unknown,
}

/// An archive at a destination, or a file that looks like one.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name there.
    pub name: SharedStr,
    /// Its size in bytes.
    pub size: u64,
    /// When it was made, as far as known; else when it was last changed.
    pub date: Timestamp,
    /// Home Assistant's name for the archive itself.
    pub slug: Option<SharedStr>,
    /// What Home Assistant shows as the backup's name.
    pub title: Option<SharedStr>,
    /// The version of Home Assistant that it was made for.
    pub home_assistant: Option<SharedStr>,
    /// The program that made it.
    pub made_by: Origin,
    /// It is encrypted.
    pub protected: bool,
    /// Its owner said never to remove it.
    pub pinned: bool,
    /// Home Assistant's id of the instance that it is of.
    pub instance: Option<SharedStr>,
    /// What is known of it from outside.
    pub verdict: Called,
    /// What an incomplete one lacks, as text.
    pub missing: Option<SharedStr>,
    /// Whether that is users, settings or the history.
    pub essential: bool,
    /// Whether it holds the history, as far as its maker said.
    pub history: bool,
    /// It is a symbolic link.
    pub link: bool,
    /// The paired machine that sent it, and when it arrived, at a receiver that keeps what it has.
    pub arrival: Option<Box<ArrivalNote>>,
    /// What is wrong with it, as text.
    pub problem: Option<SharedStr>,
}

impl Item {
    /// What retention goes by.
    pub fn candidate(&self) -> Candidate {
        let arrival = self.arrival.as_ref().map(|note| Arrival { when: arrived(note), sender: note.key.clone() });
        Candidate {
            name: self.name.to_string(),
            when: self.date,
            origin: self.made_by,
            pinned: self.pinned,
            worth: self.worth(),
            instance: self.instance.as_deref().map(str::to_owned),
            history: self.history,
            link: self.link,
            content: self.content(),
            arrival,
        }
    }

    /// What distinguishes it from other archives, whatever its name.
    fn content(&self) -> Option<String> {
        let slug = self.slug.as_ref()?;
        Some(format!("{:?} {slug:?} {} {}", self.instance, self.date, self.size))
    }

    /// Its maker said that nothing is missing.
    pub fn is_called_whole(&self) -> bool {
        self.verdict == Called::Whole
    }

    /// Whether the rules count both together: they are of one instance and came the same way.
    pub fn is_beside(&self, other: &Self) -> bool {
        let sender = |item: &Self| item.arrival.as_ref().map(|note| note.key.clone());
        self.instance == other.instance && sender(self) == sender(other)
    }

    /// What it says of itself, for [`SharedStr::pack`].
    pub fn texts(&mut self) -> impl Iterator<Item = &mut SharedStr> {
        let said = [&mut self.slug, &mut self.title, &mut self.home_assistant, &mut self.instance];
        let wrong = [&mut self.missing, &mut self.problem];
        said.into_iter().chain(wrong).flatten().chain([&mut self.name])
    }

    /// Nothing is concluded from it.
    pub fn doubtful(&mut self, problem: &str) {
        self.made_by = Origin::Unreadable;
        self.verdict = Called::Unknown;
        self.problem = Some(problem.into());
    }

    fn worth(&self) -> Worth {
        match self.verdict {
            Called::Damaged => Worth::Damaged,
            Called::Incomplete => Worth::Incomplete,
            _ => Worth::Whole,
        }
    }
}

/// An impossible moment counts as one in the future, so that nothing is removed because of it.
fn arrived(note: &ArrivalNote) -> Timestamp {
    i64::try_from(note.arrived).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(Timestamp::MAX)
}

/// The name of a part without what says how it is packed: `homeassistant`, an app's slug, a folder with `_` for `/`.
pub fn bare_name(member: &str) -> &str {
    let name = member.strip_prefix("./").unwrap_or(member);
    name.strip_suffix(".tar.gz").or_else(|| name.strip_suffix(".tar")).unwrap_or(name)
}

/// Whether a name ends as every archive's does.
pub fn is_archive_name(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"))
}

/// What one archive is; `None` when it vanished meanwhile.
pub fn look<S: ReadAt>(file: S, entry: &Entry, pinned: bool) -> io::Result<Option<Item>> {
    let modified =
        entry.modified.and_then(|modified| Timestamp::try_from(modified).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut item = Item {
        name: entry.name.as_str().into(),
        size: entry.size,
        date: modified,
        slug: None,
        title: None,
        home_assistant: None,
        made_by: Origin::Unknown,
        protected: false,
        pinned,
        instance: None,
        verdict: Called::Damaged,
        missing: None,
        essential: false,
        history: true,
        link: entry.link,
        arrival: None,
        problem: None,
    };
    let archive = match Archive::open(file) {
        Ok(archive) => archive,
        Err(ArchiveError::Io(error)) => return unreadable(item, error),
        Err(error) => return Ok(Some(Item { problem: Some(error.to_string().into()), ..item })),
    };
    let damage = archive.problems().iter().find(|problem| problem.severity == Severity::Damaged);
    item.problem = match (damage, beginning(&archive)) {
        (Some(damage), _) => Some(damage.to_string().into()),
        (None, Ok(problem)) => problem.map(SharedStr::from),
        (None, Err(error)) => return unreadable(item, error),
    };
    let is_sound = archive.tail().is_some() && item.problem.is_none();
    if let Some(manifest) = archive.manifest() {
        let stamp = manifest.stamp();
        // The index is the last member, and the first to go when an archive is cut.
        let is_own = stamp.is_some() || archive.member(habackup::index::MEMBER).is_some();
        item.made_by = if is_own { Origin::Own } else { Origin::Other };
        item.instance = manifest.instance().map(SharedStr::from);
        if is_sound {
            item.verdict = stamp
                .as_ref()
                .map_or(Called::Unknown, |stamp| if stamp.is_whole() { Called::Whole } else { Called::Incomplete });
        }
        item.history = stamp.as_ref().map_or(!manifest.excludes_database(), |stamp| !stamp.without_history);
        if let Some(stamp) = stamp.filter(|stamp| !stamp.is_whole()) {
            item.essential = stamp.essential;
            item.missing = Some(stamp.missing.into());
        }
        item.slug = manifest.slug().map(SharedStr::from);
        item.title = manifest.name().map(SharedStr::from);
        item.home_assistant = manifest.home_assistant_version().map(SharedStr::from);
        item.protected = manifest.protected();
        item.date = manifest.date().and_then(|date| date.parse::<WallTime>().ok()?.timestamp()).unwrap_or(modified);
    } else if item.problem.is_none() {
        item.problem = Some("there is no backup.json, so this is not a Home Assistant backup".into());
    }
    Ok(Some(item))
}

/// What can't be read at all. A lost destination is no property of the archive.
fn unreadable(item: Item, error: io::Error) -> io::Result<Option<Item>> {
    let text = error.to_string();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>()) {
        Some(StoreError::Cancelled) => Err(error),
        Some(inner) if inner.is_transient() => Err(error),
        Some(inner) if inner.kind() == Some(store::Kind::NotFound) => Ok(None),
        _ => {
            Ok(Some(Item { made_by: Origin::Unreadable, verdict: Called::Unknown, problem: Some(text.into()), ..item }))
        }
    }
}
