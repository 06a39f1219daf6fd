//! What the parser says against one table of texts, each mistake beside its key: for forms.

use std::{fmt::Write, path::Path};

use toml_edit::Value;

use super::Config;
use crate::failure::Failure;

/// What stands before the first key.
const LINES_BEFORE: usize = 1;
/// What other keys need, and what any parser takes for it.
const STAND_INS: &[(&str, &str)] = &[
    ("url", "mqtts://host"),
    ("ntfy", "https://host/topic"),
    ("webhook", "https://host"),
    ("home_assistant", "https://host"),
    ("ping", "https://host"),
    ("command", "true"),
    ("email", "me@example.net"),
    ("smtp", "smtps://host"),
    ("username", "me"),
    ("token_file", "file"),
];

/// What stands in for the value of a key, so that the others can be judged.
pub(crate) fn stand_in(key: &str) -> Option<(String, Vec<String>)> {
    let (key, text) = STAND_INS.iter().find(|(known, _)| *known == key)?;
    Some(((*key).to_owned(), vec![(*text).to_owned()]))
}

/// Everything that is wrong with a table such as `["notify", "phone"]` or `["mqtt"]` by itself.
pub(crate) fn mistakes(table: &[&str], settings: &[(String, Vec<String>)]) -> Vec<(Option<String>, Failure)> {
    let mut rest = settings.to_vec();
    let mut found: Vec<(Option<String>, Failure)> = Vec::new();
    // The parser ends at the first mistake: what is wrong is left out, or replaced where others need it.
    while let Err(failure) = Config::parse(Path::new(""), &text(table, &rest)) {
        let said = failure.message.strip_prefix(", line ").and_then(|said| said.split_once(": "));
        let (line, why) = said.unwrap_or(("", &failure.message));
        let at = line.parse().ok().and_then(|line: usize| line.checked_sub(LINES_BEFORE + 1));
        let key = at.and_then(|at| rest.get(at)).map(|(key, _)| key.clone());
        let is_known = found.iter().any(|(known, _)| *known == key);
        let why = key.as_ref().and_then(|key| why.strip_prefix(key.as_str())?.strip_prefix(": ")).unwrap_or(why);
        let failure = Failure { message: why.to_owned(), ..failure };
        let Some(at) = at.filter(|at| !is_known && *at < rest.len()) else {
            // Something is missing only because it was wrong.
            if found.is_empty() {
                found.push((key, failure));
            }
            return found;
        };
        if key.as_deref() == Some("smtp") {
            // The password belongs to the user in it.
            rest.retain(|(key, _)| key != "password_file");
        }
        let at = rest.iter().position(|(known, _)| Some(known) == key.as_ref()).unwrap_or(at);
        match key.as_deref().and_then(stand_in) {
            Some(another) => rest[at] = another,
            None => drop(rest.remove(at)),
        }
        found.push((key, failure));
    }
    found
}

/// What the parser says of keys, in words of a form: `label` knows what a key's field is called there.
pub(crate) fn in_form<'l>(text: &str, label: impl Fn(&str) -> Option<&'l str>) -> String {
    // An example is what is typed into the field.
    let example = text.strip_prefix("for example: ").and_then(|example| example.split_once(" = "));
    if let Some((_, value)) = example.filter(|(key, _)| label(key).is_some()) {
        return format!("for example: {}", value.trim_matches('"'));
    }
    let is_key = |word: &str| word.contains('_') || matches!(word, "smtp" | "url" | "username");
    let mut said = String::new();
    for piece in text.split_inclusive(' ') {
        let word = piece.trim_end_matches([' ', ',', ';', ':', '.']);
        said.push_str(label(word).filter(|_| is_key(word)).unwrap_or(word));
        said.push_str(&piece[word.len()..]);
    }
    said
}

/// One line for each key, so that a mistake's line is its key's.
fn text(table: &[&str], settings: &[(String, Vec<String>)]) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let names: Vec<String> = table.iter().map(|name| quoted(name)).collect();
    let mut all = format!("[{}]\n", names.join("."));
    for (key, texts) in settings {
        let value = match &texts[..] {
            [text] => quoted(text),
            several => Value::Array(several.iter().collect()).to_string(),
        };
        let _ = writeln!(all, "{key} = {value}");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &[&str], settings: &[(&str, &str)]) -> Vec<(String, String)> {
        let settings: Vec<_> =
            settings.iter().map(|(key, text)| ((*key).to_owned(), vec![(*text).to_owned()])).collect();
        let found = mistakes(table, &settings).into_iter();
        found.map(|(key, failure)| (key.unwrap_or_default(), failure.message)).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_key() {
        let table = ["notify", "my phone"];
        assert_eq!(found(&table, &[("ntfy", "https://n.org/t"), ("on", "errors")]), []);
        let wrong = found(&table, &[("ntfy", "https://n.org"), ("on", "never"), ("after", "soon")]);
        let keys: Vec<&str> = wrong.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["after", "on", "ntfy"], "{wrong:?}");
        assert_eq!(wrong[2].1, "the address names no topic");
        let wrong = found(&["mqtt"], &[("url", "mqtt://b"), ("topic", "a/#"), ("ca_file", "ca")]);
        assert_eq!(wrong.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["ca_file", "topic"]);
        let wrong =
            found(&["mqtt"], &[("url", "http://b"), ("topic", "a/#"), ("password_file", "p"), ("ca_file", "ca")]);
        assert_eq!(wrong.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["url", "password_file", "topic"]);
        assert_eq!(found(&["mqtt"], &[]).len(), 1);
    }

    #[test]
    fn a_form_speaks_of_its_fields() {
        let label = |key: &str| {
            [("smtp", "Mail server"), ("password_file", "Password")]
                .iter()
                .find(|(known, _)| *known == key)
                .map(|(_, label)| *label)
        };
        for (text, said) in [
            ("for example: smtp = \"smtps://mail.example.net\"", "for example: smtps://mail.example.net"),
            ("smtp with a user needs password_file, and more", "Mail server with a user needs Password, and more"),
            ("token_file at smtps://smtp.example.net", "token_file at smtps://smtp.example.net"),
        ] {
            assert_eq!(in_form(text, label), said);
        }
    }
}
