#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;

fn filled(kind: &str, fields: &[(&str, &str)]) -> Filled {
    let fields = fields.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned().into())).collect();
    Filled { kind: kind.to_owned(), fields, keeps: None }
}

#[test]
fn what_is_filled_in_is_what_the_form_shows_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("haul.toml");
    std::fs::write(&path, "# mine\n[notify.old] # stays\nping = \"https://p.example/1\"\n").unwrap();
    for (kind, fields, says) in [
        ("ntfy", &[("ntfy", "https://n.example/topic")][..], "ntfy = \"https://n.example/topic\""),
        (
            "email",
            &[("email", "a@b.example, c@d.example"), ("smtp", "mail.b.example:587"), ("from", "h@b.example")],
            "smtp = \"smtp://mail.b.example:587\"",
        ),
        ("command", &[("command", "echo \"$HAUL_TITLE\" > x")], "command = 'echo \"$HAUL_TITLE\" > x'"),
    ] {
        let mut draft = Draft::open(&path).unwrap();
        let settings = ChannelSettings { way: filled(kind, fields), ..ChannelSettings::default() };
        assert!(mistakes(&draft, &settings).is_empty(), "{kind}");
        set(&mut draft, "new", &settings, &mut Written::default()).map_err(|wrong| format!("{wrong:?}")).unwrap();
        let shown = configured(&draft, "new");
        assert_eq!(shown.kind.as_deref(), Some(kind));
        let again: Vec<(&str, &str)> = shown.fields.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        let settings = ChannelSettings { way: filled(kind, &again), ..ChannelSettings::default() };
        let before = draft.table(&["notify", "new"]);
        set(&mut draft, "new", &settings, &mut Written::default()).unwrap();
        assert_eq!(draft.table(&["notify", "new"]), before);
        draft.save().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# mine\n[notify.old] # stays\n") && text.contains(says), "{text}");
    }
}

#[test]
fn a_user_of_a_mail_server_is_part_of_its_address_and_has_a_password() {
    let directory = tempfile::tempdir().unwrap();
    let draft = Draft::open(&directory.path().join("haul.toml")).unwrap();
    let fields = [("email", "a@b.example"), ("smtp", "smtps://m.example"), ("user", "a@b.example")];
    let settings = ChannelSettings { way: filled("email", &fields), ..ChannelSettings::default() };
    let wrong = mistakes(&draft, &settings);
    assert_eq!(wrong.iter().map(|wrong| wrong.field.as_deref().unwrap()).collect::<Vec<_>>(), ["password"]);
    let entry = Entry::channel("new", &settings).unwrap();
    assert!(entry.settings().contains(&("smtp".to_owned(), vec!["smtps://a%40b%2Eexample@m.example".to_owned()])));
    let shown = answers(entry.kind, &entry.settings());
    assert_eq!((shown["user"].as_str(), shown["smtp"].as_str()), ("a@b.example", "smtps://m.example"));
}

#[test]
fn what_was_not_changed_stays_as_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("haul.toml");
    let text = "[notify.me] # at work\nemail = [\"a@b.example\", \"c@d.example\"] # both\nsmtp = \
                \"smtps://a+b%40b.example@m.example:465\" # theirs\non = \"problems\"\npassword_file = \"mine\"\n";
    std::fs::write(&path, text).unwrap();
    let mut draft = Draft::open(&path).unwrap();
    let shown = configured(&draft, "me");
    assert_eq!(
        (shown.fields["user"].as_str(), shown.fields["smtp"].as_str()),
        ("a+b@b.example", "smtps://m.example:465")
    );
    let fields: Vec<(&str, &str)> = shown.fields.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
    let way = Filled { keeps: Some("me".to_owned()), ..filled("email", &fields) };
    let settings = ChannelSettings { way, on: shown.on, jobs: shown.jobs, after: shown.after };
    assert_eq!(mistakes(&draft, &settings), []);
    set(&mut draft, "me", &settings, &mut Written::default()).unwrap();
    draft.save().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_secret_goes_only_where_it_was_kept_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("haul.toml");
    let text = "[notify.n]\nntfy = \"https://n.example/t\"\ntoken_file = \"mine\"\n[notify.m]\nemail = \
                \"a@b.example\"\nsmtp = \"smtps://u@m.example\"\npassword_file = \"mine\"\n";
    std::fs::write(&path, text).unwrap();
    let draft = Draft::open(&path).unwrap();
    let wrong = |name: &str, kind: &str, fields: &[(&str, &str)]| {
        let way = Filled { keeps: Some(name.to_owned()), ..filled(kind, fields) };
        mistakes(&draft, &ChannelSettings { way, ..ChannelSettings::default() })
    };
    assert_eq!(wrong("n", "ntfy", &[("ntfy", "https://n.example:443/another")]), []);
    let mail = |server: &str| wrong("m", "email", &[("email", "a@b.example"), ("smtp", server), ("user", "u")]);
    assert_eq!(mail("smtps://m.example"), []);
    for between in [r"\@", "?@", "#@", "/@"] {
        let topic = format!("https://evil.example{between}n.example/t");
        assert!(!wrong("n", "ntfy", &[("ntfy", &topic)]).is_empty(), "{between}");
        assert!(!mail(&format!("smtps://evil.example{between}m.example")).is_empty(), "{between}");
    }
    assert_eq!(mail("smtps://m.example/inbox")[0].field.as_deref(), Some("smtp"));
}

