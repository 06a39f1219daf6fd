//! What each reader does, by facts alone: the rules that no archive of `tests/fixtures` shows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use habackup::{
    readers::{
        Asked, Content, ContentEnd, Defect, Description, Effect, Facts, Failing, Finding, Inner, OuterMember, Reader,
        Sealing, Shape, Stage, findings, verdicts,
    },
    securetar::SecureTarVersion,
    tar::EntryKind,
};
use serde_json::{Value, json};

const PASSWORD: Effect = Effect::Refuses(Stage::Password);

fn part(name: &str, shape: Shape, opens: Option<bool>) -> Inner {
    let content = (opens == Some(true) || shape == Shape::Gzip).then(|| whole(shape));
    Inner { name: name.to_owned(), size: 1000, shape, sealing: Sealing { opens, ..Sealing::default() }, content }
}

/// A configuration in which nothing is missing.
fn whole(shape: Shape) -> Content {
    Content {
        compressed: true,
        gzip: habackup::readers::GzipEnd::Sound,
        entries: 9,
        data: true,
        below_data: 8,
        storage: true,
        auth: Some(10),
        auth_provider: true,
        onboarding: true,
        config_entries: true,
        version: Some("2026.11.0".to_owned()),
        configuration: Some(None),
        database: None,
        log: Some(0),
        end: if shape == Shape::Unknown { ContentEnd::Failed(Failing::Eof) } else { ContentEnd::Clean },
        ..Content::default()
    }
}

/// A sound archive of 2026.11 with these fields changed, and its parts in this order.
fn facts(changes: &Value, parts: Vec<Inner>, password: bool) -> Facts {
    let mut fields = json!({
        "version": 2, "slug": "0a1b2c3d", "type": "partial", "name": "one", "date": "2026-11-20T10:00:00.000000+00:00", "compressed": true, "protected": false,
        "homeassistant": {"version": "2026.11.0", "exclude_database": true}, "folders": [], "addons": [], "repositories": [], "extra": {},
    });
    for (key, value) in changes.as_object().unwrap() {
        fields[key] = value.clone();
    }
    let name = |inner: &Inner| OuterMember {
        name: inner.name.clone(),
        kind: EntryKind::File,
        size: inner.size,
        sizes: None,
        size_record: false,
        libarchive: false,
    };
    let mut facts = Facts {
        length: 10_240,
        password,
        description: Some(Description::parse("./backup.json", fields.to_string().as_bytes())),
        ..Facts::default()
    };
    facts.outer.members = parts.iter().map(name).collect();
    facts.outer.members.push(OuterMember {
        name: "./backup.json".to_owned(),
        kind: EntryKind::File,
        size: 300,
        sizes: None,
        size_record: false,
        libarchive: false,
    });
    for inner in parts {
        if inner.name.starts_with("homeassistant.") { facts.main = Some(inner) } else { facts.parts.push(inner) }
    }
    facts
}

fn main_part() -> Inner {
    part("homeassistant.tar.gz", Shape::Gzip, None)
}

fn of(facts: &Facts, reader: Reader) -> (Effect, Option<Defect>) {
    let verdict = verdicts(facts, &findings(facts)).into_iter().find(|verdict| verdict.reader == reader).unwrap();
    (verdict.effect, verdict.because)
}

fn find(facts: &Facts, defect: Defect) -> Option<Finding> {
    findings(facts).into_iter().find(|finding| finding.defect == defect)
}

/// What Supervisor says where it minds this.
fn supervisor(facts: &Facts, defect: Defect) -> (Effect, Option<String>) {
    let finding = find(facts, defect).unwrap_or_else(|| panic!("{} is not found", defect.id()));
    let outcome = finding.outcomes.into_iter().find(|outcome| outcome.reader == Reader::Supervisor).unwrap();
    (outcome.effect, outcome.says)
}

