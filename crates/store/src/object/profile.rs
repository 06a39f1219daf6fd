//! Reads the files of the AWS command line: `~/.aws/credentials` and `~/.aws/config`, for keys, region and endpoint.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{context::Context, files};

/// No honest file of keys is longer.
const LONGEST_FILE: u64 = 1 << 20;

/// The settings of a profile from both files; those of `credentials` win. `None`: neither file knows it.
pub(super) fn read(context: &Context, name: &str) -> Option<BTreeMap<String, String>> {
    let home = context.variable("HOME").map(PathBuf::from);
    let file = |variable: &str, name: &str| {
        context.variable(variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".aws").join(name)))
    };
    let load = |path: Option<PathBuf>| {
        let path = path.filter(|path| path.is_file())?;
        files::read_short(&path, LONGEST_FILE, &context.cancel).ok()
    };
    let config = load(file("AWS_CONFIG_FILE", "config")).and_then(|text| section(&text, &config_title(name)));
    let credentials = load(file("AWS_SHARED_CREDENTIALS_FILE", "credentials")).and_then(|text| section(&text, name));
    if config.is_none() && credentials.is_none() {
        return None;
    }
    let mut settings = config.unwrap_or_default();
    settings.extend(credentials.unwrap_or_default());
    Some(settings)
}

// Only `config` says `profile` before the name, and not before the default's.
fn config_title(name: &str) -> String {
    if name == "default" { name.to_owned() } else { format!("profile {name}") }
}

/// The settings below `[title]`. Indented lines belong to a nested setting and are left out.
fn section(text: &str, title: &str) -> Option<BTreeMap<String, String>> {
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut inside = false;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name) {
            inside = name.split_whitespace().eq(title.split_whitespace());
            if inside {
                found.get_or_insert_default();
            }
        } else if inside
            && !line.starts_with([' ', '\t'])
            && let (Some((key, value)), Some(settings)) = (bare.split_once('='), &mut found)
        {
            let value = value.split(" #").next().unwrap_or_default().trim();
            if !value.is_empty() {
                settings.insert(key.trim().to_lowercase(), value.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "# keys\n[default]\naws_access_key_id = AKIA # mine\naws_secret_access_key=a=b/c+\n\n[ profile  \
        work ]\nregion = eu-west-3\n\
        s3 =\n    endpoint_url = http://nested\nendpoint_url = https://minio.example\n";

    #[test]
    fn sections_are_distinguished() {
        let default = section(TEXT, "default").unwrap();
        assert_eq!(default["aws_access_key_id"], "AKIA");
        assert_eq!(default["aws_secret_access_key"], "a=b/c+");
        assert!(!default.contains_key("region"));
        let work = section(TEXT, "profile work").unwrap();
        assert_eq!(work["region"], "eu-west-3");
        assert_eq!(work["endpoint_url"], "https://minio.example");
        assert!(section(TEXT, "work").is_none());
    }

    #[test]
    fn any_text_is_read_without_harm() {
        for text in ["", "[", "[]", "=", "[default]\n=\n==", "[default", "]\n[default]\nx"] {
            let _ = section(text, "default");
        }
    }
}
