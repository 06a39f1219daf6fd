//! What the user typed, and nothing of what it means: no file is touched here.

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; nothing was left behind
  2    wrong usage
  3    done, but something could not be read, or one of several copies failed (the report names it)
  4    the archive is damaged, or Home Assistant would not restore it
  130  interrupted";

const BACKUP_EXAMPLES: &str = "\
Examples:
  haul backup /config --to /backups
  haul backup ~/.homeassistant --to /mnt/nas/ha.tar --password-file ~/.haul-password
  haul backup /config --to /backups --exclude 'www/recordings' --level small
  haul backup /config --to /backups --gentle --json
  haul backup /config --to s3://bucket/backups --to sftp://me@nas/backups
  haul backup /config --to - | ssh host 'cat > backup.tar'";

const PUSH_EXAMPLES: &str = "\
Examples:
  haul push /backups/backup.tar --to s3://bucket/backups
  haul push backup.tar --to offsite --verify read-back";

const RECEIVE_EXAMPLES: &str = "\
Examples:
  haul receive --to /backups --listen 0.0.0.0:8744
  haul backup /config --to haul://nas          (on the other machine; asks for the code once)

A machine that was paired may store, list, read and delete what is in DEST. Whatever else knocks gets no
answer, not even this machine's name. `haul peers` lists the machines, `haul peers forget NAME` ends it.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  haul verify /backups/Haul_backup_2026.11.1_2026-11-22_04.30_00123456.tar
  HAUL_PASSWORD=… haul verify backup.tar --json
  haul verify s3://bucket/backups/NAME.tar";

const LS_EXAMPLES: &str = "\
Examples:
  haul ls backup.tar
  haul ls offsite/NAME.tar '.storage/core.*'
  haul ls backup.tar --all --json

What an archive's index does not hold (modes and times of files) is shown as ?. An archive without an
index, such as Home Assistant's own, is read to its end. Exit code 1: nothing fits GLOB.";

const CAT_EXAMPLES: &str = "\
Examples:
  haul cat backup.tar configuration.yaml
  haul cat s3://bucket/backups/NAME.tar .storage/auth > auth
  haul cat supervisor.tar 'ssl.tar.gz: fullchain.pem' > fullchain.pem

Of an archive with an index no more is read than what holds the file; any other is read up to the file.
When it fails half-way, what was printed is only the beginning of the file: look at the exit code.";

const DIFF_EXAMPLES: &str = "\
Examples:
  haul diff yesterday.tar today.tar
  haul diff offsite/OLD.tar /backups/NEW.tar --json

Compared are names, kinds, sizes, and contents where the sizes are the same; modes and times are not.
Exit codes: 0 the same, 1 different (or failed, which standard error tells).";

const INSPECT_EXAMPLES: &str = "\
Examples:
  haul inspect backup.tar
  haul inspect offsite/NAME.tar --password-file ~/.haul-password
  haul inspect backup.tar --target 2025.6.3 --json

Three readers are told apart: Core 2025.1 to 2026.2, Core since 2026.3, and Supervisor (Home Assistant OS).
Exit code 0: every one of them restores it. 4: at least one does not, or loses something that matters.";

const LIST_EXAMPLES: &str = "\
Examples:
  haul list /backups
  haul list offsite --json
  haul list s3://bucket/backups";

const GET_EXAMPLES: &str = "\
Examples:
  haul get offsite/NAME.tar --to /tmp
  haul get s3://bucket/backups/NAME.tar --to ./backup.tar";

const RM_EXAMPLES: &str = "\
Examples:
  haul rm offsite/NAME.tar
  haul rm offsite/ONE.tar offsite/OTHER.tar --yes";

const PRUNE_EXAMPLES: &str = "\
Examples:
  haul prune offsite --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  haul prune /backups --keep-last 10 --keep-within 30d --yes

