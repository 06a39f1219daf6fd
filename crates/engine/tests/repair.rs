//! Repairs every archive of `tests/fixtures`: every reader restores what is written; exceptions are in a list below.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::{
    Destination, Level, Progress, SecureTar,
    browse::{Browser, Comparison, compare},
    inspect::{InspectOptions, Inspection, inspect},
    repair::{Encryption, NoteKind, Recompress, RepairError, RepairOptions, Repaired, repair},
    verdict::Verdict,
    verify::{Severity, VerifyOptions, verify},
};
use habackup::securetar::Password;
use store::Cancellation;
use testkit::fixtures::Fixtures;

const PASSWORD: &str = "correct horse battery staple";

/// Repaired, and yet not restored by everybody, because what is missing is nowhere in the old one.
const STILL_BAD: [(&str, &str); 4] = [
    ("config-empty", "nothing is in it"),
    ("securetar-v2-damaged", "the history is kept as it is"),
    ("sizes-over-8-gib-without-pax", "only its beginning is there"),
    ("sizes-over-8-gib-wrapped", "only its beginning is there"),
];

/// Nothing that is wrong with them can be repaired, and nothing is written.
const BEYOND: [&str; 15] = [
    "auth-empty",
    "configuration-yaml-a-dangling-symlink",
    "database-empty",
    "database-malformed",
    "database-malformed-in-one-page",
    "database-not-a-database",
    "database-of-an-integration-malformed",
    "database-with-another-wal",
    "no-auth",
    "no-auth-provider",
    "no-configuration-yaml",
    "no-config-entries",
    "no-onboarding",
    "no-storage",
    "settings-cut-short",
];

/// Nothing of a backup can be read from them.
const HOPELESS: [&str; 31] = [
    "all-zeros",
    "bare-database",
    "bare-manifest",
    "damaged-beginning-of-inner",
    "empty-archive",
    "html-error-page",
    "inner-missing",
    "json-error",
    "not-home-assistant-7z",
    "not-home-assistant-age",
    "not-home-assistant-borg-repository",
    "not-home-assistant-bzip2",
    "not-home-assistant-duplicity-volume",
    "not-home-assistant-gpg",
    "not-home-assistant-openssl",
    "not-home-assistant-photos",
    "not-home-assistant-qcow2",
    "not-home-assistant-rar",
    "not-home-assistant-restic-repository",
    "not-home-assistant-sql-dump",
    "not-home-assistant-vma",
    "not-home-assistant-xz",
    "not-home-assistant-zip-of-config",
    "not-home-assistant-zstd",
    "securetar-v3-damaged",
    "text-error",
    "truncated-after-manifest",
    "truncated-at-tar-header",
    "truncated-in-manifest",
    "wrong-password",
    "zero-bytes",
];

fn options(to: PathBuf, password: Option<&str>) -> RepairOptions {
    RepairOptions { password: password.map(Password::new), ..RepairOptions::new(Destination::Path(to)) }
}

fn run(bad: &Path, options: &RepairOptions) -> Result<Repaired, RepairError> {
    repair(&bad.into(), options, None, &Arc::new(Progress::default()), &Cancellation::default())
}

fn look(archive: &Path) -> Inspection {
    inspect(archive, &InspectOptions::default(), &|_, _| {}, &Cancellation::default()).unwrap()
}

fn told(repaired: &Repaired) -> String {
    let notes = repaired
        .notes
        .iter()
        .map(|note| format!("   {:?} {}: {}\n", note.kind, note.member.as_deref().unwrap_or("-"), note.what));
    let findings = repaired.result.iter().flat_map(|result| &result.findings);
    notes.chain(findings.map(|finding| format!("   still {} {}\n", finding.defect.id(), finding.what))).collect()
}

/// What became of one, in a word.
fn class(outcome: &Result<Repaired, RepairError>) -> &'static str {
    match outcome {
        Err(RepairError::Hopeless { .. }) => "hopeless",
        Err(error) if error.to_string().contains("password is wrong") => "hopeless",
        Err(error) if error.to_string().contains("a password is needed") => "locked",
        Err(_) => "failed",
        Ok(repaired) => {
            match (&repaired.written, repaired.result.as_ref().is_some_and(Inspection::is_restored_everywhere)) {
                (None, true) => "good",
                (None, false) => "beyond",
                (Some(_), true) => "repaired",
                (Some(_), false) => "still bad",
            }
        }
    }
}

