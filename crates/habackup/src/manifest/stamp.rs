//! What Haul writes into a description's `extra` after it made an archive: whether the archive is whole, what it lacks,
//! and which instance it is from.
//!
//! The description comes first in an archive, but the verdict is known last. So spaces pad the JSON text to a length
//! that does not depend on the verdict, and Haul overwrites it in place. Home Assistant allows only strings and
//! booleans in `extra`, and keeps keys that it does not know.

use serde_json::{Map, Value, json};

use super::Manifest;

const VERDICT: &str = "haul.verdict";
const MISSING: &str = "haul.missing";
const ESSENTIAL: &str = "haul.essential";
const HISTORY: &str = "haul.history";
const EXCLUDED: &str = "haul.excluded";
/// Core's own key, with the same value.
const INSTANCE: &str = "instance_id";

const WHOLE: &str = "whole";
const INCOMPLETE: &str = "incomplete";
const ELSEWHERE: &str = "elsewhere";
const INSIDE: &str = "inside";

/// The longest text about what is missing, in bytes; what is longer is cut.
const TEXT_MAX: usize = Stamp::TEXT_MAX;
/// Bytes reserved for the verdict: twice the text, since JSON may double a character, and the keys.
const RESERVED: usize = 2 * TEXT_MAX + 168;
/// No instance id is longer.
const INSTANCE_MAX: usize = 64;

/// The verdict that an archive carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// What is missing, as text; empty if the archive is whole.
    pub missing: String,
    /// Whether users, settings or the history are missing.
    pub essential: bool,
    /// The history is not in it, and that is as it should be: its owner left it out, keeps it elsewhere or has none.
    pub without_history: bool,
    /// The history is in it, in a database that is not called as Home Assistant's own.
    pub history_inside: bool,
}

impl Stamp {
    /// So many bytes of [`missing`](Self::missing) are kept.
    pub const TEXT_MAX: usize = 300;
    /// Stands in [`missing`](Self::missing) between one thing and the next.
    pub const BETWEEN: &str = "; ";

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    fn write(&self, extra: &mut Map<String, Value>) {
        extra.insert(VERDICT.into(), json!(if self.is_whole() { WHOLE } else { INCOMPLETE }));
        if !self.is_whole() {
            let text: String = self.missing.chars().filter(|character| !character.is_control()).collect();
            let end = text.floor_char_boundary(TEXT_MAX);
            extra.insert(MISSING.into(), json!(text[..end]));
            extra.insert(ESSENTIAL.into(), json!(self.essential));
        }
        if self.without_history {
            extra.insert(HISTORY.into(), json!(ELSEWHERE));
        } else if self.history_inside {
            extra.insert(HISTORY.into(), json!(INSIDE));
        }
    }

    fn read(extra: &Value) -> Option<Self> {
        // Any other word is from a later version, or damaged: then nobody knows what the maker knew.
        let whole = match extra.get(VERDICT)?.as_str()? {
            WHOLE => true,
            INCOMPLETE => false,
            _ => return None,
        };
        let missing = extra.get(MISSING).and_then(Value::as_str).filter(|text| !text.is_empty());
        Some(Self {
            missing: if whole { String::new() } else { missing.unwrap_or("something").to_owned() },
            essential: !whole && extra.get(ESSENTIAL).and_then(Value::as_bool).unwrap_or(true),
            without_history: history(extra) == Some(ELSEWHERE),
            history_inside: history(extra) == Some(INSIDE),
        })
    }
}

fn history(extra: &Value) -> Option<&str> {
    extra.get(HISTORY)?.as_str()
}

/// What the archive's maker left out on purpose, by its own patterns, as `extra` says.
pub fn excluded(extra: &Map<String, Value>) -> Option<&str> {
    extra.get(EXCLUDED)?.as_str().filter(|patterns| !patterns.is_empty())
}

/// Whether `extra` says where the history is, so that nobody misses Home Assistant's own database.
pub fn knows_history(extra: &Value) -> bool {
    matches!(history(extra), Some(ELSEWHERE | INSIDE))
}

impl Manifest {
    /// The verdict that the archive's maker wrote down; `None` for archives of others and of earlier versions.
    pub fn stamp(&self) -> Option<Stamp> {
        Stamp::read(self.get("extra")?)
    }

    /// Home Assistant's id of the instance that the archive is of.
    pub fn instance(&self) -> Option<&str> {
        self.get("extra")?.get(INSTANCE)?.as_str().filter(|id| is_instance(id))
    }

    /// Says of which instance the archive is. What can't be an id is left out.
    pub fn set_instance(&mut self, id: &str) {
        if is_instance(id) {
            self.change_extra(|extra| drop(extra.insert(INSTANCE.into(), json!(id))));
        }
    }

