//! One module per command: from what was typed to what is printed.

pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod demo;
pub(crate) mod push;
pub(crate) mod restore;
pub(crate) mod verify;
