//! Passwords come from a file, the environment or the terminal, never from an argument: arguments are seen by every process of the machine.

use std::{
    fs,
    io::{IsTerminal, Read, stderr, stdin},
    path::Path,
};

use habackup::securetar::Password;
use homeassistant::Secret;

use crate::{args::PasswordArgs, failure::Failure};

const VARIABLE: &str = "HAUL_PASSWORD";
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
    match std::env::var(VARIABLE) {
        Ok(password) if !password.is_empty() => Ok(Some(Secret::new(password))),
        Ok(_) => Err(Failure::usage(format!("the environment variable {VARIABLE} is empty")).hint(format!("unset {VARIABLE} to work without a password"))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format!("the environment variable {VARIABLE} is not valid UTF-8"))),
    }
}

/// The password that a file holds.
pub(crate) fn from_file(path: &Path) -> Result<Password, Failure> {
    Ok(Password::new(read(path)?.expose()))
}

fn read(path: &Path) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    let refused = |why: &str| Err(Failure::usage(format!("the password file {} {why}", path.display())));
    if let Err(error) = read {
        let reason = engine::plain_reason(&error);
        return Err(Failure::usage(format!("can't read the password file {}: {reason}", path.display())));
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
        return refused("has more than one line");
    }
    Ok(Secret::new(password))
}

/// Asks at the terminal, when there is one.
pub(crate) fn ask() -> Option<Password> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return None;
    }
    let password = rpassword::prompt_password("Password of the archive: ").ok()?;
    (!password.is_empty()).then(|| Password::new(password))
}
