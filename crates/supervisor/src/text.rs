//! What others say, made fit to be shown: one line, bounded, without the secrets that were sent.

use crate::secret::Secret;

/// More of a message helps nobody.
const LONGEST: usize = 500;
/// Shorter ones would take letters out of ordinary words.
const SHORTEST_SECRET: usize = 4;

/// Words fit for one line of a terminal.
pub(crate) fn sanitize(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() || reorders(c) { ' ' } else { c }).collect();
    let clean = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    clean.chars().take(LONGEST).collect()
}

/// The same, without what was sent in confidence: Supervisor repeats a refused request, password and all.
pub(crate) fn without(text: &str, secrets: &[&Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        for form in forms(secret.expose()) {
            text = text.replace(&form, "(secret)");
        }
    }
    sanitize(&text)
}

/// A secret as it is, and as Python and JSON write it in quotes.
fn forms(secret: &str) -> Vec<String> {
    if secret.len() < SHORTEST_SECRET {
        return vec![format!("'{secret}'"), format!("\"{secret}\"")];
    }
    let escaped = secret.replace('\\', "\\\\");
    let mut forms = vec![secret.to_owned(), escaped.replace('\'', "\\'"), escaped.replace('"', "\\\""), escaped];
    // The longer form first: it may hold the shorter.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms
}

/// Reverses the direction of the text beside it.
fn reorders(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_password_is_taken_out_however_it_is_quoted() {
        let said = |password: &str, text: &str| without(text, &[&Secret::new(password)]);
        assert_eq!(said("sesame", "Got {'password': 'sesame'}"), "Got {'password': '(secret)'}");
        assert_eq!(said("it's\\me", r#"Got {"password": "it's\\me"}"#), r#"Got {"password": "(secret)"}"#);
        assert_eq!(said("a\"b'c", r#"Got 'a"b\'c'"#), "Got '(secret)'");
        assert_eq!(said("p", "Got {'port': 1, 'password': 'p'}"), "Got {'port': 1, 'password': (secret)}");
        assert_eq!(said("", "nothing to hide"), "nothing to hide");
    }

    #[test]
    fn what_others_say_is_one_line_of_bounded_length() {
        assert_eq!(sanitize("one\r\n\u{1b}[31mtwo\u{202e}three"), "one [31mtwo three");
        assert_eq!(sanitize(&"ä".repeat(10_000)).chars().count(), LONGEST);
    }
}