#[test]
fn supervisor_tries_the_password_on_the_first_member_that_is_called_like_an_archive() {
    const V3: Shape = Shape::Encrypted(SecureTarVersion::V3);
    let protected = json!({"protected": true, "homeassistant": null, "folders": ["share"]});
    // No configuration in it: the folder's archive decides.
    for (opens, password, defect) in [
        (None, false, Some(Defect::PasswordNotGiven)),
        (Some(false), true, Some(Defect::WrongPassword)),
        (Some(true), true, None),
    ] {
        let facts = facts(&protected, vec![part("share.tar.gz", V3, opens)], password);
        let expected = defect.map_or((Effect::Restores, None), |defect| (PASSWORD, Some(defect)));
        assert_eq!(of(&facts, Reader::Supervisor), expected);
    }
    // A configuration that opens helps nothing behind a part that does not.
    let both = json!({"protected": true, "folders": ["share"]});
    let main = || part("homeassistant.tar.gz", V3, Some(true));
    let first = facts(&both, vec![part("share.tar.gz", V3, Some(false)), main()], true);
    assert_eq!(of(&first, Reader::Supervisor), (PASSWORD, Some(Defect::WrongPassword)));
    assert_eq!(of(&first, Reader::CoreSince20263).0, Effect::Restores);
    let last = facts(&both, vec![main(), part("share.tar.gz", V3, Some(false))], true);
    assert_eq!(of(&last, Reader::Supervisor).1, Some(Defect::PartEncryption));
    let plain = facts(&both, vec![part("share.tar.gz", Shape::Gzip, None), main()], true);
    assert_eq!(of(&plain, Reader::Supervisor), (PASSWORD, Some(Defect::ProtectedButPlain)));
    // What Core left encrypted in a download without encryption.
    let left =
        facts(&json!({"folders": ["addons/local"]}), vec![part("addons_local.tar.gz", V3, None), main_part()], false);
    assert_eq!(of(&left, Reader::Supervisor), (PASSWORD, Some(Defect::EncryptedNotProtected)));
    assert_eq!(of(&left, Reader::CoreSince20263).0, Effect::Restores);
}

#[test]
fn folders_alone_are_for_supervisor_and_nothing_is_wrong_with_them() {
    let folders = || {
        facts(
            &json!({"homeassistant": null, "folders": ["share"]}),
            vec![part("share.tar.gz", Shape::Gzip, None)],
            false,
        )
    };
    let asked = |facts: &Facts| {
        verdicts(facts, &findings(facts))
            .into_iter()
            .map(|verdict| (verdict.reader, verdict.effect))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(&folders()), [(Reader::Supervisor, Effect::Restores)]);
    assert!(
        find(&folders(), Defect::InnerMissing).is_some_and(|finding| finding.outcomes.is_empty()),
        "it is said nevertheless"
    );
    let all = Facts { asked: Asked::All, ..folders() };
    assert_eq!(
        asked(&all),
        [
            (Reader::CoreBefore20263, PASSWORD),
            (Reader::CoreSince20263, PASSWORD),
            (Reader::Supervisor, Effect::Restores)
        ]
    );
    // One that is announced and gone is another matter.
    let gone = facts(&json!({"folders": ["share"]}), vec![part("share.tar.gz", Shape::Gzip, None)], false);
    assert_eq!(asked(&gone).len(), 2);
}

#[test]
fn a_supervisors_version_is_held_against_the_date_of_the_backup_alone() {
    for (version, date, found) in [
        ("2026.11.0", "2026-11-20T10:00:00+00:00", false),
        ("2027.01.0", "2027-01-20T10:00:00+00:00", false),
        ("2041.05.2", "2041-05-01T10:00:00+00:00", false),
        ("2026.08.0", "2026-07-30T10:00:00+00:00", false),
        ("245", "2021-02-03T10:00:00+00:00", false),
        ("2026.08.0", "2025-01-01T10:00:00+00:00", true),
        ("2099.01.0", "2026-11-20T10:00:00+00:00", true),
        ("2099.01.0", "yesterday", false),
    ] {
        let facts = facts(&json!({"supervisor_version": version, "date": date}), vec![main_part()], false);
        assert_eq!(find(&facts, Defect::SupervisorNewer).is_some(), found, "{version} {date}");
        assert!(of(&facts, Reader::Supervisor).0.is_restored(), "{version} {date}");
    }
}

