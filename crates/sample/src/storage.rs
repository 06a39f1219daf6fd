//! `.storage/` and `.cloud/`: what makes a Home Assistant instance this one and not another. Users, registries
//! and config entries have the keys that Home Assistant reads; mode 0600 as it writes them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::home::{self, AREAS, Device, Entity, Home, PLATFORMS};
use crate::moment::Moment;
use crate::random::Random;
use crate::tree::Writer;
use crate::{Error, HOME_ASSISTANT_VERSION, USER};

/// bcrypt of the password in [`USER`], in base64, as the login provider keeps it.
const PASSWORD: &str = "JDJiJDEwJHhKaUxCd21qdzg0Ym43TE9ESTZIc3VsY3VVSW5pMEkyUlFqTVlXazhMMklhOC91ZERUZkNp";
const CREATED: &str = "2024-09-10T18:22:07.412093+00:00";

/// Writes all of it below `dir`. Returns the number of files.
pub(crate) fn create(dir: &Path, home: &Home, random: &mut Random) -> Result<u64, Error> {
    let mut writer = Writer::new(dir, random.clone());
    writer.directory(".storage")?;
    let user = random.hex(32);
    let documents = [
        ("auth", 1, 1, auth(&user, random)),
        ("auth_provider.homeassistant", 1, 1, json!({"users": [{"username": USER.0, "password": PASSWORD}]})),
        ("core.config", 1, 4, core_config()),
        ("core.config_entries", 1, 5, config_entries()),
        ("core.area_registry", 1, 8, areas()),
        ("core.device_registry", 1, 11, devices(home)),
        ("core.entity_registry", 1, 19, entities(home, random)),
        ("core.restore_state", 1, 1, restore_state(home, random)),
        ("core.uuid", 1, 1, json!({"uuid": random.hex(32)})),
        ("core.analytics", 1, 1, json!({"onboarded": true, "preferences": {}, "uuid": null})),
        ("http", 1, 1, json!({"server_port": 8123, "cors_allowed_origins": ["https://cast.home-assistant.io"]})),
        ("http.auth", 1, 1, json!({"content_user": random.hex(32)})),
        ("onboarding", 4, 1, json!({"done": ["user", "core_config", "analytics", "integration"]})),
        (
            "person",
            2,
            1,
            json!({"items": [{"id": "anna", "name": "Anna", "user_id": user,
            "device_trackers": ["device_tracker.anna_phone"]}]}),
        ),
        ("zone", 1, 1, json!({"items": []})),
        ("input_boolean", 1, 1, json!({"items": [{"id": "guests", "name": "Guests"}]})),
        ("lovelace", 1, 1, lovelace(home)),
        ("lovelace_dashboards", 1, 1, json!({"items": []})),
        ("lovelace_resources", 1, 1, json!({"items": []})),
        ("frontend.system_data", 1, 1, json!({})),
        ("backup", 1, 8, backup(random)),
        ("trace.saved_traces", 1, 1, json!({})),
        ("repairs.issue_registry", 1, 2, json!({"issues": []})),
        ("hacs.repositories", 6, 1, repositories(random)),
    ];
    for (key, version, minor, data) in documents {
        let document = json!({"version": version, "minor_version": minor, "key": key, "data": data});
        // Home Assistant indents with two spaces.
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        writer.private(&format!(".storage/{key}"), text.as_bytes())?;
    }
    writer.directory(".storage/image")?;
    writer.directory(".cloud")?;
    writer.private(".cloud/production_auth.json", b"{\n    \"id_token\": \"\",\n    \"refresh_token\": \"\"\n}\n")?;
    Ok(writer.files())
}

/// Moves the files on to `now`: what every entity shows is written every quarter of an hour; once a day somebody signs
/// in, an entity gets another name and the community store looks at its repositories.
pub(crate) fn age(
    dir: &Path,
    states: &[(&str, &str)],
    now: &Moment,
    days: u64,
    random: &mut Random,
) -> Result<(), Error> {
    let stamp = format!("{}.{:06}+00:00", now.text, random.below(1_000_000));
    let each = |document: &mut Value, list: &str, change: &mut dyn FnMut(&mut Value)| {
        document.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(change);
    };
    change(dir, "core.restore_state", now, |document| {
        each(document, "/data", &mut |item| {
            let id = item["state"]["entity_id"].as_str().unwrap_or_default();
            if let Some((_, text)) = states.iter().find(|(entity, _)| *entity == id) {
                item["state"]["state"] = json!(text);
            }
            for time in ["last_changed", "last_reported", "last_updated"] {
                item["state"][time] = json!(stamp);
            }
            item["state"]["context"]["id"] = json!(random.ulid_text(now.seconds));
            item["last_seen"] = json!(stamp);
        });
    })?;
    if days == 0 {
        return Ok(());
    }
    change(dir, "auth", now, |document| {
        each(document, "/data/refresh_tokens", &mut |token| token["last_used_at"] = json!(stamp));
    })?;
    change(dir, "core.entity_registry", now, |document| {
        let renamed = random.below(states.len().max(1) as u64) as usize;
        if let Some(entity) = document.pointer_mut(&format!("/data/entities/{renamed}")) {
            entity["modified_at"] = json!(stamp);
            entity["name"] = json!(format!("Renamed {}", random.hex(4)));
        }
    })?;
    change(dir, "hacs.repositories", now, |document| {
        each(document, "/data", &mut |repository| {
            repository["last_fetched"] = json!(now.seconds - random.unit() * 90_000.0);
            if random.chance(0.1) {
                repository["stargazers_count"] = json!(random.below(4_000));
            }
        });
    })
}

