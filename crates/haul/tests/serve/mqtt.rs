//! What Home Assistant hears through a real broker, and what its buttons do.

use std::fs;

use serde_json::json;
use testkit::{
    mosquitto::{Listener, Mosquitto},
    wait,
};

use crate::home::{Home, TWO};

const AVAILABILITY: &str = "haul/status";
const STATE: &str = "haul/job_home/state";
const CONFIG: &str = "homeassistant/device/haul/job_home/config";

fn with_broker(broker: &Mosquitto) -> String {
    format!("{TWO}[mqtt]\nurl = \"mqtt://localhost:{}\"\n", broker.port())
}

fn until(listener: &Listener, home: &Home, topic: &str, payload: &str) {
    wait::until(format!("{topic} is {payload:?}\n{:#?}\n{}", listener.last(), home.log()), || {
        listener.last().get(topic).is_some_and(|last| last == payload)
    });
}

fn until_copies(listener: &Listener, copies: u64) {
    wait::until(format!("{copies} copies are told\n{:#?}", listener.last()), || {
        let state = listener.json(STATE);
        state["copies"] == copies && state["verified_copies"] == copies && state["running"] == "OFF"
    });
}

#[test]
fn entities_appear_with_their_states_and_a_button_makes_a_backup() {
    let Some(mut broker) = Mosquitto::new() else { return };
    broker.start();
    let listener = broker.listen();
    let home = Home::new(&with_broker(&broker));
    let service = home.serve();
    until(&listener, &home, AVAILABILITY, "online");
    home.settled(2);
    until_copies(&listener, 2);
    let state = listener.json(STATE);
    assert_eq!(state["problem"], "OFF", "{state}");
    assert!(state["size"].as_f64().unwrap() > 0.0 && state["last_run"]["ending"] == "done", "{state}");
    let next = home.status()["jobs"][0]["next"].as_str().unwrap().to_owned();
    assert_eq!(state["next_backup"], next);
    let device = listener.json(CONFIG);
    assert_eq!(device["device"]["identifiers"][0], "haul/job_home", "{device}");
    assert_eq!(device["components"]["back_up"]["command_topic"], "haul/job_home/back_up");
    let nas = listener.json("homeassistant/device/haul/destination_nas/config");
    assert_eq!(nas["device"]["via_device"], "haul/job_home", "{nas}");
    wait::until("the destination is known", || {
        let nas = listener.json("haul/destination_nas/state");
        nas["archives"] == 1 && nas["connected"] == "ON" && nas["free"].as_f64().unwrap_or_default() > 0.0
    });

    // What is no button of ours, or is none at all, does nothing; nor does one that was pressed before we were here.
    for (topic, payload) in [
        ("haul/job_gone/back_up", "PRESS"),
        ("haul/job_home/back_up", "press"),
        ("haul/job_home/back_up", ""),
        ("haul/job_home/state", "PRESS"),
        ("haul/nonsense/back_up", "PRESS"),
    ] {
        broker.publish(topic, payload, false);
    }
    broker.publish("haul/job_home/back_up", "PRESS", false);
    wait::until(format!("a second backup is there\n{}", home.log()), || home.archives("nas").len() == 2);
    home.settled(2);
    let backups = || {
        let all = listener.all();
        all.into_iter()
            .filter(|heard| heard.topic == "haul/job_home/event" && heard.payload.contains("\"event_type\":\"backup\""))
    };
    wait::until("both backups were told as events", || backups().count() == 2);
    assert!(backups().all(|heard| !heard.is_retained));
    assert_eq!(home.archives("nas").len(), 2, "{}", home.log());

    drop(service);
    // Killed: it is the broker that says so.
    until(&listener, &home, AVAILABILITY, "offline");
    broker.publish("haul/job_home/back_up", "PRESS", true);
    let _service = home.serve();
    until(&listener, &home, AVAILABILITY, "online");
    // After Home Assistant has started, everything is said again. By then what the broker kept was heard.
    let before = listener.all().len();
    broker.publish("homeassistant/status", "online", false);
    wait::until("the device is told again", || listener.all()[before..].iter().any(|heard| heard.topic == CONFIG));
    assert_eq!(home.status()["jobs"][0]["running"], serde_json::json!([]));
    assert_eq!(home.archives("nas").len(), 2, "{}", home.log());
    // Somebody else's word does not make it unavailable.
    broker.publish(AVAILABILITY, "offline", true);
    until(&listener, &home, AVAILABILITY, "online");
    let troubles = ["warning: the MQTT broker", "warning: a button"];
    assert!(troubles.iter().all(|trouble| !home.log().contains(trouble)), "{}", home.log());
}

