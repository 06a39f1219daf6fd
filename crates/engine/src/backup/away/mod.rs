//! Archives that another machine makes of what this one reads: a weak machine sends the plain inner tar, and the strong
//! one compresses, encrypts and keeps it.
//!
//! | module | owns |
//! |---|---|
//! | `recipe` | what the other machine must know before the first byte |
//! | `stream` | the plain tar and its index on their way |
//! | `there` | the end that reads |
//! | `builder` | the end that makes the archive |
//! | `choice` | which of the two ways is the faster one |

mod builder;
mod choice;
mod recipe;
pub(crate) mod stream;
mod there;

pub use builder::ArchiveBuilder;

pub(crate) use choice::{Choice, choose};