/// Replaces one document as Home Assistant does: written beside it, then renamed.
fn change(dir: &Path, key: &str, now: &Moment, edit: impl FnOnce(&mut Value)) -> Result<(), Error> {
    let path = dir.join(".storage").join(key);
    let text = fs::read(&path).map_err(Error::at(&path))?;
    let mut document = serde_json::from_slice(&text).map_err(|error| Error::at(&path)(error.into()))?;
    edit(&mut document);
    let beside = dir.join(".storage/tmp");
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(now.seconds);
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(serde_json::to_string_pretty(&document).unwrap_or_default().as_bytes())?;
            file.set_times(fs::FileTimes::new().set_modified(modified))
        })
        .and_then(|()| fs::rename(&beside, &path))
        .map_err(Error::at(&path))
}

fn auth(user: &str, random: &mut Random) -> Value {
    let tokens: Vec<Value> = (0..6)
        .map(|i| {
            json!({"id": random.hex(32), "user_id": user, "client_id": "http://homeassistant.local:8123/",
                "client_name": null, "client_icon": null, "token_type": "normal", "created_at": CREATED,
                "access_token_expiration": 1800.0, "token": random.hex(128), "jwt_key": random.hex(128),
                "last_used_at": format!("2026-11-{:02}T08:11:54.120331+00:00", 10 + i),
                "last_used_ip": "192.168.1.23", "expire_at": 1_802_908_800.0, "credential_id": null,
                "version": HOME_ASSISTANT_VERSION})
        })
        .collect();
    json!({
        "users": [{"id": user, "group_ids": ["system-admin"], "is_owner": true, "is_active": true,
            "name": "Demo", "system_generated": false, "local_only": false}],
        "groups": [{"id": "system-admin", "name": "Administrators"}, {"id": "system-users", "name": "Users"},
            {"id": "system-read-only", "name": "Read Only"}],
        "credentials": [{"id": random.hex(32), "user_id": user, "auth_provider_type": "homeassistant",
            "auth_provider_id": null, "data": {"username": USER.0}}],
        "refresh_tokens": tokens,
    })
}

fn core_config() -> Value {
    json!({"latitude": 52.3731, "longitude": 4.8922, "elevation": 2, "unit_system_v2": "metric",
        "location_name": "Home", "time_zone": "Europe/Amsterdam", "external_url": null, "internal_url": null,
        "currency": "EUR", "country": "NL", "language": "en", "radius": 100})
}

fn config_entries() -> Value {
    let entries: Vec<Value> = PLATFORMS
        .iter()
        .enumerate()
        .map(|(index, (domain, title))| {
            json!({"created_at": CREATED, "data": {}, "disabled_by": null, "discovery_keys": {},
                "domain": domain, "entry_id": home::entry_id(index), "minor_version": 1,
                "modified_at": CREATED, "options": {}, "pref_disable_new_entities": false,
                "pref_disable_polling": false, "source": "user", "subentries": [], "title": title,
                "unique_id": null, "version": 1})
        })
        .collect();
    json!({"entries": entries})
}

fn areas() -> Value {
    let areas: Vec<Value> = AREAS
        .iter()
        .map(|(id, name)| {
            json!({"aliases": [], "floor_id": null, "humidity_entity_id": null, "icon": null, "id": id,
                "labels": [], "name": name, "picture": null, "temperature_entity_id": null,
                "created_at": CREATED, "modified_at": CREATED})
        })
        .collect();
    json!({"areas": areas})
}

