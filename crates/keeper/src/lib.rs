//! Backups by themselves: what jobs there are, when each is due, what every destination lacks, what is known of all
//! copies, and what is told of it.
//!
//! Decisions are pure functions of facts and a given clock: [`schedule`] and [`due`] say when, [`sync`] says what each
//! destination lacks and has too much, [`decide`] says what to do next. [`service`] does that, [`learn`] draws the
//! conclusions, [`catalog`] keeps them, and [`overview`] shows them: command line, page and [`metrics`] show a
//! [`status::Status`]. [`notices`] says who is to be told what.

pub mod catalog;
pub mod decide;
pub mod due;
pub mod facts;
pub mod job;
mod learn;
pub mod metrics;
pub mod notices;
mod over;
mod overview;
pub mod schedule;
pub mod service;
pub mod settings;
pub mod status;
pub mod sync;
pub mod task;
pub mod words;
