//! Backup, verify and restore: what haul does, without a command line.
//!
//! One straight road leads out: `plan` looks around, `source` makes the inner tar from the live directory, `pipeline` compresses, encrypts and lays out, and the
//! destination publishes. Verify and restore walk it backwards.
//!
//! | module | owns |
//! |---|---|
//! | `backup` | one backup from the look around to the final name |
//! | `options`, `intent`, `layout` | what the user says; what is settled before anything is read; how the bytes are laid out |
//! | `broken`, `closing` | how an attempt ends: without an archive, with one |
//! | `away` | archives that another machine makes of what this one reads |
//! | `destination` | where an archive goes, what became of each copy |
//! | `plan`, `mounts`, `configuration` | what there is, what must stay out, what a restore would lose |
//! | `largest`, `room` | what makes a backup large; what must stay free beside it |
//! | `source` | the inner tar as a byte stream that never fails |
//! | `measure` | every length of an archive before its first byte, for places that can't be corrected |
//! | `pipeline` | compression, encryption, layout, destination: the joints and their clocks |
//! | `open` | an archive as a stream of inner members, by its index on all cores or without it |
//! | `collect`, `verdict` | what a configuration holds, and what an archive is worth: the same for all that follow |
//! | `beginning` | whether inner archives begin as archives do |
//! | `inspect` | what each of Home Assistant's readers will do with an archive, whatever state that is in |
//! | `repair` | a new archive of all that can be kept of one in whatever state |
//! | `verify` | everything that is wrong with an archive, in plain words |
//! | `restore` | unpacking that can't escape, and swapping that can't lose |
//! | `browse` | looking into an archive without unpacking it |
//! | `retention` | which archives to keep, decided and not done |
//! | `progress`, `pulse`, `report` | live figures; what is waited for on this machine; what a finished job tells |
//! | `names` | telling whether a name was there before, in little memory |
//! | `zip` | what lies in a zip |

mod away;
mod backup;
mod beginning;
mod broken;
pub mod browse;
mod closing;
mod collect;
mod configuration;
mod destination;
mod error;
pub mod inspect;
mod intent;
mod largest;
mod layout;
mod measure;
pub mod mounts;
mod names;
pub mod open;
mod options;
mod pipeline;
mod plan;
mod progress;
mod pulse;
pub mod repair;
mod report;
pub mod restore;
pub mod retention;
mod room;
mod source;
pub mod verdict;
pub mod verify;
mod zip;

pub use away::Maker;
pub use backup::backup;
pub use beginning::beginning;
pub use configuration::{Listening, listening};
pub use destination::Destination;
pub use error::{BackupError, plain as plain_reason};
pub use intent::{Identity, identity};
pub use options::{BackupOptions, Compress, SecureTar, all_cores};
pub use pargz::Level;
pub use progress::{Phase, Progress};
pub use report::{
    ArchiveReport, BackupReport, CopyReport, DatabaseReport, Division, Rates, Skipped, SkippedKind, Stage, StageReport, Status, in_units, reorders,
    serialize_path, shown,
};
