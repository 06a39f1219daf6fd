//! YAML as JSON, for files of ours that have nothing but texts, lists and maps.

use anyhow::{Context, Result, bail};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// The document. Words without quotes are what YAML takes them for.
pub(crate) fn read(text: &str) -> Result<Value> {
    let mut open: Vec<(bool, Vec<Value>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                open.push((matches!(event, Event::MappingStart(..)), Vec::new()));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (is_map, items) = open.pop().context("it ends too often")?;
                if is_map { map(items)? } else { Value::Array(items) }
            }
            Event::Alias(_) => bail!("line {}: no aliases, please", span.start.line()),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
        };
        match open.last_mut() {
            Some((_, items)) => items.push(value),
            None => return Ok(value),
        }
    }
    bail!("nothing is in it")
}

fn plain(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "" | "~" | "null" => Value::Null,
        text => {
            serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or_else(|| Value::String(text.to_owned()))
        }
    }
}

/// Keys and values in turn.
fn map(items: Vec<Value>) -> Result<Value> {
    let mut made = Map::new();
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        let key = key.as_str().context("a key is not a text")?.to_owned();
        if made.contains_key(&key) {
            bail!("{key} is there twice");
        }
        made.insert(key, value);
    }
    Ok(Value::Object(made))
}
