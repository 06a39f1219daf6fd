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

fn restore(work: &Work, restoration: &Restoration) -> bool {
    let has = |key: &str| {
        let value = restoration.content.get(key);
        restoration.is_full
            || value.is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)) && value != &json!([]))
    };
    let parts = [
        (has("folders"), "folders", "backup_restore_folders"),
        (has("homeassistant"), "home_assistant", "backup_restore_homeassistant"),
        (restoration.is_full, "remove_delta_apps", "backup_remove_delta_apps"),
        (has("addons"), "apps", "backup_restore_apps"),
        (true, "supervisor_config", "backup_restore_supervisor_config"),
    ];
    for (_, stage, part) in parts.into_iter().filter(|(is_there, ..)| *is_there) {
        if !work.stage(stage) || work.change(|world| world.part(part, None, &work.job, None)).is_none() {
            return false;
        }
    }
    let Some(restoring) = work.change(|world| world.restoring.clone()) else { return false };
    let restored = restoring.map_or(Ok(()), |restoring| restoring(restoration));
    let ended = work.change(|world| {
        world.state = "running";
        world.end(&work.job, restored.as_ref().err().map(|message| ("BackupError", message.as_str())));
        restored.is_ok()
    });
    ended.unwrap_or(false)
}
