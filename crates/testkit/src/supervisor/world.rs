//! What a simulated Supervisor knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};

/// The token of the app that asks.
pub const TOKEN: &str = "0123456789abcdef-the-token-of-the-app";

/// What all threads of one share.
pub(super) type Shared = Arc<Mutex<World>>;

pub(super) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is not carried out, and there is no answer, however long one waits.
    Silent,
    /// It is carried out, and the connection breaks before the answer.
    Unanswered,
    /// It is carried out, and the answer ends in the middle.
    Short,
    /// It is carried out, and the answer comes so much later.
    Late(Duration),
    /// It is not carried out, and this is the answer.
    Says(u16, String),
    /// It is not carried out, and the answer never ends.
    Endless,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method; `WS` for a command to Core.
    pub method: String,
    /// The path, or the command.
    pub path: String,
    /// The body.
    pub body: Value,
}

/// Something it does or did.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// What it is about.
    pub reference: Option<String>,
    /// Its stage, in the words of 2026.
    pub stage: Option<&'static str>,
    /// In percent.
    pub progress: f64,
    /// None before it has begun.
    pub done: Option<bool>,
    /// What failed: the kind and the message.
    pub errors: Vec<(String, String, Option<&'static str>)>,
    /// Of which it is a part.
    pub parent: Option<String>,
    pub(super) created: String,
}

/// A backup that is being made.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the request")]
pub struct Order {
    /// Its slug.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// The name of its file.
    pub filename: String,
    /// Whether everything is to be in it.
    pub is_full: bool,
    /// Where it is made: a mount as Supervisor has it, with its credentials; none is the data disk.
    pub mount: Option<Map<String, Value>>,
    /// Its password.
    pub password: Option<String>,
    /// Whether its parts are compressed.
    pub compressed: bool,
    /// Whether Home Assistant's configuration is in it.
    pub homeassistant: bool,
    /// Whether the recorder's database is not.
    pub excludes_database: bool,
    /// The apps in it.
    pub apps: Vec<String>,
    /// The folders in it.
    pub folders: Vec<String>,
    /// What its maker notes.
    pub extra: Value,
}

/// A restore that is under way.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// The backup.
    pub slug: String,
    /// Whether everything is restored, and what is not in the backup removed.
    pub is_full: bool,
    /// Where the backup is read; none is the data disk.
    pub location: Option<String>,
    /// What of it is restored: the request's words.
    pub content: Map<String, Value>,
}

/// What the app may do, as its configuration says in `hassio_role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Information only.
    Default,
    /// And Core.
    Homeassistant,
    /// And backups.
    Backup,
    /// And apps, jobs, mounts, and more.
    Manager,
    /// Everything.
    Admin,
}

/// Whether a mount succeeds. It is told the mount with its credentials, and must not look at the Supervisor, which waits
/// for it.
pub type Mounting = Arc<dyn Fn(&Value) -> bool + Send + Sync>;
/// What a backup writes: the length of its file, or why it fails. Runs on a thread of its own.
pub type Writing = Arc<dyn Fn(&Order) -> Result<u64, String> + Send + Sync>;
/// How a restore goes.
pub type Restoring = Arc<dyn Fn(&Restoration) -> Result<(), String> + Send + Sync>;
/// What is at its places, when it looks.
pub type Looking = Arc<dyn Fn(&mut Vec<Value>) + Send + Sync>;