fn expected(name: &str) -> &'static [&'static str] {
    if STILL_BAD.iter().any(|(known, _)| *known == name) {
        &["still bad", "beyond"]
    } else if BEYOND.contains(&name) {
        &["beyond"]
    } else if HOPELESS.contains(&name) {
        &["hopeless"]
    } else if name == "password-not-given" {
        &["locked"]
    } else {
        &["repaired", "good"]
    }
}

#[test]
fn every_broken_archive_that_can_be_repaired_is_restored_by_every_reader() {
    let Some(made) = Fixtures::make(&[]).unwrap() else { return };
    // For a look at them, or to ask Home Assistant.
    let kept = std::env::var_os("HAUL_REPAIRED").map(PathBuf::from);
    let out = tempfile::tempdir().unwrap();
    let folder = kept.as_deref().unwrap_or(out.path());
    let mut differ = Vec::new();
    let mut names: Vec<String> = made.names().collect();
    names.sort();
    for name in &names {
        let (bad, good) = (made.path(name), folder.join(format!("{name}.tar")));
        let before = (fs::read(&bad).unwrap(), fs::metadata(&bad).unwrap().modified().unwrap());
        let outcome = run(&bad, &options(good.clone(), made.password(name)));
        if kept.is_some() {
            println!(
                "== {name}: {}\n{}",
                class(&outcome),
                outcome.as_ref().map_or_else(|error| format!("   {error}\n"), told)
            );
        }
        if !expected(name).contains(&class(&outcome)) {
            let lines = outcome.as_ref().map_or_else(ToString::to_string, told);
            differ.push(format!("{name}: {} instead of {:?}\n{lines}", class(&outcome), expected(name)));
        }
        let is_written = outcome.as_ref().is_ok_and(|repaired| repaired.written.is_some());
        assert_eq!(good.exists(), is_written, "{name}");
        if is_written {
            assert!(
                outcome.as_ref().is_ok_and(|repaired| !repaired.notes.is_empty()),
                "{name}: written without a word"
            );
            settled(name, &good, made.password(name));
            let damage = damage(&good, made.password(name));
            assert!(damage.iter().all(|what| what.contains("database")), "{name} is written damaged: {damage:?}");
        }
        let after = (fs::read(&bad).unwrap(), fs::metadata(&bad).unwrap().modified().unwrap());
        assert!(before == after, "{name} was touched");
    }
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), names.len(), differ.join("\n"));
}

/// A repaired archive has nothing left to repair, unless that is beyond it.
fn settled(name: &str, good: &Path, password: Option<&str>) {
    let again = good.with_extension("again.tar");
    let second = run(good, &options(again, password)).unwrap();
    let repeated =
        second.notes.iter().filter(|note| !matches!(note.kind, NoteKind::Doubtful | NoteKind::Unrepaired)).count();
    assert_eq!(repeated, 0, "{name} a second time:\n{}", told(&second));
}

/// What `verify` says has changed since it was written.
fn damage(good: &Path, password: Option<&str>) -> Vec<String> {
    let options = VerifyOptions { password: password.map(Password::new), threads: std::num::NonZeroUsize::MIN };
    let verification = verify(good, &options, &|_, _| {}, &Cancellation::default()).unwrap();
    let damage = verification.findings.iter().filter(|finding| finding.severity == Severity::Damage);
    damage.map(|finding| format!("{}: {}", finding.member, finding.message)).collect()
}

fn same(a: &Path, b: &Path, passwords: (Option<&str>, Option<&str>)) -> Comparison {
    let threads = std::num::NonZeroUsize::MIN;
    let (first, second) = (passwords.0.map(Password::new), passwords.1.map(Password::new));
    let a = Browser::open(a, first.as_ref(), threads, &|_, _| {}).unwrap();
    let b = Browser::open(b, second.as_ref(), threads, &|_, _| {}).unwrap();
    compare(&a, &b, true, &Cancellation::default()).unwrap()
}

/// Its name, what is asked for, and the password that opens the result.
type Wish<'a> = (&'a str, Encryption, Option<Recompress>, SecureTar, Option<&'a str>);

