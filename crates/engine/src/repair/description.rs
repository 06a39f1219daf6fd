//! Makes `backup.json` of the new archive: what the old one said, as far as every reader accepts it, corrected by what
//! the archive holds.

use std::collections::{BTreeMap, HashSet};

use habackup::{
    manifest::{self, FOLDERS, Manifest, WallTime, check_name, knows_history},
    readers::OFFICIAL_REPOSITORY,
    version::HaVersion,
};
use jiff::{Timestamp, Zoned};
use serde_json::{Map, Value, json};

use super::{notes::Notes, survey::Survey};

const NAME: &str = "backup.json";
/// 255 bytes of a file name, less date and ending.
const LONGEST_NAME: usize = 225;
/// Holds Supervisor's own settings; no description lists it.
const SUPERVISOR: &str = "supervisor";

/// What is known beside the old description.
#[expect(clippy::struct_excessive_bools, reason = "each is known or not for itself")]
pub(super) struct Known<'a> {
    /// Of the configuration, if there is one.
    pub(super) main: Option<&'a Survey>,
    /// The other inner archives, by name without endings.
    pub(super) parts: BTreeMap<&'a str, &'a Survey>,
    pub(super) rename: Option<&'a str>,
    pub(super) version: Option<&'a HaVersion>,
    pub(super) supervisor_newer: bool,
    /// Some reader minds the number of the form.
    pub(super) version_minded: bool,
    pub(super) compressed: bool,
    pub(super) protected: bool,
    pub(super) now: &'a Zoned,
}

/// Nothing says which version of Home Assistant it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoVersion;

/// In which state a description was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As readers take it.
    Sound,
    /// No JSON that readers take, and yet all of it is there.
    Whole,
    /// Only its beginning is there.
    Cut,
}

/// A description as it was meant, where it is damaged in a way that leaves no doubt, or as much of it as is there; else
/// why it is of no use.
pub(super) fn read(bytes: &[u8]) -> Result<(Map<String, Value>, State), &'static str> {
    if let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) {
        return Ok((fields, State::Sound));
    }
    let wide = |from: fn([u8; 2]) -> u16| {
        String::from_utf16_lossy(&bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect::<Vec<_>>())
    };
    let text = match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    let text = text.trim_start_matches('\u{feff}').trim_matches(['\0', ' ', '\n', '\r', '\t']);
    match serde_json::from_str(&without_last_commas(text)) {
        Ok(Value::Object(fields)) => Ok((fields, State::Whole)),
        Ok(_) => Err("it is not an object"),
        Err(_) if text.is_empty() => Err("it is empty"),
        Err(error) if error.is_eof() => beginning(text).map(|fields| (fields, State::Cut)).ok_or("it is cut short"),
        Err(_) => Err("it is not JSON"),
    }
}

/// The fields before the last comma of an object that is cut short.
fn beginning(text: &str) -> Option<Map<String, Value>> {
    let (mut quoted, mut escaped, mut depth, mut last) = (false, false, 0_u32, None);
    for (at, character) in text.char_indices() {
        match character {
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 1 => last = Some(at),
            _ => {}
        }
        quoted ^= character == '"' && !escaped;
        escaped = quoted && character == '\\' && !escaped;
    }
    serde_json::from_str(&format!("{}}}", &text[..last?])).ok()
}

/// Without commas before a closing bracket, outside texts.
fn without_last_commas(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars() {
        if !quoted && matches!(character, '}' | ']') {
            let kept = out.trim_end();
            if let Some(kept) = kept.strip_suffix(',') {
                out.truncate(kept.len());
            }
        }
        quoted ^= character == '"' && !escaped;
        escaped = quoted && character == '\\' && !escaped;
        out.push(character);
    }
    out
}

/// Rewrites it. `old` may be empty.
pub(super) fn describe(old: Map<String, Value>, known: &Known<'_>, notes: &mut Notes) -> Result<Manifest, NoVersion> {
    let is_new = old.is_empty();
    let before = identity(&old);
    let mut quiet = Notes::default();
    let mut writer = Writer { fields: old, known, notes: if is_new { &mut quiet } else { notes } };
    let version = writer.home_assistant()?;
    let date = writer.date();
    writer.name(&version);
    writer.slug(&date);
    writer.flags();
    writer.folders_and_addons();
    writer.rest();
    if !is_new && writer.notes.is_change() {
        writer.slug_of_its_own(&before, &date);
    }
    let Writer { fields, .. } = writer;
    let text = Value::Object(fields).to_string();
    Manifest::parse(text.as_bytes()).map_err(|_| NoVersion)
}

