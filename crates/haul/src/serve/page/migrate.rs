//! Whether a job's Home Assistant can be moved to another machine: what speaks against it is said beside the field.

use homeassistant::Secret;
use store::Cancellation;
use web::backend::{Invalid, MoveFrom, MoveSeen, MoveTo, MoveWanted};

use crate::{
    args::PasswordArgs,
    config::Config,
    failure::Failure,
    migrate::{About, Unfit, messages},
    password,
    serve::{
        doing::reason,
        migrating::{self, Typed},
    },
    text,
};

fn invalid(field: Option<&str>, failure: &Failure) -> Invalid {
    Invalid { field: field.map(str::to_owned), failure: reason(failure), offer: None }
}

/// Checks both sides. Returns what is needed to move, and what to show.
pub(super) fn look(config: &Config, wanted: &MoveWanted, cancel: &Cancellation) -> Result<(Typed, MoveSeen), Invalid> {
    let at = |field: &str, message: &str, hint: &str| invalid(Some(field), &Failure::usage(message).hint(hint));
    let job = config.jobs().iter().find(|job| job.name == wanted.job);
    let job =
        job.ok_or_else(|| invalid(None, &Failure::usage(format!("there is no automatic backup {:?}", wanted.job))))?;
    if wanted.to.trim().is_empty() {
        return Err(at("to", "the address is missing", "write it as your browser shows it: http://new-host:8123"));
    }
    let given = |secret: &Option<zeroize::Zeroizing<String>>| {
        secret.as_ref().map(|secret| Secret::new(secret.trim())).filter(|secret| !secret.expose().is_empty())
    };
    let token = given(&wanted.token);
    if token.as_ref().is_some_and(|token| token.expose().len() as u64 > homeassistant::LONGEST) {
        return Err(at("token", "this is too long for a token", "paste the token alone"));
    }
    let password = match given(&wanted.key) {
        Some(key) => {
            password::fit(key.expose()).map_err(|failure| invalid(Some("key"), &failure))?;
            Some(key)
        }
        None if wanted.encrypt => {
            let file = PasswordArgs { password_file: job.making.password_file.clone() };
            let key =
                password::secret_for_new_archive(&file, cancel).map_err(|failure| invalid(Some("key"), &failure))?;
            let none = || at("key", "its backups have no encryption key", "enter one, or send the backup as it is");
            Some(key.ok_or_else(none)?)
        }
        None => None,
    };
    let typed = Typed {
        to: wanted.to.clone(),
        token,
        password,
        replace: wanted.replace,
        insecure: wanted.insecure,
        exclude_database: wanted.exclude_database,
    };
    let moving = migrating::look(job, &typed, None, cancel).map_err(|unfit| refused(&unfit))?;
    let mut notes = moving.source.notes.clone();
    notes.extend(moving.target.notes());
    // Not their text: not everybody who may begin it may see that.
    if job.hooks.before.is_some() || job.hooks.after.is_some() {
        notes.push("the commands before and after a backup run around the backup that is sent, too".to_owned());
    }
    let from = MoveFrom {
        config: engine::shown(job.source.as_os_str().as_encoded_bytes()),
        version: moving.source.version.to_string(),
        logins: moving.source.logins.iter().map(|name| text::sanitize(name)).collect(),
        about: messages::about_old(&moving.source),
    };
    let notes = notes.iter().map(|note| text::sanitize(note)).collect();
    Ok((typed, MoveSeen { from, to: migrating::seen(&moving.target), notes }))
}

fn refused(unfit: &Unfit) -> Invalid {
    let field = match unfit.about {
        About::Source => None,
        About::Address => Some("to"),
        About::Token => Some("token"),
        About::Replace => Some("replace"),
    };
    invalid(field, &unfit.failure)
}

/// Nobody agreed to what the new one has become.
pub(super) fn is_as_agreed(before: &MoveTo, now: &MoveTo) -> Result<(), Invalid> {
    migrating::is_as_agreed(before, now).map_err(|failure| invalid(Some("to"), &failure))
}
