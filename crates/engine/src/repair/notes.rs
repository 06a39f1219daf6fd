//! What a repair did, line by line: each note is one thing that is no longer as it was, or that could not be repaired.

use serde::Serialize;

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// Put right; nothing was lost by it.
    Repaired,
    /// Left out, and of no use to anybody.
    LeftOut,
    /// In the new archive, but nothing shows whether it is as it was.
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

/// More notes of one kind than this are counted, not kept: an archive may have a million members that are not as they
/// should be, and what is lost must not be crowded out by what was put right.
const MOST: u64 = 2000;

/// How many notes there are of each kind, listed or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Put right.
    pub repaired: u64,
    /// Left out.
    pub left_out: u64,
    /// Doubtful.
    pub doubtful: u64,
    /// Lost.
    pub lost: u64,
    /// Kept as they are.
    pub unrepaired: u64,
}

impl Counts {
    fn of(&mut self, kind: NoteKind) -> &mut u64 {
        match kind {
            NoteKind::Repaired => &mut self.repaired,
            NoteKind::LeftOut => &mut self.left_out,
            NoteKind::Doubtful => &mut self.doubtful,
            NoteKind::Lost => &mut self.lost,
            NoteKind::Unrepaired => &mut self.unrepaired,
        }
    }

    fn all(&self) -> u64 {
        self.repaired + self.left_out + self.doubtful + self.lost + self.unrepaired
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Of each kind the first [`MOST`].
    pub(super) list: Vec<Note>,
    pub(super) counts: Counts,
}

impl Notes {
    fn push(&mut self, kind: NoteKind, member: Option<&[u8]>, what: impl Into<String>) {
        if self.counted(kind) {
            let member = member.map(crate::text::shown);
            self.list.push(Note { kind, member, what: what.into() });
        }
    }

    /// Counts one; whether it is listed, too.
    fn counted(&mut self, kind: NoteKind) -> bool {
        let count = self.counts.of(kind);
        *count += 1;
        *count <= MOST
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

    pub(super) fn append(&mut self, other: Self) {
        let mut unlisted = other.counts;
        for note in other.list {
            *unlisted.of(note.kind) -= 1;
            if self.counted(note.kind) {
                self.list.push(note);
            }
        }
        for kind in [NoteKind::Repaired, NoteKind::LeftOut, NoteKind::Doubtful, NoteKind::Lost, NoteKind::Unrepaired] {
            *self.counts.of(kind) += *unlisted.of(kind);
        }
    }

    /// Of those that are not in the list.
    pub(super) fn more(&self) -> u64 {
        self.counts.all() - self.list.len() as u64
    }

    /// Whether the new archive is another one than the old.
    pub(super) fn is_change(&self) -> bool {
        self.counts.all() > self.counts.unrepaired
    }
}
