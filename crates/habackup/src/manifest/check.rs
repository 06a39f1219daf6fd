//! What Core and Supervisor require of `backup.json`, taken from their schemas and from the code that uses the fields.
//! Each finding names the reader that objects and what happens then.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Manifest, WallTime};
use crate::problem::{Problem, Severity, shown};
use crate::readers::OFFICIAL_REPOSITORY;
use crate::version::HaVersion;

/// The folders both readers know.
pub const FOLDERS: [&str; 4] = ["share", "addons/local", "ssl", "media"];

/// 255 bytes of a file name, less `_2026-11-22_00.41_00123456.tar`.
const NAME_MAX: usize = 225;

/// Says why `name` cannot be a backup's name: Home Assistant makes a file name of it, also for Windows.
pub fn check_name(name: &str) -> Option<&'static str> {
    let mut characters = name.chars();
    let drive = characters.next().is_some_and(|first| first.is_ascii_alphabetic()) && characters.next() == Some(':');
    if matches!(name, "" | "." | "..") {
        Some("a backup's name cannot be empty, '.' or '..'")
    } else if name.contains(['/', '\\']) {
        Some("a backup's name cannot contain '/' or '\\', because it becomes a file name")
    } else if drive {
        Some("a backup's name cannot begin like a Windows drive, such as 'C:'")
    } else if name.contains('\0') {
        Some("a backup's name cannot contain a zero character")
    } else if name.len() > NAME_MAX {
        Some("a backup's name cannot be longer than 225 bytes, because the file name adds the date to it")
    } else {
        None
    }
}

struct Findings(Vec<Problem>);

impl Findings {
    fn refused(&mut self, text: impl Into<String>) {
        self.0.push(Problem::new(Severity::Refused, text));
    }
    fn lost(&mut self, text: impl Into<String>) {
        self.0.push(Problem::new(Severity::Lost, text));
    }
    fn notice(&mut self, text: impl Into<String>) {
        self.0.push(Problem::new(Severity::Notice, text));
    }
}

impl Manifest {
    /// Everything in the description that Core or Supervisor refuses or misreads; empty for a good one.
    pub fn check(&self) -> Vec<Problem> {
        let mut findings = Findings(Vec::new());
        self.check_required(&mut findings);
        self.check_flags(&mut findings);
        self.check_home_assistant(&mut findings);
        self.check_folders(&mut findings);
        self.check_addons(&mut findings);
        self.check_rest(&mut findings);
        findings.0
    }

