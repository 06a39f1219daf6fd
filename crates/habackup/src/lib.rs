//! Home Assistant's backup format, from the outer archive to the bytes of its encryption. Works on bytes through
//! [`std::io`] and [`read_at::ReadAt`], which is [`pargz`]'s; never opens a file, never prints.
//!
//! # Map
//! - [`outer`] writes an archive whose sizes are known late; [`archive`] opens one that is there.
//! - [`manifest`] is `backup.json`, [`version`] Home Assistant's version numbers in it.
//! - [`tar`] writes and reads tar, for the outer archive and the ones inside.
//! - [`securetar`] encrypts and decrypts the inner archives; [`index`] holds the position of each file in them.
//! - [`rules`] decides what a backup leaves out and names what a restore would lose.
//! - [`settings`] checks whether the bytes of Home Assistant's own settings files can be right.
//! - [`readers`] says what each of Home Assistant's readers does with an archive, and why.
//! - [`problem`] is how any of them says that something is wrong.
//! - [`format`] recognises formats by their first bytes, [`read_at`] reads a part of something larger.

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

pub mod archive;
pub mod format;
pub mod index;
pub mod manifest;
mod names;
pub mod outer;
pub mod problem;
pub mod read_at;
pub mod readers;
pub mod rules;
pub mod securetar;
pub mod settings;
pub mod tar;
pub mod version;
