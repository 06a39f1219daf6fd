//! The writing pipeline, whoever makes the archive: compresses, encrypts, lays out, and hands over to the destinations.
//!
//! | module | owns |
//! |---|---|
//! | `layout` | how an archive's bytes are laid out |
//! | `pipeline` | connects compression, encryption, layout and destination, and measures the time of each |
//! | `destination` | where an archive goes, what became of each copy |
//! | `broken` | how an attempt ends that made no archive |

pub(crate) mod broken;
pub(crate) mod destination;
pub(crate) mod layout;
pub(crate) mod pipeline;
