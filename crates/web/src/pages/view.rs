//! What templates ask of the words in `keeper::status`: how they look and are called here.

use std::borrow::Borrow;

use keeper::status::{
    ArchiveStatus, CopyStatus, DestinationStatus, JobStatus, Level, Problem, Running, Status, TaskKind,
};

use crate::{fields::segment, text};

/// Bytes in units.
pub(crate) fn bytes(number: impl Borrow<u64>) -> String {
    engine::in_units(*number.borrow())
}

/// `1 backup`, `12 backups`.
pub(crate) fn count(number: impl Borrow<usize>, singular: &str) -> String {
    text::count(*number.borrow(), singular)
}

/// How long something took.
pub(crate) fn duration(seconds: impl Borrow<f64>) -> String {
    text::duration(*seconds.borrow())
}

/// What a user should do, as a sentence.
pub(crate) fn hint(text: &str) -> String {
    text::sentence(text, &[])
}

/// What happened to a job or at a location, as a sentence.
pub(crate) fn told(message: &str, job: Option<&str>, destination: Option<&str>) -> String {
    let names: Vec<&str> = [job, destination].into_iter().flatten().collect();
    text::sentence(message, &names)
}

/// The sentence about everything; a problem's may be long.
pub(crate) fn headline(status: &Status) -> String {
    let jobs = status.jobs.iter().map(|job| job.name.as_str());
    let names: Vec<&str> = jobs.chain(status.destinations.iter().map(|place| place.name.as_str())).collect();
    text::sentence(&status.headline, &names)
}

/// How everything is, in a word.
pub(crate) fn summary(status: &Status) -> &'static str {
    let busy = status.jobs.iter().any(|job| !job.running.is_empty()) || !status.running.is_empty();
    if status.level == Level::Unknown && busy { "At work" } else { word(status.level) }
}

/// The name of its colour.
pub(crate) fn tone(level: impl Borrow<Level>) -> &'static str {
    match level.borrow() {
        Level::Ok => "ok",
        Level::Unknown => "unknown",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// The name of its picture.
pub(crate) fn icon(level: impl Borrow<Level>) -> &'static str {
    match level.borrow() {
        Level::Ok => "check",
        Level::Unknown => "clock",
        Level::Warning => "alert",
        Level::Error => "cross",
    }
}

/// In a word.
pub(crate) fn word(level: impl Borrow<Level>) -> &'static str {
    match level.borrow() {
        Level::Ok => "Good",
        Level::Unknown => "Not known yet",
        Level::Warning => "Look at this",
        Level::Error => "Problem",
    }
}

pub(crate) fn task(kind: impl Borrow<TaskKind>) -> &'static str {
    match kind.borrow() {
        TaskKind::Backup => "Making a backup",
        TaskKind::Look => "Looking at a location",
        TaskKind::Copy => "Copying a backup",
        TaskKind::Remove => "Removing old backups",
        TaskKind::Verify => "Checking a backup",
        TaskKind::Rehearse => "Testing a restore",
        TaskKind::Restore => "Restoring a backup",
        TaskKind::RestoreParts => "Restoring into Home Assistant",
        TaskKind::Migrate => "Moving to another machine",
        TaskKind::Pin => "Protecting a backup",
    }
}

/// Whether it ends when somebody says so: Supervisor does not.
pub(crate) fn can_be_stopped(running: &Running) -> bool {
    running.kind != TaskKind::RestoreParts
}

/// `1.2 GB of 3.4 GB · 85 MB/s · 25 s left · limited by compressing`.
pub(crate) fn figures(running: &Running) -> String {
    let mut parts = Vec::new();
    match (running.done, running.total) {
        (0, 0) => {}
        (done, 0) => parts.push(engine::in_units(done)),
        (done, total) => parts.push(format!("{} of {}", engine::in_units(done), engine::in_units(total))),
    }
    if running.rate > 0 {
        parts.push(format!("{}/s", engine::in_units(running.rate)));
    }
    // What is read may be on its way for a while.
    if let Some(left) = running.left.filter(|_| running.done < running.total) {
        let left = if left < 60 { format!("{left} s") } else { duration(left as f64) };
        parts.push(format!("{left} left"));
    }
    if let Some(limit) = &running.limited_by {
        parts.push(format!("limited by {limit}"));
    }
    parts.join(" · ")
}

