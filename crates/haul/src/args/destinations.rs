//! Arguments of the commands for archives at a destination, and for destinations themselves.

use std::{fmt::Write, path::PathBuf};

use clap::{Args, Subcommand};

use super::{OutputArgs, PasswordArgs, WaitingArgs};

pub(super) const LIST_EXAMPLES: &str = "\
Examples:
  haul list /backups
  haul list offsite --json
  haul list s3://bucket/backups";

pub(super) const GET_EXAMPLES: &str = "\
Examples:
  haul get offsite/NAME.tar --to /tmp
  haul get s3://bucket/backups/NAME.tar --to ./backup.tar";

pub(super) const RM_EXAMPLES: &str = "\
Examples:
  haul rm offsite/NAME.tar
  haul rm offsite/ONE.tar offsite/OTHER.tar --yes";

pub(super) const PRUNE_EXAMPLES: &str = "\
Examples:
  haul prune offsite --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  haul prune /backups --keep-last 10 --keep-within 30d --yes

A rule keeps the newest archive of each of the N latest days, weeks (Monday to Sunday), months
or years that have one, by the local calendar; any rule is enough to keep an archive. The newest
whole archive, the newest with the history, pinned archives and those that Haul did not make are
never removed. Prune believes what the maker of an archive said about it being whole, and checks
only its structure and the beginnings of its parts; --verify reads the newest to the end.";

/// The examples, and every kind of destination there is.
pub(super) fn destinations() -> String {
    let mut text =
        "Examples:\n  haul destination list\n  haul destination check offsite\n\nKinds of destinations:\n".to_owned();
    let local = [("DIRECTORY", "a directory, or a share that is mounted"), ("-", "standard output")];
    for (address, what) in
        local.into_iter().chain(store::registry::SCHEMES.iter().map(|scheme| (scheme.example, scheme.service)))
    {
        let _ = writeln!(text, "  {address:<28} {what}");
    }
    let _ = writeln!(text, "  {:<28} a history at any of these that stores only what changed", "vault+ADDRESS");
    text + "\ndocs/DESTINATIONS.md explains what each needs."
}

pub(super) const GDRIVE_EXAMPLES: &str = "\
Examples:
  haul auth gdrive --client-id 123-abc.apps.googleusercontent.com --client-secret-file ~/.drive-secret
  haul auth gdrive --status
  haul backup /config --to gdrive://Backups

The client id is your own: at console.cloud.google.com create a project, enable the Google Drive
API, publish the OAuth consent screen, and create a client ID of the type \"TVs and Limited
Input devices\". Haul then sees only the files that it put there itself.";

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// A directory, an address such as s3://bucket/backups, or a name from haul.toml
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The archive, as DEST/NAME.tar
    #[arg(value_name = "DEST/NAME")]
    pub(crate) archive: String,
    /// An existing directory or a new file
    #[arg(long, value_name = "PATH")]
    pub(crate) to: PathBuf,
    /// Limit the download to this rate, for example 500kB/s or 2MB/s
    #[arg(long, value_name = "RATE", value_parser = crate::units::rate)]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The archives, each as DEST/NAME.tar
    #[arg(value_name = "DEST/NAME", required = true)]
    pub(crate) archives: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The archives, each as DEST/NAME.tar
    #[arg(value_name = "DEST/NAME", required = true)]
    pub(crate) archives: Vec<String>,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct PruneArgs {
    /// A directory, an address such as s3://bucket/backups, or a name from haul.toml
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,
    /// Keep the N newest archives
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<u32>,
    /// Keep the newest archive of each of N days
    #[arg(long, value_name = "N")]
    pub(crate) keep_daily: Option<u32>,
    /// Keep the newest archive of each of N weeks
    #[arg(long, value_name = "N")]
    pub(crate) keep_weekly: Option<u32>,
    /// Keep the newest archive of each of N months
    #[arg(long, value_name = "N")]
    pub(crate) keep_monthly: Option<u32>,
    /// Keep the newest archive of each of N years
    #[arg(long, value_name = "N")]
    pub(crate) keep_yearly: Option<u32>,
    /// Keep all archives at most this much older than the newest: 30d, 8w, 1y6mo
    #[arg(long, value_name = "TIME", value_parser = crate::units::span)]
    pub(crate) keep_within: Option<jiff::Span>,
    /// Treat backups made by Home Assistant or other programs like Haul's
    #[arg(long)]
    pub(crate) include_foreign: bool,
    /// Remove incomplete archives even of an instance that has no whole one
    #[arg(long)]
    pub(crate) even_without_whole: bool,
    /// First read the newest whole archive of each instance to its end; if it is not whole, remove nothing of that
    /// instance
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Only show the plan
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DestinationCommand {
    /// List the destinations named in haul.toml
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Test a destination: what it can do, how fast it is, and whether it keeps every rule that backups rely on
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A directory, an address such as s3://bucket/backups, or a name from haul.toml
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,
    /// How much data to send and read back to measure the speed
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = crate::units::size)]
    pub(crate) measure: u64,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthArgs {
    /// Sign this machine in to Google Drive
    #[command(after_help = GDRIVE_EXAMPLES)]
    Gdrive(GdriveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GdriveArgs {
    /// Your own client id; Haul remembers it for later sign-ins
    #[arg(long, value_name = "ID", requires = "client_secret_file")]
    pub(crate) client_id: Option<String>,
    /// File with the client id's secret
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// A destination in haul.toml whose settings (token_file, client_id, …) to use
    #[arg(long, value_name = "NAME")]
    pub(crate) destination: Option<String>,
    /// Show whether this machine is signed in, and to whose Drive
    #[arg(long)]
    pub(crate) status: bool,
    /// Sign out: revoke the access and remove the file
    #[arg(long, conflicts_with_all = ["status", "client_id"])]
    pub(crate) forget: bool,
}
