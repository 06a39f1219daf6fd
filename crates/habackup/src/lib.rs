//! Home Assistant's backup format: the outer tar, backup.json, SecureTar, the rules of its readers, the index
pub mod read_at;
pub mod tar;
pub mod outer;
pub mod rules;
pub mod version;
pub mod index;
pub mod securetar;
