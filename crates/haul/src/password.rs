//! Passwords come from a file, the environment or the terminal, never from an argument: every process of the machine
//! can see arguments.

use std::{
    io::{IsTerminal, stderr, stdin},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use engine::read::OpenError;
use habackup::securetar::{CorrectedKey, Password, key_in};
use homeassistant::Secret;
use keeper::job::Making;
use store::Cancellation;
use zeroize::Zeroizing;

use crate::{
    args::PasswordArgs,
    failure::{Failure, INTERRUPTED},
    output,
};

/// Nobody is at the terminal, or not for this.
static IS_ALONE: AtomicBool = AtomicBool::new(false);

const VARIABLE: &str = "HAUL_PASSWORD";
const NEW: &str = "HAUL_NEW_PASSWORD";
/// What to do about a password file that is of no use.
const HINT: &str = "give a file that holds the password, or Home Assistant's emergency kit";
/// No password is longer; a mistaken path to something large must not become one.
const LONGEST: u64 = 4096;

/// The password the user gave, if any, to open an archive with: whatever it is, somebody may have chosen it.
pub(crate) fn given(args: &PasswordArgs, cancel: &Cancellation) -> Result<Option<Password>, Failure> {
    Ok(secret(args, cancel)?.map(|secret| Password::new(secret.expose())))
}

/// The password the user gave, if any, for an archive that is to be made.
pub(crate) fn for_new_archive(args: &PasswordArgs, cancel: &Cancellation) -> Result<Option<Password>, Failure> {
    Ok(secret_for_new_archive(args, cancel)?.map(|secret| Password::new(secret.expose())))
}

/// The same as text, for callers that must pass it on.
pub(crate) fn secret_for_new_archive(args: &PasswordArgs, cancel: &Cancellation) -> Result<Option<Secret>, Failure> {
    secret(args, cancel)?.map(|secret| fit(secret.expose()).map(|()| secret.clone())).transpose()
}

fn secret(args: &PasswordArgs, cancel: &Cancellation) -> Result<Option<Secret>, Failure> {
    match &args.password_file {
        Some(path) => read(path, cancel).map(Some),
        None => from_environment(VARIABLE),
    }
}

/// The password for a new archive; asked for twice if nothing sets it.
pub(crate) fn new(file: Option<&Path>, cancel: &Cancellation) -> Result<Password, Failure> {
    let given = match file {
        Some(path) => Some(read(path, cancel)?),
        None => from_environment(NEW)?,
    };
    if let Some(secret) = given {
        fit(secret.expose())?;
        return Ok(Password::new(secret.expose()));
    }
    let needed = || {
        Failure::usage("a new password is needed").hint(format!("give it with --new-password-file FILE or in {NEW}"))
    };
    let first = prompt("New password of the archive: ").ok_or_else(needed)?;
    fit(&first)?;
    if prompt("Repeat the new password: ").as_ref() != Some(&first) {
        return Err(Failure::usage("the two passwords differ").hint("type the same password twice"));
    }
    Ok(Password::new(first))
}

/// Whether a password can be typed where Home Assistant asks for it.
pub(crate) fn fit(password: &str) -> Result<(), Failure> {
    if password.contains(char::is_control) {
        let message =
            "the password contains a line break or another control character, which can't be typed into Home Assistant";
        return Err(Failure::usage(message).hint("choose a password on one line, without tabs"));
    }
    if password.trim() != password {
        let note = "the password begins or ends with a space, and Home Assistant will need that space too; remove it \
            if it is a mistake";
        output::notes("note", std::iter::once(note.to_owned()));
    }
    Ok(())
}

fn from_environment(variable: &str) -> Result<Option<Secret>, Failure> {
    match std::env::var(variable) {
        Ok(text) => {
            let password = bare(&text);
            if password.is_empty() {
                return Err(Failure::usage(format!("the environment variable {variable} is empty"))
                    .hint(format!("unset {variable} to work without a password")));
            }
            Ok(Some(in_kit(password, &format!("in {variable}")).unwrap_or_else(|| Secret::new(password))))
        }
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("the environment variable {variable} is not valid UTF-8"))
                .hint("put the password into a file and use --password-file"))
        }
    }
}

