//! The household that the sample describes: its areas, devices and entities. The registries
//! (`storage`) and the recorder's history (`history`) are both made from it, so that they agree.

use crate::random::Random;

/// How an entity's state moves.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// A measured value that wanders around `middle`.
    Walk { middle: f64, step: f64, least: f64, most: f64, decimals: usize },
    /// A meter that only counts up.
    Meter { per_update: f64, decimals: usize },
    /// One of a few texts; the attributes stay.
    Words(&'static [&'static str]),
    /// On or off, with a brightness that changes.
    Light,
    /// A thermostat: the measured temperature is an attribute.
    Climate,
    /// Position and elevation are attributes, new with every update.
    Sun,
    /// Weather with its measurements as attributes.
    Weather,
    /// A phone: coordinates and accuracy as attributes.
    Tracker,
    /// A player with title and position as attributes.
    Player,
}

/// One entity, as the registry and the recorder know it.
#[derive(Clone, Debug)]
pub(crate) struct Entity {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) behaviour: Behaviour,
    pub(crate) unit: Option<&'static str>,
    pub(crate) device_class: Option<&'static str>,
    /// `measurement` and `total_increasing` entities get statistics.
    pub(crate) state_class: Option<&'static str>,
    pub(crate) unit_class: Option<&'static str>,
}

/// Entities that one integration refreshes together.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) maker: &'static str,
    pub(crate) model: &'static str,
    pub(crate) platform: &'static str,
    pub(crate) entry_id: String,
    pub(crate) area: &'static str,
    pub(crate) entities: Vec<Entity>,
    /// Relative number of refreshes.
    pub(crate) weight: u32,
    /// Probability that one entity has changed at a refresh.
    pub(crate) change: f64,
}

/// Everything that is known of the household.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) devices: Vec<Device>,
}

pub(crate) const AREAS: [(&str, &str); 9] = [
    ("living_room", "Living Room"),
    ("kitchen", "Kitchen"),
    ("bedroom", "Bedroom"),
    ("bathroom", "Bathroom"),
    ("office", "Office"),
    ("hallway", "Hallway"),
    ("garage", "Garage"),
    ("garden", "Garden"),
    ("cellar", "Cellar"),
];

/// Integrations and the title of their config entry.
pub(crate) const PLATFORMS: [(&str, &str); 13] = [
    ("zha", "Sonoff Zigbee 3.0 USB Dongle Plus"),
    ("hue", "Hue Bridge"),
    ("shelly", "Shelly"),
    ("esphome", "ESPHome"),
    ("mobile_app", "Phone"),
    ("met", "Home"),
    ("sun", "Sun"),
    ("sonos", "Sonos"),
    ("generic_thermostat", "Thermostat"),
    ("fronius", "SolarNet"),
    ("dsmr", "Smart meter"),
    ("hacs", "HACS"),
    ("backup", "Backup"),
];

fn sensor(
    device: &str,
    suffix: &str,
    class: &'static str,
    unit: &'static str,
    unit_class: Option<&'static str>,
    behaviour: Behaviour,
) -> Entity {
    let state_class = match behaviour {
        Behaviour::Meter { .. } => "total_increasing",
        _ => "measurement",
    };
    Entity {
        id: format!("sensor.{}_{}", slug(device), slug(suffix)),
        name: format!("{device} {suffix}"),
        behaviour,
        unit: Some(unit),
        device_class: Some(class),
        state_class: Some(state_class),
        unit_class,
    }
}

fn plain(domain: &str, name: &str, class: Option<&'static str>, behaviour: Behaviour) -> Entity {
    Entity {
        id: format!("{domain}.{}", slug(name)),
        name: name.to_owned(),
        behaviour,
        unit: None,
        device_class: class,
        state_class: None,
        unit_class: None,
    }
}

fn slug(name: &str) -> String {
    name.to_lowercase().replace([' ', '-', '.'], "_")
}

fn walk(middle: f64, step: f64, least: f64, most: f64, decimals: usize) -> Behaviour {
    Behaviour::Walk { middle, step, least, most, decimals }
}

