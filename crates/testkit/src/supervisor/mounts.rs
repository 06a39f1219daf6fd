//! Its mounts.

use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, Refusal, refused},
    schema::{Key, Rule, problems, repr},
    world::{Shared, World, lock},
};

const BASE: &[Key] = &[
    ("name", true, Rule::Match("^[A-Za-z0-9_]+$", is_name)),
    ("usage", true, Rule::Usage),
    ("read_only", false, Rule::Flag),
    ("server", true, Rule::Match(r"^[^\\\/]+", is_path_part)),
    ("port", false, Rule::Port),
];
const CIFS: &[Key] = &[
    ("type", true, Rule::OneOf(&["cifs"])),
    ("share", true, Rule::Match(r"^[^\\\/]+", is_path_part)),
    ("username", false, Rule::Text),
    ("password", false, Rule::Text),
];
const NFS: &[Key] = &[("type", true, Rule::OneOf(&["nfs"])), ("path", true, Rule::Text)];

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The expression is not anchored at its end.
fn is_path_part(text: &str) -> bool {
    text.chars().next().is_some_and(|c| !matches!(c, '/' | '\\'))
}

/// What is kept of a body, or what is wrong with it.
fn validated(body: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let is_nfs = body.get("type").is_some_and(|kind| kind == "nfs") && body.contains_key("path");
    let keys = [BASE, if is_nfs { NFS } else { CIFS }].concat();
    let mut wrong = problems(body, &keys, false);
    if !is_nfs && body.contains_key("username") != body.contains_key("password") {
        let words =
            "some but not all values in the same group of inclusion 'basic_auth' @ data[<basic_auth>]. Got None";
        wrong.push(words.to_owned());
        wrong.sort();
    }
    if !wrong.is_empty() {
        return Err(refused(400, wrong.join("\n")));
    }
    let is_backup = body["usage"] == "backup";
    if is_backup && body.get("read_only").is_some_and(|read_only| read_only == true) {
        let words = format!("Backup mounts cannot be read only. Got {}", repr(&json!(body)));
        return Err(refused(400, words));
    }
    let mut kept = Map::new();
    kept.insert("read_only".to_owned(), json!(false));
    for (key, ..) in keys {
        if let Some(value) = body.get(key) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    if !is_nfs {
        kept.insert("version".to_owned(), Value::Null);
    }
    Ok(kept)
}

impl World {
    /// Tries to mount.
    fn try_mount(&self, mount: &Map<String, Value>, doing: &str) -> Result<(), Refusal> {
        if self.mounting.as_ref().is_none_or(|mounting| mounting(&json!(mount))) {
            return Ok(());
        }
        let name = mount["name"].as_str().unwrap();
        // A restart says how systemd ended it, since 2026.
        let result = if doing == "Restarting" { " (systemd result: failed)" } else { "" };
        Err(refused(
            400,
            format!(
                "{doing} {name} did not succeed{result}. Check host logs for errors from mount or systemd unit \
                 mnt-data-supervisor-mounts-{name}.mount for details."
            ),
        ))
    }

    fn can_mount(&self, what: &str) -> Result<(), Refusal> {
        if self.features.contains(&"mount") {
            return Ok(());
        }
        let words = format!("'MountManager.{what}' blocked from execution, mounting not supported on system");
        Err(refused(400, words))
    }

    fn existing(&self, name: &str) -> Result<usize, Refusal> {
        let found = self.mounts.iter().position(|mount| mount["name"] == name);
        found.ok_or_else(|| refused(404, format!("No mount exists with name {name}")))
    }

    fn lose_default(&mut self, name: &str) {
        if self.default_backup_mount.as_deref() == Some(name) {
            self.default_backup_mount = None;
        }
    }
}

/// As when it starts.
pub(super) fn mount_all(world: &Shared) {
    let mut world = lock(world);
    for at in 0..world.mounts.len() {
        let state = if world.try_mount(&world.mounts[at], "Mounting").is_ok() { "active" } else { "failed" };
        world.mounts[at].insert("state".to_owned(), json!(state));
    }
}

pub(super) fn list(world: &World) -> Value {
    let shown = world.mounts.iter().map(|mount| {
        let mut shown = mount.clone();
        shown.remove("username");
        shown.remove("password");
        shown.entry("state").or_insert(Value::Null);
        let user_path = match mount["usage"].as_str() {
            Some(usage @ ("media" | "share")) => json!(format!("/{usage}/{}", mount["name"].as_str().unwrap())),
            _ => Value::Null,
        };
        shown.insert("user_path".to_owned(), user_path);
        Value::Object(shown)
    });
    let shown: Vec<Value> = shown.collect();
    json!({ "default_backup_mount": world.default_backup_mount, "mounts": shown })
}

pub(super) fn create(world: &mut World, body: &Map<String, Value>) -> Answer {
    let mut mount = validated(body)?;
    let name = mount["name"].as_str().unwrap().to_owned();
    if world.mount(&name).is_some() {
        return Err(refused(400, format!("A mount already exists with name {name}")));
    }
    world.can_mount("create_mount")?;
    world.try_mount(&mount, "Mounting")?;
    mount.insert("state".to_owned(), json!("active"));
    if mount["usage"] == "backup" && world.default_backup_mount.is_none() {
        world.default_backup_mount = Some(name);
    }
    world.mounts.push(mount);
    Ok(Value::Null)
}

pub(super) fn update(world: &mut World, name: &str, body: &Map<String, Value>) -> Answer {
    let at = world.existing(name)?;
    if let Some(other) = body.get("name").filter(|other| *other != name) {
        let words = format!("not a valid value for dictionary value @ data['name']. Got {}", repr(other));
        return Err(refused(400, words));
    }
    let mut body = body.clone();
    body.insert("name".to_owned(), json!(name));
    let mut mount = validated(&body)?;
    world.can_mount("create_mount")?;
    // The old one goes first, and with it its place as the default.
    world.mounts[at].insert("state".to_owned(), Value::Null);
    world.lose_default(name);
    world.try_mount(&mount, "Mounting")?;
    mount.insert("state".to_owned(), json!("active"));
    world.mounts[at] = mount;
    Ok(Value::Null)
}

pub(super) fn delete(world: &mut World, name: &str) -> Answer {
    let at = world.existing(name)?;
    world.can_mount("remove_mount")?;
    world.mounts.remove(at);
    world.lose_default(name);
    Ok(Value::Null)
}

pub(super) fn reload(world: &mut World, name: &str) -> Answer {
    let at = world.existing(name)?;
    world.can_mount("reload_mount")?;
    if world.mounts[at].get("state").is_some_and(|state| state == "active") {
        return Ok(Value::Null);
    }
    let doing = if world.mounts[at].get("state").is_none_or(Value::is_null) { "Mounting" } else { "Restarting" };
    let tried = world.try_mount(&world.mounts[at], doing);
    world.mounts[at].insert("state".to_owned(), json!(if tried.is_ok() { "active" } else { "failed" }));
    tried.map(|()| Value::Null)
}

pub(super) fn options(world: &mut World, body: &Map<String, Value>) -> Answer {
    let wrong = problems(body, &[("default_backup_mount", false, Rule::MaybeText)], true);
    if !wrong.is_empty() {
        return Err(refused(400, wrong.join("\n")));
    }
    match body.get("default_backup_mount") {
        None => {}
        Some(Value::String(name)) => {
            let mount = world.mount(name);
            let mount = mount.ok_or_else(|| refused(404, format!("No mount exists with name '{name}'")))?;
            if mount["usage"] != "backup" {
                let words = format!("Mount {name} is not used for backups, cannot use it as default backup mount");
                return Err(refused(400, words));
            }
            world.default_backup_mount = Some(name.clone());
        }
        Some(_) => world.default_backup_mount = None,
    }
    Ok(Value::Null)
}
