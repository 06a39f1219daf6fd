//! The rest of the config directory: YAML, custom components, pictures, and what a backup leaves out (logs,
//! caches, old backups, compiled Python). Files get modes and times as a real directory has them.

use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::home::{AREAS, Home};
use crate::random::Random;
use crate::{Error, HOME_ASSISTANT_VERSION};

/// Writes files below one directory and counts them.
pub(crate) struct Writer {
    root: PathBuf,
    files: u64,
    random: Random,
}

impl Writer {
    pub(crate) fn new(root: &Path, random: Random) -> Self {
        Self { root: root.to_owned(), files: 0, random }
    }

    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    pub(crate) fn directory(&mut self, name: &str) -> Result<(), Error> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(Error::at(&path))
    }

    /// A file that others may read.
    pub(crate) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write(name, bytes, 0o644)
    }

    /// A file that holds secrets.
    pub(crate) fn private(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write(name, bytes, 0o600)
    }

    fn write(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let path = self.root.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::at(parent))?;
        }
        // Up to two years old, with fractions of a second.
        let age = Duration::from_secs_f64(self.random.unit() * 63e6);
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(crate::history::NEWEST) - age;
        File::create_new(&path)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.set_permissions(fs::Permissions::from_mode(mode))?;
                file.set_times(FileTimes::new().set_modified(modified))
            })
            .map_err(Error::at(&path))?;
        self.files += 1;
        Ok(())
    }
}

/// Writes everything but the databases and `.storage`. Returns the number of files.
pub(crate) fn create(dir: &Path, home: &Home, random: &mut Random) -> Result<u64, Error> {
    let mut writer = Writer::new(dir, random.clone());
    writer.file(".HA_VERSION", HOME_ASSISTANT_VERSION.as_bytes())?;
    configuration(&mut writer, home)?;
    components(&mut writer, random)?;
    pictures(&mut writer, random)?;
    left_out(&mut writer, random)?;
    for empty in ["deps", "custom_templates", "www/community", "image"] {
        writer.directory(empty)?;
    }
    // Absolute, so that a restore by Home Assistant keeps it as a link or a copy; dangling here.
    let link = dir.join("www/media");
    symlink("/media", &link).map_err(Error::at(&link))?;
    Ok(writer.files())
}

fn configuration(writer: &mut Writer, home: &Home) -> Result<(), Error> {
    writer.file(
        "configuration.yaml",
        b"# Loads default set of integrations. Do not remove.\ndefault_config:\n\n\
          frontend:\n  themes: !include_dir_merge_named themes\n\n\
          automation: !include automations.yaml\nscript: !include scripts.yaml\nscene: !include scenes.yaml\n\n\
          recorder:\n  purge_keep_days: 10\n\nhttp:\n  server_port: 8123\n",
    )?;
    writer.private(
        "secrets.yaml",
        b"# Use this file to store secrets like usernames and passwords.\nmqtt_password: not-a-real-one\n",
    )?;
    let mut automations = String::new();
    for (number, (area, room)) in AREAS.iter().enumerate() {
        let _ = write!(
            automations,
            "- id: '17259{number:07}'\n  alias: {room} light follows motion\n  description: ''\n  triggers:\n  \
             - trigger: state\n    entity_id:\n    - binary_sensor.{area}_motion_occupancy\n    to: 'on'\n  \
             conditions:\n  \
             - condition: numeric_state\n    entity_id: sensor.{area}_motion_illuminance\n    below: 60\n  actions:\n  \
             - action: light.turn_on\n    target:\n      entity_id: light.{area}_ceiling\n    data:\n      \
             brightness_pct: 70\n  mode: restart\n"
        );
    }
    writer.file("automations.yaml", automations.as_bytes())?;
    writer.file(
        "scripts.yaml",
        b"good_night:\n  alias: Good night\n  sequence:\n  - action: light.turn_off\n    \
        target:\n      entity_id: all\n",
    )?;
    let mut scenes = String::from("- id: '1725950000001'\n  name: Evening\n  entities:\n");
    for (_, entity) in home.entities().filter(|(_, entity)| entity.id.starts_with("light.")) {
        let _ = write!(scenes, "    {}:\n      brightness: 120\n      state: 'on'\n", entity.id);
    }
    writer.file("scenes.yaml", scenes.as_bytes())?;
    writer.file("themes/evening.yaml", b"Evening:\n  primary-color: '#8a5a2b'\n  accent-color: '#d08c3f'\n")?;
    for (domain, name) in
        [("automation", "motion_light"), ("automation", "notify_leaving_zone"), ("script", "confirmable_notification")]
    {
        let text = format!(
            "blueprint:\n  name: {name}\n  domain: {domain}\n  input:\n    target:\n      name: Target\nmode: restart\n"
        );
        writer.file(&format!("blueprints/{domain}/homeassistant/{name}.yaml"), text.as_bytes())?;
    }
    Ok(())
}

