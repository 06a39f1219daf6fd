//! The stages of the pipeline, and where the time of each went.

use serde::Serialize;

/// The stage of the pipeline that the others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Taking bytes from the config directory.
    Reading,
    /// Deflating on all cores.
    Compressing,
    /// SecureTar.
    Encrypting,
    /// Taking bytes to the destination.
    Writing,
    /// Waiting for the rate that uploads may not exceed.
    #[serde(rename = "the rate limit")]
    Limit,
}

impl Stage {
    /// The word used in reports: the same in prose and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Compressing => "compressing",
            Self::Encrypting => "encrypting",
            Self::Writing => "writing",
            Self::Limit => "the rate limit",
        }
    }
}

/// Where the time of one stage went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StageReport {
    /// Which stage.
    pub name: Stage,
    /// Seconds of work, added up over threads.
    pub busy_seconds: f64,
    /// Seconds in which it could have worked but had to wait for a neighbour, added up over threads.
    pub blocked_seconds: f64,
    /// Bytes that left it.
    pub bytes: u64,
}
