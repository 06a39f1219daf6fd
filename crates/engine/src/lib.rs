//! Backup, verify and restore: what haul does, without a command line.
//!
//! Writing is one pipeline: `backup` plans, makes the inner tar from the live directory, and hands it to `write`, which
//! compresses, encrypts, lays out and publishes it. `read` is the way back; verify, inspect, repair, restore and browse
//! use it. Each module uses only those below it.
//!
//! | module | owns |
//! |---|---|
//! | `backup` | one backup, from the look around to the final name |
//! | `remake` | a new archive of one that somebody else is still writing |
//! | `repair` | a new archive of all that can be kept of one in whatever state |
//! | `verify` | everything that is wrong with an archive, in plain words |
//! | `inspect` | what each of Home Assistant's readers will do with an archive, whatever state that is in |
//! | `browse` | looking into an archive without unpacking it |
//! | `restore` | unpacking that can't escape, and swapping that can't lose |
//! | `rehearse` | proof that an archive restores: restored for a test, and what came out checked |
//! | `retention` | which archives to keep, decided and not done |
//! | `write` | the writing pipeline, whoever makes the archive |
//! | `read` | an archive as a stream of inner members, by its index on all cores or without it |
//! | `verdict` | what a configuration holds, and what an archive is worth: the same for all |
//! | `findings` | what the source meets on its way |
//! | `progress` | live figures; what is waited for on this machine |
//! | `mounts`, `names`, `text`, `error` | mount points; hashed names of members; text for people; why no archive was made |
//! | `shared` | many texts in one piece of memory |

mod backup;
pub mod browse;
mod error;
mod findings;
pub mod inspect;
pub mod inventory;
pub mod mounts;
mod names;
mod progress;
pub mod read;
pub mod rehearse;
pub mod remake;
pub mod repair;
pub mod restore;
pub mod retention;
pub mod samples;
mod shared;
mod text;
pub mod verdict;
pub mod verify;
mod write;

pub use backup::{
    away::ArchiveBuilder,
    backup,
    configuration::{Listening, listening},
    free_space::ON_ONE_DISK,
    intent::{Identity, identity, instance_id},
    options::{BackupOptions, Compress},
    report::{ArchiveReport, BackupReport, Division, Rates},
};
pub use error::BackupError;
pub use findings::{DatabaseReport, Skipped, SkippedKind, Status};
pub use pargz::Level;
pub use progress::{Phase, Progress, Stage, StageReport};
pub use read::beginning::beginning;
pub use shared::SharedStr;
pub use text::{in_units, plain as plain_reason, reorders, serialize_path, shown};
pub use write::{
    destination::{CopyReport, Destination},
    layout::SecureTar,
    pipeline::all_cores,
};
