//! Arguments of the commands that look into archives and take things out of them.

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

Three readers are told apart: Core 2025.1 to 2026.2, Core since 2026.3, and Supervisor (Home
Assistant OS). Those that are older than the archive can't restore it and are not asked about;
--target asks about one version, --all-readers about all of them. Exit code 0: all of those that
were asked about restore it. 4: at least one does not, or loses users, settings or the history.
3: something else is missing. 2: the archive asks for its password. 1: the password is wrong.";

pub(super) const RESTORE_EXAMPLES: &str = "\
Examples:
  haul restore backup.tar --into /tmp/look
  haul restore backup.tar --into /config --replace
  haul restore backup.tar --into /tmp/look --only '.storage/core.*_registry' --only automations.yaml
  haul restore backup.tar --into /tmp/db --database-only

  haul restore offsite/NAME.tar --into /tmp/look --only secrets.yaml

An archive can also be uploaded to Home Assistant itself: Settings > System > Backups, or on the
welcome page of a fresh installation.";

pub(super) const LS_EXAMPLES: &str = "\
Examples:
  haul ls backup.tar
  haul ls offsite/NAME.tar '.storage/core.*'
  haul ls backup.tar --all --json

An archive's index does not hold the modes and times of files, nor where links point: that is
looked up for the first 100 links of an archive on this machine. An archive without an index,
such as Home Assistant's own, is read to its end. Exit code 1: nothing fits GLOB.";

pub(super) const CAT_EXAMPLES: &str = "\
Examples:
  haul cat backup.tar configuration.yaml
  haul cat s3://bucket/backups/NAME.tar .storage/auth > auth
  haul cat supervisor.tar 'ssl.tar.gz: fullchain.pem' > fullchain.pem

Of an archive with an index no more is read than what holds the file; any other is read up to
the file. When it fails half-way, what was printed is only the beginning of the file: look at
the exit code.";

pub(super) const DIFF_EXAMPLES: &str = "\
Examples:
  haul diff yesterday.tar today.tar
  haul diff offsite/OLD.tar /backups/NEW.tar --json

Compared are names, kinds, sizes, and contents where the sizes are the same; modes and times are
not. Exit codes: 0 the same, 1 different (or failed, which standard error tells).";

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The archive: a file, or a place, a slash and its name
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
    /// The archive: a file in whatever state, or a place, a slash and its name
    pub(crate) archive: PathBuf,
    #[command(flatten)]
    pub(crate) readers: ReadersArgs,
    /// Also say how many rows each table of the history has
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
    /// The archive: a file, or a place, a slash and its name
    pub(crate) archive: PathBuf,
    /// A new or empty directory; with --replace also one with content
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Only what matches; may be given several times. With --replace, all other files stay as they are
    #[arg(long, value_name = "GLOB", conflicts_with = "database_only")]
    pub(crate) only: Vec<String>,
    /// Only the history (home-assistant_v2.db)
    #[arg(long)]
    pub(crate) database_only: bool,
    /// Put it in the place of what is there, once all of it is unpacked and checked; the old content is kept beside it, or in it where it is a mount point
    #[arg(long)]
    pub(crate) replace: bool,
    /// With --replace, also while Home Assistant seems to be running there, and also by an archive that lacks users,
    /// settings or history
    #[arg(long, requires = "replace")]
    pub(crate) force: bool,
    /// Whom the restored files belong to, as numbers (root only) [default: the owner of the directory, or of the one it is made in]
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
    parsed.ok_or_else(|| "give the numbers of a user and a group, for example 1000:1000 (`id` shows them)".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The archive: a file, or a place, a slash and its name
    pub(crate) archive: PathBuf,
    /// Only what matches, below the config directory; ** stands for any directories, a directory takes all below it along
    #[arg(value_name = "GLOB")]
    pub(crate) glob: Option<OsString>,
    /// Also what lies beside the config directory: add-ons and folders
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
    /// The archive: a file, or a place, a slash and its name
    pub(crate) archive: PathBuf,
    /// The file, as `haul ls` shows it
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
    /// Print it to a terminal even if it is no text
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
    /// The first archive: a file, or a place, a slash and its name
    pub(crate) a: PathBuf,
    /// The second archive
    pub(crate) b: PathBuf,
    /// Also what lies beside the config directory: add-ons and folders
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// File with the password of B, when it is another one
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file_b: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}
