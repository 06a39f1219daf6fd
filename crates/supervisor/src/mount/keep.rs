//! Makes Supervisor's mounts what they should be.

use super::{
    Ours, Plan, Step, Wanted,
    plan::{Restored, default_to_restore},
};
use crate::{
    error::{Error, Kind},
    jobs::JobKind,
    wire::Supervisor,
};

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Mounts that were created, updated, reloaded or removed.
    pub changed: Vec<String>,
    /// Mounts that are as they should be now.
    pub working: Vec<String>,
    /// Mounts that are not, and why.
    pub failed: Vec<Failed>,
    /// The default for backups is another than before, and could not be set back: give what it was before to
    /// [`restore_default`] later.
    pub default: Option<Error>,
}

/// A mount that is not as it should be.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Its name.
    pub name: String,
    /// Why.
    pub error: Error,
}

impl Kept {
    /// Whether all is as it should be.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.default.is_none()
    }
}

/// Makes Supervisor's mounts what is wanted: creates, updates, reloads and removes ours, and nobody else's. Nothing
/// that works is interrupted while a backup or restore is under way.
///
/// The default for backups stays what it was. `begin` is told what that is before anything changes. A caller who
/// writes it down, and forgets it when the result [is complete](Kept::is_complete), can give it to [`restore_default`]
/// after a crash in between.
pub async fn keep(
    supervisor: &Supervisor,
    wanted: &[Wanted],
    ours: &Ours,
    begin: impl FnOnce(Option<&str>),
) -> Result<Kept, Error> {
    let mounts = supervisor.mounts().await?;
    let plan = Plan::new(wanted, &mounts, ours);
    let mut kept = Kept::default();
    if plan.is_empty() {
        kept.working = wanted.iter().map(|wanted| wanted.name.clone()).collect();
        return Ok(kept);
    }
    begin(plan.default.as_deref());
    for step in &plan.steps {
        let name = step.name().to_owned();
        match carry_out(supervisor, step).await {
            Ok(Done::Working) => kept.working.push(name),
            Ok(Done::Changed) => {
                if !matches!(step, Step::Remove(_)) {
                    kept.working.push(name.clone());
                }
                kept.changed.push(name);
            }
            Err(error) => kept.failed.push(Failed { name, error }),
        }
    }
    // Also when a step failed: a mount may come into being after the answer was given up.
    kept.default = restore_default(supervisor, plan.default.as_deref(), ours).await.err();
    Ok(kept)
}

/// Sets the default for backups back to what it was before, if it changed by our doing.
pub async fn restore_default(supervisor: &Supervisor, before: Option<&str>, ours: &Ours) -> Result<(), Error> {
    match default_to_restore(before, &supervisor.mounts().await?, ours) {
        Some(Restored(default)) => supervisor.set_default_backup_mount(default.as_deref()).await,
        None => Ok(()),
    }
}

enum Done {
    Working,
    Changed,
}

async fn carry_out(supervisor: &Supervisor, step: &Step<'_>) -> Result<Done, Error> {
    let failed = |kind, reason: &str| Error::new(&format!("keep the network storage {}", step.name()), kind, reason);
    // Asked each time: a step before may have taken long.
    if step.interrupts() && is_in_use(supervisor).await? {
        return Err(failed(Kind::Busy, "a backup or restore is under way, which would be interrupted"));
    }
    match step {
        Step::Leave(_) => return Ok(Done::Working),
        Step::Wait(_) => return Err(failed(Kind::Busy, "it is being mounted or unmounted just now")),
        Step::Taken(wanted) => {
            let reason = "there is one of that name which Haul did not make";
            return Err(failed(Kind::Exists, reason).advise(format!(
                "rename or remove {} under Settings > System > Storage in Home Assistant",
                wanted.name
            )));
        }
        Step::Create(wanted) => supervisor.create_mount(wanted).await?,
        Step::Update(wanted) => supervisor.update_mount(wanted).await?,
        Step::Reload(wanted) => match supervisor.reload_mount(&wanted.name).await {
            // With the settings that it has, it can't be mounted: perhaps with those that it should have.
            Err(error) if error.kind == Kind::MountFailed => supervisor.update_mount(wanted).await?,
            done => done?,
        },
        Step::Remove(name) => match supervisor.delete_mount(name).await {
            // Somebody else was faster.
            Err(error) if error.kind == Kind::NotFound => {}
            done => done?,
        },
    }
    Ok(Done::Changed)
}

/// Whether Supervisor reads or writes a backup just now.
async fn is_in_use(supervisor: &Supervisor) -> Result<bool, Error> {
    let jobs = supervisor.jobs().await?;
    Ok(jobs.iter().any(|job| job.done == Some(false) && job.kind() != JobKind::Other))
}
