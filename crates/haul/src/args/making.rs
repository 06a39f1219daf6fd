//! Arguments of the commands that make and send archives.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{LimitArgs, OutputArgs, PasswordArgs, WaitingArgs};

pub(super) const BACKUP_EXAMPLES: &str = "\
Examples:
  haul backup /config --to /backups
  haul backup ~/.homeassistant --to /mnt/nas/ha.tar --password-file ~/.haul-password
  haul backup /config --to /backups --exclude 'www/recordings' --level small
  haul backup /config --to /backups --gentle --json
  haul backup /config --to s3://bucket/backups --to sftp://me@nas/backups
  haul backup /config --to - | ssh host 'cat > backup.tar'";

pub(super) const PUSH_EXAMPLES: &str = "\
Examples:
  haul push /backups/backup.tar --to s3://bucket/backups
  haul push backup.tar --to offsite --verify read-back";

pub(super) const RECEIVE_EXAMPLES: &str = "\
Examples:
  haul receive --to /backups --listen 0.0.0.0:8744
  haul backup /config --to haul://nas          (on the other machine; asks for the code once)

A machine that was paired may store, list, read and delete what is in DEST. Whatever else knocks
gets no answer, not even this machine's name. `haul peers` lists the machines, `haul peers
forget NAME` ends it.";

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
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
    #[arg(long, value_name = "N", value_parser = crate::units::cores)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// One core, lowest CPU priority, disk only when nobody else wants it
    #[arg(long, conflicts_with = "threads")]
    pub(crate) gentle: bool,
    /// Home Assistant's version, when the directory's .HA_VERSION is missing or wrong
    #[arg(long, value_name = "VERSION")]
    pub(crate) ha_version: Option<String>,
    /// Back up to a directory whose mount seems to be missing, and fill the disk that Home Assistant runs from
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SendingArgs {
    /// How a copy is checked after it arrived: by what the place offers (size, checksums), or by reading all of it back [default: auto]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) verify: Option<VerifyArg>,
    #[command(flatten)]
    pub(crate) limit: LimitArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
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
    /// Keep what has arrived: paired machines can't delete, replace, pin, unpin or prune; do that on this machine
    #[arg(long)]
    pub(crate) append_only: bool,
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
    /// List the machines, as `haul peers` by itself does
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// End what pairing began; takes effect at once, also in a running `haul receive`
    Forget {
        /// The machine's name, or the beginning of its fingerprint
        name: String,
    },
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
    /// Not at all, as --uncompressed
    None,
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