#[test]
fn whatever_a_good_archive_is_converted_to_its_contents_stay_the_same() {
    let names = [
        "good-core-plain",
        "good-core-v2",
        "good-supervisor-style",
        "good-supervisor-style-v2",
        "good-not-compressed",
        "good-extra-member",
    ];
    let Some(made) = Fixtures::make(&names).unwrap() else { return };
    let out = tempfile::tempdir().unwrap();
    let other = "tr0ub4dor&3";
    for name in names {
        let (bad, password) = (made.path(name), made.password(name));
        let wishes: [Wish<'_>; 4] = if password.is_some() {
            [
                ("keep", Encryption::Keep, Some(Recompress::Stored), SecureTar::V3, password),
                ("decrypt", Encryption::Remove, None, SecureTar::Auto, None),
                ("change", Encryption::Change(Password::new(other)), None, SecureTar::V2, Some(other)),
                (
                    "change-3",
                    Encryption::Change(Password::new(other)),
                    Some(Recompress::To(Level::Small)),
                    SecureTar::V3,
                    Some(other),
                ),
            ]
        } else {
            [
                ("small", Encryption::Keep, Some(Recompress::To(Level::Small)), SecureTar::Auto, None),
                ("stored", Encryption::Keep, Some(Recompress::Stored), SecureTar::Auto, None),
                ("encrypt", Encryption::Add(Password::new(PASSWORD)), None, SecureTar::Auto, Some(PASSWORD)),
                (
                    "encrypt-3",
                    Encryption::Add(Password::new(PASSWORD)),
                    Some(Recompress::Stored),
                    SecureTar::V3,
                    Some(PASSWORD),
                ),
            ]
        };
        for (wish, encryption, recompress, securetar, new) in wishes {
            let good = out.path().join(format!("{name}-{wish}.tar"));
            let wish = RepairOptions { encryption, recompress, securetar, ..options(good.clone(), password) };
            let repaired = run(&bad, &wish).unwrap();
            assert!(repaired.written.is_some() && !repaired.is_incomplete(), "{}", told(&repaired));
            let compared = same(&bad, &good, (password, new));
            assert!(compared.is_same() && compared.same > 30, "{name}: {compared:?}");
            assert_eq!(damage(&good, new), [""; 0], "{name}");
        }
    }
}

#[test]
fn a_new_name_gets_a_new_slug_so_that_both_can_be_listed() {
    let Some(made) = Fixtures::make(&["good-core-plain"]).unwrap() else { return };
    let out = tempfile::tempdir().unwrap();
    let wish = RepairOptions { rename: Some("After the move".to_owned()), ..options(out.path().to_owned(), None) };
    let repaired = run(&made.path("good-core-plain"), &wish).unwrap();
    let result = repaired.result.unwrap();
    assert_eq!(result.manifest.name, "After the move");
    assert_eq!(result.manifest.slug, habackup::manifest::slug("After the move", &result.manifest.date));
    let path = repaired.written.unwrap().copy.path.unwrap();
    assert!(path.file_name().unwrap().to_string_lossy().starts_with("After_the_move_2025-06-20"), "{}", path.display());
}

/// Core changed the encryption and left the old sizes beside the new ones: readers then see the description cut and
/// everything else out of step.
#[test]
fn what_core_broke_when_it_changed_the_encryption_comes_back_whole() {
    let names = ["good-core-plain", "sizes-in-records-after-decryption", "sizes-in-records-after-encryption"];
    let Some(made) = Fixtures::make(&names).unwrap() else { return };
    let out = tempfile::tempdir().unwrap();
    let date = look(&made.path(names[0])).manifest.date;
    for name in &names[1..] {
        let (bad, good) = (made.path(name), out.path().join(format!("{name}.tar")));
        assert!(!look(&bad).is_restored_everywhere());
        let repaired = run(&bad, &options(good.clone(), made.password(name))).unwrap();
        assert!(!repaired.is_incomplete(), "{}", told(&repaired));
        let manifest = &repaired.result.as_ref().unwrap().manifest;
        let slug = habackup::manifest::slug(name, &date);
        assert_eq!((&*manifest.name, &*manifest.date, &*manifest.slug), (*name, &*date, &*slug), "{}", told(&repaired));
        let compared = same(&made.path(names[0]), &good, (None, made.password(name)));
        assert!(compared.is_same() && compared.same > 30, "{name}: {compared:?}");
    }
}

