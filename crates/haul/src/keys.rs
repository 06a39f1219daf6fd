//! Keys of jobs, for commands by hand: an archive where a job has its backups most likely opens with a key of that job.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use habackup::securetar::Password;
use store::{Address, Cancellation};

use crate::{
    args::PasswordArgs,
    config::Config,
    destination,
    failure::Failure,
    password::{self, KeyFile, Offered},
};

/// How long a directory may take to say where it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an archive may be opened with: what the user gave, else the keys of jobs that back up to where it is.
pub(crate) fn offered(
    config: &Config,
    archive: &Path,
    args: &PasswordArgs,
    cancel: &Cancellation,
) -> Result<Offered, Failure> {
    Ok(Offered::new(password::given(args, cancel)?, files(config, archive)))
}

/// The same of another archive, with what the user gave for the first one, in the form that fitted there.
pub(crate) fn also(config: &Config, archive: &Path, first: &Offered, fitted: Option<Password>) -> Offered {
    let files = files(config, archive);
    let fitted = fitted.filter(|_| first.given().is_some() || files.is_empty());
    Offered::new(fitted.or_else(|| first.given().cloned()), files)
}

fn files(config: &Config, archive: &Path) -> Vec<KeyFile> {
    let at = archive.to_str().and_then(|typed| destination::resolve(config, typed).ok());
    at.map_or_else(Vec::new, |at| match at.local_archive() {
        Some(path) => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            files_at(config, &Address::Local(directory.to_owned()))
        }
        None => files_at(config, &at.address),
    })
}

/// The key files of jobs that back up there.
pub(crate) fn files_at(config: &Config, address: &Address) -> Vec<KeyFile> {
    let is_there = |name: &str| config.destination(name).is_some_and(|named| is_same(&named.address, address));
    let mut files: Vec<KeyFile> = Vec::new();
    for job in config.jobs().iter().filter(|job| job.destinations.iter().any(|target| is_there(&target.destination))) {
        let own: Vec<&PathBuf> = job.making.password_file.iter().chain(&job.making.earlier_password_files).collect();
        for path in own {
            if !files.iter().any(|file| file.path == *path) {
                files.push(KeyFile { job: job.name.clone(), path: path.clone() });
            }
        }
    }
    files
}

fn is_same(one: &Address, other: &Address) -> bool {
    let are_local = matches!((one, other), (Address::Local(_), Address::Local(_)));
    let are_one = || place(one).is_some_and(|one| place(other) == Some(one));
    one.plain() == other.plain() || (are_local && are_one())
}

/// Where a directory really is. A dead share never answers, and may have nothing to do with the archive.
fn place(address: &Address) -> Option<String> {
    let (tell, told) = mpsc::channel();
    let address = address.clone();
    thread::spawn(move || tell.send(address.place()));
    told.recv_timeout(PATIENCE).ok()
}
