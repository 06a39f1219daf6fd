//! What each of Home Assistant's readers does with an archive: whether it restores it, what it says if not, what it
//! loses silently, why, and what repairs it. This module holds the rules and their texts; the code that reads an
//! archive gathers the [`Facts`].
//!
//! | module | owns |
//! |---|---|
//! | `facts` | what was seen in an archive, as plain data |
//! | `outer` | a file that is no archive, or whose outer tar is not as it should be |
//! | `manifest` | `backup.json` |
//! | `container` | which member holds the configuration, its encryption and compression, and whether its key opens it |
//! | `inner` | the tar inside: where it ends too early, and members that no reader unpacks as they are |
//! | `content` | what a configuration needs to come back as it was |
//! | `defect` | the names of all defects |
//! | `sentences` | texts for findings and verdicts: what each reader does |
//!
//! The rules of *Core 2025.1–2026.2* are those that Home Assistant 2025.6.3 follows in our tests (`tests/fixtures`).
//! The rules of the other two come from the source of Home Assistant Core 2026.11 (`backup_restore.py`,
//! `components/backup/util.py`) and of the Supervisor of August 2026 (`backups/backup.py`, `backups/validate.py`).

mod container;
mod content;
mod defect;
mod facts;
mod inner;
mod manifest;
mod outer;
mod sentences;

use serde::Serialize;

pub use content::content_findings;
pub use defect::Defect;
pub use facts::{
    Content, ContentEnd, Database, Description, Facts, Failing, GzipEnd, Inner, Journal, JsonProblem, Link, Nature,
    Outer, OuterEnd, OuterMember, Sealing, Shape, Special,
};
pub use manifest::OFFICIAL_REPOSITORY;
pub use sentences::{named, shared};

use crate::version::HaVersion;

/// A reader of backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// Core and Container, from the first with this kind of backup to the last before SecureTar 3.
    CoreBefore20263,
    /// Core and Container since.
    CoreSince20263,
    /// Home Assistant OS and Supervised.
    Supervisor,
}

impl Reader {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::CoreBefore20263, Self::CoreSince20263, Self::Supervisor];

    /// What it is called in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::CoreBefore20263 => "Core 2025.1–2026.2",
            Self::CoreSince20263 => "Core 2026.3 and newer",
            Self::Supervisor => "Supervisor",
        }
    }

    /// The version of Core that it is taken for where an archive's version is compared with it: the target, or the
    /// newest of the range, if that has an end. Supervisor compares nothing: it installs the Core that the archive is
    /// from.
    fn version(self, asked: &Asked) -> Option<HaVersion> {
        match (self, asked) {
            (Self::CoreBefore20263 | Self::CoreSince20263, Asked::Target(target)) => Some(target.clone()),
            (Self::CoreBefore20263, _) => "2026.2.99".parse().ok(),
            _ => None,
        }
    }

    /// Whether to check it for an archive that Home Assistant of `made_by` made.
    fn is_asked(self, asked: &Asked, made_by: Option<&HaVersion>) -> bool {
        let since = |version: Option<&HaVersion>| version.is_some_and(is_since_20263);
        match (self, asked) {
            (Self::Supervisor, _) | (_, Asked::All) | (Self::CoreSince20263, Asked::Able) => true,
            (Self::CoreBefore20263, Asked::Able) => !since(made_by),
            (Self::CoreBefore20263, Asked::Target(target)) => !since(Some(target)),
            (Self::CoreSince20263, Asked::Target(target)) => since(Some(target)),
        }
    }
}

/// Which readers to check for an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Those that can restore it if nothing is wrong with it: Core of its own version and newer, and Supervisor. All of
    /// them where nothing says its version.
    #[default]
    Able,
    /// This version of Core, and Supervisor.
    Target(HaVersion),
    /// All of them.
    All,
}

fn is_since_20263(version: &HaVersion) -> bool {
    "2026.3.0.dev0".parse().is_ok_and(|since: HaVersion| *version >= since)
}

/// How far a reader comes before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It refuses the upload, and does not list the file if it is in its folder.
    List,
    /// Likewise, and with the file in its folder it lists none of the others either.
    ListOfAll,
    /// It asks for a password, or not, and accepts none.
    Password,
    /// It begins to restore and stops before it has touched anything.
    Unpack,
}

impl Stage {
    fn rank(self) -> u8 {
        match self {
            Self::List | Self::ListOfAll => 0,
            Self::Password => 1,
            Self::Unpack => 2,
        }
    }
}

/// What a defect makes a reader do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "detail")]
pub enum Effect {
    /// It restores as if nothing were wrong.
    Restores,
    /// It restores, and something of no great weight is not as it was.
    Changes(String),
    /// It restores without a word what may be damaged or incomplete.
    Unnoticed(String),
    /// It restores and says that all is well, and something that matters is gone.
    Loses(String),
    /// It does not take the upload; put into its folder by hand, the file can be restored.
    RefusesUpload,
    /// It does not restore it; nothing is touched.
    Refuses(Stage),
    /// It empties the configuration and then fails.
    FailsAfterWipe,
}

