//! Arguments of the commands that look into archives and extract files.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use super::{OutputArgs, PasswordArgs, ProgressArg, ReadersArgs, WaitingArgs};

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  haul verify /backups/Haul_backup_2026.11.1_2026-11-22_04.30_00123456.tar
  HAUL_PASSWORD=… haul verify backup.tar --json
  haul verify s3://bucket/backups/NAME.tar";

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  haul inspect backup.tar
  haul inspect offsite/NAME.tar --password-file ~/.haul-password
  haul inspect backup.tar --target 2025.6.3 --json

Haul distinguishes three readers: Core 2025.1 to 2026.2, Core since 2026.3, and Supervisor (Home
Assistant OS). Readers older than the archive can't restore it and are skipped; --target checks
for one version, --all-readers for all of them. Exit code 0: every reader that was checked
restores it. 4: at least one does not, or loses users, settings or the history.
3: something else is missing. 2: the archive needs its password. 1: the password is wrong.";

pub(super) const RESTORE_EXAMPLES: &str = "\
Examples:
  haul restore backup.tar --into /tmp/look
  haul restore backup.tar --into /config --replace
  haul restore backup.tar --into /tmp/look --only '.storage/core.*_registry' --only automations.yaml
  haul restore backup.tar --into /tmp/db --database-only

  haul restore offsite/NAME.tar --into /tmp/look --only secrets.yaml

You can also upload an archive to Home Assistant itself: Settings > System > Backups, or the
welcome page of a fresh installation.";

pub(super) const LS_EXAMPLES: &str = "\
Examples:
  haul ls backup.tar
  haul ls offsite/NAME.tar '.storage/core.*'
  haul ls backup.tar --all --json

An archive's index lacks the modes and times of files and the targets of links. Haul looks up the
first 100 links if the archive is on this machine. It reads an archive without an index, such as
Home Assistant's own, to its end. Exit code 1: nothing matches GLOB.";

pub(super) const CAT_EXAMPLES: &str = "\
Examples:
  haul cat backup.tar configuration.yaml
  haul cat s3://bucket/backups/NAME.tar .storage/auth > auth
  haul cat supervisor.tar 'ssl.tar.gz: fullchain.pem' > fullchain.pem

With an index, Haul reads only the part that holds the file; any other archive it reads up to the
file. If it fails halfway, it has printed only the beginning of the file: check the exit code.";

pub(super) const DIFF_EXAMPLES: &str = "\
Examples:
  haul diff yesterday.tar today.tar
  haul diff offsite/OLD.tar /backups/NEW.tar --json

Compares names, kinds, sizes, and contents where the sizes are the same, but not modes and times.
Exit codes: 0 the same, 1 different (or failed, as standard error says).";

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The archive: a file, or DEST/NAME.tar
    pub(crate) archive: PathBuf,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The archive, in any condition: a file, or DEST/NAME.tar
    pub(crate) archive: PathBuf,
    #[command(flatten)]
    pub(crate) readers: ReadersArgs,
    /// Also show how many rows each table of the history has
    #[arg(long)]
    pub(crate) rows: bool,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The archive: a file, or DEST/NAME.tar
    pub(crate) archive: PathBuf,
    /// A new or empty directory; with --replace, any directory
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Restore only what matches; can be repeated. With --replace, all other files stay as they are
    #[arg(long, value_name = "GLOB", conflicts_with = "database_only")]
    pub(crate) only: Vec<String>,
    /// Restore only the history (home-assistant_v2.db)
    #[arg(long)]
    pub(crate) database_only: bool,
    /// Replace the directory's content once everything is unpacked and checked; the old content is kept beside it, or
    /// in it if it is a mount point
    #[arg(long)]
    pub(crate) replace: bool,
    /// With --replace, even while Home Assistant seems to be running there, and even if the archive lacks users,
    /// settings or history
    #[arg(long, requires = "replace")]
    pub(crate) force: bool,
    /// Owner of the restored files, as numbers (root only) [default: the owner of the directory, or of its parent if it
    /// is new]
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    pub(crate) owner: Option<(u32, u32)>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    // The highest number means "leave it as it is" to the system.
    let number = |text: &str| text.parse().ok().filter(|number| *number != u32::MAX);
    let parsed = text.split_once(':').and_then(|(user, group)| number(user).zip(number(group)));
    parsed.ok_or_else(|| "give a user and a group as numbers, for example 1000:1000 (`id` shows them)".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The archive: a file, or DEST/NAME.tar
    pub(crate) archive: PathBuf,
    /// List only what matches, relative to the config directory; ** matches any directories, and a directory includes
    /// everything below it
    #[arg(value_name = "GLOB")]
    pub(crate) glob: Option<OsString>,
    /// Include add-ons and folders, which are outside the config directory
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// The archive: a file, or DEST/NAME.tar
    pub(crate) archive: PathBuf,
    /// The file, named as `haul ls` shows it
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
    /// Print it to a terminal even if it is not text
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressArg::Auto, value_name = "HOW")]
    pub(crate) progress: ProgressArg,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first archive: a file, or DEST/NAME.tar
    pub(crate) a: PathBuf,
    /// The second archive
    pub(crate) b: PathBuf,
    /// Include add-ons and folders, which are outside the config directory
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// File with the password of B, if it differs
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file_b: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}
