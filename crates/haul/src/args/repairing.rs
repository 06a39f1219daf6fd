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

BAD may be a backup in any condition, a piece of one (homeassistant.tar.gz), or a tar of the
config directory. Haul does not change it. It prints a line for every change and every loss.
Exit codes: 0 repaired, or nothing to repair; 3 repaired, but something is lost or doubtful;
4 it can't be repaired, or Home Assistant would not restore all of the result.";

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The archive, in any condition: a file, or DEST/NAME.tar
    #[arg(value_name = "BAD")]
    pub(crate) archive: PathBuf,
    /// Where to write the new archive: NAME.tar, an existing directory, an address such as s3://bucket/backups, or a
    /// name from haul.toml
    #[arg(long, value_name = "GOOD")]
    pub(crate) to: String,
    /// Encrypt it with the password from --new-password-file or HAUL_NEW_PASSWORD
    #[arg(long, conflicts_with_all = ["decrypt", "change_password"])]
    pub(crate) encrypt: bool,
    /// Remove the encryption; --password-file or HAUL_PASSWORD gives the password
    #[arg(long, conflicts_with = "change_password")]
    pub(crate) decrypt: bool,
    /// Change the password: --password-file gives the old one, --new-password-file the new one
    #[arg(long)]
    pub(crate) change_password: bool,
    /// File with the new password (or set the environment variable HAUL_NEW_PASSWORD)
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Recompress it
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) recompress: Option<RecompressArg>,
    /// Change its name in Home Assistant
    #[arg(long, value_name = "TEXT")]
    pub(crate) rename: Option<String>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Encryption format; auto uses v3 where Home Assistant reads it (2026.3 and later), otherwise v2
    #[arg(long, value_enum, default_value_t = SecureTarArg::Auto, value_name = "VERSION")]
    pub(crate) securetar: SecureTarArg,
    /// Home Assistant's version, if nothing in the archive says it
    #[arg(long, value_name = "VERSION")]
    pub(crate) ha_version: Option<String>,
    #[command(flatten)]
    pub(crate) readers: ReadersArgs,
    /// Number of cores to use [default: all]
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
    /// As small as gzip can get, slow
    Small,
    /// Not at all
    None,
}
