//! Restores.

use serde_json::{Map, Value, json};

use super::{
    answer::{Refusal, refused},
    backups::{Begun, existing},
    jobs::Work,
    schema::{Key, Rule, problems, repr},
    world::{Restoration, Shared, lock},
};

const FULL: &[Key] =
    &[("password", false, Rule::MaybeText), ("background", false, Rule::Flag), ("location", false, Rule::Place)];
const PARTIAL: &[Key] = &[
    ("homeassistant", false, Rule::Flag),
    ("addons", false, Rule::Apps { all: false }),
    ("folders", false, Rule::Folders),
];

pub(super) fn begin(shared: &Shared, slug: &str, is_full: bool, body: &Map<String, Value>) -> Result<Begun, Refusal> {
    let mut world = lock(shared);
    let at = existing(&world, slug)?;
    let keys = if is_full { FULL.to_vec() } else { [FULL, PARTIAL].concat() };
    let wrong = problems(body, &keys, true);
    if !wrong.is_empty() {
        return Err(refused(400, wrong.join("\n")));
    }
    world.may_work(if is_full { "do_restore_full" } else { "do_restore_partial" }, true)?;
    let backup = &world.backups[at];
    if is_full && backup["type"] != "full" {
        return Err(refused(400, format!("{slug} is only a partial backup!")));
    }
    let location = match body.get("location") {
        None => backup["location"].clone(),
        Some(Value::String(name)) if matches!(name.as_str(), "" | ".local") => Value::Null,
        Some(location) => location.clone(),
    };
    if !backup["locations"].as_array().unwrap().contains(&location) {
        let location = repr(&location).replace('\'', "");
        return Err(refused(400, format!("Backup {slug} does not exist in {location}")));
    }
    if backup["protected"] == true && body.get("password").unwrap_or(&Value::Null) != &backup["password"] {
        return Err(refused(400, format!("Invalid password for backup {slug}")));
    }
    let has_core = backup["content"]["homeassistant"] != false;
    if !is_full && !has_core && body.get("homeassistant") == Some(&json!(true)) {
        return Err(refused(400, "No Home Assistant Core data inside the backup".to_owned()));
    }
    let made_by = backup["supervisor_version"].as_str().unwrap_or(world.version);
    if made_by > world.version {
        return Err(refused(
            400,
            format!(
                "Backup was made on supervisor version {made_by}, can't restore on {}. Must update supervisor first.",
                world.version
            ),
        ));
    }
    let name = if is_full { "backup_manager_full_restore" } else { "backup_manager_partial_restore" };
    let job = world.begin(name, Some(slug), None);
    world.state = "freeze";
    let restoration = Restoration {
        slug: slug.to_owned(),
        is_full,
        location: location.as_str().map(str::to_owned),
        content: body.clone(),
    };
    let work = Work { world: Shared::clone(shared), job: job.clone(), life: world.inner.life };
    let thread = std::thread::spawn(move || restore(&work, &restoration));
    let in_background = body.get("background").is_some_and(|background| background == true);
    Ok(Begun { job, slug: None, thread, in_background })
}

/// In Supervisor's order. A part that fails is noted in its own job, and the others go on.
fn restore(work: &Work, restoration: &Restoration) -> bool {
    let texts = |key: &str| -> Vec<String> {
        let items = restoration.content.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let mut folders = texts("folders");
    let named_as_folder = folders.iter().any(|folder| folder == "homeassistant");
    folders.retain(|folder| folder != "homeassistant");
    let core = restoration.is_full || named_as_folder || restoration.content.get("homeassistant") == Some(&json!(true));
    steps(work, restoration, &folders, core, &texts("addons")).unwrap_or(false)
}

/// None if its Supervisor was stopped.
fn steps(work: &Work, restoration: &Restoration, folders: &[String], core: bool, apps: &[String]) -> Option<bool> {
    let unpacking = work.change(|world| world.unpacking.clone())?;
    if let Err(message) = unpacking.map_or(Ok(()), |unpacking| unpacking(restoration)) {
        work.change(|world| {
            world.state = "running";
            world.end(&work.job, Some(("BackupError", &message)));
        })?;
        return Some(false);
    }
    let mut all = group(work, "folders", "backup_restore_folders", "backup_folder_restore", folders)?;
    let answered = work.change(|world| world.core_answers)?;
    if core {
        work.change(|world| world.core_answers = false)?;
        part(work, "home_assistant", "backup_restore_homeassistant", None, &work.job)?;
    }
    if restoration.is_full {
        part(work, "remove_delta_apps", "backup_remove_delta_apps", None, &work.job)?;
    }
    if !apps.is_empty() {
        work.stage("app_repositories").then_some(())?;
        all &= group(work, "apps", "backup_restore_apps", "backup_app_restore", apps)?;
    }
    part(work, "supervisor_config", "backup_restore_supervisor_config", None, &work.job)?;
    work.change(|world| {
        for mount in world.saved_mounts.clone() {
            world.mounts.retain(|other| other["name"] != mount["name"]);
            world.mounts.push(mount);
        }
    })?;
    let restoring = work.change(|world| world.restoring.clone())?;
    let restored = restoring.map_or(Ok(()), |restoring| restoring(restoration));
    if restored.is_ok() && !apps.is_empty() {
        work.stage("await_app_restarts").then_some(())?;
    }
    if core {
        work.stage("await_home_assistant_restart").then_some(())?;
    }
    work.change(|world| {
        world.state = "running";
        world.core_answers = answered;
        world.end(&work.job, restored.as_ref().err().map(|message| ("BackupError", message.as_str())));
        all && restored.is_ok()
    })
}

/// One part after the other, in a job of its own.
fn group(work: &Work, stage: &'static str, name: &str, each: &str, parts: &[String]) -> Option<bool> {
    if parts.is_empty() {
        return Some(true);
    }
    let all = work.change(|world| world.begin(name, None, Some(&work.job)))?;
    let mut are_restored = true;
    for of in parts {
        are_restored &= part(work, stage, each, Some(of), &all)?;
    }
    work.change(|world| world.end(&all, None))?;
    Some(are_restored)
}

fn part(work: &Work, stage: &'static str, name: &str, of: Option<&str>, parent: &str) -> Option<bool> {
    work.enter(stage);
    let job = work.change(|world| world.begin(name, of, Some(parent)))?;
    work.wait(stage).then_some(())?;
    work.change(|world| {
        let error = of.and_then(|of| world.unrestorable.get(of).copied());
        world.end(&job, error.map(|error| ("BackupError", error)));
        error.is_none()
    })
}