/// What Supervisor compares when it meets a slug that it knows: all but how the archive is encrypted.
fn identity(fields: &Map<String, Value>) -> Map<String, Value> {
    let is_compared = |key: &str| !matches!(key, "protected" | "crypto" | "docker");
    fields.iter().filter(|(key, _)| is_compared(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

struct Writer<'a> {
    fields: Map<String, Value>,
    known: &'a Known<'a>,
    notes: &'a mut Notes,
}

impl Writer<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Value::as_str)
    }

    fn set(&mut self, key: &str, value: Value, why: &str) {
        if self.fields.get(key) != Some(&value) {
            self.notes.repaired(NAME, format!("{key}: {why}"));
            self.fields.insert(key.to_owned(), value);
        }
    }

    fn remove(&mut self, key: &str, why: &str) {
        if self.fields.remove(key).is_some() {
            self.notes.repaired(NAME, format!("{key}: {why}"));
        }
    }

    /// The section of the configuration; gives the version for a name.
    fn home_assistant(&mut self) -> Result<String, NoVersion> {
        let old = self.fields.get("homeassistant").cloned().unwrap_or(Value::Null);
        let Some(main) = self.known.main else {
            if !old.is_null() {
                self.notes.lost(NAME, "it promises a Home Assistant configuration, but the archive has none");
                self.fields.insert("homeassistant".into(), Value::Null);
            }
            return Ok(String::new());
        };
        let valid = |text: &str| text.parse::<HaVersion>().is_ok();
        let said =
            old.get("version").or(Some(&old)).and_then(Value::as_str).filter(|text| valid(text)).map(str::to_owned);
        let inside = || main.version.clone().filter(|text| valid(text));
        let version = said
            .or_else(inside)
            .or_else(|| self.known.version.map(|version| version.as_str().to_owned()))
            .ok_or(NoVersion)?;
        let mut section = if let Value::Object(section) = old { section } else { Map::new() };
        if section.get("version").and_then(Value::as_str) != Some(version.as_str()) {
            self.notes.repaired(NAME, format!("homeassistant.version: it says {version}"));
            section.insert("version".into(), json!(version));
        }
        let excluded = section.get("exclude_database").cloned();
        // Its maker recorded where the history is instead.
        let is_told = !main.database && !main.lost_database && self.fields.get("extra").is_some_and(knows_history);
        if is_told && excluded.as_ref().is_none_or(Value::is_boolean) {
            // Nothing was left out that the archive was to hold.
        } else if excluded.as_ref().and_then(Value::as_bool).unwrap_or(false) == main.database
            || excluded.as_ref().is_some_and(|flag| !flag.is_boolean())
        {
            if main.database {
                self.notes.repaired(NAME, "it now says that the history is in the archive");
            } else if main.lost_database {
                self.notes.repaired(NAME, "it now says that the history is not in the archive");
            } else {
                self.notes.lost(
                    NAME,
                    "it said that the history is in the archive, but it is not; it now says that it was left out",
                );
            }
            section.insert("exclude_database".into(), json!(!main.database));
        }
        if section.get("size").is_some_and(|size| !is_number(size)) {
            section.remove("size");
            self.notes.repaired(NAME, "homeassistant.size: it was not a number; it is left out");
        }
        self.fields.insert("homeassistant".into(), Value::Object(section));
        Ok(version)
    }

    fn date(&mut self) -> String {
        let old = self.fields.get("date").cloned();
        let (date, why) = match &old {
            Some(Value::String(text)) => match text.parse::<WallTime>() {
                Ok(date) if date.has_zone() => return text.clone(),
                Ok(_) => (format!("{text}+00:00"), "it had no time zone; UTC is assumed"),
                Err(_) => match format!("{text}T00:00:00+00:00").parse::<WallTime>() {
                    Ok(date) => (date.to_string(), "it had no time of day; midnight is assumed"),
                    Err(_) => (self.guessed_date(), "it was not a date; it is now the date of the newest file"),
                },
            },
            Some(Value::Number(number)) => {
                match number.as_f64().and_then(|seconds| Timestamp::from_second(seconds as i64).ok()) {
                    Some(moment) => (WallTime::from(moment).to_string(), "it was a number of seconds"),
                    None => (self.guessed_date(), "it was not a date; it is now the date of the newest file"),
                }
            }
            _ => (self.guessed_date(), "it was missing; it is now the date of the newest file"),
        };
        // A date that was taken apart must be one again.
        let date = date.parse::<WallTime>().map_or_else(|_| self.guessed_date(), |date| date.to_string());
        self.set("date", json!(date), why);
        date
    }

    /// The newest file's, unless that is from the future.
    fn guessed_date(&self) -> String {
        let newest = self
            .known
            .main
            .into_iter()
            .chain(self.known.parts.values().copied())
            .map(|survey| survey.newest)
            .max()
            .unwrap_or_default();
        let now = self.known.now.timestamp();
        match Timestamp::from_second(newest) {
            Ok(moment) if newest > 0 && moment <= now => WallTime::from(moment).to_string(),
            _ => WallTime::from(self.known.now).to_string(),
        }
    }

    fn name(&mut self, version: &str) {
        if let Some(name) = self.known.rename {
            if self.text("name") != Some(name) {
                let before = self.text("name").map_or_else(
                    || "nothing".to_owned(),
                    |name| format!("\"{}\"", crate::text::shown(name.as_bytes())),
                );
                self.notes.repaired(
                    NAME,
                    format!("name: it is \"{}\", and was {before}", crate::text::shown(name.as_bytes())),
                );
                self.fields.insert("name".into(), json!(name));
                self.fields.remove("slug");
            }
            return;
        }
        let old = match self.fields.get("name") {
            Some(Value::String(name)) => name.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let mut name: String = old
            .chars()
            .map(|character| if character.is_control() || matches!(character, '/' | '\\') { '-' } else { character })
            .collect();
        if name.get(1..2) == Some(":") {
            name.replace_range(1..2, "-");
        }
        while name.len() > LONGEST_NAME {
            name.pop();
        }
        if check_name(&name).is_some() || name.trim_matches([' ', '.', '-']).is_empty() {
            name = format!("Repaired backup {version}");
            name.truncate(name.trim_end().len());
        }
        let why =
            format!("it is \"{}\", which every reader can use as a file name", crate::text::shown(name.as_bytes()));
        self.set("name", json!(name), &why);
    }

    fn slug(&mut self, date: &str) {
        let usable = |slug: &str| {
            !slug.is_empty() && slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if !self.text("slug").is_some_and(usable) {
            let slug = manifest::slug(self.text("name").unwrap_or_default(), date);
            self.set("slug", json!(slug), &format!("it is {slug}, derived from name and date"));
        }
    }

    /// Supervisor refuses a backup that has the slug of one that it knows and says something else, and deletes the
    /// file; where the one that it knows is named by its slug, that one is gone as well. So whatever says something
    /// else gets another slug, that follows from what it says.
    fn slug_of_its_own(&mut self, before: &Map<String, Value>, date: &str) {
        let now = identity(&self.fields);
        let is_same_slug = before.contains_key("slug") && before.get("slug") == now.get("slug");
        if is_same_slug && now != *before {
            let name = self.text("name").unwrap_or_default();
            let slug = manifest::slug(&format!("{name} - {}", Value::Object(now)), date);
            let why = format!(
                "it is now {slug}: Supervisor refuses a backup that has another backup's slug and different content, \
                 and deletes its file"
            );
            self.set("slug", json!(slug), &why);
        }
    }

    fn flags(&mut self) {
        if !matches!(self.fields.get("version").and_then(Value::as_i64), Some(2)) {
            if self.known.version_minded {
                self.notes.repaired(NAME, "version: it is 2, the current form");
            }
            self.fields.insert("version".into(), json!(2));
            // The configuration was listed as a folder once.
            if let Some(Value::Array(folders)) = self.fields.get_mut("folders") {
                folders.retain(|folder| folder != "homeassistant");
            }
        }
        if !matches!(self.text("type"), Some("full" | "partial")) {
            self.set("type", json!("partial"), "it is partial");
        }
        let (compressed, protected) = (self.known.compressed, self.known.protected);
        self.set(
            "compressed",
            json!(compressed),
            if compressed { "the archives in it are compressed" } else { "the archives in it are not compressed" },
        );
        if self.fields.get("protected").is_some() || protected {
            self.set(
                "protected",
                json!(protected),
                if protected { "the archives in it are encrypted" } else { "the archives in it are not encrypted" },
            );
        }
        match self.fields.get("crypto") {
            Some(Value::String(crypto)) if crypto == "aes128" && protected => {}
            None | Some(Value::Null) => {}
            Some(_) => self.set("crypto", Value::Null, "it was wrong"),
        }
    }

    fn folders_and_addons(&mut self) {
        let stem = |folder: &str| folder.replace('/', "_");
        let mut undeclared: HashSet<String> =
            self.known.parts.keys().filter(|part| **part != SUPERVISOR).map(|part| (*part).to_owned()).collect();
        let declared = self.list("folders");
        let mut folders: Vec<Value> = Vec::new();
        for folder in declared.iter().flatten() {
            let Some(name) = folder.as_str() else {
                self.notes.repaired(NAME, "folders: one of them was not a name; it is left out");
                continue;
            };
            let is_there = undeclared.remove(&stem(name));
            if name == "homeassistant" {
                folders.push(folder.clone());
            } else if !FOLDERS.contains(&name) {
                let kept = if is_there { "; its archive is kept" } else { "" };
                self.notes.repaired(
                    NAME,
                    format!("folders: no reader knows '{}'; it is left out{kept}", crate::text::shown(name.as_bytes())),
                );
            } else if is_there {
                folders.push(folder.clone());
            } else if !folders.contains(folder) {
                self.notes.lost(NAME, format!("folders: '{name}' is listed but not in the archive"));
            }
        }
        let addons = self.addons(&mut undeclared);
        for folder in FOLDERS.iter().filter(|folder| undeclared.contains(&stem(folder))) {
            self.notes.repaired(NAME, format!("folders: '{folder}' is in the archive but was not listed"));
            folders.push(json!(folder));
        }
        if declared.is_some() || !folders.is_empty() || self.fields.contains_key("folders") {
            self.fields.insert("folders".into(), Value::Array(folders));
        }
        if !addons.is_empty() || self.fields.contains_key("addons") {
            self.fields.insert("addons".into(), Value::Array(addons));
        }
    }

    /// A list, if it is one; a note if it is something else.
    fn list(&mut self, key: &str) -> Option<Vec<Value>> {
        match self.fields.get(key) {
            None => None,
            Some(Value::Array(list)) => Some(list.clone()),
            Some(_) => {
                self.notes.repaired(NAME, format!("{key}: it was not a list"));
                None
            }
        }
    }

    fn addons(&mut self, undeclared: &mut HashSet<String>) -> Vec<Value> {
        let is_addon = |part: &str| !FOLDERS.iter().any(|folder| folder.replace('/', "_") == part);
        let mut addons = Vec::new();
        for addon in self.list("addons").into_iter().flatten() {
            let mut fields = match addon {
                Value::String(slug) => Map::from_iter([("slug".to_owned(), json!(slug))]),
                Value::Object(fields) => fields,
                _ => {
                    self.notes.repaired(NAME, "addons: one of them was not an add-on; it is left out");
                    continue;
                }
            };
            let slug = fields.get("slug").and_then(Value::as_str).map(str::to_owned).or_else(|| {
                let mut others = undeclared.iter().filter(|part| is_addon(part));
                others.next().filter(|_| others.next().is_none()).cloned()
            });
            let who = slug
                .clone()
                .or_else(|| fields.get("name").and_then(Value::as_str).map(str::to_owned))
                .unwrap_or_else(|| "one without a name".to_owned());
            let who = crate::text::shown(who.as_bytes());
            let Some(slug) = slug.filter(|slug| undeclared.remove(slug)) else {
                self.notes.lost(NAME, format!("addons: {who} is listed but not in the archive"));
                continue;
            };
            if self.complete(&slug, &mut fields) {
                self.notes.repaired(NAME, format!("addons: missing fields of {who} are filled in"));
            }
            addons.push(Value::Object(fields));
        }
        let mut others: Vec<String> = undeclared.iter().filter(|part| is_addon(part)).cloned().collect();
        others.sort_unstable();
        for slug in others {
            undeclared.remove(&slug);
            let mut fields = Map::new();
            self.complete(&slug, &mut fields);
            self.notes.repaired(
                NAME,
                format!("addons: {} is in the archive but was not listed", crate::text::shown(slug.as_bytes())),
            );
            addons.push(Value::Object(fields));
        }
        addons
    }

    /// Fills in what readers want of an add-on; whether anything was missing.
    fn complete(&self, slug: &str, fields: &mut Map<String, Value>) -> bool {
        let said = self.known.parts.get(slug).and_then(|survey| survey.addon.clone());
        let (name, version) = said.unwrap_or_else(|| (slug.to_owned(), "0".to_owned()));
        let mut changed = false;
        for (key, value) in [("slug", slug), ("name", &name), ("version", &version)] {
            if !fields.get(key).is_some_and(Value::is_string) {
                fields.insert(key.to_owned(), json!(value));
                changed = true;
            }
        }
        if fields.get("size").is_some_and(|size| !is_number(size)) {
            fields.remove("size");
            changed = true;
        }
        changed
    }

    fn rest(&mut self) {
        if self.fields.get("extra").is_some_and(|extra| !extra.is_object()) {
            self.set("extra", json!({}), "it is empty");
        }
        if self.fields.get("docker").is_some_and(|docker| !docker.is_object()) {
            self.remove("docker", "it was not an object; it is left out");
        }
        if let Some(list) = self.fields.get("repositories").cloned() {
            let is_address = |value: &Value| {
                value.as_str().is_some_and(|text| {
                    text.contains("://") || text.starts_with("git@") || matches!(text, "core" | "local")
                })
            };
            let built_in = json!(OFFICIAL_REPOSITORY);
            let kept: Vec<Value> = list
                .as_array()
                .into_iter()
                .flatten()
                .filter(|value| is_address(value) && **value != built_in)
                .cloned()
                .collect();
            let why = if list.as_array().is_some_and(|list| list.contains(&built_in)) {
                "Supervisor always has its own repository, and fails at its address"
            } else {
                "entries that were not addresses are left out"
            };
            self.set("repositories", json!(kept), why);
        }
        let is_text = self.fields.get("supervisor_version").is_none_or(Value::is_string);
        if !is_text || self.known.supervisor_newer {
            self.remove(
                "supervisor_version",
                "it kept every older Supervisor from restoring the archive; it is left out",
            );
        }
    }
}

fn is_number(value: &Value) -> bool {
    value.is_number() || value.as_str().is_some_and(|text| text.trim().parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_description_is_read_as_it_was_meant() {
        let meant = |bytes: &[u8]| read(bytes).map(|(fields, state)| (Value::Object(fields).to_string(), state));
        let is = |text: &str, state| Ok((text.to_owned(), state));
        assert_eq!(meant(br#"{"a":[1,2]}"#), is(r#"{"a":[1,2]}"#, State::Sound));
        assert_eq!(meant(b"\xef\xbb\xbf{\"a\":1}"), is(r#"{"a":1}"#, State::Whole));
        assert_eq!(meant(br#"{"a":[1,2,],"b":",}",}"#), is(r#"{"a":[1,2],"b":",}"}"#, State::Whole));
        for cut in [
            r#"{"a":1,"b":{"c":2},"d":"x,y\"","#,
            r#"{"a":1,"b":{"c":2},"d":"x,y\"","e"#,
            r#"{"a":1,"b":{"c":2},"d":"x,y\"","e":{"f":1,"#,
        ] {
            assert_eq!(meant(cut.as_bytes()), is(r#"{"a":1,"b":{"c":2},"d":"x,y\""}"#, State::Cut));
        }
        let wide: Vec<u8> =
            [0xfeff_u16].into_iter().chain("{\"a\":1}".encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert_eq!(meant(&wide), is(r#"{"a":1}"#, State::Whole));
        assert_eq!(read(b"\0\0\0").unwrap_err(), "it is empty");
        assert_eq!(read(b"[1]").unwrap_err(), "it is not an object");
        assert_eq!(read(b"{\"a\":").unwrap_err(), "it is cut short");
        assert_eq!(read(b"{\"a\":x}").unwrap_err(), "it is not JSON");
    }
}
