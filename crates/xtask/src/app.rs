//! Checks `app/`, which Home Assistant's Supervisor reads, against Supervisor's rules and against the program: Supervisor
//! leaves out an app that it does not understand, and says so only in its log.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::yaml;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What each pixel is made of in a picture that shows what is behind it.
const WITH_ALPHA: u8 = 6;
/// The best that an app with the role of a manager can have.
const RATING: i64 = 7;
/// The longest side of the logo.
const LOGO: (u32, u32) = (250, 100);
const ICON: (u32, u32) = (128, 128);

/// What a key may say.
enum May {
    Text,
    Flag,
    Texts,
    OneOf(&'static [&'static str]),
    /// Several of these.
    Of(&'static [&'static str]),
    Number(i64, i64),
    Folders,
}
use May::{Flag, Folders, Number, Of, OneOf, Text, Texts};

/// The keys that Supervisor knows, as far as we use them or they would be worth a thought. It ignores all others, so a
/// key with a slip in it would do nothing. (`options`, `schema` and `ports` would need translations as well.)
const KEYS: &[(&str, May)] = &[
    ("name", Text),
    ("version", Text),
    ("slug", Text),
    ("description", Text),
    ("url", Text),
    ("arch", Of(&["aarch64", "amd64"])),
    ("stage", OneOf(&["stable", "experimental", "deprecated"])),
    ("homeassistant", Text),
    ("startup", OneOf(&["initialize", "system", "services", "application", "once"])),
    ("boot", OneOf(&["auto", "manual", "manual_only"])),
    ("init", Flag),
    ("timeout", Number(10, 300)),
    ("watchdog", Text),
    ("hassio_api", Flag),
    ("hassio_role", OneOf(&["default", "homeassistant", "backup", "manager", "admin"])),
    ("homeassistant_api", Flag),
    ("auth_api", Flag),
    ("services", Of(&["mqtt:want", "mqtt:need"])),
    ("ingress", Flag),
    ("ingress_port", Number(1, 65_535)),
    ("ingress_stream", Flag),
    ("panel_icon", Text),
    ("panel_title", Text),
    ("panel_admin", Flag),
    ("map", Folders),
    ("backup", OneOf(&["hot", "cold"])),
    ("backup_exclude", Texts),
    ("apparmor", Flag),
    ("host_network", Flag),
    ("host_pid", Flag),
    ("docker_api", Flag),
    ("full_access", Flag),
    ("privileged", Texts),
    ("breaking_versions", Texts),
];
const REQUIRED: &[&str] = &["name", "version", "slug", "description", "arch"];
/// Directories that an app can be given, by the names that every Supervisor since 2025.1 knows, and where they are in it.
const FOLDERS: &[(&str, &str)] = &[
    ("homeassistant_config", "/homeassistant"),
    ("addon_config", "/config"),
    ("all_addon_configs", "/addon_configs"),
    ("addons", "/addons"),
    ("ssl", "/ssl"),
    ("backup", "/backup"),
    ("share", "/share"),
    ("media", "/media"),
];
/// What the program goes by, and the file that says so.
const IN_THE_PROGRAM: &[(&str, &str)] = &[
    ("default_value = \"172.30.32.2\"", "crates/haul/src/args/serving.rs"),
    ("\"/addons\"", "crates/haul/src/app/whole.rs"),
    ("\"/homeassistant\"", "crates/haul/src/serve/page/setup.rs"),
    ("\"/healthz\"", "crates/web/src/api/mod.rs"),
];