/// How much of it is done, in percent.
pub(crate) fn percent(running: &Running) -> Option<u64> {
    (running.total > 0).then(|| (u128::from(running.done) * 100 / u128::from(running.total)).min(100) as u64)
}

/// Whether a location's sentence says more than the rest of its card.
pub(crate) fn is_worth_saying(place: &DestinationStatus) -> bool {
    place.level != Level::Ok && place.away.is_none()
}

/// A day of the strip.
pub(crate) struct Bar {
    pub(crate) x: usize,
    pub(crate) y: u64,
    pub(crate) height: u64,
    pub(crate) tone: &'static str,
    pub(crate) title: String,
}

/// Its width and height, as `viewBox` has them.
pub(crate) const STRIP_HEIGHT: u64 = 36;
const BAR: usize = 10;

/// The last days as bars: as high as the archive was large.
pub(crate) fn strip(job: &JobStatus) -> Vec<Bar> {
    let largest = job.days.iter().map(|day| day.size).max().unwrap_or(0).max(1);
    let bar = |(number, day): (usize, &keeper::status::Day)| {
        let height = match day.level {
            Level::Ok | Level::Warning if day.size > 0 => {
                12 + (u128::from(day.size) * u128::from(STRIP_HEIGHT - 12) / u128::from(largest)) as u64
            }
            Level::Unknown => 4,
            _ => STRIP_HEIGHT,
        };
        let what = match day.level {
            Level::Ok if day.size > 0 => engine::in_units(day.size),
            Level::Ok => "backed up".to_owned(),
            Level::Warning => "something was missing".to_owned(),
            Level::Error => "failed".to_owned(),
            Level::Unknown => "no backup".to_owned(),
        };
        let title = format!("{}: {what}", day.date.strftime("%A, %-d %B"));
        Bar { x: number * BAR, y: STRIP_HEIGHT - height, height, tone: tone(day.level), title }
    };
    job.days.iter().enumerate().map(bar).collect()
}

pub(crate) fn strip_width(job: &JobStatus) -> usize {
    (job.days.len() * BAR).max(BAR) - 3
}

/// The strip in words.
pub(crate) fn strip_summary(job: &JobStatus) -> String {
    let days = |level: Level| job.days.iter().filter(|day| day.level == level).count();
    let mut text = format!("The last {} days: backed up on {}", job.days.len(), days(Level::Ok) + days(Level::Warning));
    if days(Level::Error) > 0 {
        text.push_str(", failed on ");
        text.push_str(&days(Level::Error).to_string());
    }
    text + "."
}

/// A problem's name.
pub(crate) fn problem(problem: &Problem) -> String {
    let of = match problem.kind.as_str() {
        "backup-failed" | "overdue" | "waiting" | "no-backup" | "incomplete" | "not-proven" => &problem.job,
        "configuration" | "state" | "notify-failed" | "mqtt-failed" => &None,
        _ => &problem.destination,
    };
    of.as_ref().map_or_else(|| problem.title().to_owned(), |of| format!("{}: {of}", problem.title()))
}

/// What to press about it: the words, and where the form goes.
pub(crate) fn remedy(problem: &Problem) -> Option<(&'static str, String)> {
    let job = problem.job.as_ref().map(|job| segment(job));
    match (problem.kind.as_str(), job) {
        ("backup-failed" | "overdue" | "no-backup" | "incomplete", Some(job)) => {
            Some(("Back up now", format!("/jobs/{job}/run")))
        }
        ("not-proven", Some(job)) => Some(("Test a restore now", format!("/jobs/{job}/rehearse"))),
        ("destination-away" | "trouble" | "blocked", _) => Some(("Try again now", "/sync".to_owned())),
        ("copy-damaged", _) => Some(("Repair from another copy", "/sync".to_owned())),
        _ => None,
    }
}

