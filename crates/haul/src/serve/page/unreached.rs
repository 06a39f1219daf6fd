//! Why a location can't be reached, in words of its form and beside the field that can change that.

use store::{HostKey, Kind, StoreError};
use web::backend::{Filled, Invalid};

use super::{
    kinds,
    typed::{makes_folder, of, typed},
};
use crate::{failure::Failure, serve::doing::reason};

/// Why an address is none, in words of the form.
pub(super) fn no_address(kind: &str, error: StoreError) -> Invalid {
    let mut failure = reason(&Failure::from(error));
    // Its key in the file is no field.
    failure.hint = failure.hint.map(|hint| {
        if hint.contains("haul.toml") { "enter the password as Password instead".to_owned() } else { hint }
    });
    Invalid { field: kinds::host_field(kind).map(str::to_owned), failure, offer: None }
}

/// Why a location was not reached, beside the field that can change that.
pub(super) fn not_reached(location: &Filled, error: StoreError) -> Invalid {
    let StoreError::Remote(remote) = &error else { return of(&error.into()) };
    let (host_key, kind, why) = (remote.host_key.clone(), remote.kind, remote.reason.clone());
    let mut failure = reason(&Failure::from(error));
    let mut at = |field: &str, hint: Option<&str>| {
        failure.message.clone_from(&why);
        failure.hint = hint.map(str::to_owned).or(failure.hint.take());
        Some(field.to_owned())
    };
    let (mut field, mut offer) = (None, None);
    match (location.kind.as_str(), host_key) {
        (kinds::SFTP, Some(HostKey::Unknown(fingerprint))) => {
            let hint = "compare it with what `ssh-keygen -lf` shows of the key on that machine (in /etc/ssh); trust it \
                        only if they are the same";
            field = at(kinds::HOST_KEY, Some(hint));
            offer = Some(fingerprint);
        }
        (kinds::SFTP, Some(HostKey::Wrong)) => field = at(kinds::HOST_KEY, None),
        (kinds::GDRIVE, _) if kind == Kind::Credentials => field = at(kinds::CLIENT_ID, Some("sign in again")),
        (kinds::MACHINE, _) if kind == Kind::Credentials => {
            let hint = "type the code that `haul receive` shows there";
            field = at(kinds::CODE, typed(location, kinds::CODE).is_none().then_some(hint));
        }
        (kinds::MACHINE, _) if matches!(kind, Kind::Transient { .. } | Kind::NotFound | Kind::Invalid) => {
            field = at("host", None);
        }
        (known, _) if kind == Kind::NotFound && kinds::makes_folders(known) && !makes_folder(location) => {
            let hint = "correct it, or tick the box below to have it made";
            field = at(if known == kinds::WEBDAV { "url" } else { "path" }, Some(hint));
        }
        (known, _) if matches!(kind, Kind::Transient { .. }) => {
            field = kinds::host_field(known).and_then(|id| at(id, None));
        }
        (known, _) if kind == Kind::Credentials => {
            field = kinds::login(known).and_then(|(id, hint)| at(id, Some(&hint)));
        }
        _ => {}
    }
    Invalid { field, failure, offer }
}
