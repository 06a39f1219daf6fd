//! Its backups.

use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, Refusal, refused, refused_with},
    jobs::Work,
    schema::{Key, Rule, problems},
    world::{Job, Order, Shared, World, lock},
};

const FULL: &[Key] = &[
    ("name", false, Rule::Text),
    ("filename", false, Rule::Match(r"^[^\\\/]+\.tar$", is_file_name)),
    ("password", false, Rule::MaybeText),
    ("compressed", false, Rule::MaybeFlag),
    ("location", false, Rule::Places),
    ("homeassistant_exclude_database", false, Rule::Flag),
    ("background", false, Rule::Flag),
    ("extra", false, Rule::Object),
];
const PARTIAL: &[Key] = &[
    ("addons", false, Rule::Apps { all: true }),
    ("folders", false, Rule::Folders),
    ("homeassistant", false, Rule::Flag),
];
/// Of a full backup.
const FOLDERS: [&str; 4] = ["share", "addons/local", "ssl", "media"];
/// Below this, in GB, nothing is written to the data disk.
const LEAST_FREE: f64 = 2.0;

fn is_file_name(text: &str) -> bool {
    text.strip_suffix(".tar").is_some_and(|stem| !stem.is_empty() && !stem.contains(['/', '\\']))
}

impl World {
    /// Where a backup goes whose location this is.
    fn place(&self, location: &Value) -> Result<Option<Map<String, Value>>, Refusal> {
        let Some(name) = location.as_str().filter(|name| !matches!(*name, "" | ".local")) else { return Ok(None) };
        if name == ".cloud_backup" {
            return Err(refused(403, "Location .cloud_backup is only available for Home Assistant".to_owned()));
        }
        let mount = self.mount(name);
        let mount = mount.ok_or_else(|| refused(404, format!("No mount exists with name '{name}'")))?;
        if mount["usage"] != "backup" {
            return Err(refused(400, format!("Mount {name} is not used for backups, cannot backup to there")));
        }
        Ok(Some(mount.clone()))
    }

    /// What every backup and restore needs first.
    pub(super) fn may_work(&self, method: &str, needs_space: bool) -> Result<(), Refusal> {
        let blocked =
            |why: String| Err(refused(400, format!("'BackupManager.{method}' blocked from execution, {why}")));
        if self.state != "running" {
            return blocked(format!("system is not running - {}", self.state));
        }
        if needs_space && self.free_space < LEAST_FREE {
            return blocked(format!("not enough free space ({}GB) left on the device", self.free_space));
        }
        let is_taken = |job: &Job| job.done == Some(false) && job.name.starts_with("backup_manager_");
        if self.jobs.iter().any(is_taken) {
            return Err(refused(400, "Another job is running for job group backup_manager".to_owned()));
        }
        Ok(())
    }

    /// All slugs of installed apps.
    pub(super) fn app_slugs(&self) -> Vec<String> {
        self.apps.iter().filter_map(|app| app["slug"].as_str().map(str::to_owned)).collect()
    }
}

/// A backup as the list has it.
fn listed(backup: &Value) -> Value {
    let mut shown = backup.clone();
    let map = shown.as_object_mut().unwrap();
    for hidden in ["supervisor_version", "password", "extra", "homeassistant_version", "homeassistant_exclude_database"]
    {
        map.remove(hidden);
    }
    shown
}

pub(super) fn list(world: &World) -> Value {
    world.backups.iter().map(listed).collect()
}

pub(super) fn existing(world: &World, slug: &str) -> Result<usize, Refusal> {
    let found = world.backups.iter().position(|backup| backup["slug"] == slug);
    found.ok_or_else(|| refused(404, "Backup does not exist".to_owned()))
}

pub(super) fn info(world: &World, slug: &str) -> Answer {
    let backup = &world.backups[existing(world, slug)?];
    let mut shown = listed(backup);
    let content = shown.as_object_mut().unwrap().remove("content").unwrap();
    let apps = content["addons"].as_array().cloned().unwrap_or_default();
    let app = |slug: &Value| {
        let known = world.apps.iter().find(|app| app["slug"] == *slug);
        let of = |key: &str| known.map_or(Value::Null, |app| app[key].clone());
        json!({ "slug": slug, "name": of("name"), "version": of("version"), "size": 0 })
    };
    shown["addons"] = apps.iter().map(app).collect();
    shown["folders"] = content["folders"].clone();
    shown["homeassistant"] = backup.get("homeassistant_version").cloned().unwrap_or_default();
    shown["homeassistant_exclude_database"] =
        backup.get("homeassistant_exclude_database").cloned().unwrap_or(json!(false));
    shown["extra"] = backup.get("extra").cloned().unwrap_or_else(|| json!({}));
    shown["repositories"] = json!([]);
    shown["supervisor_version"] = backup.get("supervisor_version").cloned().unwrap_or(json!(world.version));
    Ok(shown)
}

