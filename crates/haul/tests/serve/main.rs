//! What happens by itself, with the real program: backups, copies, verification, retention; what it does when something
//! is away, damaged, wrong or killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod by_itself;
mod commands;
mod home;
mod page;
