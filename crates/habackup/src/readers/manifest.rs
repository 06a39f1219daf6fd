//! `backup.json`: what keeps a backup from being listed, uploaded or restored.
//!
//! Core: `read_backup` in `components/backup/util.py`, in the order of its lines, then `suggested_filename` for an
//! upload. Its list survives `OSError`, `TarError`, `JSONDecodeError` and `KeyError`; whatever else is raised breaks
//! the list of all local backups. Supervisor: the schema in `backups/validate.py`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::facts::{Facts, truthy};
use super::{Defect, Effect, Finding, Reader, Stage};
use crate::manifest::{FOLDERS, WallTime};
use crate::names::MANIFEST;
use crate::problem::shown;
use crate::version::HaVersion;

const LIST: Effect = Effect::Refuses(Stage::List);
const LIST_OF_ALL: Effect = Effect::Refuses(Stage::ListOfAll);
const UNPACK: Effect = Effect::Refuses(Stage::Unpack);
/// Of Supervisor's schema; what follows names the field.
const INVALID: Option<&str> = Some("Can't validate data for …");
const BY_HAND: &str = "it was edited by hand or made by another tool";
const REWRITE: &str = "`haul repair` writes a backup.json that every reader accepts";

/// What is refused when the backup is listed or uploaded.
pub(super) fn find_listed(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(description) = facts.description.as_ref().filter(|description| description.name == MANIFEST) else {
        return;
    };
    let value = match &description.value {
        Ok(value) => value,
        Err(problem) => {
            let says = |text: &str| format!("orjson.JSONDecodeError: {text}");
            let finding = Finding::new(
                Defect::ManifestNotJson,
                "backup.json is not valid JSON",
                "it was edited by hand, written in another encoding, or damaged",
                REWRITE,
            );
            let finding = finding.at(MANIFEST);
            let finding = finding.reader(Reader::CoreBefore20263, LIST, Some(&says(&problem.text)));
            let finding = finding.reader(Reader::CoreSince20263, LIST, Some(&says(&problem.text_since_20263)));
            found.push(if problem.only_for_core {
                finding
            } else {
                finding.supervisor(LIST, Some("Can't read data for …"))
            });
            return;
        }
    };
    let Some(fields) = value.as_object() else {
        let says = format!("ValueError: Expected JSON to be parsed as a dict got <class '{}'>", python_type(value));
        let finding = Finding::new(Defect::ManifestNotObject, "backup.json is not a JSON object", BY_HAND, REWRITE);
        found.push(finding.at(MANIFEST).cores(&LIST_OF_ALL, Some(&says)).supervisor(LIST, INVALID));
        return;
    };
    let mut list = Listed { fields, found };
    list.addons();
    list.folders();
    list.extra();
    list.present();
    list.slug();
    list.name();
    list.date();
    list.schema();
}

/// The repository of the add-ons that Home Assistant itself makes.
pub const OFFICIAL_REPOSITORY: &str = "https://github.com/home-assistant/addons";

struct Listed<'a> {
    fields: &'a Map<String, Value>,
    found: &'a mut Vec<Finding>,
}

