//! What Supervisor's validation says, in the words of the Python library it uses (recorded from it).

use serde_json::{Map, Value};

/// The rule of one key.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    Text,
    MaybeText,
    Flag,
    MaybeFlag,
    /// A regular expression in words, and whether a text matches it.
    Match(&'static str, fn(&str) -> bool),
    OneOf(&'static [&'static str]),
    Usage,
    Port,
    Places,
    Place,
    Apps {
        all: bool,
    },
    Folders,
    Object,
}

/// A key, whether it must be there, and its rule.
pub(super) type Key = (&'static str, bool, Rule);

/// All that is wrong with a body, as Supervisor says it.
pub(super) fn problems(body: &Map<String, Value>, keys: &[Key], refuses_others: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, is_required, rule) in keys {
        match body.get(*key) {
            None if *is_required => problems.push(format!("required key not provided @ data['{key}']. Got None")),
            None => {}
            Some(value) => {
                if let Some((what, at)) = problem(value, *rule) {
                    let at = at.map_or(format!(" for dictionary value @ data['{key}']. Got {}", repr(value)), |at| {
                        format!(" @ data['{key}'][{at}]. Got {}", repr(&value[at]))
                    });
                    problems.push(format!("{what}{at}"));
                }
            }
        }
    }
    if refuses_others {
        let others = body.iter().filter(|(name, _)| keys.iter().all(|(key, ..)| key != name));
        problems.extend(
            others.map(|(name, value)| format!("extra keys not allowed @ data['{name}']. Got {}", repr(value))),
        );
    }
    problems.sort();
    problems
}

const FOLDERS: [&str; 5] = ["addons/local", "homeassistant", "media", "share", "ssl"];

/// What is wrong with a value, and with which of its items.
fn problem(value: &Value, rule: Rule) -> Option<(String, Option<usize>)> {
    let wrong = |what: &str| Some((what.to_owned(), None));
    match rule {
        Rule::Text if !value.is_string() => wrong("expected str"),
        Rule::MaybeText | Rule::Place if !value.is_string() && !value.is_null() => wrong("not a valid value"),
        Rule::Flag if !value.is_boolean() => wrong("expected boolean"),
        Rule::MaybeFlag if !value.is_boolean() && !value.is_null() => wrong("not a valid value"),
        Rule::Object if !value.is_object() => wrong("expected dict"),
        Rule::Match(expression, matches) => match value.as_str() {
            None => wrong("expected string or buffer"),
            Some(text) if !matches(text) => wrong(&format!("does not match regular expression {expression}")),
            Some(_) => None,
        },
        Rule::OneOf(these) if value.as_str().is_none_or(|text| !these.contains(&text)) => wrong("not a valid value"),
        Rule::Usage if !matches!(value.as_str(), Some("backup" | "media" | "share")) => {
            wrong("expected MountUsage or one of 'backup', 'media', 'share'")
        }
        Rule::Port => match value.as_i64().or_else(|| value.as_str()?.parse().ok()) {
            None => wrong("expected int"),
            Some(..1) => wrong("value must be at least 1"),
            Some(65_536..) => wrong("value must be at most 65535"),
            Some(_) => None,
        },
        Rule::Apps { all: true } if value == "ALL" => None,
        Rule::Apps { .. } if !is_unique_texts(value) => wrong("not a valid value"),
        Rule::Folders => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if !value.is_array() {
                return wrong("expected a list");
            }
            let unknown = items.iter().position(|item| item.as_str().is_none_or(|item| !FOLDERS.contains(&item)));
            if let Some(at) = unknown {
                return Some((format!("value must be one of {FOLDERS:?}").replace('"', "'"), Some(at)));
            }
            duplicates(items)
        }
        Rule::Places => {
            let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            if let Some(at) = items.iter().position(|item| !item.is_string() && !item.is_null()) {
                return Some(("not a valid value".to_owned(), Some(at)));
            }
            duplicates(items)
        }
        _ => None,
    }
}

fn duplicates(items: &[Value]) -> Option<(String, Option<usize>)> {
    let twice = items.iter().enumerate().find(|(at, item)| items[..*at].contains(item));
    twice.map(|(_, item)| (format!("contains duplicate items: [{}]", repr(item)), None))
}

fn is_unique_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_string) && duplicates(items).is_none())
}

/// As Python writes a value: a refused request is repeated like that, password and all.
pub(super) fn repr(value: &Value) -> String {
    let joined = |items: Vec<String>| items.join(", ");
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let text = text.replace('\\', "\\\\").replace('\n', "\\n");
            match (text.contains('\''), text.contains('"')) {
                (true, true) => format!("'{}'", text.replace('\'', "\\'")),
                (true, false) => format!("\"{text}\""),
                (false, _) => format!("'{text}'"),
            }
        }
        Value::Array(items) => format!("[{}]", joined(items.iter().map(repr).collect())),
        Value::Object(map) => {
            format!("{{{}}}", joined(map.iter().map(|(key, value)| format!("'{key}': {}", repr(value))).collect()))
        }
    }
}
