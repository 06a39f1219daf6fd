#![allow(clippy::unwrap_used)]

use jiff::tz::TimeZone;

use super::*;
use crate::problem::Severity;

fn draft(date: &str) -> Draft<'_> {
    let date = date.parse().unwrap();
    Draft {
        name: "Core 2026.3.1",
        date,
        home_assistant: "2026.3.1",
        exclude_database: false,
        protected: true,
        compressed: true,
    }
}

fn refusals(json: &str) -> Vec<String> {
    let problems = Manifest::parse(json.as_bytes()).unwrap().check();
    problems.into_iter().filter(|problem| problem.severity == Severity::Refused).map(|problem| problem.text).collect()
}

const GOOD: &str = r#"{"compressed":true,"date":"2026-11-22T00:41:00.123456+00:00","extra":{},"homeassistant":{"exclude_database":false,"version":"2026.3.1"},"name":"Core 2026.3.1","protected":true,"slug":"00000000","type":"partial","version":2}"#;

#[test]
fn a_description_reads_like_cores_own() {
    let manifest = Manifest::new(&draft("2026-11-22T00:41:00.123456+00:00"));
    let slug = manifest.slug().unwrap().to_owned();
    assert_eq!(String::from_utf8(manifest.to_json()).unwrap(), GOOD.replace("00000000", &slug));
    assert_eq!(manifest.check(), []);
}

#[test]
fn the_slug_is_what_home_assistant_computes() {
    // hashlib.sha1("2026-11-22t00:41:00.123456+00:00 - käse".encode()).hexdigest()[:8]
    assert_eq!(slug("KÄSE", "2026-11-22T00:41:00.123456+00:00"), "3567205f");
}