/// All that it knows.
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the app's configuration")]
pub struct World {
    /// Its version. It decides how the parts of a backup's job are called, and what Core's proxy denies.
    pub version: &'static str,
    /// The version of Core.
    pub core_version: &'static str,
    /// `startup`, `running`, `freeze`, or one in which it answers nothing: `initialize`, `setup`, `shutdown`.
    pub state: &'static str,
    /// Free space on the data disk in GB.
    pub free_space: f64,
    /// What the system can do.
    pub features: Vec<&'static str>,
    /// The app's role.
    pub role: Role,
    /// Whether the app has `hassio_api: true`.
    pub hassio_api: bool,
    /// Whether the app has `homeassistant_api: true`.
    pub homeassistant_api: bool,
    /// Whether the app has `services: ["mqtt:want"]`.
    pub wants_mqtt: bool,
    /// What `/addons/self/info` says.
    pub own: Value,
    /// The other installed apps, as the list has them.
    pub apps: Vec<Value>,
    /// Apps that can't be saved, and what the error says.
    pub unsavable: BTreeMap<&'static str, &'static str>,
    /// Apps and folders that can't be restored, and what the error says.
    pub unrestorable: BTreeMap<&'static str, &'static str>,
    /// All mounts, each with its credentials and its `state`.
    pub mounts: Vec<Map<String, Value>>,
    /// Mounts as they are in every backup, which come back with every restore.
    pub saved_mounts: Vec<Map<String, Value>>,
    /// The default place for backups.
    pub default_backup_mount: Option<String>,
    /// Whether a mount succeeds; without one, each does.
    pub mounting: Option<Mounting>,
    /// All backups, as the list has them, plus `password`, which no answer has.
    pub backups: Vec<Value>,
    /// What a backup writes; without one, it is a file of 10,240 bytes.
    pub writing: Option<Writing>,
    /// How it unpacks a backup before it restores parts of it; without one, well.
    pub unpacking: Option<Restoring>,
    /// How a restore goes; without one, well.
    pub restoring: Option<Restoring>,
    /// What it finds when it looks at its places; without one, what it knows.
    pub looking: Option<Looking>,
    /// A backup or restore waits when it comes to this stage (in the words of 2026), until this is another.
    pub hold_at: Option<&'static str>,
    /// The jobs since it started.
    pub jobs: Vec<Job>,
    /// The MQTT broker, if an app provides one.
    pub mqtt: Option<Value>,
    /// Whether Core answers.
    pub core_answers: bool,
    /// What Core says to `config/auth/list`.
    pub users: Value,
    /// What Core says to `backup/config/info`.
    pub backup_config: Value,
    /// Home Assistant's notifications, by id: title and message.
    pub notifications: BTreeMap<String, (String, String)>,
    /// What a phone was sent: title and message.
    pub messages: Vec<(String, String)>,
    /// What no test has to know.
    pub inner: Inner,
}

/// What no test has to know.
#[derive(Default)]
pub struct Inner {
    pub(super) faults: Vec<(String, String, Fault)>,
    pub(super) asked: Vec<Asked>,
    /// Counts what needs an id.
    pub(super) last_id: u64,
    /// How often it was stopped: work of an earlier life ends without a trace.
    pub(super) life: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            version: "2026.08.0",
            core_version: "2026.11.0",
            state: "running",
            free_space: 18.5,
            features: vec!["reboot", "shutdown", "services", "network", "hostname", "haos", "mount"],
            role: Role::Manager,
            hassio_api: true,
            homeassistant_api: true,
            wants_mqtt: true,
            own: json!({
                "slug": "a1b2c3d4_haul", "name": "Haul", "version": "0.1.0", "state": "started",
                "hostname": "a1b2c3d4-haul", "ip_address": "172.30.33.5", "host_network": false,
                "ingress": true, "ingress_port": 8099, "ingress_panel": true,
                "ingress_entry": "/api/hassio_ingress/kPWyZEyJFuZ3nNpH9dgOsE2yNNXcBc0eW3rsLwzGJiU",
                "ingress_url": "/api/hassio_ingress/kPWyZEyJFuZ3nNpH9dgOsE2yNNXcBc0eW3rsLwzGJiU/",
                "hassio_api": true, "hassio_role": "manager", "options": {}, "protected": true,
            }),
            apps: vec![app("core_ssh", "Terminal & SSH", "9.17.0"), app("core_mosquitto", "Mosquitto broker", "6.5.1")],
            unsavable: BTreeMap::new(),
            unrestorable: BTreeMap::new(),
            mounts: Vec::new(),
            saved_mounts: Vec::new(),
            default_backup_mount: None,
            mounting: None,
            backups: Vec::new(),
            writing: None,
            unpacking: None,
            restoring: None,
            looking: None,
            hold_at: None,
            jobs: Vec::new(),
            mqtt: None,
            core_answers: true,
            users: json!([
                user("0aa1", "Ada", true, &["system-admin"]),
                user("0bb2", "Ben", false, &["system-admin"]),
                user("0cc3", "Cleo", false, &["system-users"]),
            ]),
            backup_config: json!({
                "agents": {}, "automatic_backups_configured": true,
                "create_backup": {
                    "agent_ids": ["hassio.local"], "include_addons": null, "include_all_addons": true,
                    "include_database": true, "include_folders": null, "name": null,
                    "password": "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG",
                },
                "last_attempted_automatic_backup": null, "last_completed_automatic_backup": null,
                "retention": { "copies": 3, "days": null },
                "schedule": { "days": [], "recurrence": "daily", "time": null },
                "next_automatic_backup": "2026-11-29T04:55:12.000000+01:00",
                "next_automatic_backup_additional": false,
            }),
            notifications: BTreeMap::new(),
            messages: Vec::new(),
            inner: Inner::default(),
        }
    }
}

