//! What a repair did, line by line: each note is one thing that is no longer as it was, or that could not be helped.

use serde::Serialize;

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// Put right; nothing was lost by it.
    Repaired,
    /// Left out, and of no use to anybody.
    LeftOut,
    /// In the new archive, but nothing tells whether it is as it was.
    Doubtful,
    /// Could not be kept.
    Lost,
    /// Damaged, and kept as it is: nothing was done about it.
    Unrepaired,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What became of it.
    pub kind: NoteKind,
    /// The member it is about, printable; of the outer archive, or below an inner one.
    pub member: Option<String>,
    /// What was done and why, as one sentence without its full stop.
    pub what: String,
}

/// More notes than this are counted, not kept: an archive may have a million members that are not as they should be.
const MOST: usize = 2000;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    pub(super) list: Vec<Note>,
    /// Of those that are not in the list.
    pub(super) more: u64,
}

impl Notes {
    fn push(&mut self, kind: NoteKind, member: Option<&[u8]>, what: impl Into<String>) {
        if self.list.len() == MOST {
            self.more += 1;
            return;
        }
        let member = member.map(crate::report::shown);
        self.list.push(Note { kind, member, what: what.into() });
    }

    pub(super) fn repaired(&mut self, member: impl AsRef<[u8]>, what: impl Into<String>) {
        self.push(NoteKind::Repaired, Some(member.as_ref()), what);
    }

    /// About the archive as a whole.
    pub(super) fn whole(&mut self, what: impl Into<String>) {
        self.push(NoteKind::Repaired, None, what);
    }

    pub(super) fn left_out(&mut self, member: impl AsRef<[u8]>, what: impl Into<String>) {
        self.push(NoteKind::LeftOut, Some(member.as_ref()), what);
    }

    pub(super) fn doubtful(&mut self, member: impl AsRef<[u8]>, what: impl Into<String>) {
        self.push(NoteKind::Doubtful, Some(member.as_ref()), what);
    }

    pub(super) fn lost(&mut self, member: impl AsRef<[u8]>, what: impl Into<String>) {
        self.push(NoteKind::Lost, Some(member.as_ref()), what);
    }

    pub(super) fn unrepaired(&mut self, member: impl AsRef<[u8]>, what: impl Into<String>) {
        self.push(NoteKind::Unrepaired, Some(member.as_ref()), what);
    }

    pub(super) fn append(&mut self, mut other: Self) {
        let room = MOST - self.list.len();
        self.more += other.more + other.list.len().saturating_sub(room) as u64;
        other.list.truncate(room);
        self.list.append(&mut other.list);
    }

    /// Whether the new archive is another one than the old.
    pub(super) fn is_change(&self) -> bool {
        self.list.iter().any(|note| note.kind != NoteKind::Unrepaired)
    }
}
