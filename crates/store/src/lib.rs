//! Destinations: where an archive goes, whole or not at all, and from where it comes back.
//!
//! A destination takes bytes the way it can (`Placement`), and publishes the result under its final name in one step. Nothing here knows what an archive is.
//!
//! | module | owns |
//! |---|---|
//! | `store` | the two traits that every kind of place implements |
//! | `address`, `context` | what the user types; what all connections share |
//! | `bridge` | the one crossing between threads and sockets |
//! | `limit` | the rate that uploads do not exceed |
//! | `parts` | the archive's bytes on their way, shared and not copied |
//! | `outbound` | one archive to several places at once: parts, holding back, checking what arrived |
//! | `patience` | trying again, and when to stop |
//! | `inbound` | an object read like a file, by ranges |
//! | `owner` | names of unfinished things, from which the next run tells what to remove |
//! | `contract` | the rules every kind of place keeps, tried on a real one |
//! | `small` | marks and notes beside archives |
//! | `http` | what all HTTP places have in common |
//! | `local`, `stdout`, `object`, `gdrive`, `webdav`, `nextcloud`, `sftp`, `machine` | the kinds of places |

pub mod address;
mod bridge;
pub mod context;
pub mod contract;
mod error;
pub mod files;
pub mod gdrive;
pub mod http;
pub mod inbound;
pub mod limit;
pub mod local;
pub mod machine;
pub mod nextcloud;
pub mod object;
pub mod outbound;
pub mod owner;
pub mod parts;
pub mod patience;
mod secret;
pub mod sftp;
pub mod small;
pub mod stdout;
pub mod store;
pub mod webdav;

use std::sync::Arc;

pub use address::Address;
pub use bridge::Bridge;
pub use context::{Context, Options, Tuning, home_directory};
pub use error::{Kind, Operation, RemoteError, StoreError};
pub use limit::Limit;
pub use parts::{Part, Segments};
pub use secret::Secret;
pub use store::{Abilities, Checked, Entry, Expected, Order, PartRules, Placement, Sealed, Session, Store, Upload, Workshop};

/// Makes contact with a place. One attempt: see [`patience::Patience`].
pub async fn connect(address: &Address, options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    match address {
        Address::Local(path) => Ok(Arc::new(local::Local::open(path)?)),
        Address::Stdout => Ok(Arc::new(stdout::Stdout)),
        Address::Remote(url) => match url.scheme() {
            "s3" | "azblob" | "gs" => object::connect(url, options, context).await,
            "gdrive" => gdrive::connect(url, options, context).await,
            "webdav" | "webdavs" => webdav::connect(url, options, context).await,
            "nextcloud" | "nextclouds" => nextcloud::connect(url, options, context).await,
            "sftp" => sftp::connect(url, options, context).await,
            "haul" => machine::connect(url, options, context).await,
            other => Err(context::invalid(other, "there is no such kind of place")),
        },
    }
}

/// The keys that a destination of this kind may have in the configuration file, beside `url`.
pub fn keys(address: &Address) -> &'static [&'static str] {
    match address {
        Address::Local(_) | Address::Stdout => local::KEYS,
        Address::Remote(url) => match url.scheme() {
            "s3" | "azblob" | "gs" => object::KEYS,
            "gdrive" => gdrive::KEYS,
            "webdav" | "webdavs" => webdav::KEYS,
            "nextcloud" | "nextclouds" => nextcloud::KEYS,
            "sftp" => sftp::KEYS,
            _ => machine::KEYS,
        },
    }
}
