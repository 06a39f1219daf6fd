//! One module per command: from its arguments to its output.

pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod cat;
pub(crate) mod demo;
pub(crate) mod destination;
pub(crate) mod diff;
pub(crate) mod get;
pub(crate) mod inspect;
pub(crate) mod jobs;
pub(crate) mod list;
pub(crate) mod ls;
pub(crate) mod migrate;
pub(crate) mod notify;
pub(crate) mod peers;
pub(crate) mod pin;
pub(crate) mod prune;
pub(crate) mod push;
pub(crate) mod receive;
pub(crate) mod rehearse;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod share;
pub(crate) mod vault;
pub(crate) mod verify;
