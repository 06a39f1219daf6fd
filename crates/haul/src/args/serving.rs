//! Arguments of the commands for what happens by itself.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Subcommand, value_parser};

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
  haul status --alive
  haul status --textfile /var/lib/prometheus/node-exporter/haul.prom

Exit code 0: all is well; 3: something needs a look, or there is no backup yet; 4: backups are not safe;
2: haul.toml has a mistake. What is known all the same is printed before it.";

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
pub(crate) struct AppArgs {
    /// Where Home Assistant asks for the page
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8099")]
    pub(crate) ingress: SocketAddr,
    /// Whose requests for the page are Home Assistant's
    #[arg(long, value_name = "IP", default_value = "172.30.32.2")]
    pub(crate) from: IpAddr,
    /// Where destinations are served as network folders
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8746")]
    pub(crate) share: SocketAddr,
    /// Who may use those folders: the machine itself
    #[arg(long, value_name = "IP", default_value = "172.30.32.1")]
    pub(crate) host: IpAddr,
    /// Seconds that Supervisor waits for it to end, as the app's config.yaml says
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(..=3600), default_value_t = 300)]
    pub(crate) timeout: u64,
    /// A restore of which Supervisor says nothing new for so many seconds needs a look
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub(crate) silence: u64,
    /// Supervisor's address, if it is another than usual
    #[arg(long, value_name = "URL")]
    pub(crate) supervisor: Option<String>,
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
    /// When done, write what is known to this file in Prometheus's text format
    #[arg(long, value_name = "FILE")]
    pub(crate) textfile: Option<PathBuf>,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Write what is known to this file in Prometheus's text format, for node_exporter
    #[arg(long, value_name = "FILE")]
    pub(crate) textfile: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Only tell whether the service answers (exit code 0 or 1), for example as a container's health check
    #[arg(long, conflicts_with_all = ["json", "textfile"])]
    pub(crate) alive: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job
    pub(crate) job: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// Send a test message through every channel in haul.toml, or through one
    #[command(after_help = "Example:\n  haul notify check phone")]
    Check(NotifyCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NotifyCheckArgs {
    /// The channel; without it, all are tried
    pub(crate) channel: Option<String>,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
}
