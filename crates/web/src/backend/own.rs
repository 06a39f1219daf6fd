//! How Home Assistant backs itself up without Haul, and what of that a new user may take over.

use jiff::Timestamp;

/// How Home Assistant backs itself up, as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnBackups {
    /// When, in words; nothing: not by itself.
    pub when: Option<String>,
    /// Where to.
    pub places: Vec<OwnPlace>,
    /// How many of them are kept; nothing: all.
    pub keeps: Option<String>,
    /// What is left out.
    pub lacks: Vec<String>,
    /// When the last one began.
    pub attempted: Option<Timestamp>,
    /// When the last one ended that reached all of its places.
    pub completed: Option<Timestamp>,
    /// There is a key to encrypt with.
    pub has_key: bool,
    /// When Haul might make its own: often enough, and out of the way.
    pub schedule: Option<String>,
    /// How many it might keep; nothing: all.
    pub keep: Option<u32>,
}

/// A folder of Home Assistant's that is network storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// The folder, as `/share/nas`.
    pub folder: String,
    /// What is behind it, as `the Windows share backups of 192.168.1.20`.
    pub behind: String,
}

/// One of its places for backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPlace {
    /// As people call it.
    pub name: String,
    /// On this machine's own disk.
    pub is_here: bool,
    /// Backups there are encrypted.
    pub is_encrypted: bool,
}

impl OwnBackups {
    /// The last one did not reach all of its places; when it began.
    pub(crate) fn failed(&self) -> Option<Timestamp> {
        self.attempted.filter(|_| self.when.is_some() && self.completed < self.attempted)
    }

    /// Whether they are encrypted.
    pub(crate) fn encrypted(&self) -> &'static str {
        match self.places.iter().filter(|place| place.is_encrypted).count() {
            0 => "no",
            some if some < self.places.len() => "in part",
            _ => "yes",
        }
    }

    /// What would be better, in plain sentences.
    pub(crate) fn advice(&self) -> Vec<String> {
        if self.when.is_none() {
            return vec!["Home Assistant makes no backups by itself.".to_owned()];
        }
        let mut advice = Vec::new();
        if self.places.is_empty() {
            advice.push("They have no location, so none is made.".to_owned());
        } else if self.places.iter().all(|place| place.is_here) {
            advice.push("They are only on this machine’s disk, and are lost with it.".to_owned());
        }
        let open: Vec<&OwnPlace> = self.places.iter().filter(|place| !place.is_encrypted).collect();
        if !open.is_empty() {
            let where_to = if open.len() == self.places.len() {
                "They".to_owned()
            } else {
                let names: Vec<&str> = open.iter().map(|place| place.name.as_str()).collect();
                format!("Those on {}", names.join(", "))
            };
            advice.push(format!("{where_to} are not encrypted: whoever can read one reads your passwords and tokens."));
        }
        advice
    }
}
