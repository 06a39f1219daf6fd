//! Which readers are checked for an archive, and what that means for exit codes.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

const NEW: &str = "Core 2026.3 and newer, Supervisor: restores it\n";

/// An archive that `haul backup` made of a whole configuration.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn of(version: &str, password: Option<&str>) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        sample::create(&bench.path("config"), &sample::Options { database_bytes: 1 << 20, seed: 3 }).unwrap();
        fs::write(bench.path("config").join(".HA_VERSION"), version).unwrap();
        // What Core never restores as it was would be reported as well.
        fs::remove_dir_all(bench.path("config").join("backups")).unwrap();
        fs::remove_file(bench.path("config").join("www/media")).unwrap();
        let made = bench.haul(&["backup", "config", "--to", "a.tar"], password);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn haul(&self, arguments: &[&str], password: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .args(arguments)
            .args(["--progress", "none"])
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path());
        command.envs(password.map(|password| ("HAUL_PASSWORD", password)));
        command.output().unwrap()
    }

    /// The exit code, the defects, and the last paragraph.
    fn inspect(&self, more: &[&str], password: Option<&str>) -> (Option<i32>, Vec<String>, String) {
        let text = self.haul(&[&["inspect", "a.tar"], more].concat(), password);
        let json = self.haul(&[&["inspect", "a.tar", "--json"], more].concat(), password);
        assert_eq!(text.status.code(), json.status.code());
        let document: Value = serde_json::from_slice(&json.stdout).unwrap();
        let defects = document["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["defect"].as_str().unwrap().to_owned())
            .collect();
        let said = String::from_utf8(text.stdout).unwrap();
        (text.status.code(), defects, said.rsplit("\n\n").next().unwrap().to_owned())
    }
}

#[test]
fn an_archive_of_today_is_good_for_the_readers_that_can_restore_it() {
    for password in [None, Some("sesame")] {
        let bench = Bench::of("2026.11.0", password);
        assert_eq!(bench.inspect(&[], password), (Some(0), vec![], NEW.to_owned()));
        for target in ["2026.11.0", "2026.11.1", "2026.12.0b1", "2027.1.0", "2031.5.2"] {
            assert_eq!(bench.inspect(&["--target", target], password), (Some(0), vec![], NEW.to_owned()), "{target}");
        }
        for target in ["2026.10.3", "2026.11.0b4", "2026.3.0", "2025.6.3"] {
            let (code, defects, said) = bench.inspect(&["--target", target], password);
            assert_eq!(
                (code, defects.iter().any(|defect| defect == "version-newer")),
                (Some(4), true),
                "{target}: {said}"
            );
            assert!(said.ends_with("Supervisor: restores it\n"), "{target}: {said}");
        }
        let (code, defects, said) = bench.inspect(&["--all-readers"], password);
        assert_eq!((code, defects.iter().any(|defect| defect == "version-newer")), (Some(4), true), "{said}");
        assert!(said.starts_with("Core 2025.1–2026.2: ") && said.ends_with(NEW), "{said}");
    }
}

#[test]
fn an_older_archive_is_asked_about_everywhere() {
    let bench = Bench::of("2025.6.3", None);
    let everywhere = "Core since 2025.1 and Supervisor: restores it\n".to_owned();
    assert_eq!(bench.inspect(&[], None), (Some(0), vec![], everywhere.clone()));
    assert_eq!(bench.inspect(&["--all-readers"], None), (Some(0), vec![], everywhere));
    assert_eq!(bench.inspect(&["--target", "2026.11.0"], None), (Some(0), vec![], NEW.to_owned()));
    let refused = bench.haul(&["inspect", "a.tar", "--all-readers", "--target", "2025.6.3"], None);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_clean_conversion_of_todays_archive_is_a_success() {
    let bench = Bench::of("2026.11.0", None);
    let untouched = bench.haul(&["repair", "a.tar", "--to", "none.tar"], None);
    let said = String::from_utf8(untouched.stdout).unwrap();
    assert_eq!((untouched.status.code(), bench.path("none.tar").exists()), (Some(0), false), "{said}");
    assert!(said.contains("there is nothing to repair") && said.ends_with(NEW), "{said}");
    fs::write(bench.path("new"), "sesame\n").unwrap();
    let conversions: [&[&str]; 4] = [
        &["--recompress", "fast"],
        &["--recompress", "none"],
        &["--rename", "After the move"],
        &["--encrypt", "--new-password-file", "new"],
    ];
    for (number, options) in conversions.into_iter().enumerate() {
        let to = format!("{number}.tar");
        let converted = bench.haul(&[&["repair", "a.tar", "--to", &to], options].concat(), None);
        let said = String::from_utf8(converted.stdout).unwrap() + &String::from_utf8_lossy(&converted.stderr);
        assert_eq!(converted.status.code(), Some(0), "{options:?}: {said}");
        assert!(said.ends_with(NEW) && !said.contains("can't be repaired"), "{options:?}: {said}");
    }
    // Asked about a reader that is older, nothing helps.
    let older =
        bench.haul(&["repair", "a.tar", "--to", "older.tar", "--recompress", "fast", "--target", "2025.6.3"], None);
    assert_eq!(older.status.code(), Some(4));
    assert!(String::from_utf8(older.stdout).unwrap().contains("[version-newer]"));
}
