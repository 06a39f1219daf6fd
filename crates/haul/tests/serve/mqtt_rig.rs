//! The real Home Assistant with its MQTT integration: what it makes of what it is told, and its button.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use testkit::{
    mosquitto::Mosquitto,
    rig::{self, Running, Version},
    wait,
};

use crate::home::{Home, TWO};

/// Home Assistant, as its user sees it.
struct Core {
    _running: Running,
    address: SocketAddr,
    token: String,
}

impl Core {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "{method} /api/{path} HTTP/1.0\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: \
             {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{method} {path}: {head}\n{body}"))
    }

    /// An entity's state, and its attributes.
    fn entity(&self, id: &str) -> (String, Value) {
        let found = self.ask("GET", &format!("states/{id}"), &Value::Null);
        (found["state"].as_str().unwrap_or_default().to_owned(), found["attributes"].clone())
    }

    fn until(&self, id: &str, state: &str) {
        wait::until(format!("{id} is {state}"), || self.entity(id).0 == state);
    }

    /// Sets the integration up, as in its form.
    fn use_broker(&self, port: u16) {
        let flow = self.ask("POST", "config/config_entries/flow", &json!({ "handler": "mqtt" }));
        let path = format!("config/config_entries/flow/{}", flow["flow_id"].as_str().unwrap());
        let mut form = json!({ "broker": "127.0.0.1", "port": port });
        // The older form has nothing else that must be filled in.
        if flow["data_schema"].to_string().contains("other_settings") {
            form["protocol"] = "5".into();
            form["other_settings"] = json!({ "set_client_cert": false, "set_ca_cert": "off", "transport": "tcp" });
        }
        let done = self.ask("POST", &path, &form);
        assert_eq!(done["type"], "create_entry", "{done}");
    }
}

#[test]
fn home_assistant_2026_11_0_shows_the_entities_and_its_button_makes_a_backup() {
    shows_the_entities_and_makes_a_backup(Version::TODAY);
}

#[test]
fn home_assistant_2025_6_3_shows_the_entities_and_its_button_makes_a_backup() {
    shows_the_entities_and_makes_a_backup(Version::OLD);
}

fn shows_the_entities_and_makes_a_backup(version: Version) {
    if !rig::is_ready().unwrap() {
        return;
    }
    let Some(mut broker) = Mosquitto::new() else { return };
    broker.start();
    let home = Home::new(&format!("{TWO}[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port()));
    let service = home.serve();
    home.settled(2);

    let config = home.path("core");
    let running = Running::start(version, &config, Some("ada")).unwrap();
    let token = fs::read_to_string(home.path("core.token")).unwrap().trim().to_owned();
    let core = Core { address: running.address().unwrap(), _running: running, token };
    core.use_broker(broker.port());

    core.until("sensor.haul_home_copies", "2");
    core.until("sensor.haul_home_verified_copies", "2");
    core.until("binary_sensor.haul_home_problem", "off");
    core.until("binary_sensor.haul_home_running", "off");
    core.until("binary_sensor.haul_nas_connected", "on");
    core.until("sensor.haul_nas_backups", "1");
    core.until("sensor.haul_home_activity", "idle");
    core.until("sensor.haul_home_progress", "unknown");
    core.until("sensor.haul_home_last_proven", "unknown");
    let status = home.status();
    let (next, about) = core.entity("sensor.haul_home_next_backup");
    let expected: jiff::Timestamp = status["jobs"][0]["next"].as_str().unwrap().parse().unwrap();
    assert_eq!(next.parse::<jiff::Timestamp>().unwrap(), expected, "{about}");
    assert_eq!(about["friendly_name"], "Haul home Next backup", "{about}");
    let (size, about) = core.entity("sensor.haul_home_size");
    assert!(size.parse::<f64>().unwrap() > 0.0, "{size}");
    assert_eq!((&about["unit_of_measurement"], &about["device_class"]), (&json!("MB"), &json!("data_size")));
    let (_, about) = core.entity("sensor.haul_home_last_backup");
    assert_eq!(about["ending"], "done", "{about}");
    assert!(core.entity("sensor.haul_nas_free_space").0.parse::<f64>().unwrap() > 0.0);

    // Every one of them, and nothing else of ours.
    wait::until("all entities are there", || {
        let all = core.ask("GET", "states", &Value::Null);
        let ours = |entity: &&Value| entity["entity_id"].as_str().is_some_and(|id| id.contains(".haul_"));
        all.as_array().unwrap().iter().filter(ours).count() == 13 + 7 + 7
    });

    core.ask("POST", "services/button/press", &json!({ "entity_id": "button.haul_home_back_up_now" }));
    wait::until(format!("a second backup is there\n{}", home.log()), || home.archives("nas").len() == 2);
    home.settled(2);
    core.until("sensor.haul_nas_backups", "2");
    wait::until("the event is there", || {
        let (_, about) = core.entity("event.haul_home_event");
        about["event_type"] == "backup" && about["level"] == "ok"
    });

    // What is wrong, and what is gone.
    fs::rename(home.path("off"), home.path("elsewhere")).unwrap();
    core.ask("POST", "services/button/press", &json!({ "entity_id": "button.haul_home_sync_now" }));
    core.until("binary_sensor.haul_off_connected", "off");
    core.until("binary_sensor.haul_home_problem", "on");
    let (_, about) = core.entity("binary_sensor.haul_home_problem");
    assert!(about["message"].as_str().unwrap().starts_with("off can't be reached: "), "{about}");
    drop(service);
    core.until("sensor.haul_home_copies", "unavailable");
    let alone = TWO.replace("[\"nas\", \"off\"]", "[\"nas\"]");
    home.configure(&format!("{alone}[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port()));
    let _service = home.serve();
    core.until("binary_sensor.haul_off_connected", "");
    core.until("binary_sensor.haul_home_problem", "off");
    home.configure(&alone);
    core.until("binary_sensor.haul_home_problem", "");

    let log = fs::read_to_string(home.path("core.output")).unwrap()
        + &fs::read_to_string(config.join("home-assistant.log")).unwrap_or_default();
    let complaints: Vec<&str> =
        log.lines().filter(|line| line.to_lowercase().contains("haul") && line.contains("mqtt")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