    fn check_required(&self, findings: &mut Findings) {
        for key in ["slug", "name", "date", "type"] {
            match self.get(key) {
                Some(Value::String(_)) => {}
                None if key == "type" => findings.refused("'type' is missing; Supervisor refuses the backup"),
                None => findings.refused(format!(
                    "'{key}' is missing; Core can no longer list its backups, and Supervisor refuses this one"
                )),
                Some(Value::Number(_)) if key == "slug" => {
                    findings.refused("'slug' is a number; Core accepts it, Supervisor refuses the backup");
                }
                Some(_) => findings.refused(format!("'{key}' is not a string; Core and Supervisor refuse the backup")),
            }
        }
        match self.slug() {
            Some("") => findings.notice("'slug' is empty; readers accept it anyway"),
            Some(slug) if slug.contains('/') => findings.refused(format!(
                "'slug' is '{}', which cannot be a file name; Supervisor refuses the upload",
                shown(slug)
            )),
            _ => {}
        }
        if let Some(kind) = self.text("type")
            && !matches!(kind, "full" | "partial")
        {
            findings.refused(format!("'type' is '{}'; Supervisor knows only 'full' and 'partial'", shown(kind)));
        }
        if let Some(reason) = self.name().and_then(check_name) {
            findings.refused(format!("{reason}; Core refuses the upload"));
        }
        match self.date().map(str::parse::<WallTime>) {
            Some(Err(_)) if self.date().is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok()) => {
                findings.notice("'date' has no time of day, so readers take it for midnight in their own time zone");
            }
            Some(Err(error)) => findings.refused(format!("{error}; Core refuses the upload")),
            Some(Ok(date)) if !date.has_zone() => {
                findings.notice("'date' has no time zone, so readers take it for a time in their own");
            }
            _ => {}
        }
        if let (Some(name), Some(date), Some(slug)) = (self.name(), self.date(), self.slug())
            && slug != super::slug(name, date)
        {
            // Core and Supervisor never compare it, and renaming a backup is legitimate.
            findings.notice("'slug' does not match date and name; somebody changed backup.json");
        }
    }

    fn check_flags(&self, findings: &mut Findings) {
        match self.get("version") {
            None => findings.notice("'version' is missing; Supervisor takes the backup for one of the oldest format"),
            Some(version) if matches!(coerced(version), Some(1 | 2)) => {}
            Some(_) => findings.refused("'version' is neither 1 nor 2; Supervisor refuses the backup"),
        }
        match self.get("compressed") {
            Some(Value::Bool(_)) => {}
            None => findings.refused("'compressed' is missing; Core fails to restore the backup"),
            Some(_) => {
                findings.refused("'compressed' is neither true nor false; Core and Supervisor may read it differently");
            }
        }
        if !matches!(self.get("protected"), None | Some(Value::Bool(_))) {
            findings.notice(
                "'protected' is neither true nor false; unless it is empty, readers take it for true and ask for a \
                 password",
            );
        }
        if !matches!(self.get("crypto"), None | Some(Value::Null)) && self.text("crypto") != Some("aes128") {
            findings.refused("'crypto' is not 'aes128'; Supervisor refuses the backup");
        }
    }

    fn check_home_assistant(&self, findings: &mut Findings) {
        let section = match self.get("homeassistant") {
            None | Some(Value::Null) => {
                findings.notice("the backup holds no Home Assistant configuration; only Supervisor can restore it");
                return;
            }
            Some(Value::Object(section)) => section,
            Some(_) => {
                findings.refused("'homeassistant' is not an object; Core and Supervisor refuse the backup");
                return;
            }
        };
        match section.get("version") {
            None => findings.refused("'homeassistant.version' is missing; Core fails to restore the backup"),
            Some(Value::String(version)) if version.parse::<HaVersion>().is_ok() => {}
            Some(version) => findings.refused(format!(
                "'homeassistant.version' is {}, which is not a Home Assistant version; Core cannot compare it with its \
                 own",
                shown(&version.to_string())
            )),
        }
        if !matches!(section.get("exclude_database"), None | Some(Value::Bool(_))) {
            findings
                .refused("'homeassistant.exclude_database' is neither true nor false; Supervisor refuses the backup");
        }
        check_size(section, "homeassistant.size", findings);
    }

    fn check_folders(&self, findings: &mut Findings) {
        let Some(folders) = self.array("folders", findings) else {
            return;
        };
        let mut seen = HashSet::new();
        for folder in folders {
            match folder.as_str() {
                None => findings
                    .refused("'folders' lists something that is not a string; Core can no longer list its backups"),
                // The oldest descriptions have it, and both readers still take it.
                Some("homeassistant") => {}
                Some(folder) if !FOLDERS.contains(&folder) => findings.refused(format!(
                    "'folders' lists '{}' and may list only share, addons/local, ssl and media; Core can no longer \
                     list its backups, and Supervisor refuses this one",
                    shown(folder)
                )),
                Some(folder) if !seen.insert(folder) => {
                    findings.refused(format!("'folders' lists '{folder}' twice; Supervisor refuses the backup"));
                }
                Some(_) => {}
            }
        }
    }

    fn check_addons(&self, findings: &mut Findings) {
        let Some(addons) = self.array("addons", findings) else {
            return;
        };
        let mut seen = HashSet::new();
        for (number, addon) in addons.iter().enumerate() {
            let Some(fields) = addon.as_object() else {
                findings.refused("'addons' lists something that is not an object; Core can no longer list its backups");
                continue;
            };
            let who = fields
                .get("slug")
                .and_then(Value::as_str)
                .map_or_else(|| format!("number {}", number + 1), |slug| format!("'{}'", shown(slug)));
            for key in ["slug", "name", "version"] {
                if !fields.get(key).is_some_and(Value::is_string) {
                    findings.refused(format!(
                        "the add-on {who} has no {key}; Core can no longer list its backups, and Supervisor refuses \
                         this one"
                    ));
                }
            }
            check_size(fields, &format!("size of the add-on {who}"), findings);
            if let Some(slug) = fields.get("slug").and_then(Value::as_str)
                && !seen.insert(slug)
            {
                findings.refused(format!("the add-on {who} is listed twice; Supervisor refuses the backup"));
            }
        }
    }

    fn check_rest(&self, findings: &mut Findings) {
        if let Some(repositories) = self.array("repositories", findings)
            && !repositories.iter().all(Value::is_string)
        {
            findings.refused("'repositories' lists something that is not a string; Supervisor refuses the backup");
        }
        let lists_official = self
            .get("repositories")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|entry| *entry == OFFICIAL_REPOSITORY));
        if lists_official && self.get("addons").and_then(Value::as_array).is_some_and(|addons| !addons.is_empty()) {
            findings.lost(format!(
                "'repositories' lists {OFFICIAL_REPOSITORY}, which every Supervisor already has as `core`: it stops \
                 there and restores no add-ons"
            ));
        }
        for key in ["extra", "docker"] {
            if !matches!(self.get(key), None | Some(Value::Object(_))) {
                findings.refused(format!("'{key}' is not an object; Core or Supervisor refuses the backup"));
            }
        }
        if !matches!(self.get("supervisor_version"), None | Some(Value::String(_))) {
            findings.refused("'supervisor_version' is not a string; Supervisor refuses the backup");
        }
    }

    fn array(&self, key: &str, findings: &mut Findings) -> Option<&[Value]> {
        let value = self.get(key)?;
        if !value.is_array() {
            findings.refused(format!("'{key}' is not a list; Core or Supervisor refuses the backup"));
        }
        value.as_array().map(Vec::as_slice)
    }
}

fn check_size(fields: &Map<String, Value>, what: &str, findings: &mut Findings) {
    let number = fields
        .get("size")
        .is_none_or(|size| size.is_number() || size.as_str().is_some_and(|text| text.trim().parse::<f64>().is_ok()));
    if !number {
        findings.refused(format!("the {what} is not a number; Supervisor refuses the backup"));
    }
}

/// What Supervisor's schema makes of a whole number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a number with a fraction is cut, a larger one becomes the largest, as in Python"
)]
fn coerced(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    }
}
