//! Style, script and icon. They are part of the program.

use std::{hash::Hasher, sync::LazyLock};

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::header;

use crate::refusal::Refusal;

const STYLE: &str = include_str!("../assets/style.css");
const DARK: &str = include_str!("../assets/dark.css");
const SCRIPT: &str = include_str!("../assets/haul.js");
/// For a page that Home Assistant shows.
const FRAME: &str = include_str!("../assets/frame.js");
const ICON: &str = include_str!("../assets/icon.svg");

/// Part of their addresses, so that a browser can keep them for as long as they are these.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = std::hash::DefaultHasher::new();
    for text in [STYLE, DARK, SCRIPT, FRAME, ICON] {
        hasher.write(text.as_bytes());
    }
    format!("{:016x}", hasher.finish())
});

pub(crate) async fn asset(Path(name): Path<String>) -> Result<Response, Refusal> {
    let (kind, text) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "dark.css" => ("text/css; charset=utf-8", DARK),
        "haul.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "frame.js" => ("text/javascript; charset=utf-8", FRAME),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Refusal::not_found("file")),
    };
    let cache = "public, max-age=31536000, immutable";
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], text).into_response())
}
