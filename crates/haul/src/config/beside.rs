//! What the parser says against one table of texts, each mistake beside its key: for forms.

use std::{fmt::Write, path::Path};

use toml_edit::Value;

use super::Config;
use crate::failure::Failure;

/// What stands before the first key.
const LINES_BEFORE: usize = 1;

/// Everything that is wrong with a table such as `["notify", "phone"]` or `["mqtt"]` by itself.
pub(crate) fn mistakes(table: &[&str], settings: &[(String, Vec<String>)]) -> Vec<(Option<String>, Failure)> {
    let mut rest: Vec<&(String, Vec<String>)> = settings.iter().collect();
    let mut found: Vec<(Option<String>, Failure)> = Vec::new();
    // The parser ends at the first mistake: what is wrong is left out, as far as something is left without it.
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
        rest.remove(at);
        found.push((key, failure));
    }
    found
}

/// One line for each key, so that a mistake's line is its key's.
fn text(table: &[&str], settings: &[&(String, Vec<String>)]) -> String {
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
        assert_eq!(found(&["mqtt"], &[]).len(), 1);
    }
}
