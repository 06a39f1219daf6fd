//! What was typed about a location, and what is wrong with it.

use std::collections::BTreeMap;

use keeper::status::Failure as Reason;
use web::backend::{Filled, Invalid};
use zeroize::Zeroizing;

use super::kinds;
use crate::{config::Config, failure::Failure, serve::doing::reason};

/// Why a field can't say that.
pub(super) fn invalid(field: &str, message: impl Into<String>, hint: Option<&str>) -> Invalid {
    let failure = Reason { message: message.into(), hint: hint.map(str::to_owned), passes: false };
    Invalid { field: Some(field.to_owned()), failure, offer: None }
}

/// The same for several.
pub(super) fn each_invalid(wrong: Vec<kinds::Wrong>) -> Vec<Invalid> {
    wrong.into_iter().map(|(field, why)| invalid(&field, why, None)).collect()
}

/// The same for all of a form.
pub(super) fn of(failure: &Failure) -> Invalid {
    Invalid { field: None, failure: reason(failure), offer: None }
}

/// What a field says, if anything.
pub(super) fn typed(location: &Filled, id: &str) -> Option<Zeroizing<String>> {
    let found = location.fields.iter().find(|(name, _)| name == id);
    found.map(|(_, text)| Zeroizing::new(text.trim().to_owned())).filter(|text| !text.is_empty())
}

/// Whether somebody said that a folder that is not there is to be made.
pub(super) fn makes_folder(location: &Filled) -> bool {
    typed(location, kinds::NEW_FOLDER).is_some_and(|said| *said == kinds::YES)
}

/// What the file says of a location besides what its form asks for, and where its secrets are.
pub(super) fn known_options(config: &Config, location: &Filled) -> BTreeMap<String, String> {
    let Some(known) = location.keeps.as_ref().and_then(|name| config.destination(name)) else {
        return BTreeMap::new();
    };
    let asked = kinds::keys(&location.kind);
    let stays = |key: &&str| !asked.contains(key) || kinds::is_secret(&location.kind, key);
    let kept = known.options.keys().filter(stays);
    kept.filter_map(|key| Some((key.to_owned(), known.options.get(key)?.to_owned()))).collect()
}