impl Listed<'_> {
    fn push(&mut self, finding: Finding) {
        self.found.push(finding.at(MANIFEST));
    }

    fn finding(defect: Defect, what: impl Into<String>) -> Finding {
        Finding::new(defect, what, BY_HAND, REWRITE)
    }

    fn both(&mut self, defect: Defect, what: impl Into<String>, effect: &Effect, says: &str) {
        self.push(Self::finding(defect, what).cores(effect, Some(says)).supervisor(LIST, INVALID));
    }

    fn addons(&mut self) {
        let Some(addons) = self.fields.get("addons") else { return };
        let Some(addons) = addons.as_array() else {
            let says = format!("TypeError: '{}' object is not iterable", python_type(addons));
            return self.both(Defect::Addons, "'addons' is not a list", &LIST_OF_ALL, &says);
        };
        let mut slugs = HashSet::new();
        for addon in addons {
            let Some(fields) = addon.as_object() else {
                let says = format!("TypeError: {}", not_an_object(addon));
                return self.both(
                    Defect::Addons,
                    "'addons' lists something that is not an object",
                    &LIST_OF_ALL,
                    &says,
                );
            };
            let who = fields.get("slug").or(fields.get("name")).and_then(Value::as_str).unwrap_or("without a name");
            if let Some(key) = ["name", "slug", "version"].iter().find(|key| !fields.contains_key(**key)) {
                let what = format!("the add-on {} has no {key}", shown(who));
                return self.both(Defect::Addons, what, &LIST, &format!("KeyError: '{key}'"));
            }
            if !fields.get("slug").and_then(Value::as_str).is_none_or(|slug| slugs.insert(slug)) {
                self.push(
                    Self::finding(Defect::Addons, format!("the add-on {} is listed twice", shown(who)))
                        .supervisor(LIST, INVALID),
                );
            }
        }
    }

    fn folders(&mut self) {
        let Some(folders) = self.fields.get("folders") else { return };
        let Some(folders) = folders.as_array() else {
            let says = format!("TypeError: '{}' object is not iterable", python_type(folders));
            let finding = Self::finding(Defect::Folders, "'folders' is not a list").cores(&LIST_OF_ALL, Some(&says));
            // `v1_folderlist` looks for something in it before the schema sees what it is.
            let raised =
                format!("TypeError: argument of type '{}' is not a container or iterable", python_type(folders));
            let has_no_in = matches!(folders, Value::Null | Value::Bool(_) | Value::Number(_));
            return self.push(finding.supervisor(LIST, if has_no_in { Some(&raised) } else { INVALID }));
        };
        // The oldest descriptions name the configuration there, which all readers take.
        let known = |folder: &&Value| {
            folder.as_str().is_some_and(|folder| folder == "homeassistant" || FOLDERS.contains(&folder))
        };
        if let Some(folder) = folders.iter().find(|folder| !known(folder)) {
            let text = folder.as_str().map_or_else(|| folder.to_string(), |text| format!("'{}'", shown(text)));
            let what = format!("'folders' lists {text}; it may list only share, addons/local, ssl and media");
            self.both(Defect::Folders, what, &LIST_OF_ALL, &format!("ValueError: {text} is not a valid Folder"));
        }
        let mut names = HashSet::new();
        if let Some(folder) = folders.iter().filter_map(Value::as_str).find(|folder| !names.insert(*folder)) {
            self.push(
                Self::finding(Defect::Folders, format!("'folders' lists '{}' twice", shown(folder)))
                    .supervisor(LIST, INVALID),
            );
        }
    }

    fn extra(&mut self) {
        if let Some(extra) = self.fields.get("extra").filter(|extra| !extra.is_object()) {
            let says = format!("AttributeError: '{}' object has no attribute 'get'", python_type(extra));
            self.both(Defect::Extra, "'extra' is not an object", &LIST_OF_ALL, &says);
        }
    }

    /// In the order in which Core asks for them.
    fn present(&mut self) {
        for (key, defect) in [("date", Defect::Date), ("slug", Defect::Slug), ("name", Defect::Name)] {
            if !self.fields.contains_key(key) {
                self.both(defect, format!("'{key}' is missing"), &LIST, &format!("KeyError: '{key}'"));
            }
        }
    }

    fn slug(&mut self) {
        let finding = match self.fields.get("slug") {
            Some(list @ (Value::Array(_) | Value::Object(_))) => {
                let kind = python_type(list);
                let says = format!("unhashable type: '{kind}'");
                // Python 3.14 says more.
                let says_more = format!("TypeError: cannot use '{kind}' as a dict key ({says})");
                Self::finding(Defect::Slug, "'slug' is not a string")
                    .reader(Reader::CoreBefore20263, LIST_OF_ALL, Some(&format!("TypeError: {says}")))
                    .reader(Reader::CoreSince20263, LIST_OF_ALL, Some(&says_more))
                    .supervisor(LIST, INVALID)
            }
            Some(Value::String(slug)) if slug.contains('/') => {
                Self::finding(Defect::Slug, format!("'slug' is '{}', which cannot be a file name", shown(slug)))
                    .supervisor(Effect::RefusesUpload, Some("Can't move backup file to storage"))
            }
            Some(Value::String(slug)) if slug.is_empty() => {
                Self::finding(Defect::Slug, "'slug' is empty; readers accept it anyway")
            }
            Some(Value::String(_)) | None => return,
            Some(other) => Self::finding(Defect::Slug, format!("'slug' is {other}, which is not a string"))
                .supervisor(LIST, INVALID),
        };
        self.push(finding);
    }

    /// Old Cores make the file's name of it as it is; newer ones compare it with what Windows would take for a file's
    /// name (`InvalidBackupFilename`).
    fn name(&mut self) {
        let Some(name) = self.fields.get("name") else { return };
        let Some(name) = name.as_str() else {
            let says = format!(
                "TypeError: argument should be a str or an os.PathLike object where __fspath__ returns a str, not '{}'",
                python_type(name)
            );
            return self.push(
                Self::finding(Defect::Name, "'name' is not a string")
                    .new_core(LIST_OF_ALL, Some(&says))
                    .supervisor(LIST, INVALID),
            );
        };
        let mut finding = Self::finding(Defect::Name, format!("the name '{}' cannot be a file name", shown(name)));
        if name.starts_with('/') {
            finding = finding
                .old_core(Effect::Changes("the upload is stored outside the backup folder, or refused".into()), None);
        } else if name.contains('/') {
            finding = finding
                .old_core(Effect::RefusesUpload, Some("Can't write backup file: [Errno 2] No such file or directory"));
        } else if name.len() > 255 - "_2026-11-22_10.00_00000000.tar".len() {
            finding =
                finding.cores(&Effect::RefusesUpload, Some("Can't write backup file: [Errno 36] File name too long"));
        }
        if !is_windows_name(name) {
            finding = finding.new_core(LIST, Some(&format!("Invalid backup name: {}", python_text(name))));
        }
        if !finding.outcomes.is_empty() {
            self.push(finding);
        }
    }

    /// `suggested_filename`, which only an upload asks for.
    fn date(&mut self) {
        let date = match self.fields.get("extra").and_then(|extra| extra.get("supervisor.backup_request_date")) {
            Some(requested) => requested,
            None => match self.fields.get("date") {
                Some(date) => date,
                None => return,
            },
        };
        let (what, says) = match date.as_str() {
            None => (format!("'date' is {date}, which is not a string"), "TypeError: argument must be str"),
            Some(text) if text.parse::<WallTime>().is_err() && !is_bare_date(text) => {
                (format!("'date' is '{}', which is not an ISO 8601 date", shown(text)), "ValueError")
            }
            Some(_) => return,
        };
        let finding = Self::finding(Defect::Date, what).cores(&Effect::RefusesUpload, Some(says));
        // Any text will do for it.
        self.push(if date.is_string() { finding } else { finding.supervisor(LIST, INVALID) });
    }

    /// What only Supervisor's schema asks for.
    fn schema(&mut self) {
        let mut refused = Vec::new();
        match self.fields.get("version") {
            None | Some(Value::Number(_))
                if !matches!(self.fields.get("version").and_then(Value::as_i64), None | Some(1 | 2)) =>
            {
                let finding =
                    Self::finding(Defect::ManifestVersion, "'version' is neither 1 nor 2").supervisor(LIST, INVALID);
                self.push(finding);
            }
            _ => {}
        }
        if !matches!(self.fields.get("type").and_then(Value::as_str), Some("full" | "partial")) {
            refused.push("type");
        }
        if self.fields.get("repositories").is_some_and(|list| !are_repositories(list)) {
            refused.push("repositories");
        }
        self.built_in();
        for key in refused {
            self.push(
                Self::finding(Defect::ManifestField, format!("'{key}' has no value that Supervisor accepts"))
                    .supervisor(LIST, INVALID),
            );
        }
        self.supervisor();
    }

    /// Supervisor knows its own repository by another name, and stops at the address before it comes to the add-ons.
    fn built_in(&mut self) {
        let repositories = self.fields.get("repositories").and_then(Value::as_array);
        let is_there =
            repositories.is_some_and(|list| list.iter().any(|entry| entry.as_str() == Some(OFFICIAL_REPOSITORY)));
        let has_addons = self.fields.get("addons").and_then(Value::as_array).is_some_and(|addons| !addons.is_empty());
        if is_there && has_addons {
            let what =
                format!("'repositories' lists {OFFICIAL_REPOSITORY}, which every Supervisor already has as `core`");
            let effect = Effect::Loses("the add-ons".into());
            self.push(
                Self::finding(Defect::Repository, what)
                    .supervisor(effect, Some("Can't add core, already in the store")),
            );
        }
    }

    /// Supervisor restores no backup from a newer Supervisor. Nobody knows which Supervisor will read this one, but its
    /// own date shows whether that version existed when the backup was made.
    fn supervisor(&mut self) {
        let Some(version) = self.fields.get("supervisor_version").and_then(Value::as_str) else { return };
        let date = self.fields.get("date").and_then(Value::as_str).unwrap_or_default();
        let Some((released, made)) = month(version, '.').zip(month(date, '-')) else { return };
        // Clocks are wrong at times, and a beta comes out before its month.
        if released <= made + 12 {
            return;
        }
        let version = shown(version);
        let finding = Finding::new(
            Defect::SupervisorNewer,
            format!(
                "it says that Supervisor {version} made the backup, but that version did not exist at the backup's date"
            ),
            "it was edited by hand, or the clock was wrong; Supervisor restores no backup from a newer Supervisor",
            "`haul repair` removes that field",
        );
        let effect = Effect::Changes(format!(
            "only Supervisor {version} and newer do; older ones say that a newer Supervisor made it"
        ));
        self.push(finding.supervisor(effect, None));
    }
}

