//! How much there is, how much of it is holes, what makes it large, and how much space stays free.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints what it skips or measures"
)]

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use engine::{BackupError, BackupOptions, BackupReport, Destination, Level, Progress, Status};

fn options(config: &Path, to: &Path) -> BackupOptions {
    BackupOptions {
        threads: std::num::NonZeroUsize::new(2),
        now: "2026-11-22T04:30:12.345678+01:00[Europe/Berlin]".parse().unwrap(),
        ..BackupOptions::new(config, vec![Destination::Path(to.to_owned())])
    }
}

/// A config directory and a target below `root`.
fn places(root: &Path) -> (PathBuf, PathBuf) {
    let (config, out) = (root.join("config"), root.join("out"));
    fs::create_dir_all(config.join(".storage")).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(config.join(".HA_VERSION"), "2026.11.0").unwrap();
    fs::write(config.join("configuration.yaml"), "default_config:\n").unwrap();
    for name in ["auth", "auth_provider.homeassistant", "onboarding", "core.config_entries"] {
        fs::write(config.join(".storage").join(name), "{}").unwrap();
    }
    (config, out)
}

fn back_up(options: &BackupOptions) -> Result<BackupReport, BackupError> {
    engine::backup(options, None, &Arc::new(Progress::default()), &Arc::default())
}

fn noise(path: &Path, length: u64) {
    let mut file = fs::File::create(path).unwrap();
    std::io::copy(&mut fs::File::open("/dev/urandom").unwrap().take(length), &mut file).unwrap();
}

#[test]
fn a_sparse_file_comes_back_with_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (config, out) = places(dir.path());
    let mut file = fs::File::create(config.join("www.img")).unwrap();
    file.write_all(b"begins").unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"goes on", 70_000_000).unwrap();
    file.set_len(200_000_000).unwrap();
    for (compressed, level) in [(true, Level::Fast), (true, Level::Small), (false, Level::Fast)] {
        let report = back_up(&BackupOptions {
            compressed,
            level,
            ..options(&config, &out.join(format!("{compressed}{level:?}.tar")))
        })
        .unwrap();
        assert_eq!(report.status, Status::Complete);
        assert!(
            report.bytes_in > 200_000_000 && (!compressed || report.archive.size_bytes < 5_000_000),
            "{}",
            report.archive.size_bytes
        );
        let script = "import sys,tarfile\no=tarfile.open(sys.argv[1])\nf=[m for m in o if \
            m.name.startswith('homeassistant')][0]\ni=tarfile.open(fileobj=o.extractfile(f),mode='r|*')\nfor m in i:\n \
            if m.name=='data/www.img':\n  f=i.extractfile(m); n=0\n  while True:\n   b=f.read(1<<24)\n   if not b: \
            break\n   for w in (b'begins',b'goes on'):\n    if w in b: print(w.decode(),n+b.index(w))\n   n+=len(b)\n  \
            print(n)";
        let output = Command::new("python3").arg("-c").arg(script).arg(report.local_path().unwrap()).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "begins 0\ngoes on 70000000\n200000000\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::remove_file(report.local_path().unwrap()).unwrap();
    }
}

#[test]
fn what_makes_a_backup_large_is_reported_in_one_note() {
    let dir = tempfile::tempdir().unwrap();
    let (config, out) = places(dir.path());
    let largest = |report: &BackupReport| {
        report.warnings.iter().filter(|warning| warning.starts_with("the largest parts")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(largest(&back_up(&options(&config, &out.join("a.tar"))).unwrap()), [""; 0]);
    for (directory, name) in [("backup", "old.tar"), (".snapshots", "x"), ("esphome/.esphome", "x")] {
        fs::create_dir_all(config.join(directory)).unwrap();
        noise(&config.join(directory).join(name), 2_000_000);
    }
    let said = largest(&back_up(&options(&config, &out.join("b.tar"))).unwrap());
    assert!(
        said.len() == 1
            && ["backup/*.tar", ".snapshots", "esphome/.esphome", "--exclude"]
                .iter()
                .all(|part| said[0].contains(part)),
        "{said:?}"
    );
}

#[test]
fn a_backup_beside_its_source_leaves_space_and_says_that_it_is_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    if !Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=60m", "tmpfs"])
        .arg(dir.path())
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let (config, out) = places(dir.path());
    let outcomes = (|| {
        let beside = |report: &BackupReport| report.warnings.iter().any(|warning| warning.contains("same file system"));
        let small = back_up(&options(&config, &out.join("small.tar")))?;
        assert!(beside(&small), "{:?}", small.warnings);
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(!beside(&back_up(&options(&config, elsewhere.path()))?));
        let mut two = options(&config, &out.join("two.tar"));
        two.destinations.push(Destination::Path(elsewhere.path().join("two.tar")));
        assert!(!beside(&back_up(&two)?));
        // 5 % of 60 MiB are to stay; the archive would leave 1 MB.
        noise(&config.join("noise.bin"), 30_000_000);
        let tight = options(&config, &out.join("tight.tar"));
        let refused = back_up(&tight).unwrap_err();
        assert!(refused.to_string().contains("it would leave less than 3 MB free"), "{refused}");
        assert!(!out.join("tight.tar").exists() && fs::read_dir(&out).unwrap().count() == 2);
        // Another destination gets its copy anyway.
        let mut both = options(&config, &out.join("both.tar"));
        both.destinations.push(Destination::Path(elsewhere.path().join("both.tar")));
        let report = back_up(&both)?;
        assert!(
            report.copies.iter().filter(|copy| copy.error.is_some()).count() == 1 && !out.join("both.tar").exists()
        );
        back_up(&BackupOptions { force: true, ..tight })?;
        // Certainly too much: refused before anything is written.
        fs::remove_file(out.join("tight.tar"))?;
        noise(&config.join("more.bin"), 25_000_000);
        let refused = back_up(&options(&config, &out.join("tight.tar"))).unwrap_err();
        assert!(matches!(&refused, BackupError::Store(error) if error.is_full()), "{refused}");
        Ok::<(), Box<dyn std::error::Error>>(())
    })();
    let _ = Command::new("umount").arg("-l").arg(dir.path()).status();
    outcomes.unwrap();
}
