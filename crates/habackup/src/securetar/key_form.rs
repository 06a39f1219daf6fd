//! The form of the keys that Home Assistant makes (seven groups of four capital letters and digits, `ABCD-EFGH-…`), and
//! what people type instead or cut out of the emergency kit. Home Assistant accepts only the exact form.

use zeroize::Zeroizing;

use super::Password;

const GROUP: usize = 4;
const CHARACTERS: usize = 7 * GROUP;

/// A key in its exact form, and how what was given differs from it.
#[derive(Debug)]
pub struct CorrectedKey {
    /// The key.
    pub password: Password,
    /// What was done, without any character of the key: "in capital letters".
    pub how: Vec<&'static str>,
}

/// The key that `text` means, unless `text` is not such a key or already has the exact form.
pub(super) fn corrected(text: &str) -> Option<CorrectedKey> {
    let bare: Zeroizing<String> = Zeroizing::new(text.chars().filter(|&c| !is_blank(c) && !is_quote(c)).collect());
    let characters: Zeroizing<String> =
        Zeroizing::new(bare.chars().filter(|&c| !is_dash(c)).map(|c| c.to_ascii_uppercase()).collect());
    if characters.len() != CHARACTERS || !characters.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let mut key = Zeroizing::new(String::with_capacity(CHARACTERS + CHARACTERS / GROUP));
    for (index, character) in characters.chars().enumerate() {
        if index > 0 && index % GROUP == 0 {
            key.push('-');
        }
        key.push(character);
    }
    let slips = [
        (text.contains(is_quote), "without quotes"),
        (text.contains(is_blank), "without blanks"),
        (text.contains(|c: char| c.is_ascii_lowercase()), "in capital letters"),
        (!bare.eq_ignore_ascii_case(&key), "with a dash after every four characters"),
    ];
    let how: Vec<_> = slips.into_iter().filter_map(|(slipped, how)| slipped.then_some(how)).collect();
    (!how.is_empty()).then(|| CorrectedKey { password: Password::new(key.as_str()), how })
}

/// The one key that a text of several lines holds, such as the emergency kit that Home Assistant gives.
pub fn key_in(text: &str) -> Option<&str> {
    let mut keys = text.split_whitespace().filter(|word| is_key(word));
    let key = keys.next()?;
    keys.all(|other| other == key).then_some(key)
}

fn is_key(word: &str) -> bool {
    let is_group = |group: &str| {
        group.len() == GROUP && group.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    word.split('-').count() == CHARACTERS / GROUP && word.split('-').all(is_group)
}

/// Dashes of keyboards and of word processors.
fn is_dash(c: char) -> bool {
    matches!(c, '-' | '_' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}')
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '\u{ab}' | '\u{bb}' | '\u{2018}'..='\u{201f}')
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ12";

    #[test]
    fn slips_lead_to_the_key_and_are_named() {
        const CAPITALS: &str = "in capital letters";
        const DASHES: &str = "with a dash after every four characters";
        for (text, how) in [
            (KEY.to_lowercase(), vec![CAPITALS]),
            (KEY.replace('-', ""), vec![DASHES]),
            (KEY.replace('-', "").to_lowercase(), vec![CAPITALS, DASHES]),
            (KEY.replace('-', "\u{2013}"), vec![DASHES]),
            (KEY.replace('-', " "), vec!["without blanks", DASHES]),
            (format!("\u{201c}{KEY}\u{201d} "), vec!["without quotes", "without blanks"]),
        ] {
            let corrected = corrected(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((corrected.password.0.as_str(), corrected.how), (KEY, how), "{text}");
        }
        for text in [KEY, "", "hunter2", &KEY[1..], "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ1ä"] {
            assert!(corrected(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_kit_gives_its_key_and_two_keys_give_none() {
        let kit = format!(
            "Home Assistant Backup Emergency Kit\r\n\r\nDate: 1/1/2026, 10:00:00 AM\r\n\r\nEncryption \
             key:\r\n{KEY}\r\n\r\nhttps://www.home-assistant.io\r\n"
        );
        assert_eq!(key_in(&kit), Some(KEY));
        assert_eq!(key_in(&format!("{kit}{KEY}")), Some(KEY), "the same once more");
        assert_eq!(key_in(&format!("{kit}{}", KEY.replace('A', "Z"))), None);
        assert_eq!(key_in("two\nlines"), None);
    }
}
