//! Passwords come from a file, the environment or the terminal, never from an argument: arguments are seen by every process of the machine.

use std::{
    fs,
    io::{IsTerminal, Read, stderr, stdin},
    path::Path,
};

use engine::open::OpenError;
use habackup::securetar::{Mended, Password, key_in};
use homeassistant::Secret;

use crate::{args::PasswordArgs, failure::Failure, output};

const VARIABLE: &str = "HAUL_PASSWORD";
const NEW: &str = "HAUL_NEW_PASSWORD";
/// What to do about a password file that is of no use.
const HINT: &str = "give a file with the password, or the emergency kit of Home Assistant, in it";
/// No password is longer; a mistaken path to something large must not become one.
const LONGEST: u64 = 4096;

/// The password the user gave, if any.
pub(crate) fn given(args: &PasswordArgs) -> Result<Option<Password>, Failure> {
    Ok(secret(args)?.map(|secret| Password::new(secret.expose())))
}

/// The same as text, for whoever must pass it on.
pub(crate) fn secret(args: &PasswordArgs) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &args.password_file {
        return read(path).map(Some);
    }
    from_environment(VARIABLE)
}

/// The password that an archive shall get; asked for twice where nothing says it.
pub(crate) fn new(file: Option<&Path>) -> Result<Password, Failure> {
    if let Some(path) = file {
        return from_file(path);
    }
    if let Some(secret) = from_environment(NEW)? {
        return Ok(Password::new(secret.expose()));
    }
    let needed = || Failure::usage("a new password is needed").hint(format!("give it with --new-password-file FILE or in {NEW}"));
    let first = prompt("New password of the archive: ").ok_or_else(needed)?;
    if prompt("The same once more: ").as_ref() != Some(&first) {
        return Err(Failure::usage("the two passwords are not the same").hint("type the same one twice"));
    }
    Ok(Password::new(first))
}

fn from_environment(variable: &str) -> Result<Option<Secret>, Failure> {
    match std::env::var(variable) {
        Ok(password) if !password.is_empty() => Ok(Some(Secret::new(password))),
        Ok(_) => Err(Failure::usage(format!("the environment variable {variable} is empty")).hint(format!("unset {variable} to work without a password"))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format!("the environment variable {variable} is not valid UTF-8"))
            .hint("put the password into a file, and give that with --password-file")),
    }
}

/// The password that a file holds.
pub(crate) fn from_file(path: &Path) -> Result<Password, Failure> {
    Ok(Password::new(read(path)?.expose()))
}

fn read(path: &Path) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    let shown = engine::shown(path.as_os_str().as_encoded_bytes());
    let refused = |why: &str| Err(Failure::usage(format!("the password file {shown} {why}")).hint(HINT).about(&shown, format!("it {why}")));
    if let Err(error) = read {
        let reason = engine::plain_reason(&error);
        return Err(Failure::usage(format!("can't read the password file {shown}: {reason}")).hint(HINT).about(shown, reason));
    }
    // Some editors put an invisible mark in front, and all end a file with a newline; neither is part of the password.
    let password = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
    if text.len() as u64 > LONGEST {
        return refused("is too long to hold a password");
    }
    if password.is_empty() {
        return refused("is empty");
    }
    if password.contains(['\n', '\r']) {
        let Some(key) = key_in(password) else { return refused("has more than one line, and is not the emergency kit of Home Assistant with one key in it") };
        output::notes("note", std::iter::once(format!("the encryption key is the one in the emergency kit {}", path.display())));
        return Ok(Secret::new(key));
    }
    Ok(Secret::new(password))
}

/// Lets `attempt` use the password that was given. One that turns out to be needed is asked for, if somebody is there to answer; one that is wrong and looks
/// like a key of Home Assistant with a slip is tried in its exact form. `unopened` finds in an error why the archive did not open. Returns what was made, and
/// the password that fitted.
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
    let Some(mended) = password.filter(|_| is_wrong(&error)).and_then(|password| password.mended()) else { return Err(error) };
    match attempt(Some(&mended.password)) {
        Ok(made) => {
            say_how_it_fits(&mended);
            Ok((made, Some(mended.password)))
        }
        Err(again) if is_wrong(&again) => Err(error),
        Err(other) => Err(other),
    }
}

/// Says which form of the key opened the archive, and nothing of the key.
pub(crate) fn say_how_it_fits(mended: &Mended) {
    output::notes("note", std::iter::once(format!("the encryption key fits {}; Home Assistant takes it only in that form", mended.how.join(", "))));
}

/// Asks at the terminal, when there is one.
pub(crate) fn ask() -> Option<Password> {
    prompt("Password of the archive: ").map(Password::new)
}

fn prompt(question: &str) -> Option<String> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return None;
    }
    rpassword::prompt_password(question).ok().filter(|password| !password.is_empty())
}
