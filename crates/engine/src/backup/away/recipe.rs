//! What another machine must know to make an archive: everything but the bytes. It gets keys and no password.

use std::num::NonZeroUsize;

use habackup::{manifest::Manifest, securetar::Keys};
use pargz::Level;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::write::{layout::Layout, pipeline::all_cores};

/// How one archive is to be made. As JSON it holds keys, and is never shown.
#[derive(Clone, Serialize, Deserialize)]
// A maker must refuse an option that it does not know, not ignore it.
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// `backup.json`, as it will be written.
    manifest: String,
    mtime: (i64, u32),
    /// `None`: the inner archive stays a plain tar.
    level: Option<Effort>,
    /// See [`Keys::export`].
    keys: Option<Vec<u8>>,
    /// Every byte is to be read back from where the archive is kept.
    pub(super) read_back: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Effort {
    Fast,
    Balanced,
    Small,
}

impl Recipe {
    pub(super) fn of(layout: &Layout, read_back: bool) -> Self {
        let effort = |compressor: &pargz::Compressor<'_>| match compressor.get_level() {
            Level::Fast => Effort::Fast,
            Level::Balanced => Effort::Balanced,
            Level::Small => Effort::Small,
        };
        Self {
            manifest: String::from_utf8_lossy(&layout.json(None)).into_owned(),
            mtime: layout.mtime,
            level: layout.compression.as_ref().map(effort),
            keys: layout.keys.as_ref().map(|keys| keys.export().to_vec()),
            read_back,
        }
    }

    /// The layout that it describes, made by `threads`; `None` if the keys or the description are invalid.
    pub(super) fn layout(&self, threads: Option<NonZeroUsize>) -> Option<Layout> {
        let level = self.level.map(|effort| match effort {
            Effort::Fast => Level::Fast,
            Effort::Balanced => Level::Balanced,
            Effort::Small => Level::Small,
        });
        let keys = match &self.keys {
            Some(bytes) => Some(Keys::import(bytes)?),
            None => None,
        };
        let threads = threads.unwrap_or_else(all_cores);
        let manifest = Manifest::parse(self.manifest.as_bytes()).ok()?;
        Some(Layout {
            manifest,
            mtime: self.mtime,
            compression: level.map(|level| pargz::Compressor::new().level(level).threads(threads)),
            keys,
        })
    }

    /// For the line.
    pub(super) fn to_json(&self) -> Value {
        // Plain text and numbers can't fail to be written.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As it came over the line; `None` when it is something else.
    pub(super) fn from_json(json: &Value) -> Option<Self> {
        Self::deserialize(json).ok()
    }
}

/// What the maker reports of a complete archive.
#[derive(Serialize, Deserialize)]
pub(super) struct MadeReport {
    /// Its size.
    pub(super) size: u64,
}