fn app(slug: &str, name: &str, version: &str) -> Value {
    json!({
        "name": name, "slug": slug, "description": name, "advanced": false, "stage": "stable", "version": version,
        "version_latest": version, "update_available": false, "available": true, "detached": false,
        "homeassistant": null, "state": "started", "repository": "core", "build": false, "url": null, "icon": true,
        "logo": true, "system_managed": false,
    })
}

fn user(id: &str, name: &str, is_owner: bool, groups: &[&str]) -> Value {
    json!({
        "id": id, "username": name.to_lowercase(), "name": name, "is_owner": is_owner, "is_active": true,
        "local_only": false, "system_generated": false, "group_ids": groups,
        "credentials": [{ "type": "homeassistant" }],
    })
}

/// A mount of somebody's own that works, for [`World::mounts`].
pub fn mount(name: &str, server: &str, share: &str) -> Map<String, Value> {
    let mount = json!({
        "name": name, "type": "cifs", "usage": "backup", "server": server, "share": share, "version": null,
        "read_only": false, "state": "active", "username": "somebody", "password": "somebody's password",
    });
    mount.as_object().unwrap().clone()
}

impl World {
    pub(super) fn note(&mut self, method: &str, path: &str, body: &Value) {
        self.inner.asked.push(Asked { method: method.to_owned(), path: path.to_owned(), body: body.clone() });
    }

    pub(super) fn next_fault(&mut self, method: &str, path: &str) -> Option<Fault> {
        let is_it = |(of, on, _): &(String, String, Fault)| {
            of == method && on.strip_suffix('*').map_or(on == path, |begin| path.starts_with(begin))
        };
        let at = self.inner.faults.iter().position(is_it)?;
        Some(self.inner.faults.remove(at).2)
    }

    /// A new id of 32 hexadecimal digits.
    pub(super) fn new_id(&mut self) -> String {
        self.inner.last_id += 1;
        format!("{:032x}", 0x5a_5a00_0000_u64 + self.inner.last_id)
    }

    /// The mount of this name.
    pub fn mount(&self, name: &str) -> Option<&Map<String, Value>> {
        self.mounts.iter().find(|mount| mount["name"] == name)
    }

    /// The job with this id.
    pub fn job(&self, uuid: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.uuid == uuid)
    }

    /// Whether its version is at least this.
    pub(super) fn is_since(&self, version: [u32; 3]) -> bool {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        [(); 3].map(|()| parts.next().unwrap_or(0)) >= version
    }

    /// Everything that only lives in its memory is gone.
    pub(super) fn stop(&mut self) {
        self.inner.life += 1;
        self.jobs.clear();
        self.state = "running";
    }
}