/// Three components with a few hundred Python files; some compiled.
fn components(writer: &mut Writer, random: &mut Random) -> Result<(), Error> {
    for (component, modules) in [("hacs", 140), ("solar_forecast", 60), ("room_presence", 60)] {
        let root = format!("custom_components/{component}");
        let manifest = format!(
            "{{\n  \"domain\": \"{component}\",\n  \"name\": \"{component}\",\n  \"config_flow\": true,\n  \"version\": \"2.0.5\"\n}}\n"
        );
        writer.file(&format!("{root}/manifest.json"), manifest.as_bytes())?;
        for number in 0..modules {
            let folder = ["", "utils/", "repositories/", "websocket/"][number % 4];
            let source = python(random, component);
            writer.file(&format!("{root}/{folder}module_{number:03}.py"), source.as_bytes())?;
            if number % 5 == 0 {
                let mut compiled = vec![0; 2_000 + random.below(6_000) as usize];
                random.bytes(&mut compiled);
                writer.file(&format!("{root}/{folder}__pycache__/module_{number:03}.cpython-314.pyc"), &compiled)?;
            }
        }
        for language in ["de", "en", "fr", "nl", "pt-BR"] {
            let text =
                format!("{{\"config\": {{\"step\": {{\"user\": {{\"title\": \"{component} {language}\"}}}}}}}}\n");
            writer.file(&format!("{root}/translations/{language}.json"), text.as_bytes())?;
        }
    }
    Ok(())
}

/// Something with the vocabulary, indentation and length of real component code.
fn python(random: &mut Random, component: &str) -> String {
    let verbs = ["update", "fetch", "parse", "register", "validate", "schedule", "remove", "restore"];
    let nouns = ["device", "entity", "state", "config_entry", "coordinator", "repository", "session", "token"];
    let mut text = format!(
        "\"\"\"Part of {component}.\"\"\"\nfrom __future__ import annotations\n\nimport asyncio\nimport \
         logging\n\n_LOGGER = logging.getLogger(__name__)\n"
    );
    for _ in 0..5 + random.below(30) {
        let (verb, noun, other) = (random.pick(&verbs), random.pick(&nouns), random.pick(&nouns));
        let number = random.below(600);
        let _ = write!(
            text,
            "\n\nasync def async_{verb}_{noun}_{number}(hass, {noun}, {other}_id: str | None = None):\n    \
             \"\"\"{verb} the {noun} and wait for its {other}.\"\"\"\n    \
             if {noun} is None or {other}_id == \"{}\":\n        \
             _LOGGER.debug(\"No {noun} to {verb} for %s\", {other}_id)\n        return None\n    \
             async with asyncio.timeout({}):\n        \
             return await hass.data[\"{component}\"].async_{verb}({noun}, retries={})\n",
            random.hex(8),
            5 + random.below(55),
            random.below(9),
        );
    }
    text
}

/// Pictures: their bytes do not compress.
fn pictures(writer: &mut Writer, random: &mut Random) -> Result<(), Error> {
    for name in ["floorplan.jpg", "doorbell-1.jpg", "doorbell-2.jpg", "garden.jpg"] {
        let mut bytes = vec![0; 300_000 + random.below(900_000) as usize];
        random.bytes(&mut bytes);
        bytes[..11].copy_from_slice(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00");
        let end = bytes.len() - 2;
        bytes[end..].copy_from_slice(b"\xff\xd9");
        writer.file(&format!("www/{name}"), &bytes)?;
    }
    Ok(())
}

/// What Home Assistant's own backup does not take.
fn left_out(writer: &mut Writer, random: &mut Random) -> Result<(), Error> {
    let mut log = String::new();
    for second in 0..6_000_u32 {
        let _ = writeln!(
            log,
            "2026-11-19 {:02}:{:02}:{:02}.{:03} WARNING (MainThread) [homeassistant.components.shelly] Error fetching \
             plug {} data",
            second / 3600,
            second / 60 % 60,
            second % 60,
            random.below(1000),
            random.hex(6)
        );
    }
    writer.file("home-assistant.log", log.as_bytes())?;
    writer.file("home-assistant.log.1", &log.as_bytes()[..log.len() / 2])?;
    writer.file("home-assistant.log.fault", b"")?;
    let mut old = vec![0; 2 << 20];
    random.bytes(&mut old);
    writer.private("backups/Automatic_backup_2026.10.4_2026-11-12_04.45_00000000.tar", &old)?;
    writer.file("backups/notes.txt", b"Kept: only the archives in here are left out.\n")?;
    for _ in 0..4 {
        let mut speech = vec![0; 20_000];
        random.bytes(&mut speech);
        writer.file(&format!("tts/{}_en-us_-_tts.cloud.mp3", random.hex(40)), &speech)?;
    }
    writer.file(".cache/brands/icon.png", &[0x89; 400])?;
    Ok(())
}