A rule keeps the newest archive of each of the N latest days, weeks (Monday to Sunday), months or
years that have one, by the local calendar; what any rule keeps is kept. The newest whole archive,
pinned archives and those that Haul did not make are never removed.";

const DESTINATION_EXAMPLES: &str = "\
Examples:
  haul destination list
  haul destination check offsite";

const RESTORE_EXAMPLES: &str = "\
Examples:
  haul restore backup.tar --into /tmp/look
  haul restore backup.tar --into /config --replace
  haul restore backup.tar --into /tmp/look --only '.storage/core.*_registry' --only automations.yaml
  haul restore backup.tar --into /tmp/db --database-only

  haul restore offsite/NAME.tar --into /tmp/look --only secrets.yaml

An archive can also be uploaded to Home Assistant itself: Settings > System > Backups, or on the
welcome page of a fresh installation.";

const GDRIVE_EXAMPLES: &str = "\
Examples:
  haul auth gdrive --client-id 123-abc.apps.googleusercontent.com --client-secret-file ~/.drive-secret
  haul auth gdrive --status
  haul backup /config --to gdrive://Backups

The client id is your own: at console.cloud.google.com create a project, enable the Google Drive API,
publish the OAuth consent screen, and create a client ID of the type \"TVs and Limited Input devices\".
Haul then sees only the files that it put there itself.";

