//! Its jobs.

use serde_json::{Value, json};

use super::world::{Job, Shared, World, lock};

/// These stages have their old words in version 1 of the API.
const OLD_STAGES: [(&str, &str); 4] = [
    ("app_repositories", "addon_repositories"),
    ("apps", "addons"),
    ("await_app_restarts", "await_addon_restarts"),
    ("remove_delta_apps", "remove_delta_addons"),
];

impl Job {
    fn to_json(&self, world: &World) -> Value {
        let is_manager = self.name.starts_with("backup_manager_");
        let old = |stage: &&str| OLD_STAGES.iter().find(|(new, _)| new == stage).map(|(_, old)| *old);
        let stage = self.stage.map(|stage| if is_manager { old(&stage).unwrap_or(stage) } else { stage });
        let error = |(kind, message, stage): &(String, String, Option<&str>)| json!({ "type": kind, "message": message, "stage": stage, "error_key": null, "extra_fields": null });
        let parts = world.jobs.iter().filter(|job| job.parent.as_deref() == Some(&self.uuid));
        json!({
            "name": self.name, "reference": self.reference, "uuid": self.uuid, "progress": self.progress,
            "stage": stage, "done": self.done, "errors": self.errors.iter().map(error).collect::<Vec<_>>(),
            "created": self.created, "extra": null,
            "child_jobs": parts.map(|part| part.to_json(world)).collect::<Vec<_>>(),
        })
    }
}

impl World {
    /// Begins a job.
    pub(super) fn begin(&mut self, name: &str, reference: Option<&str>, parent: Option<&str>) -> String {
        let uuid = self.new_id();
        // Since 2026.07.4 the parts of a backup have new names.
        let name = if self.is_since([2026, 7, 4]) { name.to_owned() } else { name.replace("_app", "_addon") };
        self.jobs.push(Job {
            uuid: uuid.clone(),
            name,
            reference: reference.map(str::to_owned),
            stage: None,
            progress: 0.0,
            done: Some(false),
            errors: Vec::new(),
            parent: parent.map(str::to_owned),
            created: format!(
                "2026-11-28T04:{:02}:{:02}.000001+00:00",
                self.inner.last_id / 60 % 60,
                self.inner.last_id % 60
            ),
        });
        uuid
    }

    pub(super) fn job_mut(&mut self, uuid: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.uuid == uuid)
    }

    /// Ends a job: only one without an error came to 100 %.
    pub(super) fn end(&mut self, uuid: &str, error: Option<(&str, &str)>) {
        if let Some(job) = self.job_mut(uuid) {
            job.done = Some(true);
            match error {
                Some((kind, message)) => job.errors.push((kind.to_owned(), message.to_owned(), job.stage)),
                None => job.progress = 100.0,
            }
        }
    }

    /// A part of a job that is over already.
    pub(super) fn part(&mut self, name: &str, reference: Option<&str>, parent: &str, error: Option<&str>) -> String {
        let part = self.begin(name, reference, Some(parent));
        self.end(&part, error.map(|error| ("BackupError", error)));
        part
    }

    /// The tree, from the newest.
    pub(super) fn job_tree(&self) -> Value {
        let roots = self.jobs.iter().rev().filter(|job| job.parent.is_none());
        roots.map(|job| job.to_json(self)).collect()
    }

    pub(super) fn job_json(&self, uuid: &str) -> Option<Value> {
        self.job(uuid).map(|job| job.to_json(self))
    }

    /// Forgets a job with its parts.
    pub(super) fn forget(&mut self, uuid: &str) {
        let parts: Vec<_> = self.jobs.iter().filter(|job| job.parent.as_deref() == Some(uuid)).collect();
        for part in parts.into_iter().map(|job| job.uuid.clone()).collect::<Vec<_>>() {
            self.forget(&part);
        }
        self.jobs.retain(|job| job.uuid != uuid);
    }
}

/// A job at work on a thread of its own, in one life of its Supervisor.
pub(super) struct Work {
    pub(super) world: Shared,
    pub(super) job: String,
    pub(super) life: u64,
}

impl Work {
    /// Goes to a stage, and waits there if a test says so. False when its Supervisor has been stopped.
    pub(super) fn stage(&self, stage: &'static str) -> bool {
        self.enter(stage);
        self.wait(stage)
    }

    pub(super) fn enter(&self, stage: &'static str) {
        self.change(|world| {
            if let Some(job) = world.job_mut(&self.job) {
                job.stage = Some(stage);
            }
        });
    }

    /// Waits if a test says so. False when its Supervisor has been stopped.
    pub(super) fn wait(&self, stage: &'static str) -> bool {
        loop {
            let is_held = self.change(|world| world.hold_at == Some(stage));
            match is_held {
                Some(true) => std::thread::sleep(std::time::Duration::from_millis(2)),
                held => return held.is_some(),
            }
        }
    }

    /// Changes its Supervisor, if that still lives.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> Option<T> {
        let mut world = lock(&self.world);
        (world.inner.life == self.life).then(|| change(&mut world))
    }
}