#[test]
fn an_archive_that_core_would_destroy_is_named_and_written_anew_without_any_other_change() {
    let name = "sizes-in-records";
    let Some(made) = Fixtures::make(&[name]).unwrap() else { return };
    let out = tempfile::tempdir().unwrap();
    let (bad, good) = (made.path(name), out.path().join("good.tar"));
    let before = look(&bad);
    assert!(before.is_restored_everywhere(), "it is restored as it is");
    assert_eq!(before.findings.iter().map(|finding| finding.defect.id()).collect::<Vec<_>>(), ["size-record"]);
    let repaired = run(&bad, &options(good.clone(), None)).unwrap();
    assert_eq!(repaired.notes.len(), 1, "{}", told(&repaired));
    let result = repaired.result.as_ref().unwrap();
    assert!(result.findings.is_empty() && result.manifest.slug == before.manifest.slug, "{}", told(&repaired));
    assert!(same(&bad, &good, (None, None)).is_same());
}

/// Supervisor deletes an archive that has the slug of one that it knows and says something else, in one case both.
#[test]
fn whatever_says_something_else_than_before_has_a_slug_of_its_own() {
    let plain = "good-core-plain";
    let names = [
        plain,
        "good-core-v2",
        "member-without-dot-slash",
        "supervisor-version-newer",
        "part-missing",
        "inner-compressed-though-declared-not",
    ];
    let Some(made) = Fixtures::make(&names).unwrap() else { return };
    let out = tempfile::tempdir().unwrap();
    let keep = || Encryption::Keep;
    let add = || Encryption::Add(Password::new(PASSWORD));
    let cases = [
        (plain, add(), None, true),
        ("good-core-v2", Encryption::Remove, None, true),
        ("good-core-v2", Encryption::Change(Password::new("other")), None, true),
        ("member-without-dot-slash", keep(), None, true),
        (plain, keep(), Some(Recompress::To(Level::Small)), true),
        (plain, keep(), Some(Recompress::Stored), false),
        (plain, add(), Some(Recompress::Stored), false),
        ("supervisor-version-newer", keep(), None, false),
        ("part-missing", keep(), None, false),
        ("inner-compressed-though-declared-not", keep(), None, false),
    ];
    for (number, (name, encryption, recompress, is_kept)) in cases.into_iter().enumerate() {
        let text =
            |slug: &str| habackup::manifest::slug(name, &look(&made.path("good-core-plain")).manifest.date) == slug;
        let wish = RepairOptions {
            encryption,
            recompress,
            ..options(out.path().join(format!("{number}.tar")), made.password(name))
        };
        let repaired = run(&made.path(name), &wish).unwrap();
        let slug = &repaired.result.as_ref().unwrap().manifest.slug;
        assert_eq!(text(slug), is_kept, "{number} {name}: {}", told(&repaired));
        assert_eq!(
            repaired.notes.iter().any(|note| note.what.starts_with("slug: ")),
            !is_kept,
            "{name}: {}",
            told(&repaired)
        );
        assert!(slug.len() == 8 && slug.bytes().all(|byte| byte.is_ascii_hexdigit()), "{slug}");
    }
}

