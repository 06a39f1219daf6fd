//! One verdict: of every fixture, `verify` says the same as `inspect`, each in its own way.

use std::num::NonZeroUsize;

use engine::{
    inspect::{InspectOptions, inspect},
    read::OpenError,
    verdict::Verdict,
    verify::{VerifyError, VerifyOptions, verify},
};
use habackup::securetar::Password;
use store::Cancellation;
use testkit::fixtures::Fixtures;

/// What a user does about it is the same. Damaged bytes that no reader minds are damage for `verify`, and a finding for
/// `inspect`.
fn agree(verified: Option<Verdict>, inspected: Verdict, has_findings: bool) -> bool {
    match verified {
        None => inspected >= Verdict::Unrestorable,
        Some(Verdict::Damaged) => has_findings,
        Some(verified) => verified == inspected,
    }
}

#[test]
fn verify_and_inspect_agree_on_every_fixture() {
    let Some(made) = Fixtures::make(&[]).unwrap() else { return };
    let mut differ = Vec::new();
    for name in made.names() {
        let (path, password) = (made.path(&name), made.password(&name).map(Password::new));
        let inspection = inspect(
            path.as_path(),
            &InspectOptions { password: password.clone(), ..InspectOptions::default() },
            &|_, _| {},
            &Cancellation::default(),
        )
        .unwrap();
        let options = VerifyOptions { password, threads: NonZeroUsize::MIN };
        let (verified, why) = match verify(path.as_path(), &options, &|_, _| {}, &Cancellation::default()) {
            Ok(verification) => (Some(verification.judgement.verdict), format!("{:?}", verification.findings)),
            Err(VerifyError::Open(
                error @ (OpenError::NotABackup { .. } | OpenError::WrongPassword | OpenError::PasswordNeeded(_)),
            )) => (None, error.to_string()),
            Err(error) => panic!("{name}: {error}"),
        };
        let inspected = inspection.judgement.verdict;
        if !agree(verified, inspected, !inspection.findings.is_empty()) {
            let found: Vec<_> =
                inspection.findings.iter().map(|finding| (finding.defect.id(), &finding.outcomes)).collect();
            differ.push(format!("{name}: verify {verified:?}, inspect {inspected:?}\n   {why}\n   {found:?}"));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn whoever_alone_refuses_an_archive_is_named() {
    let alone = [
        ("addon-twice", "Supervisor"),
        ("folders-twice", "Supervisor"),
        ("type-missing", "Supervisor"),
        ("slug-a-number", "Supervisor"),
        ("securetar-v3", "Core 2025.1–2026.2"),
    ];
    let Some(made) = Fixtures::make(&alone.map(|(name, _)| name)).unwrap() else { return };
    for (name, reader) in alone {
        let (path, password) = (made.path(name), made.password(name).map(Password::new));
        let options = VerifyOptions { password: password.clone(), threads: NonZeroUsize::MIN };
        let verification = verify(path.as_path(), &options, &|_, _| {}, &Cancellation::default()).unwrap();
        assert_eq!(verification.judgement.headline(), format!("{reader} would NOT restore this"), "{name}");
        let options = InspectOptions { password, ..InspectOptions::default() };
        let inspection = inspect(path.as_path(), &options, &|_, _| {}, &Cancellation::default()).unwrap();
        assert_eq!(inspection.judgement.headline(), verification.judgement.headline(), "{name}");
    }
}
