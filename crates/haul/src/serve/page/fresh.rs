//! What a form makes anew: a folder, a name that nothing has.

use std::{fs, io, path::Path};

use web::backend::Invalid;

use super::typed::invalid;
use crate::{failure::Failure, mounted};

/// Makes one folder, in one that is there: a disk that is away has none. `is_on_mount`: if it is to be on a disk or share,
/// that has to be mounted.
pub(super) fn make_one(path: &Path, is_on_mount: bool) -> Result<(), Invalid> {
    let missing = || mounted::missing_storage(path).or_else(|| engine::mounts::ask_for(path).err().map(Failure::from));
    if let Some(failure) = is_on_mount.then(missing).flatten() {
        let hint = failure.hint.as_deref();
        return Err(invalid("path", format!("can't make {}: {}", path.display(), failure.message), hint));
    }
    fs::create_dir(path).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "the folder that it is to be in does not exist".to_owned(),
            _ => engine::plain_reason(&error),
        };
        let message = format!("can't make {}: {why}", path.display());
        invalid("path", message, Some("make it by hand, or choose another one"))
    })
}

pub(super) fn free_name(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let names = std::iter::once(wanted.to_owned()).chain((2..).map(|number: u32| format!("{wanted}{number}")));
    let mut names = names.skip_while(|name| is_taken(name));
    names.next().unwrap_or_default()
}