    /// Says what was left out on purpose, by the user's own patterns.
    pub fn set_excluded(&mut self, patterns: &[String]) {
        let text: String = patterns.join(Stamp::BETWEEN).chars().filter(|character| !character.is_control()).collect();
        let end = text.floor_char_boundary(TEXT_MAX);
        if end > 0 {
            self.change_extra(|extra| drop(extra.insert(EXCLUDED.into(), json!(text[..end]))));
        }
    }

    /// The JSON text with this verdict, or without one so far; the length is the same with any.
    pub fn to_stamped_json(&self, stamp: Option<&Stamp>) -> Vec<u8> {
        let mut stamped = self.clone();
        stamped.change_extra(|extra| {
            extra.retain(|key, _| ![VERDICT, MISSING, ESSENTIAL, HISTORY].contains(&key.as_str()));
        });
        let length = stamped.to_json().len() + RESERVED;
        if let Some(stamp) = stamp {
            stamped.change_extra(|extra| stamp.write(extra));
        }
        let mut json = stamped.to_json();
        debug_assert!(json.len() <= length);
        json.resize(length, b' ');
        json
    }

    /// Changes `extra`, which is an object afterwards whatever it was.
    fn change_extra(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut extra = match self.fields.remove("extra") {
            Some(Value::Object(extra)) => extra,
            _ => Map::new(),
        };
        change(&mut extra);
        self.set("extra", Value::Object(extra));
    }
}

/// Home Assistant's ids are 32 hexadecimal digits; anything else comes from elsewhere and is shown to people.
fn is_instance(id: &str) -> bool {
    !id.is_empty() && id.len() <= INSTANCE_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn manifest() -> Manifest {
        Manifest::parse(br#"{"name":"x","extra":{"instance_id":"a1b2","other":true}}"#).unwrap()
    }

    #[test]
    fn every_verdict_comes_back_and_takes_the_same_space() {
        let unstamped = manifest().to_stamped_json(None);
        assert_eq!(Manifest::parse(&unstamped).unwrap().stamp(), None);
        for missing in ["", "the history", "quotes \" and \\ and ends", &"\"ü".repeat(200)] {
            for (essential, without_history, history_inside) in [
                (false, false, false),
                (true, false, false),
                (false, true, false),
                (true, true, false),
                (true, false, true),
                (false, false, true),
            ] {
                let stamp = Stamp {
                    missing: missing.to_owned(),
                    essential: essential && !missing.is_empty(),
                    without_history,
                    history_inside,
                };
                let json = manifest().to_stamped_json(Some(&stamp));
                assert_eq!(json.len(), unstamped.len(), "{missing}");
                let read = Manifest::parse(&json).unwrap();
                let back = read.stamp().unwrap();
                assert!(missing.starts_with(&back.missing) && back.missing.is_empty() == missing.is_empty());
                assert_eq!(
                    (back.essential, back.without_history, back.history_inside),
                    (stamp.essential, without_history, history_inside)
                );
                assert_eq!(knows_history(read.get("extra").unwrap()), without_history || history_inside);
                assert_eq!(
                    (read.instance(), read.get("extra").unwrap()["other"].as_bool()),
                    (Some("a1b2"), Some(true))
                );
                assert_eq!(read.to_stamped_json(None), unstamped);
            }
        }
    }

    #[test]
    fn only_texts_and_yes_or_no_go_into_extra() {
        let stamp = Stamp { missing: "x".into(), essential: true, without_history: true, history_inside: false };
        let json = manifest().to_stamped_json(Some(&stamp));
        let read = Manifest::parse(&json).unwrap();
        assert!(
            read.get("extra")
                .unwrap()
                .as_object()
                .unwrap()
                .values()
                .all(|value| value.is_string() || value.is_boolean())
        );
    }

    #[test]
    fn a_strange_stamp_is_no_praise() {
        let of = |extra: &str| Manifest::parse(format!("{{\"extra\":{extra}}}").as_bytes()).unwrap();
        let bare = of(r#"{"haul.verdict":"incomplete"}"#).stamp().unwrap();
        assert!(!bare.is_whole() && bare.essential);
        for extra in [
            "7",
            "[]",
            "{}",
            r#"{"haul.verdict":1}"#,
            r#"{"haul.verdict":"of a later version"}"#,
            r#"{"haul.verdict":"whole\u007f"}"#,
            r#"{"haul.verdict":"wholf"}"#,
        ] {
            assert_eq!(of(extra).stamp(), None, "{extra}");
        }
        for id in ["", "a b", "\u{1b}[31m", &"a".repeat(65)] {
            let mut manifest = of("{}");
            manifest.set_instance(id);
            assert_eq!(manifest.instance(), None);
        }
    }
}