#[test]
fn a_form_names_no_key_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let draft = Draft::open(&directory.path().join("haul.toml")).unwrap();
    let channel = |kind: &str, fields: &[(&str, &str)]| {
        mistakes(&draft, &ChannelSettings { way: filled(kind, fields), ..ChannelSettings::default() })
    };
    let wrong = [
        channel("home_assistant", &[("home_assistant", "x"), ("service", "phone")]),
        channel("ntfy", &[("ntfy", "https://me:pw@n.example/t")]),
        channel("ntfy", &[("ntfy", "https://n.example")]),
        channel("email", &[("email", "me"), ("smtp", "m.example/x"), ("user", "u")]),
        channel("email", &[("email", "a@b.example"), ("smtp", "smtps://u@m.example")]),
        broker_mistakes(&draft, &filled("mqtt", &[("url", "x"), ("topic", "#"), ("password", "x")])),
        broker_mistakes(&draft, &filled("mqtt", &[("url", "mqtt://me@b"), ("ca_file", "x")])),
    ];
    for wrong in wrong {
        assert!(!wrong.is_empty());
        for Reason { message, hint, .. } in wrong.into_iter().map(|wrong| wrong.failure) {
            let said = format!("{message}; {}", hint.unwrap_or_default());
            assert!(!said.contains('=') && !said.contains("_file") && !said.contains("username"), "{said}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_told_beside_its_field() {
    let directory = tempfile::tempdir().unwrap();
    let draft = Draft::open(&directory.path().join("haul.toml")).unwrap();
    let fields = |wrong: Vec<Invalid>| -> Vec<String> { wrong.into_iter().filter_map(|wrong| wrong.field).collect() };
    let channel = ChannelSettings {
        way: filled("home_assistant", &[("service", "phone")]),
        on: Some("never".to_owned()),
        jobs: vec!["gone".to_owned()],
        after: Some("soon".to_owned()),
    };
    assert_eq!(fields(mistakes(&draft, &channel)), ["home_assistant", "token", "after", "on", "service", "jobs"]);
    let broker = filled("mqtt", &[("url", "http://b"), ("topic", "a/#"), ("password", "x")]);
    assert_eq!(fields(broker_mistakes(&draft, &broker)), ["url", "password", "topic"]);
    let broker = filled("mqtt", &[("discovery_prefix", "/a"), ("topic", "a/#")]);
    assert_eq!(fields(broker_mistakes(&draft, &broker)), ["url", "discovery_prefix", "topic"]);
    let mail = filled("email", &[("email", "me"), ("smtp", "smtps://m.example/x"), ("user", "u"), ("from", "you")]);
    let mail = ChannelSettings { way: mail, ..ChannelSettings::default() };
    assert_eq!(fields(mistakes(&draft, &mail)), ["password", "smtp", "email", "from"]);
    let broker = filled("mqtt", &[("url", "b"), ("topic", "a/#"), ("password", "x")]);
    assert_eq!(fields(broker_mistakes(&draft, &broker)), ["password", "topic"]);
}
