//! Archives that are read by ranges from a destination: a small file costs little, and a failure of the destination is
//! never mistaken for damage.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs, io,
    num::NonZeroUsize,
    ops::Range,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use engine::{
    BackupOptions, Destination, Progress,
    browse::{BrowseError, Browser},
    inspect::{InspectError, InspectOptions, inspect},
    read::{ArchiveSource, OpenError, Source},
    restore::{RestoreError, RestoreOptions, restore},
    verify::{VerifyError, VerifyOptions, verify},
};
use habackup::securetar::Password;
use store::{Bridge, Cancellation, Context, Kind, Operation, StoreError, Tuning, inbound::RemoteFile, local::Local};

struct Far {
    file: RemoteFile,
    // Reads beyond this many fail for good.
    answers: AtomicU64,
}

impl Source for Far {
    fn label(&self) -> String {
        self.file.label()
    }
    fn length(&self) -> u64 {
        self.file.len()
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            let kind = Kind::Transient { retry_after: None };
            return Err(io::Error::other(StoreError::remote("there", Operation::Read, kind, "the line is cut")));
        }
        self.file.read_exact_at(buffer, offset)
    }
    fn announce(&self, range: Range<u64>) {
        self.file.announce(range);
    }
    fn unchanged(&self) -> io::Result<()> {
        self.file.unchanged().map_err(io::Error::other)
    }
}

fn far(directory: &Path, answers: u64) -> Arc<Far> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let context = Context::new(Tuning::default(), "/nonexistent".into(), Cancellation::default()).unwrap();
    let store = Arc::new(Local::open(directory).unwrap());
    let file = RemoteFile::open(&Bridge::start().unwrap(), &context, store, "a.tar").unwrap();
    Arc::new(Far { file, answers: AtomicU64::new(answers) })
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Half of it can be saved, as with much of what Home Assistant writes.
        (state >> 60) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// An archive of about 50 MB, with a small file in its middle.
fn archive(directory: &Path, password: Option<&str>) -> Vec<u8> {
    let config = directory.join("config");
    fs::create_dir_all(config.join(".storage")).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o750)).unwrap();
    for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
        fs::write(config.join(".storage").join(name), "{}").unwrap();
    }
    fs::write(config.join(".HA_VERSION"), "2026.11.0").unwrap();
    fs::write(config.join("configuration.yaml"), "").unwrap();
    let small = noise(10_000);
    fs::write(config.join("m-small.bin"), &small).unwrap();
    for name in ["a-large.bin", "z-large.bin"] {
        fs::write(config.join(name), noise(50 << 20)).unwrap();
    }
    back_up(&config, &directory.join("a.tar"), password);
    small
}

fn back_up(config: &Path, to: &Path, password: Option<&str>) {
    let options = BackupOptions {
        password: password.map(|password| Password::new(password.to_owned())),
        ..BackupOptions::new(config, vec![Destination::Path(to.to_owned())])
    };
    engine::backup(&options, None, &Arc::new(Progress::default()), &Cancellation::default()).unwrap();
}

fn options(password: Option<&str>) -> RestoreOptions {
    RestoreOptions {
        only: vec!["m-small.bin".to_owned()],
        password: password.map(|password| Password::new(password.to_owned())),
        threads: NonZeroUsize::new(2).unwrap(),
        ..RestoreOptions::default()
    }
}

#[test]
fn a_small_file_out_of_a_large_archive_costs_little() {
    // Two pieces of half a MiB before the one with the file, the beginning of that, headers and index; completed bytes
    // come in whole chunks of a MiB.
    for (password, most) in [(None, 11 << 17), (Some("secret"), 9 << 18)] {
        let directory = tempfile::tempdir().unwrap();
        let small = archive(directory.path(), password);
        let far = far(directory.path(), u64::MAX);
        let into = directory.path().join("back");
        restore(
            ArchiveSource::Remote(Arc::clone(&far) as Arc<dyn Source>),
            &into,
            &options(password),
            &|_, _| {},
            &Cancellation::default(),
        )
        .unwrap();
        assert!(fs::read(into.join("m-small.bin")).unwrap() == small);
        assert_eq!(fs::metadata(&into).unwrap().mode() & 0o777, 0o750, "the directory's own mode");
        assert!(far.file.len() > 50 << 20);
        assert!(far.file.fetched() < most, "{} bytes in {} requests", far.file.fetched(), far.file.requests());
        assert!(far.file.requests() <= 3, "{} requests", far.file.requests());
    }
}

