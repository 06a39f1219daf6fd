//! What may be typed after `haul migrate`.

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

The new Home Assistant shows its first page, and nothing has been entered there. Whatever goes
wrong, the old one stays as it is. Exit code 3: restored, but something could not be read, or
the start command failed. 4: the new one could not restore what it got.";

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct MigrateArgs {
    /// The old Home Assistant's config directory, in use or not: the one with configuration.yaml and .HA_VERSION
    pub(crate) config_dir: PathBuf,
    /// The new Home Assistant's address, as in the browser
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Leave out the history (home-assistant_v2.db)
    #[arg(long)]
    pub(crate) exclude_database: bool,
    /// Leave out what matches, below the config directory; ** stands for any directories, a directory takes all below it along
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Only look whether it would work: nothing is sent
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Stop after the upload
    #[arg(long)]
    pub(crate) no_restore: bool,
    /// File with a long-lived token of an administrator there, for one that is set up already; the environment variable HAUL_TOKEN serves as well
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Replace everything that a Home Assistant holds which is set up already
    #[arg(long)]
    pub(crate) replace: bool,
    /// Do not ask before something is replaced
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Trust any certificate: whoever sits in between then reads everything
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Stop the old Home Assistant with this while the backup is read and sent; if it fails, nothing is sent
    #[arg(long, value_name = "COMMAND")]
    pub(crate) stop_command: Option<String>,
    /// Start the old Home Assistant again with this after sending, whatever became of that; also when this program is killed
    #[arg(long, value_name = "COMMAND", requires = "stop_command")]
    pub(crate) start_command: Option<String>,
    #[command(flatten)]
    pub(crate) limit: LimitArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