/// What is wrong with the app of the project below `root`.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let app = root.join("app/haul");
    let text = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    let config = yaml::read(&text(&app.join("config.yaml"))?).context("app/haul/config.yaml")?;
    let repository = yaml::read(&text(&root.join("app/repository.yaml"))?).context("app/repository.yaml")?;
    let mut problems = of_keys(&config);
    problems.extend(of_values(&config));
    if !repository["name"].is_string() {
        problems.push("app/repository.yaml: name is missing".to_owned());
    }

    let profile = text(&app.join("apparmor.txt"))?;
    problems.extend(of_profile(&profile, &config));
    let rating = rating(&config);
    if rating != RATING {
        problems.push(format!("its security rating would be {rating} instead of {RATING}"));
    }

    for (name, (width, height)) in [("icon.png", ICON), ("logo.png", LOGO)] {
        let picture = fs::read(app.join(name)).with_context(|| name.to_owned())?;
        if png(&picture) != Some((width, height, WITH_ALPHA)) {
            problems.push(format!("app/haul/{name} is no PNG of {width}x{height} with transparency"));
        }
    }
    for name in ["README.md", "DOCS.md"] {
        text(&app.join(name))?;
    }
    if !text(&app.join("CHANGELOG.md"))?.lines().any(|line| line.trim_end() == format!("## {VERSION}")) {
        problems.push(format!("app/haul/CHANGELOG.md has nothing about {VERSION}"));
    }

    let configs = named_config(root)?;
    if configs != [app.join("config.yaml")] {
        problems.push(format!("Supervisor would take each of these for an app: {configs:?}"));
    }

    for (words, file) in IN_THE_PROGRAM {
        if !text(&root.join(file))?.contains(words) {
            problems.push(format!("{file} does not have {words}, which the app goes by"));
        }
    }
    let timeout = format!("default_value_t = {})]\n    pub(crate) timeout", config["timeout"]);
    if !text(&root.join("crates/haul/src/args/serving.rs"))?.contains(&timeout) {
        problems.push(format!("`haul app` does not go by timeout, {}", config["timeout"]));
    }
    let port = format!("default_value = \"0.0.0.0:{}\"", config["ingress_port"]);
    if !text(&root.join("crates/haul/src/args/serving.rs"))?.contains(&port) {
        problems.push(format!("`haul app` does not listen on ingress_port, {}", config["ingress_port"]));
    }
    let source = sources(&root.join("crates/haul/src"))?;
    for pattern in texts(&config["backup_exclude"]) {
        let name = pattern.strip_prefix("state/").map(|name| name.trim_end_matches('*'));
        if !name.is_some_and(|name| source.contains(&format!("\"{name}\""))) {
            problems.push(format!("backup_exclude: the program calls nothing in its state directory {pattern}"));
        }
    }
    let dockerfile = text(&app.join("Dockerfile"))?;
    for words in ["CMD [\"app\"]", "HAUL_CONFIG=/data/haul.toml", "HAUL_STATE=/data/state", "io.hass.type=\"app\""] {
        if !dockerfile.contains(words) {
            problems.push(format!("app/haul/Dockerfile does not say {words}"));
        }
    }
    Ok(problems)
}

fn of_keys(config: &Value) -> Vec<String> {
    let mut problems: Vec<String> = REQUIRED
        .iter()
        .filter(|key| config[**key].is_null())
        .map(|key| format!("app/haul/config.yaml: {key} is missing"))
        .collect();
    for (key, value) in config.as_object().into_iter().flatten() {
        let problem = match KEYS.iter().find(|(known, _)| known == key) {
            None => Some("Supervisor does not know it, or `cargo xtask app` does not"),
            Some((_, may)) => (!allowed(may, value)).then_some("Supervisor does not take that"),
        };
        problems.extend(problem.map(|problem| format!("app/haul/config.yaml: {key}: {problem}")));
    }
    problems
}

fn allowed(may: &May, value: &Value) -> bool {
    let all = |right: &dyn Fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(right));
    match may {
        Text => value.as_str().is_some_and(|text| !text.is_empty()),
        Flag => value.is_boolean(),
        Texts => all(&Value::is_string),
        OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        Of(words) => all(&|word| word.as_str().is_some_and(|word| words.contains(&word))),
        Number(least, most) => value.as_i64().is_some_and(|number| (*least..=*most).contains(&number)),
        Folders => all(&|folder| {
            let is_known = folder["type"].as_str().is_some_and(|name| FOLDERS.iter().any(|(known, _)| *known == name));
            is_known && folder["read_only"].is_boolean() && folder.as_object().is_some_and(|keys| keys.len() == 2)
        }),
    }
}