#[test]
fn unknown_keys_are_kept() {
    let manifest = Manifest::parse(br#"{"zz":[1,{"a":null}],"name":"x"}"#).unwrap();
    assert_eq!(manifest.to_json(), br#"{"name":"x","zz":[1,{"a":null}]}"#);
}

#[test]
fn file_names_are_home_assistants() {
    let date: WallTime = "2026-11-22T00:41:09.000123+02:00".parse().unwrap();
    assert_eq!(file_name("My  backup\t\u{a0}x", &date), "My_backup_x_2026-11-22_00.41_09000123.tar");
    assert_eq!(file_name("a", &"2026-11-22T00:41:00+00:00".parse().unwrap()), "a_2026-11-22_00.41_00000000.tar");
}

#[test]
fn dates_look_like_pythons() {
    for text in [
        "2026-11-22T00:41:00.123456+00:00",
        "2026-11-22T00:41:00-03:30",
        "2026-11-22T00:41:00.000001+00:00",
        "2026-11-22T00:41:00",
    ] {
        assert_eq!(text.parse::<WallTime>().unwrap().to_string(), text);
    }
    assert_eq!("2026-11-22T00:41:00Z".parse::<WallTime>().unwrap().to_string(), "2026-11-22T00:41:00+00:00");
    assert_eq!(
        "2026-11-22 00:41:00.5+00:00".parse::<WallTime>().unwrap().to_string(),
        "2026-11-22T00:41:00.500000+00:00"
    );
    for bad in ["", "yesterday", "2026-11-22", "2026-13-01T00:00:00Z"] {
        assert!(bad.parse::<WallTime>().is_err(), "{bad}");
    }
    let moment: jiff::Timestamp = "2026-11-22T00:41:00.123456789Z".parse().unwrap();
    assert_eq!(WallTime::from(moment).to_string(), "2026-11-22T00:41:00.123456+00:00");
    let there = moment.to_zoned(TimeZone::get("Asia/Kolkata").unwrap());
    assert_eq!(WallTime::from(&there).to_string(), "2026-11-22T06:11:00.123456+05:30");
    assert_eq!(WallTime::from(&there).timestamp().unwrap(), "2026-11-22T00:41:00.123456Z".parse().unwrap());
}

#[test]
fn each_refusal_says_who_minds_and_why() {
    assert_eq!(refusals(GOOD), [""; 0]);
    let cases = [
        (r#""slug":"00000000","#, "", "'slug' is missing; Core can no longer list"),
        (r#""type":"partial""#, r#""type":"snapshot""#, "Supervisor knows only 'full' and 'partial'"),
        (r#","version":2}"#, r#","version":3}"#, "neither 1 nor 2; Supervisor refuses"),
        (r#""compressed":true,"#, "", "Core fails to restore"),
        (r#""name":"Core 2026.3.1""#, r#""name":"a/b""#, "cannot contain '/'"),
        (r#""name":"Core 2026.3.1""#, r#""name":5"#, "'name' is not a string"),
        (r#""slug":"00000000""#, r#""slug":5"#, "Core accepts it, Supervisor refuses"),
        (r#""2026-11-22T00:41:00.123456+00:00""#, r#""today""#, "'today' is not a date and time"),
        (r#""version":"2026.3.1""#, r#""version":"newest""#, "not a Home Assistant version"),
        (r#""extra":{}"#, r#""extra":[]"#, "'extra' is not an object"),
        (r#""extra":{}"#, r#""folders":["share","addons"]"#, "may list only share, addons/local"),
        (r#""extra":{}"#, r#""folders":["share","share"]"#, "twice; Supervisor"),
        (r#""extra":{}"#, r#""folders":{}"#, "'folders' is not a list"),
        (r#""extra":{}"#, r#""addons":[{"slug":"x","name":"X"}]"#, "'x' has no version; Core can no longer list"),
        (r#""extra":{}"#, r#""addons":[3]"#, "not an object; Core can no longer list"),
        (r#""extra":{}"#, r#""crypto":"none""#, "not 'aes128'"),
        (r#""slug":"00000000""#, r#""slug":"a/b""#, "cannot be a file name; Supervisor refuses the upload"),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let found = refusals(&GOOD.replace(from, to));
        assert!(found.iter().any(|text| text.contains(expected)), "{to}: {found:?}");
    }
}

/// What every reader takes nevertheless, and what only costs add-ons.
#[test]
fn what_is_restored_all_the_same_is_no_refusal() {
    let official = format!(
        r#""repositories":["{}"],"addons":[{{"slug":"x","name":"X","version":"1"}}]"#,
        crate::readers::OFFICIAL_REPOSITORY
    );
    for (from, to, severity, expected) in [
        (r#","version":2}"#, "}", Severity::Notice, "Supervisor takes the backup for one of the oldest"),
        (r#""protected":true"#, r#""protected":"yes""#, Severity::Notice, "neither true nor false"),
        ("2026-11-22T00:41:00.123456+00:00", "2026-11-22", Severity::Notice, "no time of day"),
        (r#""extra":{}"#, &official, Severity::Lost, "restores no add-ons"),
    ] {
        let json = GOOD.replace(from, to);
        assert!(json != GOOD, "{from}");
        let found = Manifest::parse(json.as_bytes()).unwrap().check();
        assert!(
            found.iter().any(|problem| problem.severity == severity && problem.text.contains(expected)),
            "{to}: {found:?}"
        );
        assert_eq!(refusals(&json), [""; 0], "{to}");
    }
}

#[test]
fn what_readers_take_in_their_own_way_is_only_noted() {
    let cases = [
        (r#","version":2}"#, "}", "Supervisor takes the backup for one of the oldest"),
        (r#""protected":true"#, r#""protected":"yes""#, "neither true nor false"),
    ];
    for (from, to, expected) in cases {
        let changed = GOOD.replace(from, to);
        assert_eq!(refusals(&changed), [""; 0], "{to}");
        let found = Manifest::parse(changed.as_bytes()).unwrap().check();
        assert!(
            found.iter().any(|problem| problem.severity == Severity::Notice && problem.text.contains(expected)),
            "{to}: {found:?}"
        );
    }
}

#[test]
fn a_backup_without_home_assistant_is_only_noted() {
    let json = GOOD.replace(r#"{"exclude_database":false,"version":"2026.3.1"}"#, "null");
    assert_eq!(refusals(&json), [""; 0]);
}

#[test]
fn names_that_no_file_can_have_are_refused() {
    for name in ["", ".", "..", "a/b", "a\\b", "C:backup", "a\0b"] {
        assert!(check_name(name).is_some(), "{name}");
    }
    for name in ["Core 2026.3.1", "…", "at 5: b", "Sonntag 🌞", "..."] {
        assert!(check_name(name).is_none(), "{name}");
    }
}

#[test]
fn promised_members_follow_home_assistants_names() {
    let json = GOOD.replace(
        r#""extra":{}"#,
        r#""folders":["addons/local","homeassistant","ssl"],"addons":[{"slug":"core_ssh","name":"SSH","version":"1"}]"#,
    );
    let manifest = Manifest::parse(json.as_bytes()).unwrap();
    assert_eq!(
        manifest.inner_archives(),
        ["homeassistant.tar.gz", "core_ssh.tar.gz", "addons_local.tar.gz", "ssl.tar.gz"]
    );
}

#[test]
fn what_is_no_json_object_is_an_error() {
    assert!(matches!(Manifest::parse(b"\xef\xbb\xbf{}"), Err(ManifestError::NotJson(_))));
    assert!(matches!(Manifest::parse(b"[]"), Err(ManifestError::NotAnObject)));
    let deep = "[".repeat(100_000);
    assert!(matches!(Manifest::parse(deep.as_bytes()), Err(ManifestError::NotJson(_))));
}

#[test]
fn a_number_with_a_point_stays_what_it_was() {
    let manifest = |size: &str| Manifest::parse(format!(r#"{{"name":"x","size":{size}}}"#).as_bytes()).unwrap();
    for size in [
        "1.666666666666666666666666666666666666666666666666666666666666665",
        "0.1",
        "123456789.12345679",
        "2.2250738585072011e-308",
        "1e23",
    ] {
        let read = manifest(size);
        assert_eq!(Manifest::parse(&read.to_json()).unwrap(), read, "{size}");
    }
}
