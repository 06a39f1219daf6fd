//! What devices and topics are called: the same after every start and on every machine, and different for different
//! jobs and destinations, whatever their names are.

use std::fmt::Write;

use keeper::service::Order;

use crate::config::Mqtt;

/// What Home Assistant says when it has started.
pub(super) const ONLINE: &str = "online";
pub(super) const OFFLINE: &str = "offline";
/// What a button says.
pub(super) const PRESS: &str = "PRESS";
const BACK_UP: &str = "back_up";
const SYNC: &str = "sync";

/// The topics of one service at one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    prefix: String,
    topic: String,
}

/// A device and its topics.
pub(super) struct Device<'n> {
    names: &'n Names,
    id: String,
}

impl Names {
    pub(super) fn new(settings: &Mqtt) -> Self {
        Self { prefix: settings.discovery_prefix.clone(), topic: settings.topic.clone() }
    }

    pub(super) fn job(&self, name: &str) -> Device<'_> {
        Device { names: self, id: format!("job_{}", plain(name)) }
    }

    pub(super) fn destination(&self, name: &str) -> Device<'_> {
        Device { names: self, id: format!("destination_{}", plain(name)) }
    }

    /// Whether this service is there.
    pub(super) fn availability(&self) -> String {
        format!("{}/status", self.topic)
    }

    /// Where Home Assistant says that it has started.
    pub(super) fn birth(&self) -> String {
        format!("{}/status", self.prefix)
    }

    /// What has to be subscribed to.
    pub(super) fn filters(&self) -> Vec<String> {
        let buttons = [BACK_UP, SYNC].map(|button| format!("{}/+/{button}", self.topic));
        [self.birth(), self.availability()].into_iter().chain(buttons).collect()
    }

    /// What a message at this topic asks for.
    pub(super) fn order<'j>(&self, topic: &str, mut jobs: impl Iterator<Item = &'j str>) -> Option<Order> {
        let (id, button) = topic.strip_prefix(&self.topic)?.strip_prefix('/')?.split_once('/')?;
        let job = jobs.find(|job| self.job(job).id == id)?;
        match button {
            BACK_UP => Some(Order::BackUp { job: job.to_owned() }),
            SYNC => Some(Order::Sync),
            _ => None,
        }
    }
}

impl Device<'_> {
    /// Where Home Assistant learns of it.
    pub(super) fn discovery(&self) -> String {
        format!("{}/device/{}/{}/config", self.names.prefix, plain(&self.names.topic), self.id)
    }

    /// What identifies it, or one of its entities.
    pub(super) fn unique(&self, entity: Option<&str>) -> String {
        let device = format!("{}/{}", plain(&self.names.topic), self.id);
        entity.map_or(device.clone(), |entity| format!("{device}/{entity}"))
    }

    pub(super) fn state(&self) -> String {
        self.at("state")
    }

    pub(super) fn progress(&self) -> String {
        self.at("progress")
    }

    pub(super) fn event(&self) -> String {
        self.at("event")
    }

    pub(super) fn back_up(&self) -> String {
        self.at(BACK_UP)
    }

    pub(super) fn sync(&self) -> String {
        self.at(SYNC)
    }

    fn at(&self, what: &str) -> String {
        format!("{}/{}/{what}", self.names.topic, self.id)
    }
}

/// The name in letters, digits, `-` and `_`, which is all that Home Assistant allows. Whatever else there is becomes `_`
/// and two digits, and `_` is doubled, so no two names become one.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => plain.push(char::from(byte)),
            b'_' => plain.push_str("__"),
            _ => {
                let _ = write!(plain, "_{byte:02x}");
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(topic: &str) -> Names {
        Names { prefix: "homeassistant".to_owned(), topic: topic.to_owned() }
    }

    #[test]
    fn different_names_never_become_one() {
        let names = names("haul");
        let all = ["a b", "a_b", "a__b", "a-b", "a_20b", "a20b", "A b", "ä", "_c3_a4", "a b ", "😀", "a+b", "a#b"];
        let ids: BTreeSet<String> = all.iter().map(|name| names.destination(name).id).collect();
        assert_eq!(ids.len(), all.len(), "{ids:?}");
        for id in &ids {
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')), "{id}");
        }
        assert_ne!(names.job("x").unique(None), names.destination("x").unique(None));
    }

    #[test]
    fn topics_are_where_they_are_said_to_be() {
        let names = names("cellar/haul");
        let job = names.job("my_home");
        assert_eq!(job.discovery(), "homeassistant/device/cellar_2fhaul/job_my__home/config");
        assert_eq!(job.state(), "cellar/haul/job_my__home/state");
        assert_eq!(job.unique(Some("size")), "cellar_2fhaul/job_my__home/size");
        assert_eq!(
            names.filters(),
            ["homeassistant/status", "cellar/haul/status", "cellar/haul/+/back_up", "cellar/haul/+/sync"]
        );
    }

    #[test]
    fn a_button_is_known_by_its_topic() {
        let names = names("haul");
        let order = |topic: &str| names.order(topic, ["home", "cabin"].into_iter());
        assert_eq!(order("haul/job_cabin/back_up"), Some(Order::BackUp { job: "cabin".to_owned() }));
        assert_eq!(order("haul/job_home/sync"), Some(Order::Sync));
        for other in
            ["haul/job_gone/back_up", "haul/job_home/state", "haul/status", "other/job_home/sync", "haulx/a/sync"]
        {
            assert_eq!(order(other), None, "{other}");
        }
    }
}
