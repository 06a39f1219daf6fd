//! What Home Assistant is told: a device for each job and for each destination, their entities, and the states of
//! these. Pure functions of the status.
//!
//! Destinations are devices of their own "via" a job's. Home Assistant 2026 also knows child devices inside a device's
//! message, but older versions refuse such a message, and a destination may serve several jobs.

use jiff::Timestamp;
use keeper::status::{DestinationStatus, Event, JobStatus, Problem, Running, Status, TaskKind};
use serde_json::{Map, Value, json};

use super::{
    names::{Device, Names, OFFLINE, ONLINE, PRESS},
    outbox::Message,
};

/// A state may be so long.
const LONGEST_STATE: usize = 255;
/// What an event can be.
const EVENTS: &[&str] =
    &["backup", "copy", "removal", "verification", "rehearsal", "restore", "migration", "problem", "solved"];

/// Who tells it.
pub(super) struct Teller<'a> {
    pub(super) names: &'a Names,
    /// The page, if others can reach it.
    pub(super) page: Option<&'a str>,
}

impl Teller<'_> {
    /// Everything that the broker is to keep. Devices come before what they refer to, and before their states.
    pub(super) fn all(&self, status: &Status) -> Vec<Message> {
        let mut devices = Vec::new();
        let mut rest = Vec::new();
        for job in &status.jobs {
            let device = self.names.job(&job.name);
            devices.push(kept(device.discovery(), &self.job(&device, job, status)));
            rest.push(kept(device.state(), &job_state(job, status)));
            rest.push(kept(device.progress(), &progress(job)));
        }
        // What no job uses is no part of what is watched.
        let is_used = |place: &&DestinationStatus| status.jobs.iter().any(|job| job.destinations.contains(&place.name));
        for place in status.destinations.iter().filter(is_used) {
            let device = self.names.destination(&place.name);
            devices.push(kept(device.discovery(), &self.destination(&device, place, status)));
            rest.push(kept(device.state(), &destination_state(place, status)));
        }
        devices.append(&mut rest);
        devices
    }

    /// What happened, to the devices of all jobs that it concerns. The broker does not keep it: Home Assistant would
    /// ignore it.
    pub(super) fn event(&self, event: &Event, status: &Status) -> Vec<Message> {
        let Some(kind) = kind(&event.kind) else { return Vec::new() };
        let payload = json!({
            "event_type": kind,
            "kind": event.kind,
            "level": event.level,
            "at": second(event.at),
            "job": event.job,
            "destination": event.destination,
            "message": event.message,
            "hint": event.hint,
        });
        let jobs = status.jobs.iter().filter(|job| concerns(event.job.as_deref(), event.destination.as_deref(), job));
        jobs.map(|job| Message {
            topic: self.names.job(&job.name).event(),
            payload: payload.to_string(),
            is_retained: false,
        })
        .collect()
    }

    fn job(&self, device: &Device<'_>, job: &JobStatus, status: &Status) -> Value {
        let progress = device.progress();
        let entities = [
            entity("sensor", "last_backup", "Last backup")
                .with("device_class", "timestamp")
                .attributes("last_run", &device.state()),
            entity("sensor", "next_backup", "Next backup").with("device_class", "timestamp"),
            entity("sensor", "last_proven", "Last proven")
                .with("device_class", "timestamp")
                .attributes("proof", &device.state()),
            entity("sensor", "size", "Size").size("MB"),
            entity("sensor", "copies", "Copies").with("state_class", "measurement").with("icon", "mdi:content-copy"),
            entity("sensor", "verified_copies", "Verified copies")
                .with("state_class", "measurement")
                .with("icon", "mdi:check-all")
                .diagnostic(),
            entity("sensor", "progress", "Progress")
                .with("state_topic", progress.as_str())
                .with("unit_of_measurement", "%")
                .with("icon", "mdi:progress-clock"),
            entity("sensor", "activity", "Activity")
                .with("state_topic", progress.as_str())
                .with("icon", "mdi:backup-restore"),
            entity("binary_sensor", "running", "Running").with("device_class", "running"),
            entity("binary_sensor", "problem", "Problem")
                .with("device_class", "problem")
                .attributes("problems", &device.state()),
            button("back_up", "Back up now", &device.back_up()).with("icon", "mdi:backup-restore"),
            button("sync", "Sync now", &device.sync()).with("icon", "mdi:sync"),
            Entity::new("event", "event", "Event")
                .with("state_topic", device.event().as_str())
                .with("event_types", EVENTS.to_vec())
                .with("icon", "mdi:history"),
        ];
        self.device(device, ("Automatic backup", format!("Haul {}", job.name)), None, entities, status)
    }

    fn destination(&self, device: &Device<'_>, place: &DestinationStatus, status: &Status) -> Value {
        let free = entity("sensor", "free", "Free space").size("GB");
        let entities = [
            entity("sensor", "archives", "Backups").with("state_class", "measurement").with("icon", "mdi:archive"),
            entity("sensor", "size", "Size").size("GB"),
            // Not every destination says it. A platform alone is no entity, and ends one that was there.
            if place.free.is_some() { free } else { free.bare() },
            entity("sensor", "newest", "Newest backup").with("device_class", "timestamp"),
            entity("sensor", "seen", "Last seen").with("device_class", "timestamp").diagnostic(),
            entity("binary_sensor", "connected", "Connected")
                .with("device_class", "connectivity")
                .attributes("away", &device.state())
                .diagnostic(),
            entity("binary_sensor", "problem", "Problem")
                .with("device_class", "problem")
                .attributes("problems", &device.state()),
        ];
        let is_name_taken = status.jobs.iter().any(|job| job.name == place.name);
        let name = format!("Haul {}{}", place.name, if is_name_taken { " location" } else { "" });
        let user = status.jobs.iter().find(|job| job.destinations.contains(&place.name));
        let via = user.map(|job| self.names.job(&job.name).unique(None));
        self.device(device, ("Backup location", name), via.as_deref(), entities, status)
    }

    fn device<const N: usize>(
        &self,
        device: &Device<'_>,
        (model, name): (&str, String),
        via: Option<&str>,
        entities: [Entity; N],
        status: &Status,
    ) -> Value {
        let mut about = json!({
            "identifiers": [device.unique(None)],
            "name": name,
            "manufacturer": "Haul",
            "model": model,
            "sw_version": status.version,
        });
        for (key, value) in [("via_device", via), ("configuration_url", self.page)] {
            if let Some(value) = value {
                about[key] = value.into();
            }
        }
        let components: Map<String, Value> = entities.into_iter().map(|entity| entity.described(device)).collect();
        json!({
            "device": about,
            "origin": { "name": "Haul", "sw_version": status.version },
            "availability_topic": self.names.availability(),
            "payload_available": ONLINE,
            "payload_not_available": OFFLINE,
            "state_topic": device.state(),
            "components": components,
        })
    }
}

