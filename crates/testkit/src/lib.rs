//! Servers that follow a real protocol and refuse what the real one refuses, a proxy that breaks connections on
//! purpose, and programs whose system calls fail; for tests only.

pub mod apache;
pub mod azure;
pub mod browser;
pub mod drive;
pub mod fixtures;
pub mod home_assistant;
pub mod linux;
pub mod mosquitto;
pub mod moto;
pub mod nextcloud;
pub mod nobody;
pub mod noise;
mod process;
pub mod proxy;
pub mod python;
pub mod rig;
pub mod s3;
pub mod sshd;
pub mod strace;
pub mod supervisor;
pub mod wait;
pub mod wsgidav;
