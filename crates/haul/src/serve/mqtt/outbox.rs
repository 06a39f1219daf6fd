//! What the broker has of us: only changes are sent, and what is no longer said is taken back, also if it was another
//! run of the program that said it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use peer::disk::replace_private;
use serde::{Deserialize, Serialize};

/// The file's name in the state directory.
const FILE: &str = "mqtt.json";
/// How topics end by which Home Assistant learns of devices.
const CONFIG: &str = "/config";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) is_retained: bool,
}

impl Message {
    /// One that the broker keeps.
    pub(super) fn kept(topic: String, payload: String) -> Self {
        Self { topic, payload, is_retained: true }
    }

    /// Takes back what the broker keeps.
    pub(super) fn nothing(topic: String) -> Self {
        Self::kept(topic, String::new())
    }
}

/// What one broker keeps of us.
#[derive(Default)]
pub(super) struct Outbox {
    // What was sent in this connection.
    sent: BTreeMap<String, String>,
    // Topics at which the broker keeps something, as far as is known.
    kept: BTreeSet<String>,
}

impl Outbox {
    /// With the topics that were used before, at the same broker.
    pub(super) fn new(kept: BTreeSet<String>) -> Self {
        Self { sent: BTreeMap::new(), kept }
    }

    /// What of all that is to be known has to be sent now.
    pub(super) fn changes(&mut self, all: Vec<Message>) -> Vec<Message> {
        let topics: BTreeSet<&String> = all.iter().map(|message| &message.topic).collect();
        let mut gone: Vec<&String> = self.kept.iter().filter(|topic| !topics.contains(topic)).collect();
        // Entities go first, so that none sees its state go.
        gone.sort_by_key(|topic| !topic.ends_with(CONFIG));
        let mut changes: Vec<Message> = gone.into_iter().cloned().map(Message::nothing).collect();
        self.kept = topics.into_iter().cloned().collect();
        self.sent.retain(|topic, _| self.kept.contains(topic));
        for message in all {
            if self.sent.get(&message.topic) != Some(&message.payload) {
                self.sent.insert(message.topic.clone(), message.payload.clone());
                changes.push(message);
            }
        }
        changes
    }

    /// Everything has to be sent again.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
    }

    /// The topics at which the broker keeps something.
    pub(super) fn kept(&self) -> &BTreeSet<String> {
        &self.kept
    }
}

/// Remembers, from one run of the program to the next, what a broker keeps of us.
#[derive(Clone)]
pub(super) struct Memory(PathBuf);

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    broker: String,
    topics: BTreeSet<String>,
}

impl Memory {
    pub(super) fn in_directory(state: &Path) -> Self {
        Self(state.join(FILE))
    }

    /// The topics that were used at this broker. It is a cache: without it, entities of removed jobs stay.
    pub(super) fn load(&self, broker: &str) -> BTreeSet<String> {
        let kept: Kept =
            fs::read(&self.0).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        if kept.broker == broker { kept.topics } else { BTreeSet::new() }
    }

    pub(super) fn save(&self, broker: &str, topics: &BTreeSet<String>) -> io::Result<()> {
        let kept = Kept { broker: broker.to_owned(), topics: topics.clone() };
        replace_private(&self.0, &serde_json::to_vec(&kept)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn all(messages: &[(&str, &str)]) -> Vec<Message> {
        messages.iter().map(|(topic, payload)| Message::kept((*topic).to_owned(), (*payload).to_owned())).collect()
    }

    #[test]
    fn only_changes_are_sent_until_all_is_forgotten_and_what_is_gone_is_taken_back() {
        let mut outbox = Outbox::default();
        let first = all(&[("a", "1"), ("b", "1")]);
        assert_eq!(outbox.changes(first.clone()), first);
        assert_eq!(outbox.changes(first.clone()), []);
        assert_eq!(outbox.changes(all(&[("a", "2"), ("b", "1")])), all(&[("a", "2")]));
        outbox.forget();
        assert_eq!(outbox.changes(first.clone()), first);
        assert_eq!(outbox.changes(all(&[("b", "1")])), all(&[("a", "")]));
        assert_eq!(outbox.changes(first.clone()), all(&[("a", "1")]));
        outbox.changes(all(&[("a", "1"), ("b", "1"), ("c/config", "1")]));
        assert_eq!(outbox.changes(Vec::new()), all(&[("c/config", ""), ("a", ""), ("b", "")]));
    }

    #[test]
    fn what_an_earlier_run_said_at_the_same_broker_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::in_directory(directory.path());
        assert!(memory.load("b:1883").is_empty());
        let mut outbox = Outbox::default();
        outbox.changes(all(&[("old", "1"), ("a", "1")]));
        memory.save("b:1883", outbox.kept()).unwrap();
        assert_eq!(fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(memory.load("c:1883").is_empty());
        let mut outbox = Outbox::new(memory.load("b:1883"));
        assert_eq!(outbox.changes(all(&[("a", "1")])), all(&[("old", ""), ("a", "1")]));
        fs::write(directory.path().join(FILE), "half").unwrap();
        assert!(memory.load("b:1883").is_empty());
    }
}
