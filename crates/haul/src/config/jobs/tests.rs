#![allow(clippy::unwrap_used)]
use std::path::Path;

use super::*;
use crate::config::Config;

const PLACES: &str = "[destinations.nas]\nurl = \"/nas\"\n[destinations.offsite]\nurl = \"s3://b/ha\"\n";

fn parse(text: &str) -> Result<Config, Failure> {
    Config::parse(Path::new("/etc/haul/haul.toml"), &format!("{PLACES}{text}"))
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().message
}

#[test]
fn a_job_says_what_where_when_and_what_differs() {
    let config = parse(
        "[jobs.home]\nsource = \"/config\"\nschedule = [\"daily 04:45\"]\ndestinations = [\"nas\", \
         \"offsite\"]\npassword_file = \"key\"\nkeep = { last = 3, daily = 7 }\nverify_every = \"30d\"\nrehearse = \
         \"weekly\"\n[jobs.home.at.offsite]\nkeep = { daily = 14, monthly = 12 }\nlimit = \"2MB/s\"\n",
    )
    .unwrap();
    let [job] = config.jobs() else { panic!("one job") };
    assert_eq!((job.name.as_str(), job.source.as_path()), ("home", Path::new("/config")));
    assert_eq!(job.making.password_file.as_deref(), Some(Path::new("/etc/haul/key")));
    let [nas, offsite] = &job.destinations[..] else { panic!("two destinations") };
    let counts = |target: &Target| target.keep.map(|keep| (keep.last, keep.daily, keep.monthly));
    assert_eq!((counts(nas), counts(offsite)), (Some((3, 7, 0)), Some((0, 14, 12))));
    assert_eq!((nas.limit, offsite.limit), (None, Some(2_000_000)));
    assert!(job.rehearse.is_some() && !job.paused);
    assert_eq!(job.overdue_after, Duration::from_hours(48));
}

#[test]
fn a_backup_of_everything_does_not_go_where_it_would_contain_the_earlier_ones() {
    let at = |folder: &str, more: &str| {
        parse(&format!(
            "[destinations.own]\nurl = \"{folder}\"\n[jobs.all]\nsource = \"/homeassistant\"\n\
             destinations = [\"offsite\", \"own\"]\n{more}"
        ))
    };
    for folder in ["/share/x", "/media/x/y", "/backup", "/ssl/x", "/addons/x"] {
        let failure = at(folder, "everything = true\n").unwrap_err();
        assert!(failure.message.contains("line 9: \"own\" is in /"), "{}", failure.message);
        assert!(failure.hint.unwrap().contains("`must_be_mounted = true` in [destinations.own]"));
        at(folder, "").unwrap();
    }
    at("/mnt/x", "everything = true\n").unwrap();
    at("/share/nas/x\"\nmust_be_mounted = true #", "everything = true\n").unwrap();
}

#[test]
fn every_mistake_names_the_line() {
    let head = "[jobs.home]\nsource = \"/c\"\ndestinations = [\"nas\"]\n";
    let cases = [
        ("[jobs.home]\n".to_owned(), "line 5: [jobs.home] has no source"),
        ("[jobs.home]\nsource = \"/c\"\n".to_owned(), "line 5: [jobs.home] has no destinations"),
        ("[jobs.home]\nsorce = \"/c\"\n".to_owned(), "line 6: there is no key \"sorce\"; did you mean \"source\"?"),
        (
            "[jobs.home]\nsource = \"/c\"\ndestination = \"nas\"\n".to_owned(),
            "line 7: there is no key \"destination\"; did you mean \"destinations\"?",
        ),
        (
            "[jobs.home]\nsource = \"/c\"\ndestinations = [\"nsa\"]\n".to_owned(),
            "line 7: there is no destination \"nsa\"; did you mean \"nas\"?",
        ),
        (
            "[jobs.home]\nsource = \"/c\"\ndestinations = [\"nas\", \"nas\"]\n".to_owned(),
            "line 7: [jobs.home] names the destination \"nas\" twice",
        ),
        (format!("{head}shedule = \"daily\"\n"), "line 8: there is no key \"shedule\"; did you mean \"schedule\"?"),
        (format!("{head}keep = {{ dayly = 3 }}\n"), "line 8: there is no rule \"dayly\"; did you mean \"daily\"?"),
        (format!("{head}keep = {{ daily = 0 }}\n"), "line 8: keep: the rules keep nothing"),
        (format!("{head}verify_by = \"half\"\n"), "line 8: verify_by: \"half\" is neither \"whole\" nor \"samples\""),
        (format!("{head}paused = \"yes\"\n"), "line 8: paused: it must be true or false"),
        (
            format!("{head}[jobs.home.at.offsite]\nlimit = \"1MB/s\"\n"),
            "line 8: \"offsite\" is not among the destinations of [jobs.home]",
        ),
        ("[jobs.\"a b\"]\n".to_owned(), "line 5: \"a b\" can't be a job's name; use letters, digits, - and _"),
    ];
    for (text, message) in cases {
        assert_eq!(refusal(&text), format!("/etc/haul/haul.toml, {message}"), "{text}");
    }
    let twice = refusal(&format!("{head}[jobs.other]\nsource = \"/c\"\ndestinations = [\"offsite\", \"nas\"]\n"));
    assert!(twice.contains("have the same source and both have their backups at \"nas\""), "{twice}");
    let respelled = "[destinations.other]\nurl = \"/nas/./\"\n";
    let both = "[jobs.home]\nsource = \"/c\"\ndestinations = [\"nas\", \"other\"]\n";
    let same = refusal(&format!("{respelled}{both}"));
    assert!(same.ends_with("\"nas\" and \"other\" are the same place, so there would be one copy, not two"), "{same}");
    assert!(refusal(&format!("{head}schedule = \"daily 25:00\"\n")).starts_with("/etc/haul/haul.toml, line 8: "));
    assert!(refusal(&format!("{head}[jobs.home]\n")).ends_with("line 8: \"home\" is there a second time"));
}
