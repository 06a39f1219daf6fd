//! Arguments of the commands for what happens by itself.

use clap::Args;

use super::ProgressArg;

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  haul serve
  haul serve --config /etc/haul/haul.toml

What to do, and when, is in haul.toml:

  [destinations.nas]
  url = \"/mnt/nas/backups\"

  [jobs.home]
  source = \"/config\"
  schedule = \"daily 04:45\"
  destinations = [\"nas\"]
  keep = { daily = 7, weekly = 4 }

Changes of the file take effect at once; one that is wrong is reported, and the old settings stay.";

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  haul run home
  haul run home --no-sync

If `haul serve` is running, it makes the backup, and this command shows its progress.";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  haul status
  haul status --json

Exit code 0: all is well; 3: something needs a look; 4: backups are not safe.";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address of the page; 0.0.0.0:8745 opens it to the network, none switches it off
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8745")]
    pub(crate) listen: String,
    /// What stands before every path of the page, behind a proxy that adds it, for example /haul
    #[arg(long, value_name = "PATH", default_value = "")]
    pub(crate) base_path: String,
    /// Name of this machine in the page's address, besides localhost and IP addresses; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
    /// The page is reached by https only, through a proxy
    #[arg(long)]
    pub(crate) https: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The job
    pub(crate) job: String,
    /// Only make the backup: copy, remove and verify nothing
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressArg::Auto, value_name = "HOW")]
    pub(crate) progress: ProgressArg,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job
    pub(crate) job: String,
}