pub(super) fn delete(world: &mut World, slug: &str, body: &Map<String, Value>) -> Answer {
    let at = existing(world, slug)?;
    let wrong = problems(body, &[("location", false, Rule::Places)], true);
    if !wrong.is_empty() {
        return Err(refused(400, wrong.join("\n")));
    }
    let gone: Vec<Value> = match body.get("location") {
        None => world.backups[at]["locations"].as_array().cloned().unwrap_or_default(),
        Some(Value::Array(all)) => all.clone(),
        Some(one) => vec![one.clone()],
    };
    for location in &gone {
        world.place(location)?;
    }
    let is_local = |location: &Value| location.as_str().is_none_or(|name| matches!(name, "" | ".local"));
    let is_gone = |location: &Value| gone.iter().any(|gone| gone == location || is_local(gone) && is_local(location));
    let backup = &mut world.backups[at];
    let left: Vec<Value> =
        backup["locations"].as_array().unwrap().iter().filter(|location| !is_gone(location)).cloned().collect();
    if left.is_empty() {
        world.backups.remove(at);
        return Ok(Value::Null);
    }
    let attributes = backup["location_attributes"].as_object_mut().unwrap();
    attributes.retain(|name, _| left.iter().any(|location| location.as_str().unwrap_or(".local") == name));
    backup["location"] = left[0].clone();
    backup["locations"] = Value::Array(left);
    Ok(Value::Null)
}

pub(super) fn reload(world: &mut World) {
    if let Some(looking) = world.looking.clone() {
        looking(&mut world.backups);
    }
}

/// Begins a backup; the thread that makes it, and whether the answer waits for that.
pub(super) fn begin(shared: &Shared, is_full: bool, body: &Map<String, Value>) -> Result<Begun, Refusal> {
    let mut world = lock(shared);
    let keys = if is_full { FULL.to_vec() } else { [FULL, PARTIAL].concat() };
    let wrong = problems(body, &keys, true);
    if !wrong.is_empty() {
        return Err(refused(400, wrong.join("\n")));
    }
    let locations = match body.get("location") {
        None => vec![json!(world.default_backup_mount)],
        Some(Value::Array(all)) => all.clone(),
        Some(one) => vec![one.clone()],
    };
    let places = locations.iter().map(|location| world.place(location)).collect::<Result<Vec<_>, _>>()?;
    let first = places.first().cloned().flatten();
    let method = if is_full { "do_backup_full" } else { "do_backup_partial" };
    world.may_work(method, false)?;
    if let Some(mount) = first.as_ref().filter(|mount| mount["state"] != "active") {
        let name = &mount["name"];
        let words = format!("Backup mount '{}' is down", name.as_str().unwrap());
        return Err(refused_with(
            400,
            words,
            &json!({ "error_key": "backup_mount_down", "extra_fields": { "mount": name } }),
        ));
    }
    world.may_work(method, first.is_none())?;
    let order = order(&mut world, is_full, body, first);
    let name = if is_full { "backup_manager_full_backup" } else { "backup_manager_partial_backup" };
    let job = world.begin(name, Some(&order.slug), None);
    world.job_mut(&job).unwrap().stage = Some("app_repositories");
    world.state = "freeze";
    let work = Work { world: Shared::clone(shared), job: job.clone(), life: world.inner.life };
    let slug = order.slug.clone();
    let thread = std::thread::spawn(move || make(&work, &order, &places));
    let in_background = body.get("background").is_some_and(|background| background == true);
    Ok(Begun { job, slug: Some(slug), thread, in_background })
}

/// Work that has begun.
pub(super) struct Begun {
    pub(super) job: String,
    pub(super) slug: Option<String>,
    pub(super) thread: std::thread::JoinHandle<bool>,
    pub(super) in_background: bool,
}

