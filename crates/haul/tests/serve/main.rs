//! What happens by itself, with the real program: backups, copies, verification, retention; what it does when something
//! is away, damaged, wrong or killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod by_hand;
mod by_itself;
mod changing;
mod commands;
mod first_process;
mod full_disk;
mod home;
mod migrating;
mod monitoring;
mod mqtt;
mod mqtt_rig;
mod page;
mod reading;
#[path = "../common/receiving.rs"]
mod receiving;
mod restoring;
mod setting_up;
mod time_zone;
mod told;
mod waiting;
