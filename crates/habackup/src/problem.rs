//! A statement of what is wrong with an archive, in plain words. The modules that read find the problems.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost, but it is not as Home Assistant would write it.
    Notice,
    /// Home Assistant restores the backup, and something of it not.
    Lost,
    /// The bytes may be as they were written, but Home Assistant refuses them or does something else than restore them.
    Refused,
    /// Bytes are missing or changed.
    Damaged,
}

/// One problem: how bad, where, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The member it was found in; `None` for the archive as a whole.
    pub member: Option<String>,
    /// One sentence without its full stop, that also says which reader does what about it.
    pub text: String,
}

impl Problem {
    /// A problem of the archive as a whole.
    pub fn new(severity: Severity, text: impl Into<String>) -> Self {
        Self { severity, member: None, text: text.into() }
    }

    /// The same problem, found in a member.
    #[must_use]
    pub fn in_member(mut self, name: impl Into<String>) -> Self {
        self.member = Some(name.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(f, "{member}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Text from an untrusted archive, made fit for a terminal: short and without control characters.
pub fn shown(text: &str) -> String {
    let plain = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    let mut short: String = text.chars().take(80).map(plain).collect();
    if short.len() < text.len() && text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}