/// What a restore asks the description for, before it unpacks anything (`_extract_backup`).
pub(super) fn find_restored(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(description) = facts.description.as_ref().filter(|description| description.name == MANIFEST) else {
        return;
    };
    let Some(fields) = description.value.as_ref().ok().and_then(Value::as_object) else { return };
    home_assistant(facts, fields, found);
    if !fields.contains_key("compressed") {
        let finding = Finding::new(Defect::CompressedMissing, "'compressed' is missing", BY_HAND, REWRITE).at(MANIFEST);
        found.push(finding.cores(&UNPACK, Some("KeyError: 'compressed'")));
    } else if let Some(main) = &facts.main {
        let compressed = fields.get("compressed").is_some_and(truthy);
        if main.name == if compressed { "homeassistant.tar" } else { "homeassistant.tar.gz" } {
            let what = format!("'compressed' is {compressed}, so readers do not look for {}", main.name);
            let finding =
                Finding::new(Defect::CompressedFlag, what, BY_HAND, "`haul repair` makes both agree").at(MANIFEST);
            let missing = format!(
                "Backup does not contain {}",
                if compressed { "homeassistant.tar.gz" } else { "homeassistant.tar" }
            );
            found.push(
                finding
                    .old_core(UNPACK, Some("Backup file … does not exist"))
                    .new_core(UNPACK, Some(&missing))
                    .supervisor(UNPACK, None),
            );
        }
    }
}