#[test]
fn a_broker_that_comes_and_goes_holds_up_nothing_and_what_is_removed_is_taken_back() {
    let Some(mut broker) = Mosquitto::new() else { return };
    let home = Home::new(&with_broker(&broker));
    let mut service = home.serve();
    let away = format!("warning: the MQTT broker at localhost:{} can't be reached: connection refused", broker.port());
    wait::until("the log says that it is away", || home.log().contains(&away));
    home.settled(2);
    broker.start();
    let listener = broker.listen();
    until(&listener, &home, AVAILABILITY, "online");
    until_copies(&listener, 2);
    drop(listener);

    // It comes back and knows nothing.
    broker.stop();
    broker.start();
    let listener = broker.listen();
    until(&listener, &home, AVAILABILITY, "online");
    until_copies(&listener, 2);
    let connected = format!("connected to the MQTT broker at localhost:{}", broker.port());
    assert_eq!(home.log().matches(&connected).count(), 2, "{}", home.log());

    // Ended as one ends a service.
    let ended = std::process::Command::new("kill").arg(service.0.id().to_string()).status().unwrap();
    assert!(ended.success() && service.0.wait().unwrap().success(), "{}", home.log());
    until(&listener, &home, AVAILABILITY, "offline");

    // The job has another name at the next start.
    home.configure(&with_broker(&broker).replace("[jobs.home]", "[jobs.house]"));
    let service = home.serve();
    until(&listener, &home, CONFIG, "");
    until(&listener, &home, STATE, "");
    until(&listener, &home, AVAILABILITY, "online");
    let nas = || listener.json("homeassistant/device/haul/destination_nas/config")["device"]["via_device"].clone();
    wait::until("the destination follows", || nas() == "haul/job_house");

    // Another topic at the next start, another one while it runs, and then none at all.
    let written = || fs::read_to_string(home.path("state/mqtt.json")).unwrap_or_default();
    wait::until("what was said is written down", || written().contains("job_house"));
    drop(service);
    until(&listener, &home, AVAILABILITY, "offline");
    home.configure(&format!("{}topic = \"attic\"\n", with_broker(&broker)));
    let _service = home.serve();
    until(&listener, &home, "attic/status", "online");
    until(&listener, &home, AVAILABILITY, "");
    home.configure(&format!("{}topic = \"cellar\"\n", with_broker(&broker)));
    until(&listener, &home, "cellar/status", "online");
    until(&listener, &home, "attic/status", "");
    until(&listener, &home, "homeassistant/device/attic/job_home/config", "");
    home.configure(TWO);
    until(&listener, &home, "cellar/status", "");
    let left: Vec<String> =
        listener.last().into_iter().filter(|(_, payload)| !payload.is_empty()).map(|(topic, _)| topic).collect();
    assert!(left.iter().all(|topic| topic.ends_with("/event")), "{left:?}");
}

#[test]
fn a_wrong_password_is_said_once_and_a_right_one_is_tried_without_a_restart() {
    let Some(broker) = Mosquitto::new() else { return };
    let mut broker = broker.with_login("haul", "tr0ub4dor");
    broker.start();
    let home = Home::new(&format!("{}username = \"haul\"\npassword_file = \"mqtt\"\n", with_broker(&broker)));
    let _service = home.serve();
    let said = |what: &str| wait::until(format!("the log says {what}\n{}", home.log()), || home.log().contains(what));
    said("is not asked: the password file");
    fs::write(home.path("mqtt"), "correct horse\n").unwrap();
    said("refuses the login: check the user and the password; Haul tries again");
    fs::write(home.path("mqtt"), "tr0ub4dor\n").unwrap();
    said("connected to the MQTT broker");
    assert_eq!(home.log().matches("refuses the login").count(), 1, "{}", home.log());
    home.configure(&with_broker(&broker));
    said("lets nobody in without a login: set a user and a password");
    assert!(!home.log().contains("tr0ub4dor") && !home.log().contains("correct horse"), "{}", home.log());
}

