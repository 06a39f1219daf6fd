//! Backups by themselves: what jobs there are, when each is due, what every destination lacks, what is known of all
//! copies, and what is told of it.
//!
//! Decisions are pure functions of facts and a given clock ([`schedule`], [`sync`], [`decide`]); [`service`] does what
//! they say, writes down what happened ([`catalog`]), and asks again. Whoever shows the state of things (command line,
//! page, messages) shows a [`status::Status`].

pub mod due;
pub mod facts;
pub mod job;
pub mod schedule;
pub mod status;
pub mod sync;
