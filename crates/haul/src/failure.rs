//! How a command ends that failed: an exit code, a sentence, and what to do next.

use std::{io::ErrorKind, path::Path};

use engine::{BackupError, browse::BrowseError, read::OpenError, restore::RestoreError, verify::VerifyError};
use store::{Kind, StoreError};

use crate::in_app::is_app;

/// Exit codes, as `--help` lists them.
pub(crate) const DONE: u8 = 0;
pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const INCOMPLETE: u8 = 3;
pub(crate) const DAMAGED: u8 = 4;
pub(crate) const INTERRUPTED: u8 = 130;

/// A command's bad end.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The file, destination or host that it is about, and the reason alone, if known. The message already says both.
    pub(crate) about: Option<Box<(String, String)>>,
    /// What was done before it failed.
    pub(crate) done: Vec<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, about: None, done: Vec::new() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    pub(crate) fn about(mut self, subject: impl Into<String>, reason: impl Into<String>) -> Self {
        self.about = Some(Box::new((subject.into(), reason.into())));
        self
    }

    pub(crate) fn after(mut self, done: Vec<String>) -> Self {
        self.done = done;
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Why something failed, for the service.
pub(crate) fn reason(failure: &Failure) -> keeper::status::Failure {
    keeper::status::Failure {
        message: failure.message.clone(),
        hint: failure.hint.clone(),
        passes: !matches!(failure.code, USAGE | DAMAGED | INTERRUPTED),
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let message = error.to_string();
        let failed = |hint: &str| Self::new(FAILED, &message).hint(hint);
        let misused = |hint: &str| Self::usage(&message).hint(hint);
        let failure = match &error {
            BackupError::Cancelled => Self::new(INTERRUPTED, "interrupted; nothing was left behind"),
            BackupError::Config { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                failed("run haul as root, or as the user that runs Home Assistant")
            }
            BackupError::Config { source, .. } if source.kind() == ErrorKind::NotFound => {
                misused("give the directory that holds configuration.yaml and .HA_VERSION")
            }
            BackupError::Config { .. } => failed("give the directory that holds configuration.yaml and .HA_VERSION"),
            BackupError::NotADirectory(_) => {
                misused("give the directory that holds configuration.yaml and .HA_VERSION")
            }
            BackupError::NoVersion { instead: Some(instead), .. } => {
                misused(&format!("did you mean {}?", instead.display()))
            }
            BackupError::NoVersion { .. } | BackupError::StrangeVersion { .. } => misused(
                "give the directory that holds configuration.yaml; if it is the right one, give the version, for \
                 example --ha-version 2026.11.1",
            ),
            BackupError::VersionSaid(_) => misused("a version looks like 2026.11.1"),
            BackupError::Name { .. } => misused("choose another --name"),
            BackupError::Pattern { .. } => {
                misused("* matches anything within one name, ** any directories, ? one character, [a-z] one of a set")
            }
            BackupError::NotMounted(point) => failed(&format!(
                "mount it (`mount {}`), so that the backup does not fill the disk below it",
                shown(point)
            )),
            BackupError::Store(error) => store_failure(error, &message),
            BackupError::AllFailed(errors) => match errors.first() {
                Some(first) => store_failure(first, &message),
                None => Self::new(FAILED, &message),
            },
            BackupError::VaultBesideOthers => misused("back up to the vault by itself, or give it a job of its own"),
            BackupError::NotThere(_) => misused("omit --compress, or use --compress auto"),
            BackupError::Library => failed("build it inside its source directory, with `make build`"),
            BackupError::Came(_) => failed("nothing was left behind; look at what its writer says, and try again"),
            BackupError::Pipeline(_) => {
                failed("nothing was left behind; please report this with the command you typed")
            }
        };
        match error {
            BackupError::Config { path, source } => failure.about(shown(&path), engine::plain_reason(&source)),
            BackupError::NotADirectory(path) => failure.about(shown(&path), "it is not a directory"),
            BackupError::NoVersion { directory, .. } => {
                failure.about(shown(&directory), "there is no .HA_VERSION file")
            }
            BackupError::NotMounted(path) => failure.about(shown(&path), "nothing is mounted there"),
            _ => failure,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        store_failure(&error, &error.to_string())
    }
}

fn shown(path: &Path) -> String {
    engine::shown(path.as_os_str().as_encoded_bytes())
}

fn store_failure(error: &StoreError, message: &str) -> Failure {
    let failure = match error {
        StoreError::Cancelled => return Failure::new(INTERRUPTED, "interrupted; nothing was left behind"),
        StoreError::NotADirectory(_) | StoreError::Missing(_) => Failure::usage(message),
        // The address, a name or a setting is wrong: nothing was tried.
        StoreError::Remote(remote) if remote.kind == Kind::Invalid => Failure::usage(message),
        _ => Failure::new(FAILED, message),
    };
    let hint = match error {
        // There is no shell in the app.
        StoreError::Missing(_) if is_app() => {
            Some("make it, or tick \"Make this folder if it does not exist\" in the location's settings".to_owned())
        }
        _ => error.advice(),
    };
    let failure = Failure { hint, ..failure };
    match error {
        StoreError::Remote(remote) => failure.about(&remote.destination, &remote.reason),
        StoreError::Io { path, source, .. } => failure.about(shown(path), engine::plain_reason(source)),
        StoreError::Exists(path) => failure.about(shown(path), "it exists already"),
        StoreError::NotADirectory(path) => failure.about(shown(path), "it is not a directory"),
        StoreError::Missing(path) => failure.about(shown(path), "it does not exist"),
        StoreError::Cancelled => failure,
    }
}

impl From<homeassistant::Error> for Failure {
    fn from(error: homeassistant::Error) -> Self {
        use homeassistant::Kind;
        let code = match error.kind {
            Kind::Invalid => USAGE,
            Kind::RestoreFailed | Kind::RestoreLost | Kind::OnlyCore => DAMAGED,
            _ => FAILED,
        };
        Self { hint: error.advice.clone(), ..Self::new(code, error.to_string()) }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        if let OpenError::Destination(error) = error {
            return error.into();
        }
        let message = error.to_string();
        match &error {
            OpenError::Read { path, source } => {
                let failure = match source.kind() {
                    ErrorKind::NotFound => {
                        Self::usage(message).hint("check the name; `haul list DIR` shows the archives in a directory")
                    }
                    ErrorKind::IsADirectory => {
                        Self::usage(format!("{} is a directory; expected an archive", shown(path)))
                            .hint(format!("`haul list {}` shows its archives", shown(path)))
                    }
                    ErrorKind::PermissionDenied => {
                        Self::new(FAILED, message).hint("run haul as root, or as the user that owns the file")
                    }
                    // A pipe or an endless device.
                    ErrorKind::InvalidInput if source.raw_os_error().is_none() => Self::usage(message)
                        .hint("save the archive to a file first: Haul reads its end before its middle"),
                    _ => Self::new(FAILED, message).hint("check the file's permissions and its disk"),
                };
                failure.about(shown(path), engine::plain_reason(source))
            }
            OpenError::Destination(_) => Self::new(FAILED, message),
            OpenError::NotABackup { path, reason } => Self::new(DAMAGED, message)
                .hint("give a .tar file that Haul or Home Assistant made")
                .about(shown(path), reason),
            OpenError::PasswordNeeded(path) => Self::usage(message)
                .hint("give it with --password-file FILE or in HAUL_PASSWORD")
                .about(shown(path), "it is encrypted"),
            OpenError::WrongPassword => Self::new(FAILED, message).hint(
                "nothing was changed; Home Assistant shows its key under Settings > System > Backups > Encryption key",
            ),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Open(error) => error.into(),
            VerifyError::Cancelled => Self::new(INTERRUPTED, "interrupted; nothing was changed"),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        let message = error.to_string();
        let failed = |hint: &str| Self::new(FAILED, &message).hint(hint);
        let misused = |hint: &str| Self::usage(&message).hint(hint);
        let about = match &error {
            RestoreError::NotEmpty(path) => Some((shown(path), "it is not empty".to_owned())),
            RestoreError::Running { path, sign } => Some((shown(path), sign.clone())),
            RestoreError::Less { path, headline } => Some((shown(path), headline.clone())),
            RestoreError::NotADirectory { path } => Some((shown(path), "it is not a directory".to_owned())),
            RestoreError::LinkInTheWay { path } => Some((shown(path), "it is a symbolic link".to_owned())),
            RestoreError::NoSpace { path, .. } => Some((shown(path), "there is not enough space".to_owned())),
            RestoreError::Target { path, source }
            | RestoreError::Stranded { path, source, .. }
            | RestoreError::Unconfirmed { path, source, .. } => Some((shown(path), engine::plain_reason(source))),
            RestoreError::Damaged { member, message } => Some((member.clone(), message.clone())),
            _ => None,
        };
        let failure = match error {
            RestoreError::Open(error) => error.into(),
            RestoreError::Cancelled => Self::new(INTERRUPTED, "interrupted; nothing was changed"),
            RestoreError::NoConfig => {
                Self::new(DAMAGED, message).hint("a backup of add-ons or folders alone does not include it")
            }
            RestoreError::Damaged { .. } => Self::new(DAMAGED, message).hint(
                "nothing was changed; `haul verify` lists everything that is wrong, \
                    and --only may still restore single files",
            ),
            RestoreError::Pattern(_) => misused("* matches anything within one name, ** any directories"),
            RestoreError::NothingMatched { .. } => {
                misused("patterns are relative to the config directory, for example '.storage/core.*'")
            }
            RestoreError::NotEmpty(_) => misused(
                "give a new or empty directory, or use --replace to replace its content (Haul keeps the old \
                    content beside it)",
            ),
            RestoreError::Running { .. } => failed(
                "nothing was changed; stop Home Assistant first (for example `docker stop homeassistant`), or \
                    use --force if it is not running",
            ),
            RestoreError::Less { .. } => Self::new(DAMAGED, message).hint(
                "nothing was changed; choose another archive, restore this one into a new directory, or use \
                    --force to replace anyway",
            ),
            RestoreError::Mounts { mounts, .. } => {
                let commands: Vec<String> = mounts
                    .iter()
                    .rev()
                    .map(|mount| format!("`umount {}`", engine::shown(mount.as_os_str().as_encoded_bytes())))
                    .collect();
                failed(&format!(
                    "nothing was changed; unmount first ({}), restore, and mount again",
                    commands.join(", ")
                ))
            }
            RestoreError::Owner { .. } => misused("run haul as root, or leave out --owner"),
            RestoreError::Stranded { kept: Some(kept), .. } => {
                failed(&format!("the previous content is in {}: move it back once the disk works again", shown(&kept)))
            }
            RestoreError::Stranded { kept: None, .. } => {
                failed("some of the archive's files may be there: check the disk, then restore again")
            }
            RestoreError::Unconfirmed { kept: Some(kept), .. } => {
                failed(&format!("check the disk; the previous content is kept as {}", shown(&kept)))
            }
            RestoreError::Unconfirmed { kept: None, .. } => {
                failed("check the disk before you rely on the restored files")
            }
            RestoreError::NotADirectory { .. } => misused("give a new or empty directory"),
            RestoreError::LinkInTheWay { .. } => misused("give the directory itself"),
            RestoreError::NoSpace { .. } | RestoreError::TooLarge { .. } => {
                failed("free some space there; nothing was changed")
            }
            RestoreError::Target { .. } => failed("check the permissions and the mount; nothing was changed"),
        };
        Self { about: failure.about.or(about.map(Box::new)), ..failure }
    }
}

impl From<BrowseError> for Failure {
    fn from(error: BrowseError) -> Self {
        let message = error.to_string();
        let failed = |hint: &str| Self::new(FAILED, &message).hint(hint);
        match error {
            BrowseError::Open(error) => error.into(),
            BrowseError::Cancelled => Self::new(INTERRUPTED, "interrupted; nothing was changed"),
            BrowseError::NoConfig(_) => failed("`haul ls --all` shows what is in it"),
            BrowseError::NotThere { .. } => {
                failed("`haul ls` shows the names, which are relative to the config directory")
            }
            BrowseError::Link { .. } => {
                failed("name the file it points to; `haul restore --only` restores the link itself")
            }
            BrowseError::NotAFile { .. } => {
                failed("`haul ls` shows what is in it; `haul restore --only` restores whole directories")
            }
            BrowseError::Pattern(_) => {
                Self::usage(message).hint("* matches anything within one name, ** any directories")
            }
            BrowseError::Damaged { .. } => {
                Self::new(DAMAGED, message).hint("`haul verify` lists everything that is wrong")
            }
            BrowseError::Output(_) => failed("check whether there is space where standard output goes"),
        }
    }
}