/// The password that a file holds, to open an archive with.
pub(crate) fn from_file(path: &Path, cancel: &Cancellation) -> Result<Password, Failure> {
    Ok(Password::new(read(path, cancel)?.expose()))
}

/// Whether a file holds a password that archives can be made with, as far as that can be said now: a pipe is not read.
pub(crate) fn check(path: &Path, cancel: &Cancellation) -> Result<(), Failure> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Ok(());
    }
    fit(read(path, cancel)?.expose())
}

/// The keys of a job's archives.
#[derive(Default)]
pub(crate) struct Keys {
    /// The one that new ones get, if they get one.
    pub(crate) now: Option<Secret>,
    /// Those of earlier ones.
    pub(crate) earlier: Vec<Secret>,
    /// Why there are no more of them.
    pub(crate) unread: Vec<Failure>,
}

/// All that a job's archives may have.
pub(crate) fn of_job(making: &Making, cancel: &Cancellation) -> Keys {
    let mut keys = Keys::default();
    match &making.password_file {
        // Somebody waits for the answer, and nobody may ever write into a pipe.
        Some(path) if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) => {
            let shown = engine::shown(path.as_os_str().as_encoded_bytes());
            keys.unread.push(Failure::usage(format!("the password file {shown} is no file that can be read again")));
        }
        file => match secret(&PasswordArgs { password_file: file.clone() }, cancel) {
            Ok(now) => keys.now = now,
            Err(failure) => keys.unread.push(failure),
        },
    }
    for path in &making.earlier_password_files {
        match read(path, cancel) {
            Ok(earlier) => keys.earlier.push(earlier),
            Err(failure) => keys.unread.push(failure),
        }
    }
    keys
}

/// Whether an archive needs a key, or another one.
pub(crate) fn does_not_fit(error: &OpenError) -> bool {
    matches!(error, OpenError::WrongPassword | OpenError::PasswordNeeded(_))
}

/// Opens an archive of a job (nothing: of an unknown one): with its key or, where that does not fit, with an earlier
/// one. `does_not_fit` tells whether that is why it failed.
pub(crate) fn of_job_in_turn<T, E>(
    making: Option<&Making>,
    cancel: &Cancellation,
    does_not_fit: impl Fn(&E) -> bool,
    mut attempt: impl FnMut(Option<Password>) -> Result<T, E>,
) -> Result<Result<T, E>, Failure> {
    let file = making.and_then(|making| making.password_file.clone());
    let first = attempt(given(&PasswordArgs { password_file: file }, cancel)?);
    let fits = |done: &Result<T, E>| !done.as_ref().is_err_and(&does_not_fit);
    if fits(&first) {
        return Ok(first);
    }
    let mut unread = None;
    for path in making.into_iter().flat_map(|making| &making.earlier_password_files) {
        match from_file(path, cancel) {
            Ok(earlier) => {
                let done = attempt(Some(earlier));
                if fits(&done) {
                    return Ok(done);
                }
            }
            Err(failure) => drop(unread.get_or_insert(failure)),
        }
    }
    // The one that can't be read may be the one.
    unread.map_or(Ok(first), Err)
}

fn read(path: &Path, cancel: &Cancellation) -> Result<Secret, Failure> {
    let text = text(path, "password file", HINT, LONGEST, cancel)?;
    let shown = engine::shown(path.as_os_str().as_encoded_bytes());
    let refused = |why: &str| {
        Err(Failure::usage(format!("the password file {shown} {why}")).hint(HINT).about(&shown, format!("it {why}")))
    };
    let password = bare(&text);
    if password.is_empty() {
        return refused("is empty");
    }
    if password.contains(['\n', '\r']) {
        let Some(key) = in_kit(password, &shown) else {
            return refused("has more than one line and is not a Home Assistant emergency kit with one key");
        };
        return Ok(key);
    }
    Ok(Secret::new(password))
}