fn home_assistant(facts: &Facts, fields: &Map<String, Value>, found: &mut Vec<Finding>) {
    let says = match fields.get("homeassistant") {
        None => "KeyError: 'homeassistant'".to_owned(),
        Some(Value::Object(section)) => match section.get("version") {
            Some(Value::String(version)) => return version_of(facts, version, found),
            None => "KeyError: 'version'".to_owned(),
            Some(Value::Null) => "Can't compare".to_owned(),
            Some(_) => {
                let finding =
                    Finding::new(Defect::HomeAssistant, "'homeassistant.version' is not a string", BY_HAND, REWRITE)
                        .at(MANIFEST);
                found.push(finding.cores(&UNPACK, Some("Can't compare")).supervisor(LIST, INVALID));
                return;
            }
        },
        Some(other) => format!("TypeError: {}", not_an_object(other)),
    };
    // Without a configuration, Core has nothing to restore; another finding says so.
    if facts.main.is_none() {
        return;
    }
    let finding = Finding::new(
        Defect::HomeAssistant,
        "'homeassistant' does not say which version made the configuration",
        BY_HAND,
        REWRITE,
    )
    .at(MANIFEST);
    let finding = finding.cores(&UNPACK, Some(&says));
    // What says no version is no Home Assistant to `v1_homeassistant`, which asks anything else for its keys.
    found.push(match fields.get("homeassistant") {
        Some(other) if truthy(other) && !other.is_object() => finding
            .supervisor(LIST, Some(&format!("AttributeError: '{}' object has no attribute 'get'", python_type(other)))),
        _ => finding.supervisor(Effect::Loses("the configuration: it does not notice that there is one".into()), None),
    });
}

