//! Home Assistant's Supervisor, as an app on the same machine sees it: versions, apps, backups, jobs, mounts, and Core
//! behind its proxy.
//!
//! ```text
//! Supervisor::from_environment ─▶ info, own_app, apps, mqtt
//!                              ─▶ new_full ─▶ Started { job } ─▶ job ─▶ Job { stage, errors, children }
//!                              ─▶ mount::keep: Supervisor's mounts become what they should be
//!                              ─▶ core: who is an administrator, how Home Assistant itself makes backups
//! ```
//!
//! Every call is one attempt; the caller decides whether to try again ([`Error::is_transient`]). Words and shapes
//! differ between the versions since 2025.1, and nobody outside notices. Nothing here knows what an archive is.
//!
//! | module | owns |
//! |---|---|
//! | `system` | versions, the app itself, the other apps, the MQTT broker |
//! | `backups` | backups: list, make, delete, restore |
//! | `jobs` | what Supervisor is doing, with its errors |
//! | `mount` | network storage: the calls, and keeping it as it should be |
//! | `core_api` | questions to Home Assistant Core through Supervisor's proxy |
//! | `wire`, `answer` | requests, silence, bounded answers; what a refusal means |
//! | `lenient` | reading what a newer or older version says |
//! | `error`, `secret`, `text` | what failed and what to do about it; passwords; what others say, made fit to be shown |
//! | `timeouts` | how long to wait for what |

mod answer;
mod backups;
mod core_api;
mod error;
mod jobs;
mod lenient;
pub mod mount;
mod secret;
mod system;
mod text;
mod timeouts;
mod wire;

pub use answer::is_busy;
pub use backups::{
    Apps, Backup, BackupDetails, Content, Copy, NewBackup, Place, Restore, SavedApp, SavedContent, Started,
};
pub use core_api::{BackupAgent, BackupConfig, Core, CreateBackup, Retention, Schedule, User};
pub use error::{Error, Kind};
pub use jobs::{Job, JobError, JobKind};
pub use secret::Secret;
pub use system::{App, Info, Mqtt, OwnApp};
pub use timeouts::Timeouts;
pub use wire::Supervisor;