/// Backs up Home Assistant from its live config directory, through every core, and proves that it restores.
#[derive(Debug, Parser)]
#[command(name = "haul", version, max_term_width = 100, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    /// Named destinations and defaults [default: ~/.config/haul/haul.toml, else /etc/haul/haul.toml]
    ///
    /// [destinations.NAME] holds a url and what its kind of place needs. [backup], [push] and [prune] hold options of these commands under the flag's name with _ for -;
    /// the same options are taken from the environment as HAUL_OPTION. A flag beats the environment, the environment beats the file.
    #[arg(long, global = true, value_name = "FILE", env = "HAUL_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an archive of a config directory, while Home Assistant runs
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Send an archive that exists already; after an interruption the same command goes on where it stopped
    #[command(after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// Take the backups of other machines, which are paired once by a short code
    #[command(after_help = RECEIVE_EXAMPLES)]
    Receive(ReceiveArgs),
    /// List the machines that were paired with this one, or forget one
    Peers(PeersArgs),
    /// Read an archive to its last byte and say whether Home Assistant would restore it
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Say what is in an archive, what each version of Home Assistant will do with it, and why
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Unpack an archive into a directory
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
    /// List the archives of a place, reading only their beginnings
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// List what is in an archive
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Print one file of an archive
    #[command(after_help = CAT_EXAMPLES)]
    Cat(CatArgs),
    /// Say which files two archives do not have in common
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Fetch an archive; after an interruption the same command goes on where it stopped
    #[command(after_help = GET_EXAMPLES)]
    Get(GetArgs),
    /// Remove archives
    #[command(after_help = RM_EXAMPLES)]
    Rm(RmArgs),
    /// Remove old archives by rules: shows a plan, asks, then does it
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(PruneArgs),
    /// Keep an archive for good: neither prune nor rm remove it
    #[command(after_help = "Example:\n  haul pin offsite/NAME.tar")]
    Pin(PinArgs),
    /// Let an archive be removed again
    #[command(after_help = "Example:\n  haul unpin offsite/NAME.tar")]
    Unpin(PinArgs),
    /// Show or try destinations
    #[command(subcommand, after_help = DESTINATION_EXAMPLES)]
    Destination(DestinationCommand),
    /// Sign in where a password is not enough
    #[command(subcommand)]
    Auth(AuthArgs),
    /// Back up a running sample installation, verify it, restore it, and compare
    Demo(DemoArgs),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  haul completions bash > ~/.local/share/bash-completion/completions/haul")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    #[command(after_help = "Example:\n  haul man ~/.local/share/man/man1")]
    Man {
        /// An existing directory
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
pub(crate) struct BackupArgs {
    /// Home Assistant's config directory: the one with configuration.yaml and .HA_VERSION
    pub(crate) config_dir: PathBuf,
    /// Where to: an existing directory (the file is named as Home Assistant names it), NAME.tar, an address such as s3://bucket/backups, a name from haul.toml, or
    /// - for standard output; may be given several times
    #[arg(long, value_name = "DEST", required = true)]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) sending: SendingArgs,
    /// Name of the backup in Home Assistant [default: Haul backup VERSION]
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Encryption format; auto takes v3 where Home Assistant reads it (2026.3 and later), else v2
    #[arg(long, value_enum, default_value_t = SecureTarArg::Auto, value_name = "VERSION")]
    pub(crate) securetar: SecureTarArg,
    /// Leave out the history (home-assistant_v2.db)
    #[arg(long)]
    pub(crate) exclude_database: bool,
    /// Leave out what matches, below the config directory; ** stands for any directories, a directory takes all below it along
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Do not compress
    #[arg(long, conflicts_with = "level")]
    pub(crate) uncompressed: bool,
    /// How hard to compress
    #[arg(long, value_enum, default_value_t = LevelArg::Fast)]
    pub(crate) level: LevelArg,
    /// Which machine compresses and encrypts when the backup goes to another one (haul://…): this one, the other one, or whichever is faster by measured rates
    #[arg(long, value_enum, default_value_t = CompressArg::Here, value_name = "WHERE")]
    pub(crate) compress: CompressArg,
    /// Cores to use [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// One core, lowest CPU priority, disk only when nobody else wants it
    #[arg(long, conflicts_with = "threads")]
    pub(crate) gentle: bool,
    /// Home Assistant's version, when the directory's .HA_VERSION is missing or wrong
    #[arg(long, value_name = "VERSION")]
    pub(crate) ha_version: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SendingArgs {
    /// How a copy is checked after it arrived: by what the place offers (size, checksums), or by reading all of it back [default: auto]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) verify: Option<VerifyArg>,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitingArgs {
    /// How long a place may fail without a single success before it is given up, for example 90s, 45m, 2d12h [default: 6h]
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration)]
    pub(crate) give_up_after: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// An archive of this machine
    pub(crate) archive: PathBuf,
    /// Where to: an address such as s3://bucket/backups, a name from haul.toml, or a directory; may be given several times
    #[arg(long, value_name = "DEST", required = true)]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) sending: SendingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// Where what arrives goes: an existing directory, an address, or a name from haul.toml
    #[arg(long, value_name = "DEST")]
    pub(crate) to: String,
    /// Where to listen; 0.0.0.0:8744 opens it to the network and lets senders find it by themselves
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8744")]
    pub(crate) listen: String,
    /// What paired machines call this one [default: the host name]
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    pub(crate) command: Option<PeersCommand>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// End what pairing began; takes effect at once, also in a running `haul receive`
    Forget {
        /// The machine's name, or the beginning of its fingerprint
        name: String,
    },
}

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
    /// The version of Home Assistant that it is to be restored in
    #[arg(long, value_name = "VERSION")]
    pub(crate) target: Option<String>,
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
    /// Only what matches; may be given several times
    #[arg(long, value_name = "GLOB", conflicts_with = "database_only")]
    pub(crate) only: Vec<String>,
    /// Only the history (home-assistant_v2.db)
    #[arg(long)]
    pub(crate) database_only: bool,
    /// Put it in the place of what is there, once all of it is unpacked and checked; the old content is kept beside it
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressArg::Auto, value_name = "HOW")]
    pub(crate) progress: ProgressArg,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
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

