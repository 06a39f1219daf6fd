//! One look at everything in a configuration, the same whether it was unpacked or passes in memory.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use habackup::{
    readers::{Content, Description, Effect, content_findings},
    settings::RECORDER,
};
use livesqlite::{check::Counts as Rows, integrity};
use serde::Serialize;
use store::Cancellation;

use super::{Counts, Finding, Outside, stored::Stored, tree::Tree};
use crate::{
    inspect::history::{self, STATES},
    progress::Progress,
    read::scan::{Flow, Stopped, Walk, scan},
    text::shown,
    verdict::{
        Judgement,
        collect::{Collector, Header},
    },
};

/// More databases are counted and checked, and not listed.
const MOST: usize = 200;

/// A database of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Its path in the config directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// What is wrong with it; nothing if it is sound.
    pub problems: Vec<String>,
    /// It was checked by SQLite itself, not only page by page.
    pub by_sqlite: bool,
}

/// What was seen on the way through a configuration.
pub(super) struct Seen {
    collector: Collector,
    stored: Stored,
    rows: Option<Rows>,
    databases: Vec<(Vec<u8>, Database)>,
    unlisted: u64,
}

/// Looks at every member, and says what stopped it.
pub(super) fn look<W>(walk: &mut W, cancel: &Cancellation) -> (Seen, Result<(), Stopped<W::Broken>>)
where
    W: Walk,
    for<'m> Header<'m>: From<&'m W::Member>,
{
    let mut seen = Seen {
        collector: Collector::default(),
        stored: Stored::default(),
        rows: None,
        databases: Vec::new(),
        unlisted: 0,
    };
    let scanned = scan(walk, cancel, |member, body| {
        let (ended, read) = seen.collector.take(&Header::from(member), true, Some(STATES), body);
        if let Some(ended) = ended {
            if let Some(bytes) = &ended.kept {
                seen.stored.take(&ended.below, bytes);
            }
            if ended.below == RECORDER {
                seen.rows = ended.counts;
            }
            if ended.is_database && seen.databases.len() < MOST {
                let (path, bytes) = (shown(&ended.below), ended.size);
                let database = Database { path, bytes, problems: ended.problems, by_sqlite: false };
                seen.databases.push((ended.below, database));
            } else if ended.is_database {
                seen.unlisted += 1;
            }
        }
        read.map(Flow::Continue)
    });
    (seen, scanned.map(drop))
}

/// The same of a directory, with SQLite's own opinion of every database.
pub(super) fn look_at_tree(root: &Path, progress: &Progress, cancel: &Cancellation) -> (Seen, Vec<Finding>) {
    let mut tree = Tree::new(root, progress);
    let (mut seen, _) = look(&mut tree, cancel);
    let unreadable = std::mem::take(&mut tree.unreadable);
    let findings = unreadable.into_iter().map(|(path, why)| Finding::against(path, format!("it can't be read: {why}")));
    seen.ask_sqlite(root, cancel.flag());
    (seen, findings.collect())
}

/// What came of a look.
pub(super) struct Looked {
    pub(super) judgement: Judgement,
    pub(super) counts: Counts,
    pub(super) databases: Vec<Database>,
    pub(super) findings: Vec<Finding>,
    pub(super) version: Option<String>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) has_strange_configuration: bool,
}

impl Seen {
    fn ask_sqlite(&mut self, root: &Path, stop: &Arc<AtomicBool>) {
        use std::os::unix::ffi::OsStrExt;
        for (below, database) in &mut self.databases {
            match integrity::check(&root.join(std::ffi::OsStr::from_bytes(below)), stop) {
                // It saw the log as well, and the rows.
                integrity::Integrity::Known(problems) => {
                    database.problems = problems;
                    database.by_sqlite = true;
                }
                integrity::Integrity::Unknown(_) => {}
                integrity::Integrity::Stopped => return,
            }
        }
    }

    /// All that follows from it. `outside` is what the archive says of itself.
    pub(super) fn finish(self, outside: &Outside) -> Looked {
        let Self { collector, stored, rows, databases, unlisted } = self;
        let has_log: Vec<bool> = databases.iter().map(|(below, _)| collector.has_log(below)).collect();
        let mut content = collector.finish();
        for (below, database) in databases.iter().filter(|(_, database)| database.by_sqlite) {
            agree(&mut content, below, &database.problems);
        }
        let history = history::of(&content, rows, true);
        let has_strange_configuration = stored.has_strange_configuration;
        let (mut counts, mut findings) = stored.finish();
        counts.made = outside.made;
        counts.databases = databases.len() as u64 + unlisted;
        if let Some(history) = &history {
            counts.take_history(history);
        }
        for ((_, database), has_log) in databases.iter().zip(has_log) {
            // Page by page, a database whose log completes it may look damaged.
            if let Some(problem) = database.problems.first().filter(|_| database.by_sqlite || !has_log) {
                findings.push(Finding::against(&database.path, format!("the database is damaged: {problem}")));
            }
        }
        let found = content_findings(&content, Some(&Description::parse("backup.json", &outside.description)));
        let judgement = Judgement::of(&found, outside.stamp.as_ref());
        for finding in &found {
            let loses = finding.outcomes.iter().any(|outcome| matches!(outcome.effect, Effect::Loses(_)));
            let member = finding.member.as_deref().unwrap_or_default();
            let member = member.strip_prefix("data/").unwrap_or(member).to_owned();
            // What is said of a database already needs no second sentence.
            if loses && !findings.iter().any(|known| known.member == member) {
                findings.push(Finding::loss(member, finding.what.clone()));
            }
        }
        Looked {
            judgement,
            counts,
            databases: databases.into_iter().map(|(_, database)| database).collect(),
            findings,
            version: content.version.clone(),
            entries: content.entries - content.tops,
            bytes: content.bytes,
            has_strange_configuration,
        }
    }
}

/// What SQLite says of a database counts.
fn agree(content: &mut Content, below: &[u8], problems: &[String]) {
    if below == RECORDER {
        if let Some(database) = &mut content.database {
            database.problems = problems.to_vec();
        }
        return;
    }
    let path = [b"data/", below].concat();
    content.damaged_databases.retain(|known| *known != path);
    if !problems.is_empty() {
        content.damaged_databases.push(path);
    }
}