/// An entity, being described.
struct Entity {
    id: &'static str,
    keys: Map<String, Value>,
}

/// One whose state is a key of the device's state, by its own name.
fn entity(platform: &str, id: &'static str, name: &str) -> Entity {
    Entity::new(platform, id, name).with("value_template", format!("{{{{ value_json.{id} }}}}"))
}

fn button(id: &'static str, name: &str, topic: &str) -> Entity {
    Entity::new("button", id, name).with("command_topic", topic).with("payload_press", PRESS)
}

impl Entity {
    fn new(platform: &str, id: &'static str, name: &str) -> Self {
        Self { id, keys: Map::new() }.with("platform", platform).with("name", name)
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    fn size(self, unit: &str) -> Self {
        self.with("device_class", "data_size")
            .with("state_class", "measurement")
            .with("unit_of_measurement", unit)
            .with("suggested_display_precision", 1)
    }

    /// The attributes are an object in the device's state.
    fn attributes(self, key: &str, topic: &str) -> Self {
        self.with("json_attributes_topic", topic)
            .with("json_attributes_template", format!("{{{{ value_json.{key} | tojson }}}}"))
    }

    fn diagnostic(self) -> Self {
        self.with("entity_category", "diagnostic")
    }

    fn bare(mut self) -> Self {
        self.keys.retain(|key, _| key == "platform");
        self
    }

    fn described(self, device: &Device<'_>) -> (String, Value) {
        let id = self.id;
        let described = if self.keys.len() > 1 { self.with("unique_id", device.unique(Some(id))) } else { self };
        (id.to_owned(), described.keys.into())
    }
}

fn job_state(job: &JobStatus, status: &Status) -> Value {
    let problems = status.problems.iter();
    let problems = problems.filter(|problem| concerns(problem.job.as_deref(), problem.destination.as_deref(), job));
    let (problem, details) = problem(problems);
    json!({
        "last_backup": job.newest_whole.map(second),
        "next_backup": job.next.map(second),
        "last_proven": job.proven.as_ref().map(|proof| second(proof.at)),
        "size": job.newest_size.map(|size| tenths(size, 1e6)),
        "copies": job.copies_of_newest,
        "verified_copies": job.verified_of_newest,
        "running": on(!job.running.is_empty()),
        "problem": problem,
        "problems": details,
        "last_run": job.last.as_ref().map_or_else(|| json!({}), |run| json!({
            "ending": run.ending,
            "message": run.message,
            "hint": run.hint,
            "started": second(run.started),
            "seconds": run.seconds.round(),
        })),
        "proof": job.proven.as_ref().map_or_else(|| json!({}), |proof| json!({
            "sentence": proof.sentence,
            "archive": proof.archive,
            "destination": proof.destination,
            "how": proof.how,
            "home_assistant": proof.home_assistant,
        })),
    })
}

fn progress(job: &JobStatus) -> Value {
    let main = job.running.iter().find(|running| running.kind == TaskKind::Backup).or(job.running.first());
    let idle = if job.paused { "paused" } else { "idle" };
    json!({
        "progress": main.and_then(percent),
        "activity": main.map_or_else(|| idle.to_owned(), |running| short(&running.doing)),
    })
}

fn destination_state(place: &DestinationStatus, status: &Status) -> Value {
    let (problem, details) =
        problem(status.problems.iter().filter(|problem| problem.destination.as_ref() == Some(&place.name)));
    let is_known = place.seen.is_some() || place.away_since.is_some();
    json!({
        "archives": place.archives,
        "size": tenths(place.size, 1e9),
        "free": place.free.map(|free| tenths(free, 1e9)),
        "newest": place.newest_whole.map(second),
        "seen": place.seen.map(second),
        "connected": is_known.then(|| on(place.away_since.is_none())),
        "away": place.away.as_ref().map_or_else(|| json!({}), |failure| json!({
            "message": failure.message,
            "hint": failure.hint,
            "since": place.away_since.map(second),
        })),
        "problem": problem,
        "problems": details,
    })
}

/// Whether there is one, and what is said of the worst.
fn problem<'p>(mut problems: impl Iterator<Item = &'p Problem>) -> (&'static str, Value) {
    let Some(worst) = problems.next() else { return (on(false), json!({})) };
    let details = json!({
        "message": worst.message,
        "hint": worst.hint,
        "kind": worst.kind,
        "level": worst.level,
        "since": second(worst.since),
        "further": problems.count(),
    });
    (on(true), details)
}