/// Home Assistant leaves a part encrypted when it decrypts a download.
#[test]
fn an_archive_with_a_part_that_is_still_encrypted_opens_without_a_password() {
    let (name, part) = ("part-still-encrypted", "addons_local.tar.gz");
    let Some(made) = Fixtures::make(&["good-supervisor-style", name]).unwrap() else { return };
    let out = tempfile::tempdir().unwrap();
    let bad = made.path(name);
    let threads = std::num::NonZeroUsize::MIN;
    for (password, why, lock) in [
        (None, "no password was given", "a password is needed"),
        (Some("wrong"), "the password that was given does not open it", "the password is wrong"),
    ] {
        let password = password.map(Password::new);
        let verification =
            verify(&bad, &VerifyOptions { password: password.clone(), threads }, &|_, _| {}, &Cancellation::default())
                .unwrap();
        assert_eq!(verification.judgement.verdict, Verdict::Incomplete, "{:?}", verification.findings);
        assert_eq!(verification.judgement.missing, ["addons_local"]);
        let says = |text: &str| {
            verification.findings.iter().any(|finding| finding.member == part && finding.message.contains(text))
        };
        assert!(says("still encrypted") && says(why), "{:?}", verification.findings);
        let browser = Browser::open(&bad, password.as_ref(), threads, &|_, _| {}).unwrap();
        browser.cat(b".HA_VERSION", &mut Vec::new(), &Cancellation::default()).unwrap();
        let locked =
            browser.cat(format!("{part}: note.txt").as_bytes(), &mut Vec::new(), &Cancellation::default()).unwrap_err();
        assert!(locked.to_string().contains(lock), "{locked}");
    }
    for (password, is_right) in [(None, false), (Some("wrong"), false), (Some(PASSWORD), true)] {
        let good = out.path().join(format!("{password:?}.tar"));
        let repaired = run(&bad, &options(good.clone(), password)).unwrap();
        let result = repaired.result.as_ref().unwrap();
        assert!(
            !result.manifest.protected && result.parts.iter().all(|part| part.encrypted.is_none()),
            "{}",
            told(&repaired)
        );
        assert_eq!(repaired.is_incomplete(), !is_right, "{}", told(&repaired));
        assert_eq!(result.parts.iter().any(|seen| seen.name == part), is_right);
        assert!(result.is_restored_everywhere(), "{}", told(&repaired));
    }
}

#[test]
fn nothing_is_overwritten_not_even_through_a_link() {
    let Some(made) = Fixtures::make(&["member-without-dot-slash"]).unwrap() else { return };
    let bad = made.path("member-without-dot-slash");
    let before = fs::read(&bad).unwrap();
    let link = bad.with_file_name("link.tar");
    std::os::unix::fs::symlink(&bad, &link).unwrap();
    let hard = bad.with_file_name("hard.tar");
    fs::hard_link(&bad, &hard).unwrap();
    for to in [&bad, &link, &hard] {
        let error = run(&bad, &options(to.clone(), None)).unwrap_err();
        assert!(error.to_string().contains("exists"), "{error}");
    }
    assert_eq!(fs::read(&bad).unwrap(), before);
}

/// A configuration, packed by GNU tar with these arguments.
fn packed(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let status = std::process::Command::new("tar").arg("czf").arg(&path).args(arguments).status().unwrap();
    assert!(status.success());
    path
}

fn configuration(folder: &Path) -> PathBuf {
    let config = folder.join("config");
    fs::create_dir_all(config.join(".storage")).unwrap();
    fs::write(config.join(".HA_VERSION"), "2025.6.3").unwrap();
    fs::write(config.join("configuration.yaml"), "default_config:\n").unwrap();
    for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
        fs::write(config.join(".storage").join(name), "{}").unwrap();
    }
    config
}

#[test]
fn a_file_of_several_names_is_there_under_each_however_large_it_is() {
    let out = tempfile::tempdir().unwrap();
    let config = configuration(out.path());
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (name, content) in [("a-large", &large[..]), ("a-small", b"small"), ("a-none", b"")] {
        fs::write(config.join(name), content).unwrap();
        for link in ["b", "c"] {
            fs::hard_link(config.join(name), config.join(name.replace('a', link))).unwrap();
        }
    }
    let folder = config.to_str().unwrap();
    let linked = packed(out.path(), "linked.tar.gz", &["-C", folder, "."]);
    let whole = packed(out.path(), "whole.tar.gz", &["--hard-dereference", "-C", folder, "."]);
    let (one, other) = (out.path().join("1.tar"), out.path().join("2.tar"));
    let repaired = run(&linked, &options(one.clone(), None)).unwrap();
    assert_eq!(repaired.notes.iter().filter(|note| note.what.contains("hard link")).count(), 6, "{}", told(&repaired));
    run(&whole, &options(other.clone(), None)).unwrap();
    let compared = same(&one, &other, (None, None));
    assert!(compared.is_same() && compared.same >= 13, "{compared:?}");
}

