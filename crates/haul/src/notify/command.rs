//! A command of the user's own that is told.

use keeper::{notices::Notice, status::Failure as Reason};
use serde_json::Value;
use store::Cancellation;

use super::TIME_LIMIT;
use crate::hooks;

/// What it is called in messages.
const CALLED: &str = "the command of the channel";

/// Runs it, with the document on its standard input and the main things in its environment.
pub(super) fn run(line: &str, notice: &Notice, document: &Value, cancel: &Cancellation) -> Result<(), Reason> {
    let said = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let environment = [
        ("HAUL_NOTICE", notice.kind().to_owned()),
        ("HAUL_LEVEL", said("level")),
        ("HAUL_TITLE", said("title")),
        ("HAUL_MESSAGE", said("message")),
        ("HAUL_HINT", said("hint")),
        ("HAUL_JOB", said("job")),
        ("HAUL_DESTINATION", said("destination")),
    ];
    let document = document.to_string();
    hooks::alone(CALLED, line, &environment, document.as_bytes(), TIME_LIMIT, cancel).map_err(|why| Reason {
        message: format!("{CALLED} {why}"),
        // The line may hold a token, and who hears of this may not see that.
        hint: Some("run it by hand to see why: it is in haul.toml".to_owned()),
        passes: true,
    })
}