#[test]
fn printing_it_costs_no_more() {
    for (password, most) in [(None, 11 << 17), (Some("secret"), 9 << 18)] {
        let directory = tempfile::tempdir().unwrap();
        let small = archive(directory.path(), password);
        let far = far(directory.path(), u64::MAX);
        let password = password.map(|password| Password::new(password.to_owned()));
        let source = ArchiveSource::Remote(Arc::clone(&far) as Arc<dyn Source>);
        let browser = Browser::open(source, password.as_ref(), NonZeroUsize::new(2).unwrap(), &|_, _| {}).unwrap();
        let mut out = Vec::new();
        let found = browser.cat(b"m-small.bin", &mut out, &Cancellation::default()).unwrap();
        assert!(out == small && found.used_index);
        assert!(far.file.fetched() < most, "{} bytes in {} requests", far.file.fetched(), far.file.requests());
        assert!(far.file.requests() <= 3, "{} requests", far.file.requests());
    }
}

#[test]
fn reading_all_of_it_fetches_little_more_than_it() {
    let directory = tempfile::tempdir().unwrap();
    archive(directory.path(), None);
    let far = far(directory.path(), u64::MAX);
    let options = VerifyOptions { password: None, threads: NonZeroUsize::new(2).unwrap() };
    let found = verify(
        ArchiveSource::Remote(Arc::clone(&far) as Arc<dyn Source>),
        &options,
        &|_, _| {},
        &Cancellation::default(),
    )
    .unwrap();
    assert!(found.is_good() && found.used_index, "{:?}", found.findings);
    assert!(far.file.fetched() <= far.file.len() / 20 * 21, "{} bytes of {}", far.file.fetched(), far.file.len());
}

#[test]
fn inspecting_fetches_little_more_than_it_and_says_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    archive(directory.path(), None);
    let far = far(directory.path(), u64::MAX);
    let told = AtomicU64::new(0);
    let tell = |done: u64, total: Option<u64>| {
        assert!(total.is_none_or(|total| done <= total), "{done} of {total:?}");
        told.fetch_max(done, Ordering::Relaxed);
    };
    let source = ArchiveSource::Remote(Arc::clone(&far) as Arc<dyn Source>);
    let found = inspect(source, &InspectOptions::default(), &tell, &Cancellation::default()).unwrap();
    assert_eq!(found.bytes, far.file.len());
    assert!(far.file.fetched() <= far.file.len() / 20 * 21, "{} bytes of {}", far.file.fetched(), far.file.len());
    let told = told.into_inner();
    assert!(told >= far.file.len() / 20 * 19, "{told} of {}", far.file.len());
}

#[test]
fn a_destination_that_fails_is_not_mistaken_for_damage() {
    let directory = tempfile::tempdir().unwrap();
    archive(directory.path(), None);
    for answers in [0, 3, 12, 30] {
        let source = || ArchiveSource::Remote(far(directory.path(), answers));
        let verified = verify(
            source(),
            &VerifyOptions { password: None, threads: NonZeroUsize::new(2).unwrap() },
            &|_, _| {},
            &Cancellation::default(),
        );
        assert!(matches!(verified, Err(VerifyError::Open(OpenError::Destination(_)))), "{answers}: {verified:?}");
        let inspected = inspect(source(), &InspectOptions::default(), &|_, _| {}, &Cancellation::default());
        assert!(matches!(inspected, Err(InspectError::Open(OpenError::Destination(_)))), "{answers}: {inspected:?}");
        let into = directory.path().join("never");
        let all = RestoreOptions { only: Vec::new(), ..options(None) };
        let restored = restore(source(), &into, &all, &|_, _| {}, &Cancellation::default());
        assert!(matches!(restored, Err(RestoreError::Open(OpenError::Destination(_)))), "{answers}: {restored:?}");
        assert!(!into.exists());
        let opened = Browser::open(source(), None, NonZeroUsize::MIN, &|_, _| {});
        let printed = opened.map_err(BrowseError::from).and_then(|browser| {
            // Enough to open it; the rest depends on what is requested.
            let large = browser.cat(b"z-large.bin", &mut io::sink(), &Cancellation::default());
            large.and_then(|_| browser.cat(b"a-large.bin", &mut io::sink(), &Cancellation::default()))
        });
        assert!(matches!(printed, Err(BrowseError::Open(OpenError::Destination(_)))), "{answers}: {printed:?}");
    }
}
