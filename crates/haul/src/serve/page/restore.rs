//! Whether a backup can be restored into a directory: what can be known before it begins is said beside the field.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Component, Path, PathBuf},
};

use engine::{
    browse::Unmatched,
    restore::{self, RestoreError, RestoreOptions},
};
use keeper::{
    status::ArchiveStatus,
    task::{Location as At, Restore},
};
use store::{Address, Cancellation};
use web::backend::{Invalid, RestoreWanted};

use super::contents::Looking;
use crate::{config::Config, destination, failure::Failure, password, serve::doing::reason};

fn invalid(field: &str, failure: &Failure) -> Invalid {
    Invalid { field: Some(field.to_owned()), failure: reason(failure), offer: None }
}

/// What is to be done, once everything that can be looked at says that it can be. `key` keeps a key that was typed, and
/// gives its number.
pub(super) fn plan(
    config: &Config,
    archive: &ArchiveStatus,
    wanted: &RestoreWanted,
    key: impl FnOnce(habackup::securetar::Password) -> u64,
    cancel: &Cancellation,
) -> Result<Restore, Invalid> {
    let looking = Looking { config, archive, destination: wanted.destination.as_deref() };
    let (destination, name) = looking.best().map_err(|failure| invalid("destination", &failure))?;
    let into = target(config, archive, wanted)?;
    let only: Vec<String> = wanted.only.iter().map(|text| text.trim().to_owned()).filter(|o| !o.is_empty()).collect();
    let options = RestoreOptions { only: only.clone(), replace: wanted.replace, ..RestoreOptions::default() };
    let field = if wanted.replace { "replace" } else { "into" };
    writable(&into).map_err(|failure| invalid(field, &failure))?;
    restore::check(&into, &options).map_err(|error| refused(error, wanted.replace))?;
    let typed = wanted.key.as_ref().map(|key| password::typed(key));
    let is_typed = typed.is_some();
    let (fits, unmatched) = looking.opens(typed, &only, cancel).map_err(|(is_key, failure)| {
        if is_key {
            let hint = super::WHICH_KEY;
            return invalid("key", &failure.hint(hint));
        }
        invalid("destination", &failure)
    })?;
    if !unmatched.is_empty() {
        return Err(not_there(&unmatched));
    }
    Ok(Restore {
        job: archive.job.clone().filter(|name| config.jobs().iter().any(|job| job.name == *name)),
        copy: At { destination, name },
        into: into.to_string_lossy().into_owned(),
        only,
        replace: wanted.replace,
        key: fits.filter(|_| is_typed).map(key),
    })
}

/// Names that nothing in the backup has.
fn not_there(unmatched: &[Unmatched]) -> Invalid {
    let patterns: Vec<&str> = unmatched.iter().map(|unmatched| unmatched.pattern.as_str()).collect();
    let mut near: Vec<&str> = unmatched.iter().flat_map(|unmatched| &unmatched.near).map(String::as_str).collect();
    near.dedup();
    let failure = Failure::usage(format!("nothing in the backup is called {}", patterns.join(" or ")));
    let hint = match near[..] {
        [] => "see what is in it under “Look into it” on the page of the backup".to_owned(),
        _ => format!("did you mean {}?", near.join(" or ")),
    };
    invalid("only", &failure.hint(hint))
}

/// In words of the page, which has no options.
fn refused(error: RestoreError, replace: bool) -> Invalid {
    let field = if matches!(error, RestoreError::Pattern(_)) { "only" } else { "into" };
    let hint = match &error {
        RestoreError::NotEmpty(_) => Some("name a directory that is new or empty"),
        RestoreError::Running { .. } => Some("stop Home Assistant first; nothing was changed"),
        _ => None,
    };
    let mut failure = Failure::from(error);
    failure.hint = hint.map(str::to_owned).or(failure.hint);
    // Where it goes is no field then.
    let field = if replace && field == "into" { "replace" } else { field };
    invalid(field, &failure)
}

