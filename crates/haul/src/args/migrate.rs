//! Arguments of `haul migrate`.

use std::path::PathBuf;

use clap::Args;

use super::{LimitArgs, OutputArgs, PasswordArgs, WaitingArgs};

pub(super) const MIGRATE_EXAMPLES: &str = "\
Examples:
  haul migrate /config --to http://new-host:8123
  haul migrate /config --to http://new-host:8123 --password-file ~/.haul-password
  haul migrate /config --to http://new-host:8123 --dry-run
  haul migrate /config --to https://ha.example.org --token-file ~/.ha-token --replace
  haul migrate /config --to http://new-host:8123 --stop-command 'docker stop ha' \\
      --start-command 'docker start ha'

Without --replace, the new Home Assistant must still show its welcome page. Whatever goes wrong,
the old one stays as it is. Exit code 3: restored, but something could not be read, or the start
command failed. 4: the new Home Assistant could not restore the backup.";

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct MigrateArgs {
    /// The old Home Assistant's config directory, in use or not: the one with configuration.yaml and .HA_VERSION
    pub(crate) config_dir: PathBuf,
    /// Address of the new Home Assistant, as in the browser
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Exclude the history (home-assistant_v2.db)
    #[arg(long)]
    pub(crate) exclude_database: bool,
    /// Exclude files that match, relative to the config directory; ** matches any directories, and a directory includes
    /// everything below it
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Check whether it would work, without sending anything
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Stop after the upload
    #[arg(long)]
    pub(crate) no_restore: bool,
    /// File with an administrator's long-lived token, if the new Home Assistant is already set up (or set HAUL_TOKEN)
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Replace everything in a Home Assistant that is already set up
    #[arg(long)]
    pub(crate) replace: bool,
    /// Do not ask before replacing anything
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Trust any certificate; anyone on the path can then read everything
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Command that stops the old Home Assistant before the backup; if it fails, nothing is sent
    #[arg(long, value_name = "COMMAND")]
    pub(crate) stop_command: Option<String>,
    /// Command that starts the old Home Assistant again after sending, whatever happens, even if Haul is killed
    #[arg(long, value_name = "COMMAND", requires = "stop_command")]
    pub(crate) start_command: Option<String>,
    #[command(flatten)]
    pub(crate) limit: LimitArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
