//! How one entity moves through time: its state as text, its attributes as the recorder's JSON, its
//! statistics. Knows nothing of databases.

use std::fmt::Write as _;

use crate::home::{Behaviour, Entity};
use crate::random::Random;

/// An entity at one moment of the made-up history.
pub(crate) struct EntityState {
    pub(crate) metadata_id: i64,
    pub(crate) statistics_id: Option<i64>,
    /// The state as Home Assistant shows it, for instance `21.4`.
    pub(crate) text: String,
    pub(crate) last_state: Option<i64>,
    /// Seconds since 1970.
    pub(crate) last_changed: f64,
    /// Set once the attributes were stored and never change.
    pub(crate) fixed_attributes: Option<i64>,
    behaviour: Behaviour,
    /// The attributes that every state has: unit, classes, name.
    common: String,
    value: f64,
    at: f64,
    word: usize,
    // Since the last statistics row.
    least: f64,
    most: f64,
    sum: f64,
    count: f64,
    counted: f64,
}

/// One row of `statistics`: measurements have mean, least and most, meters have state and sum.
pub(crate) struct StatisticsRow {
    pub(crate) mean: Option<f64>,
    pub(crate) least: Option<f64>,
    pub(crate) most: Option<f64>,
    pub(crate) state: Option<f64>,
    pub(crate) sum: Option<f64>,
}

impl EntityState {
    pub(crate) fn new(entity: &Entity, metadata_id: i64, random: &mut Random) -> Self {
        let value = match entity.behaviour {
            Behaviour::Walk { middle, .. } => middle,
            Behaviour::Meter { .. } => 1_000.0 + random.unit() * 9_000.0,
            Behaviour::Climate | Behaviour::Weather => 21.0,
            _ => 0.0,
        };
        let mut state = Self {
            metadata_id,
            statistics_id: None,
            text: String::new(),
            last_state: None,
            last_changed: 0.0,
            fixed_attributes: None,
            behaviour: entity.behaviour.clone(),
            common: common_attributes(entity),
            value,
            at: 0.0,
            word: 0,
            least: value,
            most: value,
            sum: 0.0,
            count: 0.0,
            counted: 0.0,
        };
        state.round();
        state
    }

    /// Takes up what was recorded of it last: its state, and what statistics had counted.
    pub(crate) fn resume(&mut self, text: String, counted: f64) {
        match self.behaviour {
            Behaviour::Walk { .. } | Behaviour::Meter { .. } => self.value = text.parse().unwrap_or(self.value),
            Behaviour::Words(words) => self.word = words.iter().position(|word| *word == text).unwrap_or(0),
            Behaviour::Light => self.word = usize::from(text == "on"),
            _ => {}
        }
        (self.least, self.most) = (self.value, self.value);
        self.counted = counted;
        self.text = text;
    }

    /// Moves on to `at`. Returns whether the state changed (else only its attributes did).
    pub(crate) fn step(&mut self, random: &mut Random, at: f64) -> bool {
        self.at = at;
        let before = std::mem::take(&mut self.text);
        match self.behaviour {
            Behaviour::Walk { middle, step, least, most, decimals } => {
                let pull = (middle - self.value) * 0.002;
                self.value = (self.value + pull + random.normal() * step).clamp(least, most);
                self.text = before;
                self.text.clear();
                let _ = write!(self.text, "{:.decimals$}", self.value);
                self.count_in();
                // Home Assistant writes no state when the text is the same and nothing else changed.
                return true;
            }
            Behaviour::Meter { per_update, decimals } => {
                let more = per_update * random.unit() * 2.0;
                self.value += more;
                self.counted += more;
                self.text = before;
                self.text.clear();
                let _ = write!(self.text, "{:.decimals$}", self.value);
                return true;
            }
            Behaviour::Words(words) => {
                self.word = (self.word + 1) % words.len();
                words[self.word].clone_into(&mut self.text);
                if words.len() == 1 {
                    return false;
                }
            }
            Behaviour::Light => {
                if random.chance(0.6) {
                    self.word ^= 1;
                }
                ["off", "on"][self.word].clone_into(&mut self.text);
            }
            Behaviour::Climate => {
                self.value = (self.value + random.normal() * 0.1).clamp(15.0, 26.0);
                ["heat", "off", "heat", "heat"][(at / 43_200.0) as usize % 4].clone_into(&mut self.text);
            }
            Behaviour::Sun => {
                ["below_horizon", "above_horizon"][usize::from((at % 86_400.0 - 43_200.0).abs() < 18_000.0)]
                    .clone_into(&mut self.text);
            }
            Behaviour::Weather => {
                self.value = (self.value + random.normal() * 0.4).clamp(-9.0, 33.0);
                ["cloudy", "rainy", "partlycloudy", "sunny"][(at / 9_000.0) as usize % 4].clone_into(&mut self.text);
            }
            Behaviour::Tracker => ["home", "not_home"][(at / 21_600.0) as usize % 2].clone_into(&mut self.text),
            Behaviour::Player => ["playing", "paused", "idle"][random.below(3) as usize].clone_into(&mut self.text),
        }
        self.text != before
    }

