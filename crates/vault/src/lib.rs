//! A vault keeps every backup as what changed since the one before, encrypted, at any destination (docs/VAULT.md).
//!
//! [`VaultStore`] is a destination like any other: what is written to it is an uncompressed archive, and what is read
//! from it is that archive, byte for byte. In between the archive is cut (`segment`), what an earlier backup has is
//! referred to, and the rest is compressed, sealed and gathered in packs.
//!
//! | module | owns |
//! |---|---|
//! | `id`, `record` | names of objects; what is written down of a backup, and its bytes |
//! | `seal`, `keys`, `group` | encryption; who can open a vault; content that is compressed and sealed together |
//! | `segment` | where a backup is cut |
//! | `draft`, `packer`, `write`, `base` | a backup on its way in; what it can refer to |
//! | `pages` | versions of a database's pages |
//! | `read` | a backup's bytes from any position |
//! | `cache` | what this machine remembers of a vault |
//! | `objects`, `vault`, `open` | the objects at their destination; listing, committing; opening from settings |
//! | `prune`, `check` | removing what no backup needs; looking whether all is there |
//! | `destination` | the vault as a destination |

mod base;
mod cache;
pub mod check;
mod destination;
mod draft;
mod group;
#[cfg(test)]
mod hostile;
mod id;
mod keys;
mod objects;
mod open;
mod packer;
mod pages;
pub mod prune;
mod read;
mod record;
mod seal;
mod segment;
mod vault;
mod write;

pub use destination::VaultStore;
pub use id::Id;
pub use keys::{KEY_FILE, SealedKey, Secret};
pub use open::{AskPassword, Opener};
pub use record::Snapshot;
pub use vault::Vault;
