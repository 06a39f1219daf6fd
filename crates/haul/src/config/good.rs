//! The configuration that was in force last, kept beside the state of an app of Home Assistant: nobody has a shell
//! there, so a file with a mistake that was found at the start could never be mended.

use std::{fs, path::Path};

use peer::disk::replace_private;

use super::{Config, usual_files};
use crate::{destination::state_directory, failure::Failure, output};

const NAME: &str = "haul.toml.good";
/// What had the mistake is beside it, for whoever wants to know.
const BROKEN: &str = "haul.toml.broken";

/// Remembers what has come into force. Without it everything works as well.
pub(crate) fn remember(config: &Config) {
    if let Some(text) = config.text() {
        let path = state_directory().join(NAME);
        if fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            let _ = replace_private(&path, text.as_bytes());
        }
    }
}

/// Puts back what was in force last, in place of a file with this mistake.
pub(super) fn put_back(given: Option<&Path>, mistake: Failure) -> Result<Config, Failure> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => match usual_files().into_iter().find(|path| path.exists()) {
            Some(path) => path,
            None => return Err(mistake),
        },
    };
    let (good, broken) = (state_directory().join(NAME), state_directory().join(BROKEN));
    let Some(config) = fs::read_to_string(good).ok().and_then(|text| Config::of(&path, text).ok()) else {
        return Err(mistake);
    };
    let had = fs::read(&path).unwrap_or_default();
    let text = config.text().unwrap_or_default();
    if replace_private(&broken, &had).and_then(|()| replace_private(&path, text.as_bytes())).is_err() {
        return Err(mistake);
    }
    let shown = engine::shown(broken.as_os_str().as_encoded_bytes());
    output::log(&format!(
        "warning: {}; Haul goes on with the configuration that was in force before, and keeps the other one in {shown}",
        mistake.message
    ));
    Ok(config)
}
