//! Destinations: where an archive goes, whole or not at all.
//!
//! A destination takes bytes in order, lets early ones be corrected at the end (an archive's sizes are known only when it is done), and publishes the
//! result under its final name in one step. Nothing here knows what an archive is.
//!
//! * [`local`]: a directory of this machine, or one mounted into it.

mod aligned;
mod error;
pub mod local;
mod writer;

pub use error::{Operation, StoreError};
