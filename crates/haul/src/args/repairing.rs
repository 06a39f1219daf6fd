//! Arguments of `haul repair`.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{OutputArgs, PasswordArgs, ReadersArgs, SecureTarArg, SendingArgs};

pub(super) const REPAIR_EXAMPLES: &str = "\
Examples:
  haul repair backup.tar --to repaired.tar
  haul repair homeassistant.tar.gz --to /backups --ha-version 2026.11.1
  haul repair backup.tar --to plain.tar --decrypt --password-file ~/.haul-password
  haul repair backup.tar --to other.tar --change-password --new-password-file ~/.new-password

BAD may be a backup in whatever state, a piece of one (homeassistant.tar.gz), or a tar of the
configuration directory. It is only read. A line is printed for everything that was done, and
for what was lost. Exit codes: 0 repaired, or nothing to repair; 3 repaired, but something is
lost or doubtful; 4 it can't be repaired, or Home Assistant would not restore all of the result.";

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The archive: a file in whatever state, or a place, a slash and its name
    #[arg(value_name = "BAD")]
    pub(crate) archive: PathBuf,
    /// Where the new archive goes: NAME.tar, an existing directory, an address such as s3://bucket/backups, or a name from haul.toml
    #[arg(long, value_name = "GOOD")]
    pub(crate) to: String,
    /// Encrypt it, with the password from --new-password-file or HAUL_NEW_PASSWORD
    #[arg(long, conflicts_with_all = ["decrypt", "change_password"])]
    pub(crate) encrypt: bool,
    /// Take the encryption off; --password-file or HAUL_PASSWORD has the password
    #[arg(long, conflicts_with = "change_password")]
    pub(crate) decrypt: bool,
    /// Encrypt it with another password: --password-file has the old one, --new-password-file the new one
    #[arg(long)]
    pub(crate) change_password: bool,
    /// File with the new password; the environment variable HAUL_NEW_PASSWORD serves as well
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Compress it anew
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) recompress: Option<RecompressArg>,
    /// Give it another name in Home Assistant
    #[arg(long, value_name = "TEXT")]
    pub(crate) rename: Option<String>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Encryption format; auto takes v3 where Home Assistant reads it (2026.3 and later), else v2
    #[arg(long, value_enum, default_value_t = SecureTarArg::Auto, value_name = "VERSION")]
    pub(crate) securetar: SecureTarArg,
    /// Home Assistant's version, when nothing in the archive says it
    #[arg(long, value_name = "VERSION")]
    pub(crate) ha_version: Option<String>,
    #[command(flatten)]
    pub(crate) readers: ReadersArgs,
    /// Cores to use [default: all]
    #[arg(long, value_name = "N", value_parser = crate::units::cores)]
    pub(crate) threads: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) sending: SendingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RecompressArg {
    /// As fast as the disk
    Fast,
    /// A little smaller, somewhat slower
    Balanced,
    /// As small as gzip gets, slow
    Small,
    /// Not at all
    None,
}