impl Home {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut home = Self { devices: Vec::new() };
        for (area, area_name) in AREAS {
            home.room(random, area, area_name);
        }
        home.energy(random);
        home.people(random);
        home.sky(random);
        home
    }

    pub(crate) fn entities(&self) -> impl Iterator<Item = (&Device, &Entity)> {
        self.devices.iter().flat_map(|device| device.entities.iter().map(move |entity| (device, entity)))
    }

    #[expect(clippy::too_many_arguments, reason = "a table of devices reads best one line each")]
    fn add(
        &mut self,
        random: &mut Random,
        name: String,
        maker: &'static str,
        model: &'static str,
        platform: &'static str,
        area: &'static str,
        weight: u32,
        change: f64,
        entities: Vec<Entity>,
    ) {
        let entry = PLATFORMS.iter().position(|(key, _)| *key == platform).unwrap_or(0);
        self.devices.push(Device {
            id: random.hex(32),
            name,
            maker,
            model,
            platform,
            entry_id: entry_id(entry),
            area,
            entities,
            weight,
            change,
        });
    }

    /// What every room has: a climate sensor, motion, a light, a metering plug.
    fn room(&mut self, random: &mut Random, area: &'static str, room: &str) {
        let name = format!("{room} Climate");
        let temperature = 17.0 + random.unit() * 6.0;
        let sensors = vec![
            sensor(
                &name,
                "Temperature",
                "temperature",
                "°C",
                Some("temperature"),
                walk(temperature, 0.08, -12.0, 38.0, 2),
            ),
            sensor(&name, "Humidity", "humidity", "%", Some("unitless"), walk(48.0, 0.4, 20.0, 92.0, 2)),
            sensor(
                &name,
                "Pressure",
                "atmospheric_pressure",
                "hPa",
                Some("pressure"),
                walk(1013.0, 0.15, 970.0, 1045.0, 1),
            ),
            sensor(&name, "Battery", "battery", "%", Some("unitless"), walk(82.0, 0.3, 5.0, 100.0, 0)),
        ];
        self.add(random, name, "Aqara", "lumi.weather", "zha", area, 5, 0.55, sensors);

        let name = format!("{room} Motion");
        let motion = vec![
            plain("binary_sensor", &format!("{name} Occupancy"), Some("occupancy"), Behaviour::Words(&["on", "off"])),
            sensor(&name, "Illuminance", "illuminance", "lx", None, walk(140.0, 18.0, 0.0, 2400.0, 0)),
            sensor(
                &name,
                "Device Temperature",
                "temperature",
                "°C",
                Some("temperature"),
                walk(23.0, 0.2, 5.0, 45.0, 1),
            ),
        ];
        self.add(random, name, "Philips", "SML001", "zha", area, 6, 0.7, motion);

        let name = format!("{room} Ceiling");
        let light = vec![
            plain("light", &name, None, Behaviour::Light),
            plain("update", &format!("{name} Firmware"), Some("firmware"), Behaviour::Words(&["off"])),
        ];
        self.add(random, name, "Signify", "LCA001", "hue", area, 1, 0.6, light);

        let name = format!("{room} Plug");
        let plug = vec![
            plain("switch", &name, Some("outlet"), Behaviour::Words(&["on", "off"])),
            sensor(&name, "Power", "power", "W", Some("power"), walk(85.0, 9.0, 0.0, 2300.0, 1)),
            sensor(&name, "Voltage", "voltage", "V", Some("voltage"), walk(230.0, 0.5, 218.0, 246.0, 1)),
            sensor(&name, "Current", "current", "A", Some("electric_current"), walk(0.37, 0.05, 0.0, 10.0, 3)),
            sensor(
                &name,
                "Energy",
                "energy",
                "kWh",
                Some("energy"),
                Behaviour::Meter { per_update: 0.0021, decimals: 4 },
            ),
        ];
        // A helper that sums up the power: nothing rounds it, so its states have all the digits of a float.
        let mut sum = sensor(
            &name,
            "Energy Sum",
            "energy",
            "kWh",
            Some("energy"),
            Behaviour::Meter { per_update: 0.0021, decimals: 13 },
        );
        sum.state_class = Some("total");
        let mut plug = plug;
        plug.push(sum);
        self.add(random, name, "Shelly", "Plug S", "shelly", area, 14, 0.62, plug);
    }

    /// The meter and the inverter: few entities, most of the rows.
    fn energy(&mut self, random: &mut Random) {
        let name = "Smart Meter".to_owned();
        let mut meter = vec![
            sensor(&name, "Power Consumption", "power", "kW", Some("power"), walk(0.62, 0.06, 0.0, 9.0, 3)),
            sensor(&name, "Power Production", "power", "kW", Some("power"), walk(1.4, 0.09, 0.0, 6.0, 3)),
            sensor(
                &name,
                "Energy Consumption",
                "energy",
                "kWh",
                Some("energy"),
                Behaviour::Meter { per_update: 0.001, decimals: 3 },
            ),
        ];
        for phase in ["L1", "L2", "L3"] {
            meter.push(sensor(
                &name,
                &format!("Voltage {phase}"),
                "voltage",
                "V",
                Some("voltage"),
                walk(231.0, 0.4, 218.0, 246.0, 1),
            ));
            meter.push(sensor(
                &name,
                &format!("Current {phase}"),
                "current",
                "A",
                Some("electric_current"),
                walk(1.3, 0.2, 0.0, 25.0, 1),
            ));
        }
        self.add(random, name, "Landis+Gyr", "E360", "dsmr", "cellar", 90, 0.45, meter);

        let name = "Inverter".to_owned();
        let mut inverter = vec![
            sensor(&name, "AC Power", "power", "W", Some("power"), walk(1450.0, 60.0, 0.0, 6000.0, 2)),
            sensor(&name, "Frequency", "frequency", "Hz", None, walk(50.0, 0.01, 49.8, 50.2, 3)),
            sensor(
                &name,
                "Energy Day",
                "energy",
                "Wh",
                Some("energy"),
                Behaviour::Meter { per_update: 1.9, decimals: 2 },
            ),
        ];
        for string in 1..=2 {
            inverter.push(sensor(
                &name,
                &format!("DC Voltage {string}"),
                "voltage",
                "V",
                Some("voltage"),
                walk(380.0, 2.0, 0.0, 600.0, 2),
            ));
            inverter.push(sensor(
                &name,
                &format!("DC Current {string}"),
                "current",
                "A",
                Some("electric_current"),
                walk(3.1, 0.2, 0.0, 14.0, 2),
            ));
        }
        self.add(random, name, "Fronius", "Symo 6.0", "fronius", "garage", 45, 0.7, inverter);

        let name = "Heat Pump".to_owned();
        let mut pump = vec![plain("climate", &name, None, Behaviour::Climate)];
        for probe in ["Flow", "Return", "Outdoor", "Hot Water", "Evaporator", "Compressor"] {
            pump.push(sensor(
                &name,
                &format!("{probe} Temperature"),
                "temperature",
                "°C",
                Some("temperature"),
                walk(34.0, 0.25, -15.0, 90.0, 1),
            ));
        }
        pump.push(plain("binary_sensor", "Heat Pump Defrost", Some("running"), Behaviour::Words(&["off", "on"])));
        self.add(random, name, "Espressif", "esp32-poe", "esphome", "cellar", 30, 0.5, pump);
    }

    fn people(&mut self, random: &mut Random) {
        for (person, area) in [("Anna", "bedroom"), ("Ben", "office")] {
            let name = format!("{person} Phone");
            let phone = vec![
                plain("device_tracker", &name, None, Behaviour::Tracker),
                sensor(&name, "Battery Level", "battery", "%", Some("unitless"), walk(63.0, 1.5, 1.0, 100.0, 0)),
                plain(
                    "sensor",
                    &format!("{name} Activity"),
                    None,
                    Behaviour::Words(&["Stationary", "Walking", "Automotive", "Unknown"]),
                ),
                plain(
                    "sensor",
                    &format!("{name} Geocoded Location"),
                    None,
                    Behaviour::Words(&["Marktplatz 1", "Bahnhofstraße 12", "Am Hang 3", "unknown"]),
                ),
            ];
            self.add(random, name, "Apple", "iPhone 15", "mobile_app", area, 3, 0.6, phone);
        }
        for (area, room) in [AREAS[0], AREAS[1], AREAS[4]] {
            let name = format!("{room} Speaker");
            let speaker = vec![
                plain("media_player", &name, Some("speaker"), Behaviour::Player),
                plain("binary_sensor", &format!("{name} Microphone"), None, Behaviour::Words(&["off", "on"])),
            ];
            self.add(random, name, "Sonos", "Era 100", "sonos", area, 2, 0.5, speaker);
        }
    }

    fn sky(&mut self, random: &mut Random) {
        let sun = vec![plain("sun", "Sun", None, Behaviour::Sun)];
        self.add(random, "Sun".to_owned(), "Home Assistant", "sun", "sun", "garden", 4, 1.0, sun);
        let weather = vec![plain("weather", "Forecast Home", None, Behaviour::Weather)];
        self.add(random, "Forecast".to_owned(), "Met.no", "Forecast", "met", "garden", 1, 1.0, weather);
    }
}

/// A config entry's identifier: the same for the registries and the devices.
pub(crate) fn entry_id(index: usize) -> String {
    Random::new(0xc0_4f16 + index as u64).ulid_text(1_726_000_000.0 + index as f64 * 3_600.0)
}
