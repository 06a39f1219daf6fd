//! What Supervisor can restore.

use keeper::status::Failure;
use web::backend::{AppPart, FolderPart, History, HomeAssistantPart, Inside, InsidePart, Invalid, Parts, PartsWanted};

use super::{failure, state::State, wrong};

/// What is known of what archives hold.
#[derive(Default)]
pub enum Known {
    #[default]
    Usual,
    NotYet,
    Failed(Failure),
}

impl Known {
    pub(super) fn of(&self, state: &State) -> Option<Result<Inside, Failure>> {
        match self {
            Self::Usual => Some(Ok(inside(state))),
            Self::NotYet => None,
            Self::Failed(failure) => Some(Err(failure.clone())),
        }
    }
}

fn inside(state: &State) -> Inside {
    let other = state.status.jobs.first().map_or("Mosquitto broker", |job| &job.name);
    let part = |id: &str, name: &str, version: Option<&str>, size| InsidePart {
        id: id.to_owned(),
        name: name.to_owned(),
        version: version.map(str::to_owned),
        size,
    };
    Inside {
        home_assistant: Some(part("", "Home Assistant", Some("2026.11.0"), Some(412_000_000))),
        apps: vec![
            part("core_ssh", "Terminal & SSH", Some("9.17.0"), Some(1_200_000)),
            part("core_mosquitto", other, Some("6.5.1"), None),
        ],
        folders: vec![
            part("ssl", "ssl", None, Some(12_000)),
            part("addons/local", "addons/local", None, Some(28_000_000)),
        ],
    }
}

/// Supervisor does not reach `drive`.
pub(super) fn known(state: &State, destination: Option<&str>) -> Result<Parts, Failure> {
    if destination == Some("drive") {
        return Err(failure("Supervisor does not reach drive", "download this backup, and upload it"));
    }
    let app = |slug: &str, name: &str| AppPart {
        slug: slug.to_owned(),
        name: name.to_owned(),
        version: Some("9.17.0".to_owned()),
    };
    let folder = |name: &str, why_not: Option<&str>| FolderPart {
        name: name.to_owned(),
        why_not: why_not.map(str::to_owned),
        note: None,
    };
    // As hostile as the rest.
    let other = state.status.jobs.first().map_or("Mosquitto broker", |job| &job.name);
    Ok(Parts {
        destination: "nas".to_owned(),
        home_assistant: Some(HomeAssistantPart {
            version: "2026.11.0".to_owned(),
            history: if destination == Some("offsite") { History::Removed } else { History::Restored },
            excluded: destination.map(|_| "www; <b>*.log</b>".to_owned()),
        }),
        apps: vec![app("core_ssh", "Terminal & SSH"), app("core_mosquitto", other)],
        folders: vec![
            folder("ssl", None),
            folder("share", Some("the location nas is in it, and Supervisor empties it first")),
        ],
        reached: vec!["nas".to_owned(), "offsite".to_owned(), "usb-disk".to_owned()],
        holds_haul: true,
        needs_key: false,
        is_strange: destination == Some("offsite"),
    })
}

pub(super) fn check(wanted: &PartsWanted) -> Result<(), Invalid> {
    if wanted.key.as_ref().is_some_and(|key| key.as_str() == "wrong") {
        return Err(wrong(
            "key",
            failure("this encryption key is wrong", "enter the key that this backup was made with"),
        ));
    }
    if !wanted.home_assistant && wanted.apps.is_empty() && wanted.folders.is_empty() {
        return Err(wrong("parts", failure("nothing is chosen", "choose what is to be restored")));
    }
    Ok(())
}