fn devices(home: &Home) -> Value {
    let device = |device: &Device| {
        json!({"area_id": device.area, "config_entries": [device.entry_id],
            "config_entries_subentries": {&device.entry_id: [null]}, "configuration_url": null,
            "connections": [], "created_at": CREATED, "disabled_by": null, "entry_type": null,
            "hw_version": null, "id": device.id, "identifiers": [[device.platform, device.name]],
            "labels": [], "manufacturer": device.maker, "model": device.model, "model_id": null,
            "modified_at": CREATED, "name_by_user": null, "name": device.name,
            "primary_config_entry": device.entry_id, "serial_number": null, "sw_version": "1.4.2",
            "via_device_id": null})
    };
    json!({"devices": home.devices.iter().map(device).collect::<Vec<_>>(), "deleted_devices": []})
}

fn entities(home: &Home, random: &mut Random) -> Value {
    let mut entity = |device: &Device, entity: &Entity| {
        json!({"aliases": [], "area_id": null, "categories": {}, "capabilities":
            entity.state_class.map(|class| json!({"state_class": class})),
            "config_entry_id": device.entry_id, "config_subentry_id": null, "created_at": CREATED,
            "device_class": null, "device_id": device.id, "disabled_by": null, "entity_category": null,
            "entity_id": entity.id, "hidden_by": null, "icon": null, "id": random.hex(32),
            "has_entity_name": true, "labels": [], "modified_at": CREATED, "name": null,
            "options": {"conversation": {"should_expose": true}}, "original_device_class": entity.device_class,
            "original_icon": null, "original_name": entity.name, "platform": device.platform,
            "suggested_object_id": null, "supported_features": 0, "translation_key": null,
            "unique_id": format!("{}_{}", random.hex(16), entity.id),
            "previous_unique_id": null, "unit_of_measurement": entity.unit})
    };
    let list: Vec<Value> = home.entities().map(|(device, item)| entity(device, item)).collect();
    json!({"entities": list, "deleted_entities": []})
}

fn restore_state(home: &Home, random: &mut Random) -> Value {
    let states: Vec<Value> = home
        .entities()
        .map(|(_, entity)| {
            json!({"state": {"entity_id": entity.id, "state": format!("{:.1}", random.unit() * 90.0),
                "attributes": {"unit_of_measurement": entity.unit, "friendly_name": entity.name},
                "last_changed": "2026-11-19T23:58:11.801284+00:00",
                "last_reported": "2026-11-19T23:59:02.226107+00:00",
                "last_updated": "2026-11-19T23:58:11.801284+00:00",
                "context": {"id": random.ulid_text(crate::history::NEWEST), "parent_id": null, "user_id": null}},
                "extra_data": null, "last_seen": "2026-11-19T23:59:59.701991+00:00"})
        })
        .collect();
    Value::Array(states)
}

fn lovelace(home: &Home) -> Value {
    let views: Vec<Value> = AREAS
        .iter()
        .map(|(id, name)| {
            let cards: Vec<Value> = home
                .entities()
                .filter(|(device, _)| device.area == *id)
                .map(|(_, entity)| json!({"type": "tile", "entity": entity.id, "name": entity.name}))
                .collect();
            json!({"title": name, "path": id, "cards": cards})
        })
        .collect();
    json!({"config": {"title": "Home", "views": views}})
}

fn backup(random: &mut Random) -> Value {
    json!({"backups": [], "config": {"agents": {}, "automatic_backups_configured": true,
        "create_backup": {"agent_ids": ["backup.local"], "include_addons": null, "include_all_addons": false,
            "include_database": true, "include_folders": null, "name": null, "password": random.hex(28)},
        "last_attempted_automatic_backup": null, "last_completed_automatic_backup": null,
        "retention": {"copies": 3, "days": null},
        "schedule": {"days": [], "recurrence": "daily", "state": "never", "time": null}}})
}

/// The list that a community store keeps: by far the largest file of `.storage` in many homes.
fn repositories(random: &mut Random) -> Value {
    let topics = ["lovelace", "sensor", "climate", "energy", "camera", "weather", "lights", "presence"];
    let list: Vec<Value> = (0..900)
        .map(|i| {
            let topic = random.pick(&topics);
            json!({"id": (100_000_000 + random.below(700_000_000)).to_string(),
                "full_name": format!("{}/{topic}-{}", random.hex(7), random.hex(5)),
                "description": format!("Home Assistant integration for {topic} number {i}"),
                "category": if i % 3 == 0 { "plugin" } else { "integration" }, "installed": i == 7,
                "stargazers_count": random.below(4_000), "last_fetched": 1_795_000_000.0 + random.unit() * 90_000.0,
                "etag_repository": format!("W/\"{}\"", random.hex(64)), "topics": [topic, "home-assistant", "hacs"]})
        })
        .collect();
    Value::Array(list)
}