    fn round(&mut self) {
        self.text = match self.behaviour {
            Behaviour::Walk { decimals, .. } | Behaviour::Meter { decimals, .. } => {
                format!("{:.decimals$}", self.value)
            }
            _ => "unknown".to_owned(),
        };
    }

    fn count_in(&mut self) {
        let shown = self.text.parse().unwrap_or(self.value);
        if self.count == 0.0 {
            (self.least, self.most) = (shown, shown);
        }
        self.least = self.least.min(shown);
        self.most = self.most.max(shown);
        self.sum += shown;
        self.count += 1.0;
    }

    /// Attributes that are the same in every state.
    pub(crate) fn attributes_stay(&self) -> bool {
        matches!(self.behaviour, Behaviour::Walk { .. } | Behaviour::Meter { .. } | Behaviour::Words(_))
    }

    /// Attributes that come again, so that looking for an equal row pays.
    pub(crate) fn attributes_recur(&self) -> bool {
        matches!(self.behaviour, Behaviour::Light | Behaviour::Climate)
    }

    /// Appends the JSON object that the recorder shares between states.
    pub(crate) fn attributes(&self, random: &mut Random, out: &mut String) {
        let common = &self.common;
        let value = self.value;
        let day = self.at % 86_400.0;
        let elevation = ((day - 43_200.0) / 86_400.0 * std::f64::consts::TAU).cos() * 48.0 - 12.0;
        // Writing to a String cannot fail.
        let _ = match self.behaviour {
            Behaviour::Walk { .. } | Behaviour::Meter { .. } | Behaviour::Words(_) => write!(out, "{{{common}}}"),
            Behaviour::Light if self.word == 0 => write!(
                out,
                r#"{{"effect_list":["None","candle","fire","unknown"],"supported_color_modes":["color_temp","xy"],"effect":null,"color_mode":null,"brightness":null,"color_temp_kelvin":null,"hs_color":null,"rgb_color":null,"xy_color":null,"mode":"normal","dynamics":"none",{common},"supported_features":44}}"#
            ),
            Behaviour::Light => {
                let brightness = (random.below(52) * 5).max(3);
                let kelvin = 2_000 + random.below(25) * 100;
                write!(
                    out,
                    r#"{{"effect_list":["None","candle","fire","unknown"],"supported_color_modes":["color_temp","xy"],"effect":null,"color_mode":"color_temp","brightness":{brightness},"color_temp_kelvin":{kelvin},"hs_color":[{:.3},{:.3}],"rgb_color":[255,{},{}],"xy_color":[{:.3},{:.3}],"mode":"normal","dynamics":"none",{common},"supported_features":44}}"#,
                    20.0 + kelvin as f64 / 900.0,
                    90.0 - kelvin as f64 / 110.0,
                    120 + kelvin / 60,
                    20 + kelvin / 40,
                    0.6 - kelvin as f64 / 30_000.0,
                    0.42 - kelvin as f64 / 90_000.0,
                )
            }
            Behaviour::Climate => write!(
                out,
                r#"{{"hvac_modes":["heat","off"],"min_temp":7,"max_temp":35,"target_temp_step":0.5,"preset_modes":["none","away","comfort","eco"],"current_temperature":{value:.1},"temperature":21.5,"hvac_action":"{}","preset_mode":"none",{common},"supported_features":401}}"#,
                if value < 21.0 { "heating" } else { "idle" },
            ),
            Behaviour::Sun => write!(
                out,
                r#"{{"next_dawn":"2026-11-20T05:52:41.{:06}+00:00","next_dusk":"2026-11-20T16:10:05.{:06}+00:00","next_midnight":"2026-11-20T23:01:10+00:00","next_noon":"2026-11-20T11:01:23+00:00","next_rising":"2026-11-20T06:26:19.{:06}+00:00","next_setting":"2026-11-20T15:36:27.{:06}+00:00","elevation":{elevation:.2},"azimuth":{:.2},"rising":{},{common}}}"#,
                random.below(1_000_000),
                random.below(1_000_000),
                random.below(1_000_000),
                random.below(1_000_000),
                day / 240.0,
                day < 43_200.0,
            ),
            Behaviour::Weather => write!(
                out,
                r#"{{"temperature":{value:.1},"dew_point":{:.1},"temperature_unit":"°C","humidity":{},"cloud_coverage":{:.1},"uv_index":{:.1},"pressure":{:.1},"pressure_unit":"hPa","wind_bearing":{:.1},"wind_speed":{:.1},"wind_speed_unit":"km/h","visibility_unit":"km","precipitation_unit":"mm","attribution":"Weather forecast from met.no, delivered by the Norwegian Meteorological Institute.",{common},"supported_features":3}}"#,
                value - 3.1,
                random.below(60) + 35,
                random.unit() * 100.0,
                random.unit() * 4.0,
                1_000.0 + random.unit() * 25.0,
                random.unit() * 360.0,
                random.unit() * 30.0,
            ),
            Behaviour::Tracker => write!(
                out,
                r#"{{"source_type":"gps","battery_level":{},"latitude":{:.6},"longitude":{:.6},"gps_accuracy":{},"altitude":{:.6},"vertical_accuracy":{},{common}}}"#,
                random.below(95) + 5,
                52.37 + random.unit() * 0.1,
                4.85 + random.unit() * 0.1,
                random.below(40) + 3,
                random.unit() * 20.0,
                random.below(20) + 2,
            ),
            Behaviour::Player => write!(
                out,
                r#"{{"volume_level":{:.2},"is_volume_muted":false,"media_content_id":"x-sonos-http:track-{:06}.mp4?sid=9","media_content_type":"music","media_duration":{},"media_position":{},"media_title":"Track {}","media_artist":"Artist {}","media_album_name":"Album {}","shuffle":false,"repeat":"off","queue_position":{},"queue_size":48,{common},"supported_features":4127295}}"#,
                random.unit(),
                random.below(1_000_000),
                120 + random.below(300),
                random.below(120),
                random.below(900),
                random.below(90),
                random.below(300),
                random.below(48),
            ),
        };
    }

    /// The row for the period that ends now; `reset` begins a new period.
    pub(crate) fn statistics(&mut self, random: &mut Random, reset: bool) -> StatisticsRow {
        if let Behaviour::Meter { .. } = self.behaviour {
            return StatisticsRow {
                mean: None,
                least: None,
                most: None,
                state: self.text.parse().ok(),
                sum: Some((self.counted * 1e4).round() / 1e4),
            };
        }
        if self.count == 0.0 {
            self.count_in();
        }
        // Time-weighted means have all the digits of a float.
        let mean = self.sum / self.count + random.normal() * (self.most - self.least) * 0.01;
        let row =
            StatisticsRow { mean: Some(mean), least: Some(self.least), most: Some(self.most), state: None, sum: None };
        if reset {
            (self.sum, self.count) = (0.0, 0.0);
        }
        row
    }
}

fn common_attributes(entity: &Entity) -> String {
    let mut common = String::new();
    let mut add = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            let _ = write!(common, r#""{key}":"{value}","#);
        }
    };
    add("state_class", entity.state_class);
    add("unit_of_measurement", entity.unit);
    add("device_class", entity.device_class);
    let _ = write!(common, r#""friendly_name":"{}""#, entity.name);
    common
}