/// The text of a file that holds a secret; `what` it is called. A pipe is waited for.
pub(crate) fn text(
    path: &Path,
    what: &str,
    hint: &str,
    most: u64,
    cancel: &Cancellation,
) -> Result<Zeroizing<String>, Failure> {
    store::files::read_short(path, most, cancel).map_err(|error| {
        if cancel.is_cancelled() {
            return Failure::new(INTERRUPTED, "interrupted");
        }
        let (shown, reason) = (engine::shown(path.as_os_str().as_encoded_bytes()), engine::plain_reason(&error));
        Failure::usage(format!("can't read the {what} {shown}: {reason}")).hint(hint).about(shown, reason)
    })
}

/// Some editors put an invisible mark in front, and files and many a variable end with a newline; neither is part of
/// the password.
fn bare(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r'])
}

/// The password from the environment with the line break at its end, which earlier versions took for a part of it.
fn unbared(password: &Password) -> Option<Password> {
    let whole = std::env::var(VARIABLE).ok().filter(|whole| bare(whole) != whole)?;
    password.is(bare(&whole)).then(|| Password::new(whole))
}

/// The key in the emergency kit of Home Assistant, which has several lines.
fn in_kit(text: &str, path: &str) -> Option<Secret> {
    let key = key_in(text).filter(|_| text.contains(['\n', '\r']))?;
    output::notes("note", std::iter::once(format!("using the encryption key from the emergency kit {path}")));
    Some(Secret::new(key))
}

/// Lets `attempt` use the given password. If one turns out to be needed, asks for it, if somebody is there to answer;
/// if it is wrong and looks like a mistyped key of Home Assistant, tries its exact form. `unopened` finds in an error
/// why the archive did not open. Returns the result, and the password that fitted.
pub(crate) fn with<T, E>(
    given: Option<Password>,
    unopened: impl Fn(&E) -> Option<&OpenError>,
    mut attempt: impl FnMut(Option<&Password>) -> Result<T, E>,
) -> Result<(T, Option<Password>), E> {
    let mut password = given;
    let mut error = match attempt(password.as_ref()) {
        Ok(made) => return Ok((made, password)),
        Err(error) => error,
    };
    if password.is_none() && matches!(unopened(&error), Some(OpenError::PasswordNeeded(_))) {
        password = ask();
        if password.is_some() {
            error = match attempt(password.as_ref()) {
                Ok(made) => return Ok((made, password)),
                Err(error) => error,
            };
        }
    }
    let is_wrong = |error: &E| matches!(unopened(error), Some(OpenError::WrongPassword));
    if is_wrong(&error)
        && let Some(unbared) = password.as_ref().and_then(unbared)
        && let Ok(made) = attempt(Some(&unbared))
    {
        let note = format!(
            "the password is correct only with the line break at the end of {VARIABLE}, which can't be typed into Home \
             Assistant"
        );
        output::notes(
            "note",
            [note, "`haul repair --change-password` writes an archive with another password".to_owned()].into_iter(),
        );
        return Ok((made, Some(unbared)));
    }
    let Some(corrected) = password.filter(|_| is_wrong(&error)).and_then(|password| password.corrected()) else {
        return Err(error);
    };
    match attempt(Some(&corrected.password)) {
        Ok(made) => {
            say_how_it_fits(&corrected);
            Ok((made, Some(corrected.password)))
        }
        Err(again) if is_wrong(&again) => Err(error),
        Err(other) => Err(other),
    }
}

/// What an archive may be opened with.
#[derive(Default)]
pub(crate) struct Offered {
    /// What the user gave.
    given: Option<Password>,
    /// Keys of jobs, for one who gave nothing.
    files: Vec<KeyFile>,
}

/// A file with a key of a job.
pub(crate) struct KeyFile {
    pub(crate) job: String,
    pub(crate) path: PathBuf,
}

impl KeyFile {
    fn shown(&self) -> String {
        engine::shown(self.path.as_os_str().as_encoded_bytes())
    }
}

impl Offered {
    pub(crate) fn new(given: Option<Password>, files: Vec<KeyFile>) -> Self {
        Self { given, files }
    }

    /// What the user gave.
    pub(crate) fn given(&self) -> Option<&Password> {
        self.given.as_ref()
    }

