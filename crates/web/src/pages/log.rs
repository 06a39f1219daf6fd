//! The last lines of the service's log.

use std::fmt::Write;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use jiff::Timestamp;

use super::{Answer, Frame, Service, show};
use crate::{backend::LogLine, shared::Asked, text::Clock};

/// A page may list all lines that are kept.
const MOST: usize = 1000;

#[derive(Template)]
#[template(path = "log.html")]
struct Log {
    frame: Frame,
    clock: Clock,
    lines: Vec<LogLine>,
}

impl Log {
    fn tone(line: &LogLine) -> &'static str {
        match line.text.split_once(": ") {
            Some((tone @ ("warning" | "error"), _)) => {
                if tone == "error" {
                    "error"
                } else {
                    "warning"
                }
            }
            _ => "",
        }
    }
}

pub(super) async fn list(State(shared): Service, asked: Asked) -> Answer {
    let lines = shared.ask(|backend| backend.log(0, MOST)).await?;
    Ok(show(&Log { frame: Frame::new(&asked, "Log", "events"), clock: shared.clock(), lines }))
}

/// The same to send to somebody: the oldest first.
pub(super) async fn text(State(shared): Service) -> Answer {
    let (lines, status) = shared.ask(|backend| (backend.log(0, MOST), backend.status())).await?;
    let clock = shared.clock();
    let mut text = format!("Haul {}, log until {}\n", status.version, clock.second(&Timestamp::now()));
    for line in lines.iter().rev() {
        // One that holds a line break can't pass for another.
        let _ = writeln!(text, "{} {}", clock.second(&line.at), line.text.replace(['\n', '\r'], " "));
    }
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"haul-log.txt\""),
    ];
    let response: Response = (headers, text).into_response();
    Ok(response)
}