fn order(world: &mut World, is_full: bool, body: &Map<String, Value>, mount: Option<Map<String, Value>>) -> Order {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let texts = |key: &str| -> Vec<String> {
        let items = body.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let flag = |key: &str| body.get(key).and_then(Value::as_bool);
    let installed = world.app_slugs();
    let slug = world.new_id()[24..].to_owned();
    let mut folders = if is_full { FOLDERS.map(str::to_owned).to_vec() } else { texts("folders") };
    // A word of old that still means Home Assistant's configuration.
    let named_as_folder = folders.iter().any(|folder| folder == "homeassistant");
    folders.retain(|folder| folder != "homeassistant");
    let all = is_full || body.get("addons").is_some_and(|apps| apps == "ALL");
    let apps =
        if all { installed } else { texts("addons").into_iter().filter(|app| installed.contains(app)).collect() };
    Order {
        name: text("name").unwrap_or_default(),
        filename: text("filename").unwrap_or_else(|| format!("{slug}.tar")),
        slug,
        is_full,
        mount,
        password: text("password"),
        compressed: flag("compressed").unwrap_or(true),
        homeassistant: is_full || named_as_folder || flag("homeassistant") == Some(true),
        excludes_database: flag("homeassistant_exclude_database") == Some(true),
        apps,
        folders,
        extra: body.get("extra").cloned().unwrap_or_else(|| json!({})),
    }
}

/// Makes a backup, stage by stage. The file is written in the last: its end tells what all others came to.
fn make(work: &Work, order: &Order, places: &[Option<Map<String, Value>>]) -> bool {
    let written = steps(work, order);
    let ended = work.change(|world| {
        world.state = "running";
        match written {
            Some(Ok(size)) => {
                let backup = finished(world, order, places, size);
                world.backups.push(backup);
                world.end(&work.job, None);
                true
            }
            Some(Err(message)) => {
                // The job itself comes to its end: it only notes what failed.
                if let Some(job) = world.job_mut(&work.job) {
                    job.errors.push(("BackupError".to_owned(), message, job.stage));
                }
                world.end(&work.job, None);
                false
            }
            None => false,
        }
    });
    ended.unwrap_or(false)
}

/// None if its Supervisor was stopped.
fn steps(work: &Work, order: &Order) -> Option<Result<u64, String>> {
    if order.homeassistant {
        if !work.stage("home_assistant") {
            return None;
        }
        work.change(|world| world.part("backup_store_homeassistant", None, &work.job, None))?;
    }
    if !order.apps.is_empty() {
        if !work.stage("apps") {
            return None;
        }
        let all = work.change(|world| world.begin("backup_store_apps", None, Some(&work.job)))?;
        for app in &order.apps {
            work.change(|world| {
                let error = world.unsavable.get(app.as_str()).copied();
                world.part("backup_app_save", Some(app), &all, error)
            })?;
        }
        work.change(|world| world.end(&all, None))?;
    }
    if !order.folders.is_empty() {
        if !work.stage("folders") {
            return None;
        }
        let all = work.change(|world| world.begin("backup_store_folders", None, Some(&work.job)))?;
        for folder in &order.folders {
            work.change(|world| world.part("backup_folder_save", Some(folder), &all, None))?;
        }
        work.change(|world| world.end(&all, None))?;
    }
    if !work.stage("supervisor_config") {
        return None;
    }
    work.change(|world| world.part("backup_store_supervisor_config", None, &work.job, None))?;
    let writing = work.change(|world| world.writing.clone())?;
    let size = match writing.map_or(Ok(10_240), |writing| writing(order)) {
        Ok(size) => size,
        Err(message) => return Some(Err(message)),
    };
    work.stage("finishing_file").then_some(Ok(size))
}

/// As the list has it then.
fn finished(world: &World, order: &Order, places: &[Option<Map<String, Value>>], size: u64) -> Value {
    let name = |place: &Option<Map<String, Value>>| place.as_ref().map_or(Value::Null, |mount| mount["name"].clone());
    let locations: Vec<Value> = places.iter().map(name).collect();
    let is_protected = order.password.is_some();
    let attributes: Map<String, Value> = locations
        .iter()
        .map(|location| {
            let attributes = json!({ "protected": is_protected, "size_bytes": size });
            (location.as_str().unwrap_or(".local").to_owned(), attributes)
        })
        .collect();
    let megabytes = (size as f64 / 1_048_576.0 * 100.0).ceil() / 100.0;
    json!({
        "slug": order.slug, "name": order.name, "date": "2026-11-28T04:45:00.000000+00:00",
        "type": if order.is_full { "full" } else { "partial" }, "size": megabytes, "size_bytes": size,
        "location": locations[0], "locations": locations, "location_attributes": attributes,
        "protected": is_protected, "compressed": order.compressed,
        "content": { "homeassistant": order.homeassistant, "addons": order.apps, "folders": order.folders },
        "homeassistant_version": order.homeassistant.then_some(world.core_version),
        "homeassistant_exclude_database": order.excludes_database, "extra": order.extra, "password": order.password,
    })
}