#[test]
fn a_broker_with_tls_has_to_be_trusted() {
    let Some(broker) = Mosquitto::new() else { return };
    let mut broker = broker.with_tls();
    broker.start();
    let tls = with_broker(&broker).replace("mqtt://", "mqtts://");
    let home = Home::new(&tls);
    let _service = home.serve();
    let said = |what: &str| wait::until(format!("the log says {what}\n{}", home.log()), || home.log().contains(what));
    said("is not trusted: its certificate is not valid");
    home.configure(&with_broker(&broker));
    said("closed the connection; Haul tries again");
    home.configure(&format!("{tls}ca_file = \"haul.toml\"\n"));
    said("holds no certificate");
    home.configure(&format!("{tls}ca_file = \"{}\"\n", broker.certificate().display()));
    said("connected to the MQTT broker");
    let listener = broker.listen();
    until(&listener, &home, AVAILABILITY, "online");
}

#[test]
fn the_broker_is_tried_and_set_on_the_page_and_its_trouble_is_shown() {
    let Some(broker) = Mosquitto::new() else { return };
    let mut broker = broker.with_login("haul", "tr0ub4dor");
    broker.start();
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    let fields = |password: &str| {
        let url = format!("mqtt://localhost:{}", broker.port());
        json!({ "fields": { "url": url, "username": "haul", "password": password } })
    };
    let (code, answer) = home.send("POST", "mqtt/try", &fields("wrong"));
    assert_eq!((code, &answer["field"]), (422, &json!("password")), "{answer}");
    let nobody = json!({ "fields": { "url": "mqtt://127.0.0.1:1" } });
    let (code, answer) = home.send("POST", "mqtt/try", &nobody);
    assert_eq!((code, &answer["field"]), (422, &json!("url")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("connection refused"), "{answer}");
    let (code, answer) = home.send("POST", "mqtt/try", &fields("tr0ub4dor"));
    assert_eq!(code, 200, "{answer}");
    assert!(!fs::read_to_string(home.path("haul.toml")).unwrap().contains("mqtt"), "nothing was saved");

    // It can be saved as it is, and then everybody sees what is wrong.
    let (code, answer) = home.send("PUT", "mqtt", &fields("wrong"));
    assert_eq!(code, 204, "{answer}");
    let trouble = || {
        let status = home.status();
        let problems = status["problems"].as_array().unwrap();
        problems.iter().find(|problem| problem["kind"] == "mqtt-failed").map(|problem| problem["message"].clone())
    };
    let told = wait::found("the status says it", trouble);
    assert!(told.as_str().unwrap().contains("refuses the login"), "{told}");
    let (code, text) = home.haul(&["status"]);
    assert!(code == 3 && text.contains("Home Assistant is not told by MQTT"), "{text}");
    for path in ["/", "/settings", "/settings/mqtt"] {
        assert!(home.text("GET", path).unwrap().contains("refuses the login"), "{path}");
    }
    let (code, answer) = home.send("PUT", "mqtt", &fields("tr0ub4dor"));
    assert_eq!(code, 204, "{answer}");
    wait::until("it is over", || trouble().is_none());
    let listener = broker.listen();
    until(&listener, &home, AVAILABILITY, "online");
    until_copies(&listener, 2);
    assert!(home.text("GET", "/settings/mqtt").unwrap().contains("value=\"haul\""));
    let files = || fs::read_dir(home.path("secrets")).unwrap().count();
    assert_eq!(files(), 1);
    let (code, answer) = home.send("DELETE", "mqtt", &serde_json::Value::Null);
    assert_eq!((code, files()), (204, 0), "{answer}");
    until(&listener, &home, AVAILABILITY, "");
    assert_eq!(home.send("DELETE", "mqtt", &serde_json::Value::Null).0, 404);
    assert!(!home.log().contains("tr0ub4dor"));
}
