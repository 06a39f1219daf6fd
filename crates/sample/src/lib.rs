//! A realistic Home Assistant config directory, and a recorder that keeps writing to it.
//!
//! [`create`] makes the directory: hidden `.storage`, the recorder's database in Home Assistant's real
//! schema, a second database, custom components, pictures, and everything that a backup must leave out.
//! [`age`] lets weeks pass in it, purges included. [`Recorder`] writes to it as a running Home Assistant does. Used by the demo, by tests and by the bench;
//! it knows nothing of archives.

mod age;
mod entity_state;
mod history;
mod home;
mod inspect;
mod moment;
mod process;
mod random;
mod recorder;
mod scatter;
mod storage;
mod tree;
mod zigbee;

use std::io;
use std::path::{Path, PathBuf};

pub use age::{Aged, age};
pub use inspect::{History, history};
pub use process::{RecordedSummary, RecorderProcess, run_recorder};
pub use recorder::{Recorded, Recorder};
pub use scatter::scatter;

/// The version in `.HA_VERSION`; the database has the schema of that version.
pub const HOME_ASSISTANT_VERSION: &str = "2026.11.0";
/// A user that can log in to a Home Assistant that was restored from the sample.
pub const USER: (&str, &str) = ("demo", "haul-demo");

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The approximate size of `home-assistant_v2.db` in bytes (at least some hundred kilobytes).
    pub database_bytes: u64,
    /// The same seed gives the same contents, names and times.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { database_bytes: 64 << 20, seed: 1 }
    }
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Entities in the registry.
    pub entities: usize,
    /// Rows in the table `states`.
    pub states_rows: u64,
    /// Size of `home-assistant_v2.db`.
    pub database_bytes: u64,
    /// Regular files in the directory, the excluded ones and the databases too.
    pub files: u64,
}

/// Why no sample could be made or no states recorded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory exists and holds something.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The database has not the sample's entities.
    #[error("{} does not belong to a sample", .0.display())]
    Foreign(PathBuf),
    /// A file or directory could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("the sample database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The recording thread or process ended in an unexpected way.
    #[error("the recorder {0}")]
    Recorder(String),
}

impl Error {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Makes a config directory at `dir`, which must be empty or not exist yet.
pub fn create(dir: &Path, options: &Options) -> Result<Made, Error> {
    std::fs::create_dir_all(dir).map_err(Error::at(dir))?;
    if std::fs::read_dir(dir).map_err(Error::at(dir))?.next().is_some() {
        return Err(Error::NotEmpty(dir.to_owned()));
    }
    let mut random = random::Random::new(options.seed);
    let home = home::Home::new(&mut random);
    let database = dir.join("home-assistant_v2.db");
    let states_rows = history::create(&database, &home, &mut random, options.database_bytes)?;
    zigbee::create(&dir.join("zigbee.db"), &home, &mut random)?;
    let mut files = 2;
    files += storage::create(dir, &home, &mut random)?;
    files += tree::create(dir, &home, &mut random)?;
    let database_bytes = std::fs::metadata(&database).map_err(Error::at(&database))?.len();
    Ok(Made { entities: home.entities().count(), states_rows, database_bytes, files })
}