#[test]
fn the_supervisors_own_part_is_named_where_it_is_encrypted() {
    let with = |shape, opens| {
        let sealed = opens == Some(true);
        facts(
            &json!({"protected": sealed}),
            vec![part("homeassistant.tar.gz", shape, opens), part("supervisor.tar.gz", shape, opens)],
            sealed,
        )
    };
    let facts = with(Shape::Encrypted(SecureTarVersion::V3), Some(true));
    let finding = find(&facts, Defect::SupervisorConfig).unwrap();
    assert!(finding.what.contains("2026.03.3 to 2026.08") && finding.repair.contains("--decrypt"), "{finding:?}");
    assert!(matches!(of(&facts, Reader::Supervisor), (Effect::Changes(_), Some(Defect::SupervisorConfig))));
    assert!(find(&with(Shape::Gzip, None), Defect::SupervisorConfig).is_none());
}

#[test]
fn what_supervisors_schema_stumbles_over_is_distinguished_from_what_it_refuses() {
    let refuses = Effect::Refuses(Stage::List);
    for (folders, says) in [
        (json!(null), "TypeError: argument of type 'NoneType' is not a container or iterable"),
        (json!(7), "TypeError: argument of type 'int' is not a container or iterable"),
        (json!("share"), "Can't validate data for …"),
        (json!({}), "Can't validate data for …"),
    ] {
        assert_eq!(
            supervisor(&facts(&json!({"folders": folders}), vec![main_part()], false), Defect::Folders),
            (refuses.clone(), Some(says.to_owned()))
        );
    }
    for (section, says) in [
        (json!("2026.11.0"), Some("AttributeError: 'str' object has no attribute 'get'")),
        (json!([1]), Some("AttributeError: 'list' object has no attribute 'get'")),
        (json!(""), None),
        (json!(0), None),
        (json!({}), None),
    ] {
        let (effect, said) =
            supervisor(&facts(&json!({"homeassistant": section}), vec![main_part()], false), Defect::HomeAssistant);
        assert_eq!((effect == refuses, said.as_deref()), (says.is_some(), says), "{section}");
    }
    for (repositories, fine) in [
        (json!(["core", "local", "https://github.com/hassio-addons/repository", "https://example.org/a#beta"]), true),
        (json!(["https://example.org/a", "https://example.org/a"]), false),
        (json!(["addons"]), false),
        (json!([3]), false),
        (json!(null), false),
    ] {
        let facts = facts(&json!({"repositories": repositories}), vec![main_part()], false);
        assert_eq!(find(&facts, Defect::ManifestField).is_none(), fine, "{repositories}");
    }
}

#[test]
fn members_that_lead_out_are_refused_by_every_reader_of_today() {
    for (path, refused) in [("data/../../x", true), ("../data/x", true), ("data/a/../b", false), ("/data/x", false)] {
        let mut facts = facts(&json!({}), vec![main_part()], false);
        facts.main.as_mut().unwrap().content.as_mut().unwrap().escaping.push(path.into());
        for reader in [Reader::CoreSince20263, Reader::Supervisor] {
            assert_eq!(of(&facts, reader).0 == Effect::Refuses(Stage::Unpack), refused, "{path} {reader:?}");
        }
    }
    // A folder is emptied before its archive is refused.
    let mut facts =
        facts(&json!({"folders": ["share"]}), vec![main_part(), part("share.tar.gz", Shape::Gzip, None)], false);
    facts.parts[0].content.as_mut().unwrap().escaping.push(b"../x".to_vec());
    assert_eq!(of(&facts, Reader::Supervisor), (Effect::Loses("share.tar.gz".to_owned()), Some(Defect::Escaping)));
    assert_eq!(of(&facts, Reader::CoreSince20263).0, Effect::Restores);
}

#[test]
fn a_changed_first_message_of_securetar_3_is_no_wrong_password_to_supervisor() {
    let mut facts = facts(
        &json!({"protected": true}),
        vec![part("homeassistant.tar.gz", Shape::Encrypted(SecureTarVersion::V3), Some(true))],
        true,
    );
    *facts.main.as_mut().unwrap().content.as_mut().unwrap() =
        Content { compressed: true, end: ContentEnd::Failed(Failing::Tampered), ..Content::default() };
    assert_eq!(supervisor(&facts, Defect::SecureTarDamaged), (PASSWORD, Some("Unexpected failure".to_owned())));
}