#[derive(Debug, Subcommand)]
pub(crate) enum AuthArgs {
    /// Sign this machine in to Google Drive
    #[command(after_help = GDRIVE_EXAMPLES)]
    Gdrive(GdriveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GdriveArgs {
    /// Your own client id; later sign-ins know it
    #[arg(long, value_name = "ID", requires = "client_secret_file")]
    pub(crate) client_id: Option<String>,
    /// File with its secret
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// A destination of haul.toml whose settings (token_file, client_id, …) count
    #[arg(long, value_name = "NAME")]
    pub(crate) destination: Option<String>,
    /// Say whether this machine is signed in, and to whose Drive
    #[arg(long)]
    pub(crate) status: bool,
    /// Sign out: take the access back and remove the file
    #[arg(long, conflicts_with_all = ["status", "client_id"])]
    pub(crate) forget: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// A directory, an address such as s3://bucket/backups, or a name from haul.toml
    #[arg(value_name = "DEST")]
    pub(crate) place: String,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The archive: a place, a slash and its name
    #[arg(value_name = "DEST/NAME")]
    pub(crate) archive: String,
    /// An existing directory, or a new file
    #[arg(long, value_name = "PATH")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressArg::Auto, value_name = "HOW")]
    pub(crate) progress: ProgressArg,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The archives: each a place, a slash and its name
    #[arg(value_name = "DEST/NAME", required = true)]
    pub(crate) archives: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The archives: each a place, a slash and its name
    #[arg(value_name = "DEST/NAME", required = true)]
    pub(crate) archives: Vec<String>,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct PruneArgs {
    /// A directory, an address such as s3://bucket/backups, or a name from haul.toml
    #[arg(value_name = "DEST")]
    pub(crate) place: String,
    /// Keep the newest N
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_last: u32,
    /// Keep the newest of each of N days
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_daily: u32,
    /// Keep the newest of each of N weeks
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_weekly: u32,
    /// Keep the newest of each of N months
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_monthly: u32,
    /// Keep the newest of each of N years
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_yearly: u32,
    /// Keep all that are at most so much older than the newest: 30d, 8w, 1y6mo
    #[arg(long, value_name = "TIME", value_parser = crate::config::span)]
    pub(crate) keep_within: Option<jiff::Span>,
    /// Treat backups that Home Assistant or others made like Haul's
    #[arg(long)]
    pub(crate) include_foreign: bool,
    /// Only show the plan
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Do not ask
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
    /// Try a place: what it can do, how fast it is, and whether it keeps every rule that backups rely on
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A directory, an address such as s3://bucket/backups, or a name from haul.toml
    #[arg(value_name = "DEST")]
    pub(crate) place: String,
    /// How much to send and read back to measure the speed
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = crate::config::size)]
    pub(crate) measure: u64,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
    /// Print one JSON document when done
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Size of the sample's history, in MB
    #[arg(long, default_value_t = 200, value_name = "MB")]
    pub(crate) size: u64,
    /// Keep the sample, the archive and the restored directory here (new or empty)
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// File with the password; the environment variable HAUL_PASSWORD serves as well
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
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
    /// A bar on a terminal, else plain lines
    Auto,
    /// A bar
    Bar,
    /// A line every few seconds
    Plain,
    /// Nothing
    None,
}

/// How an arrived archive is compared with what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyArg {
    /// By what the place offers: checksums, else the size
    Auto,
    /// Also by reading every byte back
    ReadBack,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LevelArg {
    /// As fast as the disk
    Fast,
    /// A little smaller, somewhat slower
    Balanced,
    /// As small as gzip gets, slow
    Small,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompressArg {
    /// This machine
    Here,
    /// The receiving machine: it gets the files as they are, over the encrypted line, and keys that open this backup (with --securetar v2: every backup of the same
    /// password)
    There,
    /// Whichever makes the backup faster
    Auto,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SecureTarArg {
    /// By Home Assistant's version
    Auto,
    /// AES-128, read by every Home Assistant
    V2,
    /// XChaCha20-Poly1305 and Argon2id, read by Home Assistant 2026.3 and later
    V3,
}