/// A folder of Home Assistant by the name that it has there.
pub(crate) fn folder(name: &str) -> String {
    match name {
        "share" => "Share".to_owned(),
        "ssl" => "SSL".to_owned(),
        "media" => "Media".to_owned(),
        "addons/local" => "Local apps".to_owned(),
        other => format!("Folder {other}"),
    }
}

/// Where to read more about it.
pub(crate) fn more(problem: &Problem) -> (&'static str, &'static str) {
    match problem.kind.as_str() {
        "configuration" => ("Show the configuration", "/settings"),
        "mqtt-failed" => ("Show the settings", "/settings/mqtt"),
        "shared" | "notify-failed" => ("Show the settings", "/settings"),
        "copy-damaged" | "unchecked" | "blocked" => ("Show backups", "/backups"),
        "removals-wait" => ("Show what would go", "#locations"),
        _ => ("Show what happened", "/events"),
    }
}

/// How a copy is.
pub(crate) fn copy_level(copy: &CopyStatus) -> Level {
    match &copy.verdict {
        Some(verdict) if verdict.damaged => Level::Error,
        Some(verdict) if verdict.whole => Level::Ok,
        Some(_) => Level::Warning,
        // Its bytes were compared when it was sent.
        None if copy.verified.is_some() => Level::Ok,
        None => Level::Unknown,
    }
}

/// How a copy is, in words.
pub(crate) fn copy_word(copy: &CopyStatus) -> &'static str {
    match &copy.verdict {
        Some(verdict) if verdict.damaged => "damaged",
        Some(verdict) if verdict.whole && verdict.samples => "checked by samples",
        Some(verdict) if verdict.whole => "checked",
        Some(_) => "incomplete",
        None if copy.verified.is_some() => "checked",
        None => "not checked yet",
    }
}

/// How an archive is: the best of its copies.
pub(crate) fn archive_level(archive: &ArchiveStatus) -> Level {
    let best = archive.copies.iter().map(copy_level).min().unwrap_or(Level::Unknown);
    let called = match archive.item.verdict {
        engine::inventory::Called::Damaged => Level::Error,
        engine::inventory::Called::Incomplete => Level::Warning,
        _ => Level::Ok,
    };
    best.max(called)
}

/// How an archive is, in words.
pub(crate) fn archive_word(archive: &ArchiveStatus) -> String {
    let whole = archive.copies.iter().filter(|copy| copy_level(copy) == Level::Ok).count();
    match (archive.item.verdict, archive_level(archive)) {
        (_, Level::Warning) => "incomplete".to_owned(),
        (_, Level::Error) => "damaged".to_owned(),
        (_, Level::Ok) if whole == archive.copies.len() => "checked".to_owned(),
        (_, Level::Ok) => format!("{whole} of {} checked", archive.copies.len()),
        _ => "not checked yet".to_owned(),
    }
}

/// What it is called on the page.
pub(crate) fn title(archive: &ArchiveStatus) -> &str {
    archive.item.title.as_deref().filter(|title| !title.trim().is_empty()).unwrap_or(&archive.item.name)
}

pub(crate) fn is_pinned(archive: &ArchiveStatus) -> bool {
    archive.copies.iter().any(|copy| copy.pinning.unwrap_or(copy.pinned))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use keeper::status::PROBLEM_KINDS;

    use super::*;

    #[test]
    fn each_kind_of_problem_has_a_title_of_its_own() {
        let of = |kind: &str| Problem {
            key: kind.to_owned(),
            kind: kind.to_owned(),
            level: Level::Warning,
            job: Some("home".to_owned()),
            destination: Some("nas".to_owned()),
            since: jiff::Timestamp::UNIX_EPOCH,
            message: String::new(),
            hint: None,
        };
        let mut titles: Vec<String> = PROBLEM_KINDS.iter().map(|kind| problem(&of(kind))).collect();
        for (kind, title) in PROBLEM_KINDS.iter().zip(&titles) {
            assert_ne!(*title, kind.replace('-', " "));
        }
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), PROBLEM_KINDS.len());
    }
}
