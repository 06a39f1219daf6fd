//! Arguments of `haul vault`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::WaitingArgs;

pub(super) const VAULT_EXAMPLES: &str = "\
Examples:
  haul vault init vault+/mnt/nas/ha
  haul backup /config --to vault+/mnt/nas/ha
  haul vault check vault+s3://bucket/ha --read-data
  haul vault keys offsite --add

The password comes from vault_password_file in haul.toml, from HAUL_VAULT_PASSWORD, or from the
terminal. Without it nobody can read the vault, and nobody can restore it: keep it in a safe place.";

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Make a vault in an empty folder
    Init(VaultArgs),
    /// Show what is in a vault
    Info(VaultArgs),
    /// Check that everything is there that the backups need
    Check(VaultCheckArgs),
    /// List the keys that open a vault, add one, or remove one
    Keys(VaultKeysArgs),
    /// Remove content that no backup needs
    ///
    /// Such content goes in two steps, a day apart: this command marks it, and removes what an earlier one has marked.
    /// Every backup and `haul prune` do the same.
    Compact(VaultArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VaultArgs {
    /// An address such as vault+s3://bucket/ha, or a name from haul.toml
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VaultCheckArgs {
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// Read everything and compare every byte
    #[arg(long)]
    pub(crate) read_data: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VaultKeysArgs {
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// Add a password: it is asked for, or read from --new-password-file
    #[arg(long)]
    pub(crate) add: bool,
    /// File with the new password
    #[arg(long, value_name = "FILE", requires = "add")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Make a new key file that opens the vault without a password
    #[arg(long, value_name = "FILE", conflicts_with = "add")]
    pub(crate) add_key_file: Option<PathBuf>,
    /// What to call the new key
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Remove a key
    #[arg(long, value_name = "KEY", conflicts_with_all = ["add", "add_key_file"])]
    pub(crate) remove: Option<String>,
}