#[test]
fn a_configuration_is_found_wherever_it_lies_in_a_tar() {
    let out = tempfile::tempdir().unwrap();
    let config = configuration(out.path());
    fs::write(out.path().join("beside.txt"), "beside").unwrap();
    let (folder, top) = (config.to_str().unwrap().to_owned(), out.path().to_str().unwrap().to_owned());
    let plain = packed(out.path(), "plain.tar.gz", &["-C", &folder, "."]);
    let expected = out.path().join("expected.tar");
    run(&plain, &options(expected.clone(), None)).unwrap();
    let absolute = packed(out.path(), "absolute.tar.gz", &["-P", &folder]);
    let stars = packed(out.path(), "names.tar.gz", &["-C", &folder, ".HA_VERSION", ".storage", "configuration.yaml"]);
    let beside = packed(out.path(), "beside.tar.gz", &["-C", &top, "config", "beside.txt"]);
    for (bad, lost) in [(absolute, 0), (stars, 0), (beside, 1)] {
        let good = bad.with_extension("good.tar");
        let repaired = run(&bad, &options(good.clone(), None)).unwrap();
        assert_eq!(
            repaired.notes.iter().filter(|note| note.kind == NoteKind::Lost).count(),
            lost,
            "{}",
            told(&repaired)
        );
        let compared = same(&expected, &good, (None, None));
        assert!(compared.is_same() && compared.same >= 4, "{}: {compared:?}", bad.display());
    }
}

/// What is missing or changed, and whether it was reported.
fn honest(
    what: &str,
    original: &Path,
    good: &Path,
    password: Option<&str>,
    outcome: &Result<Repaired, RepairError>,
) -> bool {
    let repaired = match outcome {
        Ok(repaired) if repaired.written.is_some() => repaired,
        Ok(_) | Err(RepairError::Hopeless { .. } | RepairError::NoVersion(_)) => return false,
        Err(error) if error.to_string().contains("password is wrong") => return false,
        Err(error) => panic!("{what}: {error}"),
    };
    let compared = same(original, good, (password, password));
    assert!(compared.is_same() || repaired.is_incomplete(), "{what}: {compared:?}\n{}", told(repaired));
    let _ = fs::remove_file(good);
    true
}

#[test]
fn wherever_an_archive_is_cut_what_is_whole_is_kept_and_what_is_gone_is_reported() {
    let names = ["good-core-plain", "good-supervisor-style", "good-core-v2", "good-not-compressed"];
    let Some(made) = Fixtures::make(&names).unwrap() else { return };
    let out = tempfile::tempdir().unwrap();
    for name in names {
        let bytes = fs::read(made.path(name)).unwrap();
        let (bad, good) = (out.path().join("bad.tar"), out.path().join("good.tar"));
        let mut written = 0;
        for end in (700..bytes.len()).step_by(bytes.len() / 40) {
            fs::write(&bad, &bytes[..end]).unwrap();
            let outcome = run(&bad, &options(good.clone(), made.password(name)));
            if let Ok(repaired) = &outcome
                && repaired.written.is_some()
            {
                let compared = same(&made.path(name), &good, (made.password(name), made.password(name)));
                assert!(compared.changed.is_empty(), "{name} cut at {end}: {compared:?}\n{}", told(repaired));
            }
            written += usize::from(honest(
                &format!("{name} cut at {end}"),
                &made.path(name),
                &good,
                made.password(name),
                &outcome,
            ));
        }
        assert!(written > 20, "{name}: {written} were written");
    }
}

#[test]
fn whatever_byte_is_changed_what_is_not_as_it_was_is_reported() {
    let names = ["good-core-plain", "good-core-v2"];
    let Some(made) = Fixtures::make(&names).unwrap() else { return };
    let out = tempfile::tempdir().unwrap();
    for name in names {
        let bytes = fs::read(made.path(name)).unwrap();
        let (bad, good) = (out.path().join("bad.tar"), out.path().join("good.tar"));
        for place in (0..bytes.len()).step_by(bytes.len() / 150) {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            fs::write(&bad, &changed).unwrap();
            let outcome = run(&bad, &options(good.clone(), made.password(name)));
            honest(&format!("{name}, byte {place}"), &made.path(name), &good, made.password(name), &outcome);
        }
    }
}
