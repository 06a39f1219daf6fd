//! `haul ls`: lists what is in an archive, one line per entry.

use std::{ops::ControlFlow, os::unix::ffi::OsStrExt, sync::Arc};

use engine::{
    Progress,
    browse::{BrowseError, Item, ItemKind},
    shown,
};
use habackup::rules::Pattern;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use store::Cancellation;

use super::list::moment;
use crate::{
    args::LsArgs,
    browse::{self, Watch},
    clock,
    config::Config,
    destination,
    failure::{DONE, FAILED, Failure},
    keys, output,
};

/// Lines are printed so many bytes at a time.
const BATCH: usize = 32 << 10;

#[derive(Serialize)]
struct Document {
    archive: String,
    used_index: bool,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    /// The inner archive, for what is not below the config directory.
    archive: Option<String>,
    path: String,
    #[serde(rename = "type")]
    kind: ItemKind,
    size: u64,
    /// Octal.
    mode: Option<String>,
    modified: Option<String>,
    link: Option<String>,
}

pub(crate) fn run(args: &LsArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let offered = keys::offered(config, &args.archive, &args.password, cancel)?;
    let pattern =
        args.glob.as_ref().map(|glob| Pattern::new(glob.as_bytes())).transpose().map_err(BrowseError::Pattern)?;
    let progress = Arc::new(Progress::default());
    let source = destination::archive(config, &args.archive, &args.waiting, &progress, cancel)?;
    let report = |done, total| progress.report(done, total);
    let (browser, _) = browse::unlock(&source, &offered, &report, cancel)?;
    browse::streamed(&browser, "to its end");
    let mut watch = Watch::start(args.output.progress, "reading", &progress);
    let mut found = false;
    let fits = |item: &Item<'_>| pattern.as_ref().is_none_or(|pattern| pattern.covers(item.path));
    if args.output.json {
        let mut entries = Vec::new();
        browser.list(args.all, cancel, |item| {
            if fits(item) {
                entries.push(entry(item));
            }
            ControlFlow::Continue(())
        })?;
        drop(watch);
        found = !entries.is_empty();
        output::json(&Document { archive: browser.label(), used_index: browser.is_indexed(), entries })?;
    } else {
        // An index knows neither mode nor time of a file.
        let brief = browser.is_indexed() && (!args.all || browser.other_archives().is_empty());
        let mut lines = Lines { brief, zone: clock::zone(), text: String::new(), failed: None };
        let listed = browser.list(args.all, cancel, |item| {
            if !fits(item) {
                return ControlFlow::Continue(());
            }
            found = true;
            lines.add(item, &mut watch)
        });
        watch.make_way();
        let _ = lines.flush();
        drop(watch);
        lines.failed.map_or(Ok(()), Err)?;
        listed?;
    }
    if found {
        return Ok(DONE);
    }
    let what = args
        .glob
        .as_ref()
        .map_or_else(|| "is empty".to_owned(), |glob| format!("holds nothing that matches {}", shown(glob.as_bytes())));
    let failure = Failure::new(FAILED, format!("{} {what}", browser.label()));
    let beside = !args.all && !browser.other_archives().is_empty();
    Err(failure.hint(if beside {
        "use --all to include add-ons and folders"
    } else {
        "patterns are relative to the config directory, for example '.storage/core.*'"
    }))
}

/// Lines on their way to standard output.
struct Lines {
    /// Without the columns that would be empty.
    brief: bool,
    zone: TimeZone,
    text: String,
    failed: Option<Failure>,
}

impl Lines {
    fn add(&mut self, item: &Item<'_>, watch: &mut Watch) -> ControlFlow<()> {
        self.text.push_str(&if self.brief { brief(item) } else { line(item, &self.zone) });
        self.text.push('\n');
        if self.text.len() < BATCH {
            return ControlFlow::Continue(());
        }
        watch.make_way();
        self.flush()
    }

    fn flush(&mut self) -> ControlFlow<()> {
        if self.text.is_empty() {
            return ControlFlow::Continue(());
        }
        let printed = output::bytes_out(std::mem::take(&mut self.text).as_bytes());
        match printed {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(failure) => {
                self.failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    }
}

fn brief(item: &Item<'_>) -> String {
    format!("{}  {:>12}  {item}{}", letter(item.kind), item.size, target(item))
}

fn line(item: &Item<'_>, zone: &TimeZone) -> String {
    let when = item.mtime.and_then(timestamp).map_or_else(|| "?".to_owned(), |when| moment(when, zone));
    format!("{}  {:>12}  {when:<16}  {item}{}", mode(item), item.size, target(item))
}

/// Where a link points, if that is known.
fn target(item: &Item<'_>) -> String {
    item.link.map_or_else(String::new, |link| format!(" -> {}", shown(link)))
}

fn letter(kind: ItemKind) -> char {
    match kind {
        ItemKind::File | ItemKind::HardLink => '-',
        ItemKind::Directory => 'd',
        ItemKind::Symlink => 'l',
        ItemKind::Other => '?',
    }
}

/// As `ls` writes it.
fn mode(item: &Item<'_>) -> String {
    let kind = letter(item.kind);
    let Some(mode) = item.mode else { return format!("{kind}?????????") };
    let bits = (0..9).rev().map(|bit| if mode >> bit & 1 == 1 { ['x', 'w', 'r'][bit % 3] } else { '-' });
    std::iter::once(kind).chain(bits).collect()
}

fn entry(item: &Item<'_>) -> Entry {
    Entry {
        archive: item.archive.map(|archive| shown(archive.as_bytes())),
        path: shown(item.path),
        kind: item.kind,
        size: item.size,
        mode: item.mode.map(|mode| format!("{mode:04o}")),
        modified: item.mtime.and_then(timestamp).map(|when| when.to_string()),
        link: item.link.map(shown),
    }
}

fn timestamp((seconds, nanoseconds): (i64, u32)) -> Option<Timestamp> {
    Timestamp::new(seconds, nanoseconds as i32).ok()
}
