//! Two machines of the same user: pairing by a short code, mutual TLS with pinned keys, and the protocol between them.
//!
//! One machine receives ([`Server`]), the other sends ([`Client`]). The receiver's [`Host`] carries out the requests:
//! nothing here knows what an archive or a destination is.
//!
//! | module | owns |
//! |---|---|
//! | `identity` | this machine's key and the fingerprint others know it by |
//! | `known` | the machines that were paired: one small file, read again whenever another process changed it |
//! | `tls` | TLS 1.3 with both certificates pinned, and nothing else |
//! | `code`, `gate`, `pairing` | the code a person types once, how long it lives, and the exchange that proves it (SPAKE2) |
//! | `frame`, `message` | how a message is laid out on the connection; which messages there are |
//! | `disk` | private files that are replaced whole, and syncs on file systems that have none |
//! | `dial` | a connection to a name, by whichever of its addresses answers first |
//! | `client`, `server` | the two ends |
//! | `discover` | finding receivers on the local network |
//! | `error` | why two machines could not talk to each other |

mod client;
pub mod code;
pub mod dial;
pub mod discover;
pub mod disk;
mod error;
pub mod frame;
pub mod gate;
pub mod identity;
pub mod known;
pub mod message;
pub mod pairing;
mod server;
pub mod tls;

pub use client::{Client, Dialer, Pace, Pending};
pub use error::{PeerError, without_number};
pub use identity::{Fingerprint, Identity};
pub use known::{Known, Peer, Role};
pub use message::{Refusal, RefusalKind, Reply, Request};
pub use server::{Event, Events, Host, Limits, Server};

/// Where a receiver listens by default.
pub const PORT: u16 = 8744;
