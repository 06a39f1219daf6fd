//! Destinations: where an archive goes, whole or not at all, and where it is read from.
//!
//! A destination takes bytes the way it can (`Placement`), and publishes the result under its final name in one step.
//! Nothing here knows what an archive is.
//!
//! | module | owns |
//! |---|---|
//! | `store` | the traits that every kind of destination implements |
//! | `registry`, `scheme` | every kind of destination, once; what is known of one |
//! | `address`, `redact`, `connect` | what the user types; what of it may be shown; making contact |
//! | `context`, `tuning` | what all connections share; how long to wait for what |
//! | `bridge` | the one crossing between threads and sockets |
//! | `limit` | the rate that uploads do not exceed |
//! | `parts` | the archive's bytes on their way, shared and not copied |
//! | `outbound` | one archive to several destinations at once: parts, holding back, checking what arrived |
//! | `retry`, `error`, `cancellation` | trying again, and when to stop; what failed; how the user stops everything |
//! | `twice` | what a destination gets first that needs sizes first, of an archive whose sizes are known last |
//! | `streamed` | one long request, for destinations that take an archive in one piece |
//! | `files`, `secret` | opening files that may be something else; passwords, keys and tokens |
//! | `inbound` | an object read like a file, by ranges |
//! | `owner` | names of unfinished uploads, which show the next run what to remove |
//! | `contract` | the rules that every kind of destination keeps, tried on a real one |
//! | `small` | marks and notes beside archives |
//! | `http` | what all HTTP destinations have in common |
//! | `local`, `stdout`, `object`, `gdrive`, `webdav`, `nextcloud`, `sftp`, `machine` | the kinds of destinations |

pub mod address;
mod bridge;
mod cancellation;
mod connect;
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
mod redact;
pub mod registry;
pub mod retry;
mod scheme;
mod secret;
pub mod sftp;
pub mod small;
pub mod stdout;
pub mod store;
pub mod streamed;
mod tuning;
mod twice;
pub mod webdav;

pub use address::Address;
pub use bridge::Bridge;
pub use cancellation::{Cancellation, OnCancel};
pub use connect::{connect, keys};
pub use context::{Context, Options, Vaults, home_directory};
pub use error::{HostKey, Kind, Operation, RemoteError, StoreError};
pub use limit::Limit;
pub use parts::{Part, Segments};
pub use peer::without_number;
pub use scheme::Scheme;
pub use secret::Secret;
pub use store::{
    Abilities, Checked, Completed, CompressionJob, Entry, Expected, PartRules, Placement, RemoteCompressor, Session,
    Sink, Store, Upload,
};
pub use tuning::Tuning;
pub use twice::LateSizes;