/// The directory: the job's own, if that is to be replaced; else a new one, where nothing of Haul or Home Assistant is.
fn target(config: &Config, archive: &ArchiveStatus, wanted: &RestoreWanted) -> Result<PathBuf, Invalid> {
    if wanted.replace {
        if !wanted.into.trim().is_empty() {
            let message = "with replace, the config directory that was backed up is replaced, and no other one";
            return Err(invalid("into", &Failure::usage(message).hint("leave out the directory, or replace")));
        }
        let job = config.jobs().iter().find(|job| Some(&job.name) == archive.job.as_ref());
        return job.map(|job| job.source.clone()).ok_or_else(|| {
            invalid(
                "replace",
                &Failure::usage("this backup belongs to no automatic backup, so Haul does not know what to replace"),
            )
        });
    }
    if wanted.into.trim().is_empty() {
        return own(archive).map_err(|error| {
            let message = format!("Haul's own directory can't be written: {}", engine::plain_reason(&error));
            invalid("into", &Failure::usage(message).hint("name another directory"))
        });
    }
    let typed = Path::new(wanted.into.trim());
    let no = |message: String, hint: &str| Err(invalid("into", &Failure::usage(message).hint(hint)));
    if !typed.is_absolute() || typed.components().any(|part| part == Component::ParentDir) {
        return no(
            format!("{:?} is not the whole path of a directory", wanted.into.trim()),
            "write it from / on, for example /tmp/look",
        );
    }
    // Where it really is: the directory itself may not be there yet.
    let real = std::fs::canonicalize(typed).or_else(|error| {
        let (parent, name) = typed.parent().zip(typed.file_name()).ok_or(error)?;
        Ok::<_, std::io::Error>(std::fs::canonicalize(parent)?.join(name))
    });
    let real = match real {
        Ok(real) => real,
        Err(error) => {
            return no(
                format!("{} can't be made: {}", typed.display(), engine::plain_reason(&error)),
                "name a directory in one that is there",
            );
        }
    };
    let places = config.destinations().filter_map(|(name, named)| match &named.address {
        Address::Local(path) => Some((path.clone(), format!("the location {name:?}"))),
        _ => None,
    });
    let sources = config.jobs().iter().map(|job| (job.source.clone(), format!("what {:?} backs up", job.name)));
    let state = (destination::state_directory(), "Haul's own directory".to_owned());
    let restored = restored().canonicalize().ok();
    for (path, what) in places.chain(sources).chain([state]) {
        let path = path.canonicalize().unwrap_or(path);
        let is_own = restored.as_ref().is_some_and(|own| real.starts_with(own) && real != *own);
        if (real.starts_with(&path) && !is_own) || path.starts_with(&real) {
            return no(format!("{} is in the way of {what}", typed.display()), "name another directory");
        }
    }
    // Whoever owns it would own the users, keys and passwords that come into it.
    if let Ok(found) = std::fs::metadata(&real)
        && found.uid() != rustix::process::geteuid().as_raw()
    {
        return no(
            format!("{} belongs to another user (UID {})", typed.display(), found.uid()),
            "name a directory that is new; `haul restore --owner` gives files to another user",
        );
    }
    if let Some(temporary) = private_temporary(&real) {
        return no(
            format!("{} would be in a {temporary} that only Haul sees", typed.display()),
            "name a directory elsewhere, or none",
        );
    }
    Ok(typed.to_owned())
}

/// Where restores go that are to go nowhere else: where a user can reach them.
pub(in crate::serve) fn restored() -> PathBuf {
    let named = std::env::var_os("HAUL_RESTORED").map(PathBuf::from).filter(|named| named.is_absolute());
    named.unwrap_or_else(|| destination::state_directory().join("restored"))
}

/// A new directory there: wherever Haul runs, it can write there, and what is in it stays.
fn own(archive: &ArchiveStatus) -> io::Result<PathBuf> {
    let directory = restored();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let name = archive.item.name.trim_end_matches(".tar");
    let names = (1..).map(|number| if number == 1 { name.to_owned() } else { format!("{name}-{number}") });
    let mut free = names.map(|name| directory.join(name)).filter(|path| path.symlink_metadata().is_err());
    free.next().ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

/// A directory for temporary files that systemd gives to a service alone.
fn private_temporary(real: &Path) -> Option<&'static str> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    ["/tmp", "/var/tmp"].into_iter().find(|temporary| {
        real.starts_with(temporary)
            && mounts.lines().any(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                fields.get(4) == Some(temporary) && fields.get(3).is_some_and(|root| root.contains("/systemd-private-"))
            })
    })
}

/// Whether Haul may write where the directory is or comes: services often see the rest of the system read-only.
fn writable(into: &Path) -> Result<(), Failure> {
    let there = into.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK).map_err(|error| {
        let reason = engine::plain_reason(&error.into());
        Failure::usage(format!("Haul can't write to {}: {reason}", there.display())).hint(
            "restore it with `haul restore` in a shell where that can be written, or allow it to the service or the \
             container",
        )
    })
}
