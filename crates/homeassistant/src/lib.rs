//! A running or fresh Home Assistant, seen from outside: finds out what answers at an address, uploads a backup,
//! restores it, and follows the restart.
//!
//! ```text
//! Instance::look ─▶ Phase::Fresh ─▶ upload ─▶ restore ─▶ follow_restart(FirstPage) ─▶ Restored
//!               └─▶ Phase::SetUp ─▶ admin(token) ─▶ upload ─▶ restore ─▶ follow_restart(Token) ─▶ Restored
//! ```
//!
//! Every call is one attempt. The caller decides whether to try again, and asks [`Instance::did_it_arrive`] first.
//! Nothing here knows what an archive is.
//!
//! | module | owns |
//! |---|---|
//! | `address` | what people type, and what may follow from a redirect |
//! | `look` | what answers there, and whether it can take a backup |
//! | `upload` | the body of an upload, streamed, and what becomes of it |
//! | `restore` | the restore of a fresh instance |
//! | `admin`, `socket` | the same on an instance that is set up, with a token |
//! | `restart` | the way through the restart |
//! | `started` | one that was started a moment ago from a configuration that is at hand |
//! | `elsewhere` | another port of the same host, where a restored instance may answer |
//! | `answers` | the shapes of its answers |
//! | `vendor`, `proxy` | which server answered instead, and which setting changes that |
//! | `wire` | requests, silence, broken connections |
//! | `error`, `secret` | what failed and what to do about it; tokens and passwords |
//! | `text` | what others say, made fit to be shown |
//! | `timeouts` | how long to wait for what |

mod address;
mod admin;
mod answers;
mod elsewhere;
mod error;
mod look;
mod proxy;
mod restart;
mod restore;
mod secret;
mod socket;
mod started;
mod text;
mod timeouts;
mod upload;
mod vendor;
mod wire;

pub use address::without_login;
pub use admin::{Admin, Events};
pub use answers::{Agent, Arrival, Backup, Event, Expected, Kept, Manager, local_agent};
pub use elsewhere::Elsewhere;
pub use error::{Error, Kind, Operation};
pub use look::{Instance, Phase, Seen};
pub use proxy::Answer;
pub use restart::{Restored, Stage, Way};
pub use restore::{Begun, RestoreRequest};
pub use secret::{LONGEST, Secret};
pub use started::{Sight, Starting, State, access_token};
pub use timeouts::Timeouts;
pub use upload::{Progress, Upload};
pub use vendor::Vendor;
pub use wire::Tls;