/// What a kind of value alone does not say.
fn of_values(config: &Value) -> Vec<String> {
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let is_slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let port = &config["ingress_port"];
    let rules = [
        (text("version") == VERSION, format!("version is not {VERSION}, the workspace's")),
        (
            !text("slug").is_empty() && text("slug").chars().all(is_slug),
            "slug has other than a-z, 0-9 and _".to_owned(),
        ),
        (
            text("watchdog") == format!("http://[HOST]:[PORT:{port}]/healthz"),
            format!("watchdog does not ask port {port} for /healthz"),
        ),
        (text("panel_icon").starts_with("mdi:"), "panel_icon is no icon of Home Assistant".to_owned()),
        (config["ingress"] == true && config["panel_admin"] == true, "the page is not for administrators".to_owned()),
        (
            config["hassio_api"] == true && config["homeassistant_api"] == true && text("hassio_role") == "manager",
            "it may not make network storage, or not ask Core".to_owned(),
        ),
        (text("backup") == "hot", "it would be stopped by the backup that it takes".to_owned()),
        (config["arch"].as_array().is_some_and(|list| list.len() == 2), "arch lacks one of the two".to_owned()),
    ];
    rules
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, otherwise)| format!("app/haul/config.yaml: {otherwise}"))
        .collect()
}

/// Supervisor's own sum.
fn rating(config: &Value) -> i64 {
    let is = |key: &str| config[key] == true;
    if is("docker_api") || is("full_access") {
        return 1;
    }
    let profile = if config["apparmor"] == false { -1 } else { 1 };
    let page = if is("ingress") || !is("host_network") { 2 } else { i64::from(is("auth_api")) };
    let role = match config["hassio_role"].as_str() {
        Some("manager") => -1,
        Some("admin") => -2,
        _ => 0,
    };
    let rights = -i64::from(config["privileged"].as_array().is_some_and(|list| !list.is_empty()));
    let machine = -i64::from(is("host_network")) - 2 * i64::from(is("host_pid"));
    (5 + profile + page + role + rights + machine).clamp(1, 8)
}

/// One profile, which Supervisor renames, for the directories that the app is given, as it is given them.
fn of_profile(profile: &str, config: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let slug = config["slug"].as_str().unwrap_or_default();
    let heads: Vec<&str> = profile.lines().filter(|line| line.trim_start().starts_with("profile ")).collect();
    if heads.len() != 1 || !heads[0].starts_with(&format!("profile {slug} ")) {
        problems.push(format!("apparmor.txt: not one profile of the name {slug}"));
    }
    let rights = |place: &str| {
        let rule = format!("{place}/** ");
        profile.lines().find_map(|line| line.trim().strip_prefix(&rule)?.strip_suffix(','))
    };
    for folder in config["map"].as_array().into_iter().flatten() {
        let place = FOLDERS.iter().find(|(name, _)| folder["type"] == *name).map_or("", |(_, place)| place);
        let may_write = rights(place).map(|rights| rights.contains('w'));
        if may_write != folder["read_only"].as_bool().map(|read_only| !read_only) {
            problems.push(format!("apparmor.txt: not the same rights in {place} as in config.yaml"));
        }
    }
    if rights("/data").is_none_or(|rights| !rights.contains('w')) {
        problems.push("apparmor.txt: the program can't keep anything in /data".to_owned());
    }
    problems
}

/// Width, height, and what each pixel is made of.
fn png(picture: &[u8]) -> Option<(u32, u32, u8)> {
    let header = picture.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;
    let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some((number(0)?, number(4)?, *header.get(9)?))
}

/// Every file that Supervisor would take for an app.
fn named_config(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                // Its own rule for names with a point, and what is made here and in no repository.
                if !name.starts_with('.') && !["target", "dist", "rootfs"].contains(&name.as_str()) {
                    open.push(entry.path());
                }
            } else if ["config.yaml", "config.yml", "config.json"].contains(&name.as_str()) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// The text of every module below a directory.
fn sources(directory: &Path) -> Result<String> {
    let mut all = String::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                all.push_str(&fs::read_to_string(&path)?);
            }
        }
    }
    Ok(all)
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
