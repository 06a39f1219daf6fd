//! Parses the command line, without interpreting it: no file is touched here.

mod destinations;
mod groups;
mod making;
mod migrate;
mod reading;
mod rehearsing;
mod repairing;
mod serving;
mod vault;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use destinations::*;
pub(crate) use making::*;
pub(crate) use migrate::*;
pub(crate) use reading::*;
pub(crate) use rehearsing::*;
pub(crate) use repairing::*;
pub(crate) use serving::*;
pub(crate) use vault::*;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; nothing was left behind, unless the message says otherwise. `diff`: the archives differ
  2    wrong usage
  3    done, but something could not be read or is damaged on this machine, one of several
       copies failed, or only the end or the index of an archive is damaged (the report names it)
  4    the archive is damaged, Home Assistant would not restore it, or a restore loses users,
       settings or the history
  130  interrupted";

/// `0.1.0 (abc1234, ISA-L)`: the release, the commit where it is known, and what compresses. The build script says the
/// last two.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("HAUL_BUILD"), ")");

/// Back up Home Assistant from its live config directory, using every core, and verify that the backup restores
#[derive(Debug, Parser)]
#[command(name = "haul", version = VERSION, max_term_width = 100, after_help = EXIT_CODES, propagate_version = true, help_template = groups::template())]
pub(crate) struct Cli {
    /// Named destinations and defaults [default: ~/.config/haul/haul.toml, else /etc/haul/haul.toml]
    ///
    /// [destinations.NAME] holds a url and the keys that its kind of destination needs. [backup], [push], [prune] and
    /// [receive] hold options of these commands, named like the flag with _ for -. The environment variable HAUL_OPTION
    /// sets the same option (HAUL_RECEIVE_NAME for `receive --name`, HAUL_PRUNE_VERIFY for `prune --verify`). Flags
    /// override the environment, and the environment overrides the file.
    #[arg(long, global = true, value_name = "FILE", env = "HAUL_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Back up a config directory while Home Assistant runs
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Move to another Home Assistant: back up, upload and restore in one step
    ///
    /// Streams a backup straight into the other Home Assistant, restores it there, waits for the restart, and says
    /// which user can log in.
    #[command(after_help = MIGRATE_EXAMPLES)]
    Migrate(MigrateArgs),
    /// Upload an existing archive
    ///
    /// After an interruption, run the same command again to continue.
    #[command(after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// Accept backups from other machines
    ///
    /// Pair each machine once, with a short code.
    #[command(after_help = RECEIVE_EXAMPLES)]
    Receive(ReceiveArgs),
    /// Serve destinations as network folders (SMB)
    ///
    /// For programs that can only write to a folder. A backup that is written there, by Home Assistant itself for example, is sent on as it comes; nothing is stored
    /// on the way.
    #[command(after_help = SHARE_EXAMPLES)]
    Share(ShareArgs),
    /// Make a vault, check it, and manage its keys
    ///
    /// A vault keeps every backup as what changed since the one before, encrypted, at any destination: put vault+ before
    /// its address. All other commands take it like a destination of any kind.
    #[command(subcommand, after_help = VAULT_EXAMPLES)]
    Vault(VaultCommand),
    /// List paired machines, or forget one
    Peers(PeersArgs),
    /// Check every byte of an archive, and whether Home Assistant would restore it
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Show what each version of Home Assistant does with an archive, and why
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Prove that an archive restores: restore it for a test and check the result
    #[command(after_help = REHEARSE_EXAMPLES)]
    Rehearse(RehearseArgs),
    /// Write a repaired copy of a damaged archive, or convert a good one
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(RepairArgs),
    /// Unpack an archive into a directory
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
    /// List the archives at a destination
    ///
    /// Reads only the beginning of each archive.
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// List the files in an archive
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Print one file from an archive
    #[command(after_help = CAT_EXAMPLES)]
    Cat(CatArgs),
    /// Compare the files of two archives
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Download an archive
    ///
    /// After an interruption, run the same command again to continue.
    #[command(after_help = GET_EXAMPLES)]
    Get(GetArgs),
    /// Remove archives
    #[command(after_help = RM_EXAMPLES)]
    Rm(RmArgs),
    /// Remove old archives by rules
    ///
    /// Shows the plan and asks before it removes anything.
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(PruneArgs),
    /// Protect an archive from prune and rm
    #[command(after_help = "Example:\n  haul pin offsite/NAME.tar")]
    Pin(PinArgs),
    /// Allow a pinned archive to be removed again
    #[command(after_help = "Example:\n  haul unpin offsite/NAME.tar")]
    Unpin(PinArgs),
    /// Back up, copy, verify and rotate by itself, as the jobs in haul.toml say
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Do what `haul serve` does as an app of Home Assistant OS
    ///
    /// For the app's container. The page is shown by Home Assistant to its administrators. Each destination becomes a network storage of Home Assistant, and jobs with
    /// `everything = true` back up every app and folder.
    App(AppArgs),
    /// Run a job now
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Show whether backups are safe, and what is wrong
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Do nothing for a job until it is resumed
    #[command(after_help = "Example:\n  haul pause home")]
    Pause(JobArgs),
    /// End the pause of a job
    #[command(after_help = "Example:\n  haul resume home")]
    Resume(JobArgs),
    /// List the jobs in haul.toml
    #[command(after_help = "Example:\n  haul jobs")]
    Jobs(JobsArgs),
    /// Test who is told when something is wrong
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// Show and test destinations
    #[command(subcommand, after_help = destinations())]
    Destination(DestinationCommand),
    /// Sign in to a destination that needs more than a password
    #[command(subcommand)]
    Auth(AuthArgs),
    /// Back up, verify and restore a running sample installation
    Demo(DemoArgs),
    /// Print shell completions
    #[command(after_help = "Example:\n  haul completions bash > ~/.local/share/bash-completion/completions/haul")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages to a directory
    #[command(after_help = "Example:\n  haul man ~/.local/share/man/man1")]
    Man {
        /// Directory, created if missing
        directory: PathBuf,
    },
    /// The sample installation's recorder, in a process of its own
    #[command(hide = true)]
    DemoRecorder {
        directory: PathBuf,
        #[arg(long, default_value_t = 20)]
        interval_ms: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WaitingArgs {
    /// Give up on a destination after this long without a single success, for example 90s, 45m, 2d12h [default: 6h]
    #[arg(long, value_name = "DURATION", value_parser = crate::units::duration)]
    pub(crate) give_up_after: Option<std::time::Duration>,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LimitArgs {
    /// Limit all uploads together to this rate, for example 500kB/s or 2MB/s
    #[arg(long, value_name = "RATE", value_parser = crate::units::rate)]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// File with the password (or set the environment variable HAUL_PASSWORD)
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

/// Which of Home Assistant's readers to check for an archive.
#[derive(Debug, Args)]
pub(crate) struct ReadersArgs {
    /// Check for this version of Home Assistant only: the one that will restore the archive
    #[arg(long, value_name = "VERSION", conflicts_with = "all_readers")]
    pub(crate) target: Option<String>,
    /// Check for every version of Home Assistant, even those older than the archive
    #[arg(long)]
    pub(crate) all_readers: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressArg::Auto, value_name = "HOW")]
    pub(crate) progress: ProgressArg,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    /// A bar on a terminal, plain lines otherwise
    Auto,
    /// A bar
    Bar,
    /// A line every few seconds
    Plain,
    /// Nothing
    None,
}
