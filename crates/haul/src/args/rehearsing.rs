//! Arguments of `haul rehearse`.

use std::path::PathBuf;

use clap::Args;

use super::{OutputArgs, PasswordArgs, WaitingArgs};

pub(super) const REHEARSE_EXAMPLES: &str = "\
Examples:
  haul rehearse backup.tar
  haul rehearse home
  haul rehearse offsite/NAME.tar --password-file ~/.haul-password --max-size 8GiB
  haul rehearse today.tar --compare last-week.tar --json
  haul rehearse backup.tar --boot '/srv/homeassistant/bin/hass --config $HAUL_REHEARSAL_CONFIG'

Haul restores the archive into a scratch directory, lets SQLite check every database, parses
Home Assistant's own files, counts users, integrations, devices and rows, and removes the
directory. If it does not fit, Haul checks everything in memory instead, and says so.

With the name of a job, its newest whole backup is rehearsed with the job's key and `boot`, and the
result stands in `haul status`.

--boot COMMAND then starts Home Assistant on the restored configuration, waits until it runs, looks
at it, and ends it. `sh -c` runs COMMAND, with HAUL_REHEARSAL_CONFIG (the config directory) and
HAUL_REHEARSAL_PORT (the port that Haul watches). It gets no network but a loopback of its own, no
devices, no sockets of other programs, and a file system that it can't change outside of the
scratch directory.

Exit codes: 0 proved; 3 proved, and with --compare something shrank; 4 not proved: the archive is
damaged, or a restore loses users, settings or the history; 1 the rehearsal itself failed.";

#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    /// The archive: a file, or DEST/NAME.tar; or a job from haul.toml: its newest whole backup
    pub(crate) archive: PathBuf,
    /// Directory for the scratch directory [default: rehearse in Haul's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Unpack no more than this; a larger archive is checked in memory
    #[arg(long, value_name = "SIZE", default_value = "16GiB", value_parser = crate::units::size)]
    pub(crate) max_size: u64,
    /// Unpack nothing: check everything in memory
    #[arg(long, conflicts_with = "keep_scratch")]
    pub(crate) in_memory: bool,
    /// Keep the unpacked config directory, and print where it is
    #[arg(long)]
    pub(crate) keep_scratch: bool,
    /// Start Home Assistant on the restored config directory with this command, and wait until it runs
    #[arg(long, value_name = "COMMAND", conflicts_with = "in_memory")]
    pub(crate) boot: Option<String>,
    /// Give up on it after this long
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = crate::units::duration, requires = "boot")]
    pub(crate) boot_timeout: std::time::Duration,
    /// Don't isolate it: it can then reach your network, devices and files like any program
    #[arg(long, requires = "boot")]
    pub(crate) boot_with_network: bool,
    /// Rehearse this archive too, and say what shrank from the older one to the newer one
    #[arg(long, value_name = "ARCHIVE2")]
    pub(crate) compare: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

impl RehearseArgs {
    /// Whether it says nothing but what is to be rehearsed.
    pub(crate) fn is_plain(&self) -> bool {
        let is_said = self.in_memory || self.keep_scratch || self.boot.is_some();
        !is_said && self.scratch.is_none() && self.compare.is_none() && self.password.password_file.is_none()
    }
}