/// Whether something of this job and destination is of interest to whoever looks at a job. What is of neither is of
/// interest to all.
fn concerns(of_job: Option<&str>, destination: Option<&str>, job: &JobStatus) -> bool {
    match (of_job, destination) {
        (Some(name), _) => name == job.name,
        (None, Some(place)) => job.destinations.iter().any(|name| name == place),
        (None, None) => true,
    }
}

/// What kind of event it is for Home Assistant, which wants to know all kinds beforehand.
fn kind(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "backup" => "backup",
        "copy" => "copy",
        "remove" | "delete" => "removal",
        "verify" => "verification",
        "rehearse" => "rehearsal",
        "restore" => "restore",
        "migrate" => "migration",
        // Somebody pressed a button and sees it.
        "pin" | "sign-in" | "emergency-kit" => return None,
        other if other.ends_with("-over") => "solved",
        _ => "problem",
    })
}

fn kept(topic: String, payload: &Value) -> Message {
    Message::kept(topic, payload.to_string())
}

fn percent(running: &Running) -> Option<u64> {
    let done = u128::from(running.done) * 100;
    (running.total > 0).then(|| (done / u128::from(running.total)).min(100) as u64)
}

fn on(is: bool) -> &'static str {
    if is { "ON" } else { "OFF" }
}

/// In units of so many bytes, with one digit after the point.
fn tenths(bytes: u64, unit: f64) -> f64 {
    (bytes as f64 / unit * 10.0).round() / 10.0
}

/// To the second: as Home Assistant shows it.
fn second(moment: Timestamp) -> String {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment).to_string()
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST_STATE).collect()
}

#[cfg(test)]
mod tests;
