//! What is settled about an archive before anything is read: its name, its description, what goes in.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use habackup::{
    manifest::{self, Draft, Manifest, WallTime},
    rules::Rules,
    securetar::{Keys, Password, SecureTarError, SecureTarVersion},
    settings::RECORDER,
    version::HaVersion,
};
use store::Cancellation;

use crate::{
    backup::{
        options::BackupOptions,
        plan::{self, Plan},
        source::{Outputs, read_head},
    },
    error::BackupError,
    progress::Progress,
    write::{
        layout::{Layout, container_version},
        pipeline::all_cores,
    },
};

/// The file that holds an instance's id is no longer.
const LONGEST_ID: u64 = 4096;

/// The user's options, checked.
pub(crate) struct Intent {
    /// The config directory, whatever links led to it.
    pub(crate) root: PathBuf,
    version: HaVersion,
    pub(crate) name: String,
    pub(crate) manifest: Manifest,
    /// The archive's usual file name.
    pub(crate) file_name: String,
    rules: Rules,
}

/// What an archive will be called, known before it is made: the same for every attempt with the same options.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The version of the Home Assistant in it.
    pub version: HaVersion,
    /// Its name in Home Assistant.
    pub name: String,
    /// Home Assistant's identifier of it.
    pub slug: String,
    /// Its date, as `backup.json` says it.
    pub date: String,
}

/// Checks that a backup with these options is possible, as far as that shows without reading anything but the version.
pub fn identity(options: &BackupOptions) -> Result<Identity, BackupError> {
    let Intent { version, name, manifest, .. } = Intent::of(options)?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(Identity { version, name, slug: text(manifest.slug()), date: text(manifest.date()) })
}

impl Intent {
    pub(crate) fn of(options: &BackupOptions) -> Result<Self, BackupError> {
        let root = config_root(&options.config)?;
        let version = plan::version(&root, options.ha_version.as_deref())?;
        let date = WallTime::from(&options.now);
        let name = options.name.clone().unwrap_or_else(|| format!("Haul backup {version}"));
        let rules = rules(options)?;
        let mut manifest = describe(options, &name, date, &version)?;
        if let Some(id) = instance_id(&root) {
            manifest.set_instance(&id);
        }
        manifest.set_excluded(&options.exclude);
        let file_name = manifest::file_name(&name, &date);
        Ok(Self { root, version, name, manifest, file_name, rules })
    }

    /// How the archive is laid out by this machine. Deriving keys from a password takes a moment.
    pub(crate) fn layout(&self, options: &BackupOptions) -> Result<Layout, BackupError> {
        self.laid_out(options, Keys::create)
    }

    /// The same with keys that open nothing, for a sample that another machine tries: it may turn out to be no part of
    /// this backup, and gets none of its secrets.
    pub(crate) fn trial_layout(&self, options: &BackupOptions) -> Result<Layout, BackupError> {
        self.laid_out(options, |version, _| Keys::trial(version))
    }

    fn laid_out(
        &self,
        options: &BackupOptions,
        keys: impl FnOnce(SecureTarVersion, &Password) -> Result<Keys, SecureTarError>,
    ) -> Result<Layout, BackupError> {
        let create = |password| keys(container_version(options.securetar, &self.version), password);
        let keys = options
            .password
            .as_ref()
            .map(create)
            .transpose()
            .map_err(|error| BackupError::Pipeline(error.to_string()))?;
        let threads = options.threads.unwrap_or_else(all_cores);
        let now = options.now.timestamp();
        Ok(Layout {
            manifest: self.manifest.clone(),
            mtime: (now.as_second(), now.subsec_nanosecond().unsigned_abs()),
            compression: options.compressed.then_some(pargz::Compressor::new().level(options.level).threads(threads)),
            keys,
        })
    }

    /// Looks at everything that goes in. Neither do the archives being written, whose identities (device, inode) are
    /// `writing`, nor earlier ones beside them: each archive would hold all of those.
    pub(crate) fn plan(
        &self,
        writing: Vec<(u64, u64)>,
        archives: &[PathBuf],
        progress: &Progress,
        cancel: &Cancellation,
    ) -> Result<Plan, BackupError> {
        let directory = |archive: &PathBuf| {
            archive.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).metadata()
        };
        let directories = archives
            .iter()
            .filter_map(|archive| directory(archive).ok())
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .collect();
        plan::plan(&self.root, self.rules.clone(), Outputs { files: writing, directories }, &progress.pulse, cancel)
    }
}

/// The directory itself, whatever links led to it.
fn config_root(config: &Path) -> Result<PathBuf, BackupError> {
    let failed = |source| BackupError::Config { path: config.to_owned(), source };
    let root = fs::canonicalize(config).map_err(failed)?;
    if !root.is_dir() {
        return Err(BackupError::NotADirectory(config.to_owned()));
    }
    fs::read_dir(&root).map_err(failed)?;
    Ok(root)
}

/// Home Assistant's own id of this instance, if it can be read.
pub fn instance_id(root: &Path) -> Option<String> {
    let bytes = read_head(&root.join(".storage/core.uuid"), LONGEST_ID).ok()?;
    let stored: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Some(stored.get("data")?.get("uuid")?.as_str()?.to_owned())
}

fn rules(options: &BackupOptions) -> Result<Rules, BackupError> {
    let mut rules = Rules::new(!options.exclude_database);
    for pattern in &options.exclude {
        rules
            .exclude(pattern.as_bytes())
            .map_err(|error| BackupError::Pattern { pattern: pattern.clone(), reason: error.to_string() })?;
    }
    Ok(rules)
}

fn describe(options: &BackupOptions, name: &str, date: WallTime, version: &HaVersion) -> Result<Manifest, BackupError> {
    if let Some(reason) = manifest::check_name(name) {
        return Err(BackupError::Name { name: name.to_owned(), reason: reason.to_owned() });
    }
    // Supervisor goes by this alone: if it isn't said, a restore removes the database that is there. These rules are
    // asked about nothing else, because a pattern that has excluded something counts as used.
    let exclude_database = rules(options)?.exclusion_with_parents(RECORDER).is_some();
    Ok(Manifest::new(&Draft {
        name,
        date,
        home_assistant: version.as_str(),
        exclude_database,
        protected: options.password.is_some(),
        compressed: options.compressed,
    }))
}