    /// Lets `attempt` use the keys of jobs in turn, for an archive that needs one and a user who gave none. `fits` tells
    /// whether that is not why it failed. Nothing: no key fits.
    pub(crate) fn in_turn<R>(
        &self,
        cancel: &Cancellation,
        fits: impl Fn(&R) -> bool,
        mut attempt: impl FnMut(&Password) -> R,
    ) -> Option<(R, Password)> {
        for file in &self.files {
            let key = match from_file(&file.path, cancel) {
                Ok(key) => key,
                Err(failure) => {
                    output::notes("note", std::iter::once(failure.message));
                    continue;
                }
            };
            let done = attempt(&key);
            if fits(&done) {
                let note = format!("using the key of the job {}, {}", file.job, file.shown());
                output::notes("note", std::iter::once(note));
                return Some((done, key));
            }
        }
        None
    }

    /// What to do when the password is wrong, or no key fits. Nothing: no job has its backups there.
    pub(crate) fn advice(&self) -> Option<String> {
        let file = self.files.first()?;
        Some(if self.given.is_some() {
            format!(
                "nothing was changed; leave the password out to use the key of the job {}, {}, or give the one from \
                 Haul's emergency kit",
                file.job,
                file.shown()
            )
        } else {
            let files: Vec<String> = self.files.iter().map(KeyFile::shown).collect();
            format!(
                "no key of the job {} fits ({}); give the one from an emergency kit with --password-file FILE or in \
                 HAUL_PASSWORD",
                file.job,
                files.join(", ")
            )
        })
    }
}

/// As [`with`], with all that is offered. A failure says which key would be the right one, as far as that is known.
pub(crate) fn unlock<T, E: Into<Failure>>(
    offered: &Offered,
    cancel: &Cancellation,
    unopened: impl Fn(&E) -> Option<&OpenError>,
    mut attempt: impl FnMut(Option<&Password>) -> Result<T, E>,
) -> Result<(T, Option<Password>), Failure> {
    let is_shut = |error: &E| unopened(error).is_some_and(does_not_fit);
    let mut given = offered.given.clone();
    if given.is_none() && !offered.files.is_empty() {
        match attempt(None) {
            Ok(made) => return Ok((made, None)),
            Err(error) if !is_shut(&error) => return Err(error.into()),
            Err(_) => {}
        }
        let fits = |done: &Result<T, E>| !done.as_ref().is_err_and(is_shut);
        if let Some((done, key)) = offered.in_turn(cancel, fits, |key| attempt(Some(key))) {
            return done.map(|made| (made, Some(key))).map_err(Into::into);
        }
        given = ask();
    }
    with(given, &unopened, attempt).map_err(|error| {
        let advice = offered.advice().filter(|_| is_shut(&error));
        let failure: Failure = error.into();
        if let Some(advice) = advice { failure.hint(advice) } else { failure }
    })
}

/// Says which form of the key opened the archive, and nothing of the key.
pub(crate) fn say_how_it_fits(corrected: &CorrectedKey) {
    output::notes(
        "note",
        std::iter::once(format!(
            "the encryption key is correct {}; Home Assistant accepts it only in that form",
            corrected.how.join(", ")
        )),
    );
}

/// Asks at the terminal, when there is one.
pub(crate) fn ask() -> Option<Password> {
    prompt("Password of the archive: ").map(Password::new)
}

/// From now on nothing is asked at the terminal: who uses a service is elsewhere.
pub(crate) fn ask_nobody() {
    IS_ALONE.store(true, Ordering::Relaxed);
}

/// What somebody typed into a form: a pasted key may have spaces or a line break around it.
pub(crate) fn typed(text: &str) -> Password {
    Password::new(text.trim())
}

/// Asks for something secret at the terminal, when there is one.
pub(crate) fn prompt(question: &str) -> Option<String> {
    if IS_ALONE.load(Ordering::Relaxed) || !stdin().is_terminal() || !stderr().is_terminal() {
        return None;
    }
    rpassword::prompt_password(question).ok().filter(|password| !password.is_empty())
}