fn version_of(facts: &Facts, version: &str, found: &mut Vec<Finding>) {
    let says = format!("You need at least Home Assistant version {} to restore this backup", shown(version));
    let Ok(made_by) = version.parse::<HaVersion>() else {
        let finding = Finding::new(
            Defect::HomeAssistant,
            format!("'{}' is not a Home Assistant version", shown(version)),
            BY_HAND,
            REWRITE,
        )
        .at(MANIFEST);
        let tries = Effect::Changes("after the restore, it tries to install that version and fails".into());
        found.push(finding.cores(&UNPACK, Some(&says)).supervisor(tries, None));
        return;
    };
    let mut finding = Finding::new(
        Defect::VersionNewer,
        format!("Home Assistant {made_by} made the backup"),
        "Core restores no backup from a newer version; Supervisor installs that version",
        "update the target first",
    )
    .at(MANIFEST);
    for reader in Reader::ALL {
        if reader.version(&facts.asked).is_some_and(|own| made_by > own) {
            finding = finding.reader(reader, UNPACK, Some(&says));
        }
    }
    if !finding.outcomes.is_empty() {
        found.push(finding);
    }
}

/// Whether `PureWindowsPath(name).name == name`, and a file can be called so.
fn is_windows_name(name: &str) -> bool {
    let drive = name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\']) && !drive
}

/// What `supervisor/store/validate.py` takes: built-in names and addresses, each once.
fn are_repositories(list: &Value) -> bool {
    let is_one = |text: &str| {
        let address = text.split('#').next().unwrap_or_default();
        matches!(text, "core" | "local")
            || address.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
    };
    let mut seen = HashSet::new();
    list.as_array().is_some_and(|list| {
        list.iter().all(|entry| entry.as_str().is_some_and(|text| is_one(text) && seen.insert(text)))
    })
}

/// The month of a Supervisor's version or of a date, counted from the year 0.
fn month(text: &str, separator: char) -> Option<u64> {
    let mut numbers = text.split(separator).map(str::parse::<u32>);
    let (year, month) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(u64::from(year) * 12 + u64::from(month))
}

fn is_bare_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok()
}

fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// What `value["key"]` raises.
fn not_an_object(value: &Value) -> String {
    match value {
        Value::String(_) => "string indices must be integers, not 'str'".to_owned(),
        Value::Array(_) => "list indices must be integers or slices, not str".to_owned(),
        other => format!("'{}' object is not subscriptable", python_type(other)),
    }
}

fn python_text(text: &str) -> String {
    format!("'{}'", shown(text).replace('\\', "\\\\"))
}
