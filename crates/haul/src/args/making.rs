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

A paired machine may store, list, read and delete archives in DEST. All others get no answer,
not even this machine's name. `haul peers` lists the paired machines, `haul peers forget NAME`
unpairs one.";

pub(super) const SHARE_EXAMPLES: &str = "\
Examples:
  haul share nas --user homeassistant --password-file share-password
  haul share nas offsite --listen 192.168.1.5:8746 --user homeassistant --password-file share-password

Each destination is a folder, \\\\HOST\\DEST. Only complete Home Assistant backups called *.tar are kept
there. docs/SHARE.md shows how Home Assistant uses one.";

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct BackupArgs {
    /// Home Assistant's config directory: the one with configuration.yaml and .HA_VERSION
    pub(crate) config_dir: PathBuf,
    /// Destination: an existing directory (Haul names the file as Home Assistant does), NAME.tar, an address such as
    /// s3://bucket/backups, a name from haul.toml, or - for standard output; can be repeated
    #[arg(long, value_name = "DEST", required = true)]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) sending: SendingArgs,
    /// Name of the backup in Home Assistant [default: Haul backup VERSION]
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Encryption format; auto uses v3 where Home Assistant reads it (2026.3 and later), otherwise v2
    #[arg(long, value_enum, default_value_t = SecureTarArg::Auto, value_name = "VERSION")]
    pub(crate) securetar: SecureTarArg,
    /// Exclude the history (home-assistant_v2.db)
    #[arg(long)]
    pub(crate) exclude_database: bool,
    /// Exclude files that match, relative to the config directory; ** matches any directories, and a directory includes
    /// everything below it
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Do not compress
    #[arg(long, conflicts_with = "level")]
    pub(crate) uncompressed: bool,
    /// Compression level
    #[arg(long, value_enum, default_value_t = LevelArg::Fast)]
    pub(crate) level: LevelArg,
    /// Which machine compresses and encrypts a backup to another machine (haul://…): this one, the other one, or the
    /// faster one by measurement
    #[arg(long, value_enum, default_value_t = CompressArg::Here, value_name = "WHERE")]
    pub(crate) compress: CompressArg,
    /// Number of cores to use [default: all]
    #[arg(long, value_name = "N", value_parser = crate::units::cores)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Use one core at the lowest priority, and the disk only when it is idle
    #[arg(long, conflicts_with = "threads")]
    pub(crate) gentle: bool,
    /// Home Assistant's version, if the directory's .HA_VERSION is missing or wrong
    #[arg(long, value_name = "VERSION")]
    pub(crate) ha_version: Option<String>,
    /// Back up even if a directory's mount seems to be missing, or if the backup fills the disk that Home Assistant
    /// runs from
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SendingArgs {
    /// How to check each copy after it arrives: by size and checksums, as the destination offers, or by reading it back
    /// [default: auto]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) verify: Option<VerifyArg>,
    #[command(flatten)]
    pub(crate) limit: LimitArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// An archive on this machine
    pub(crate) archive: PathBuf,
    /// Destination: an address such as s3://bucket/backups, a name from haul.toml, or a directory; can be repeated
    #[arg(long, value_name = "DEST", required = true)]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) sending: SendingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// Where to store received backups: an existing directory, an address, or a name from haul.toml
    #[arg(long, value_name = "DEST")]
    pub(crate) to: String,
    /// Address to listen on; 0.0.0.0:8744 opens it to the network and lets senders find it
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8744")]
    pub(crate) listen: String,
    /// Name of this machine for paired machines [default: the host name]
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Paired machines can only add and read archives; delete, pin, unpin and prune on this machine
    #[arg(long)]
    pub(crate) append_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// Destinations to serve: names from haul.toml; each is a folder of that name
    #[arg(value_name = "DEST", required = true)]
    pub(crate) destinations: Vec<String>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8746")]
    pub(crate) listen: String,
    /// Only this address may connect; can be repeated
    #[arg(long, value_name = "IP")]
    pub(crate) allow: Vec<std::net::IpAddr>,
    /// The user that clients log in as
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// File with that user's password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: PathBuf,
    /// Memory in which each backup waits for a slow destination; when it is full, the backup fails
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = crate::units::size)]
    pub(crate) memory: u64,
    /// Clients can only add and read archives, not delete them
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
    /// List the paired machines; the same as `haul peers`
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Unpair a machine; takes effect at once, even in a running `haul receive`
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
    /// By checksums where the destination has them, otherwise by size
    Auto,
    /// Also read every byte back
    ReadBack,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LevelArg {
    /// As fast as the disk
    Fast,
    /// A little smaller, somewhat slower
    Balanced,
    /// As small as gzip can get, slow
    Small,
    /// No compression, as with --uncompressed
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompressArg {
    /// This machine
    Here,
    /// The receiving machine: it gets the files themselves over the encrypted connection, and keys that open this
    /// backup (with --securetar v2, every backup with the same password)
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