impl Effect {
    fn weight(&self) -> u8 {
        match self {
            Self::Restores => 0,
            Self::Changes(_) => 1,
            Self::Unnoticed(_) => 2,
            Self::Loses(_) => 3,
            Self::RefusesUpload => 4,
            Self::FailsAfterWipe => 5,
            Self::Refuses(stage) => 9 - stage.rank(),
        }
    }

    /// Whether a user gets back what is in the archive.
    pub fn is_restored(&self) -> bool {
        matches!(self, Self::Restores | Self::Changes(_))
    }

    /// Whether the reader does not restore it at all, or not unless it is helped.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::RefusesUpload | Self::Refuses(_) | Self::FailsAfterWipe)
    }
}

/// What one reader does about one defect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Who.
    pub reader: Reader,
    /// Does what.
    pub effect: Effect,
    /// What it says, if it says anything.
    pub says: Option<String>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which.
    pub defect: Defect,
    /// The member it is about, of the outer archive or below an inner one.
    pub member: Option<String>,
    /// What was found, as one sentence without its full stop.
    pub what: String,
    /// How archives come to this and why readers mind, likewise.
    pub why: &'static str,
    /// What helps, likewise.
    pub repair: &'static str,
    /// What the readers that object do.
    pub outcomes: Vec<Outcome>,
}

impl Finding {
    fn new(defect: Defect, what: impl Into<String>, why: &'static str, repair: &'static str) -> Self {
        Self { defect, member: None, what: what.into(), why, repair, outcomes: Vec::new() }
    }

    fn at(mut self, member: impl AsRef<[u8]>) -> Self {
        self.member = Some(crate::problem::shown(&String::from_utf8_lossy(member.as_ref())));
        self
    }

    fn reader(mut self, reader: Reader, effect: Effect, says: Option<&str>) -> Self {
        self.outcomes.push(Outcome { reader, effect, says: says.map(str::to_owned) });
        self
    }

    fn old_core(self, effect: Effect, says: Option<&str>) -> Self {
        self.reader(Reader::CoreBefore20263, effect, says)
    }

    fn new_core(self, effect: Effect, says: Option<&str>) -> Self {
        self.reader(Reader::CoreSince20263, effect, says)
    }

    fn cores(self, effect: &Effect, says: Option<&str>) -> Self {
        self.old_core(effect.clone(), says).new_core(effect.clone(), says)
    }

    fn supervisor(self, effect: Effect, says: Option<&str>) -> Self {
        self.reader(Reader::Supervisor, effect, says)
    }

    /// No reader gets past the check of the password.
    fn locked(self) -> Self {
        self.cores(&Effect::Refuses(Stage::Password), Some("incorrect_password"))
            .supervisor(Effect::Refuses(Stage::Password), Some("Invalid password for backup …"))
    }

    fn all(self, effect: &Effect, says: Option<&str>) -> Self {
        self.cores(effect, says).supervisor(effect.clone(), says)
    }
}

/// What one reader makes of the whole archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Who.
    pub reader: Reader,
    /// The gravest of what it does, or where it stops first.
    pub effect: Effect,
    /// What it says.
    pub says: Option<String>,
    /// The defect that causes it.
    pub because: Option<Defect>,
    /// Everything that it loses or changes, if it restores at all.
    pub losses: Vec<String>,
}

/// Everything that any reader minds, in the order in which readers meet it.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    outer::find(facts, &mut found);
    // For a file that is not an archive, the rest does not apply.
    if facts.description.is_some() || facts.main.is_some() {
        manifest::find_listed(facts, &mut found);
        container::find(facts, &mut found);
        manifest::find_restored(facts, &mut found);
        inner::find(facts, &mut found);
        content::find(facts, &mut found);
    }
    let asked = facts.readers();
    found.retain_mut(|finding| {
        let is_minded = !finding.outcomes.is_empty();
        finding.outcomes.retain(|outcome| asked.contains(&outcome.reader));
        // A defect that no checked reader objects to does not concern the user.
        !is_minded || !finding.outcomes.is_empty()
    });
    found
}

/// What each checked reader makes of these findings.
pub fn verdicts(facts: &Facts, findings: &[Finding]) -> Vec<Verdict> {
    facts.readers().into_iter().map(|reader| verdict(reader, findings)).collect()
}

fn verdict(reader: Reader, findings: &[Finding]) -> Verdict {
    let mut verdict = Verdict { reader, effect: Effect::Restores, says: None, because: None, losses: Vec::new() };
    for finding in findings {
        for outcome in finding.outcomes.iter().filter(|outcome| outcome.reader == reader) {
            if let Effect::Changes(what) | Effect::Unnoticed(what) | Effect::Loses(what) = &outcome.effect
                && !verdict.losses.contains(what)
            {
                verdict.losses.push(what.clone());
            }
            if outcome.effect.weight() > verdict.effect.weight() {
                verdict.effect = outcome.effect.clone();
                verdict.says.clone_from(&outcome.says);
                verdict.because = Some(finding.defect);
            }
        }
    }
    if verdict.effect.weight() >= Effect::RefusesUpload.weight() {
        verdict.losses.clear();
    }
    verdict
}
