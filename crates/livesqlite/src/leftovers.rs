//! Removes files that SQLite had to create in order to read. SQLite removes them only when a *writer* closes last: a
//! read-only connection to a cleanly closed WAL database leaves an empty `-wal` and a `-shm`.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::companions::companion;
use crate::overlay::try_exclusive;

/// Remembers what was there before; dropping it, after SQLite has closed its files, restores that.
#[derive(Debug)]
pub(crate) struct Leftovers {
    main: PathBuf,
    inode: (u64, u64),
    made_wal: bool,
    made_shm: bool,
}

impl Leftovers {
    /// To be called before SQLite opens `main` (absolute, symlinks resolved).
    pub(crate) fn watch(main: &Path, metadata: &fs::Metadata) -> Self {
        let absent = |suffix| !companion(main, suffix).exists();
        let inode = (metadata.dev(), metadata.ino());
        Self { main: main.to_owned(), inode, made_wal: absent("-wal"), made_shm: absent("-shm") }
    }

    /// Removes them under the lock that SQLite's own last connection takes: every user of a WAL holds a shared lock on
    /// the main file, so while everything is locked nobody uses it, and nobody can start to.
    fn tidy(&self) -> std::io::Result<()> {
        let (wal, shm) = (companion(&self.main, "-wal"), companion(&self.main, "-shm"));
        let wal_len = match fs::metadata(&wal) {
            Ok(metadata) => Some(metadata.len()),
            Err(_) => None,
        };
        let mine = (self.made_wal && wal_len == Some(0), self.made_shm && shm.exists());
        if mine == (false, false) {
            return Ok(());
        }
        let main = OpenOptions::new().read(true).write(true).open(&self.main)?;
        let metadata = main.metadata()?;
        if (metadata.dev(), metadata.ino()) != self.inode || !try_exclusive(&main)? {
            return Ok(());
        }
        if mine.0 && fs::metadata(&wal)?.len() == 0 {
            fs::remove_file(&wal)?;
        }
        if mine.1 {
            fs::remove_file(&shm)?;
        }
        Ok(())
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // What cannot be removed (no permission, somebody came) is harmless: SQLite reuses it.
        let _ = self.tidy();
    }
}
