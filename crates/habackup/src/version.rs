//! Home Assistant's version numbers, as in `.HA_VERSION` and `backup.json`: parsing and order.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A version such as `2026.3.0`, `2026.3.0b1` or `2026.3.0.dev202602150230`. Ordered as releases follow each other:
/// development builds, then betas, then the release.
#[derive(Clone, Debug)]
pub struct HaVersion {
    text: String,
    numbers: [u32; 3],
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Dev(u64),
    Beta(u32),
    Release,
}

/// A text that is no version of Home Assistant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is not a Home Assistant version such as 2026.3.0, 2026.3.0b1 or 2026.3.0.dev0")]
pub struct VersionError(String);

impl HaVersion {
    /// Whether this Home Assistant reads SecureTar v3; older ones read only v1 and v2.
    pub fn uses_securetar_v3(&self) -> bool {
        (self.numbers, self.stage) >= ([2026, 3, 0], Stage::Release)
    }

    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for HaVersion {
    type Err = VersionError;

    /// Space around the version is ignored: `.HA_VERSION` may end in a newline.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let text = text.trim();
        parse(text).ok_or_else(|| VersionError(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<HaVersion> {
    let mut parts = text.split('.');
    let major = digits(parts.next()?)?;
    let minor = digits(parts.next()?)?;
    let (patch, stage) = match parts.next() {
        None => (0, Stage::Release),
        Some(third) => match (parts.next(), third.split_once('b')) {
            (None, Some((patch, beta))) => (digits(patch)?, Stage::Beta(digits(beta)?)),
            (None, None) => (digits(third)?, Stage::Release),
            (Some(fourth), _) => (digits(third)?, Stage::Dev(dev(fourth)?)),
        },
    };
    if parts.next().is_some() {
        return None;
    }
    Some(HaVersion { text: text.to_owned(), numbers: [major, minor, patch], stage })
}

fn dev(part: &str) -> Option<u64> {
    let number = part.strip_prefix("dev")?;
    if number.is_empty() {
        return Some(0);
    }
    digits(number)
}

fn digits<T: FromStr>(text: &str) -> Option<T> {
    // `parse` alone would take a sign.
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for HaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for HaVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.numbers, self.stage).cmp(&(other.numbers, other.stage))
    }
}

impl PartialOrd for HaVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for HaVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for HaVersion {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_stand_in_the_order_of_their_release() {
        let ordered = [
            "0.118.5",
            "2025.12.10",
            "2026.3.0.dev0",
            "2026.3.0.dev202602150230",
            "2026.3.0b0",
            "2026.3.0b10",
            "2026.3.0",
            "2026.3.1b0",
            "2026.3.1",
            "2026.11.0",
        ];
        let versions: Vec<HaVersion> = ordered.iter().map(|text| text.parse().unwrap()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn securetar_v3_begins_with_the_release_of_2026_3() {
        for (text, v3) in [
            ("2026.2.3", false),
            ("2026.3.0.dev0", false),
            ("2026.3.0b1", false),
            ("2026.3.0", true),
            ("2026.3.1b0", true),
            ("2026.11.0", true),
        ] {
            assert_eq!(text.parse::<HaVersion>().unwrap().uses_securetar_v3(), v3, "{text}");
        }
    }

    #[test]
    fn space_around_a_version_is_ignored_and_a_short_one_is_the_first_release() {
        let version: HaVersion = " 2026.3\n".parse().unwrap();
        assert_eq!(version, "2026.3.0".parse().unwrap());
        assert_eq!(version.to_string(), "2026.3");
    }

    #[test]
    fn strange_texts_are_no_versions() {
        for text in [
            "",
            "2026",
            "2026.3.",
            "2026.3.0b",
            "2026.3.0.1",
            "2026.3.0.dev-1",
            "2026.+3.0",
            "v2026.3.0",
            "2026.3.0.dev0.1",
            "99999999999.1.1",
            "2026.3.0b1.dev0",
        ] {
            assert!(text.parse::<HaVersion>().is_err(), "{text}");
        }
    }
}
