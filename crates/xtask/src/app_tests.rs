#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn ours() -> Value {
    yaml::read(&fs::read_to_string(root().join("app/haul/config.yaml")).unwrap()).unwrap()
}

#[test]
fn nothing_is_wrong_with_the_app() {
    assert_eq!(problems(&root()).unwrap(), Vec::<String>::new());
}

#[test]
fn whatever_supervisor_would_not_take_is_found() {
    for (key, value) in [
        ("version", json!(0.1)),
        ("version", json!("0.0.9")),
        ("slug", json!("Haul app")),
        ("arch", json!(["aarch64", "riscv"])),
        ("arch", json!(["aarch64"])),
        ("startup", json!("before")),
        ("timeout", json!(5)),
        ("watchdog", json!("http://[HOST]:[PORT:80]/healthz")),
        ("hassio_role", json!("default")),
        ("services", json!(["mqtt"])),
        ("ingress_port", json!("8099")),
        ("panel_icon", json!("archive")),
        ("map", json!(["share:rw"])),
        ("map", json!([{ "type": "local_apps", "read_only": true }])),
        ("backup", json!("cold")),
        ("ingres_stream", json!(true)),
        ("description", Value::Null),
    ] {
        let mut config = ours();
        config[key] = value.clone();
        let found = [of_keys(&config), of_values(&config)].concat();
        let of_it = |problem: &String| problem.starts_with("app/haul/config.yaml: ");
        assert!(!found.is_empty() && found.iter().all(of_it), "{key}: {value}: {found:?}");
    }
}

#[test]
fn what_makes_the_app_less_safe_lowers_its_rating() {
    let with = |key: &str, value: Value| {
        let mut config = ours();
        config[key] = value;
        rating(&config)
    };
    assert_eq!(with("timeout", json!(20)), 7);
    assert_eq!(with("hassio_role", json!("admin")), 6);
    assert_eq!(with("hassio_role", json!("backup")), 8);
    assert_eq!(with("apparmor", json!(false)), 5);
    assert_eq!(with("host_network", json!(true)), 6);
    assert_eq!(with("privileged", json!(["SYS_ADMIN"])), 6);
    assert_eq!(with("docker_api", json!(true)), 1);
}

#[test]
fn the_profile_allows_what_the_app_is_given_and_no_more() {
    let profile = fs::read_to_string(root().join("app/haul/apparmor.txt")).unwrap();
    let config = ours();
    let problems = |profile: &str| of_profile(profile, &config).len();
    assert_eq!(problems(&profile), 0);
    assert_eq!(problems(&profile.replace("/homeassistant/** rk,", "/homeassistant/** rwk,")), 1);
    assert_eq!(problems(&profile.replace("/share/** rwlk,", "")), 1);
    assert_eq!(problems(&profile.replace("profile haul ", "profile other ")), 1);
}

#[test]
fn yaml_is_what_it_looks_like() {
    let text = "a: \"1.0\"\nb: 1\nc:\n  - x:y\n  - type: z\n    on: true\nd:\n";
    let made = json!({ "a": "1.0", "b": 1, "c": ["x:y", { "type": "z", "on": true }], "d": null });
    assert_eq!(yaml::read(text).unwrap(), made);
    assert!(yaml::read("a: 1\na: 2\n").is_err());
    assert!(yaml::read("a: [").is_err());
}
