//! `haul diff`: shows how two archives differ.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use engine::{
    Progress,
    browse::{self as engine_browse, Comparison, Difference, ItemKind, State},
};
use serde::Serialize;
use store::Cancellation;

use crate::{
    args::{DiffArgs, PasswordArgs},
    browse::{self, Watch},
    config::Config,
    destination,
    failure::{DONE, FAILED, Failure},
    keys, output, text,
};

#[derive(Serialize)]
struct Document<'a> {
    status: &'static str,
    a: String,
    b: String,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

pub(crate) fn run(args: &DiffArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let offered = keys::offered(config, &args.a, &args.password, cancel)?;
    let own_b = match &args.password_file_b {
        None => None,
        own => Some(keys::offered(config, &args.b, &PasswordArgs { password_file: own.clone() }, cancel)?),
    };
    let progress = Arc::new(Progress::default());
    let locate = |typed| destination::archive(config, typed, &args.waiting, &progress, cancel);
    let (source_a, source_b) = (locate(&args.a)?, locate(&args.b)?);
    let sum = Sum::default();
    let report_a = |done, total| sum.report(&progress, 0, done, total);
    let report_b = |done, total| sum.report(&progress, 1, done, total);
    let of = |source: &engine::read::ArchiveSource, failure: Failure| {
        let message = format!("{}: {}", source.shown().display(), failure.message);
        Failure {
            message: if failure.message.contains(&*source.shown().to_string_lossy()) {
                failure.message
            } else {
                message
            },
            ..failure
        }
    };
    let (a, fitted) =
        browse::unlock(&source_a, &offered, &report_a, cancel).map_err(|failure| of(&source_a, failure))?;
    let offered_b = own_b.unwrap_or_else(|| keys::also(config, &args.b, &offered, fitted));
    let (b, _) = browse::unlock(&source_b, &offered_b, &report_b, cancel).map_err(|failure| of(&source_b, failure))?;
    for browser in [&a, &b] {
        browse::streamed(browser, "to its end");
    }
    let watch = Watch::start(args.output.progress, "comparing", &progress);
    let comparison = engine_browse::compare(&a, &b, args.all, cancel);
    drop(watch);
    let comparison = comparison?;
    let same = comparison.is_same();
    if args.output.json {
        let status = if same { "same" } else { "different" };
        output::json(&Document { status, a: a.label(), b: b.label(), comparison: &comparison })?;
    } else {
        output::lines(&lines(&comparison))?;
    }
    Ok(if same { DONE } else { FAILED })
}

/// Progress of both archives in one.
#[derive(Default)]
struct Sum {
    done: [AtomicU64; 2],
    total: [AtomicU64; 2],
}

impl Sum {
    fn report(&self, progress: &Progress, which: usize, done: u64, total: Option<u64>) {
        self.done[which].store(done, Ordering::Relaxed);
        self.total[which].store(total.unwrap_or(0), Ordering::Relaxed);
        let all = |counters: &[AtomicU64; 2]| counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        progress.report(all(&self.done), Some(all(&self.total)));
    }
}

fn lines(comparison: &Comparison) -> Vec<String> {
    let Comparison { added, removed, changed, same } = comparison;
    let line = |mark: char, difference: &Difference| format!("{mark} {}{}", difference.path, remark(difference));
    let mut lines: Vec<String> = removed.iter().map(|difference| line('-', difference)).collect();
    lines.extend(added.iter().map(|difference| line('+', difference)));
    lines.extend(changed.iter().map(|difference| line('~', difference)));
    let (added, removed, changed) = (added.len(), removed.len(), changed.len());
    lines.push(if comparison.is_same() {
        format!("No differences in {}", text::count(*same, "entry", "entries"))
    } else {
        format!("{removed} removed, {added} added, {changed} changed, {same} the same")
    });
    lines
}

fn remark(difference: &Difference) -> String {
    match (difference.before, difference.after) {
        (Some(before), Some(after)) if before.kind != after.kind => {
            format!("  ({} -> {})", described(before), described(after))
        }
        (Some(before), Some(after)) if before.size != after.size => {
            format!("  ({} -> {})", exact(before.size, after.size), exact(after.size, before.size))
        }
        (Some(State { kind: ItemKind::File, size }), Some(_)) => format!("  ({}, other content)", text::bytes(size)),
        (Some(State { kind: ItemKind::Symlink, .. }), Some(_)) => "  (points elsewhere)".to_owned(),
        (Some(_), Some(_)) => "  (other content)".to_owned(),
        (Some(one), None) | (None, Some(one)) => format!("  ({})", described(one)),
        (None, None) => String::new(),
    }
}

/// A size that reads differently from the other one.
fn exact(size: u64, other: u64) -> String {
    if text::bytes(size) == text::bytes(other) { format!("{size} B") } else { text::bytes(size) }
}

fn described(state: State) -> String {
    match state.kind {
        ItemKind::File => text::bytes(state.size),
        ItemKind::Directory => "directory".to_owned(),
        ItemKind::Symlink => "symbolic link".to_owned(),
        ItemKind::HardLink => "hard link".to_owned(),
        ItemKind::Other => "neither a file nor a directory".to_owned(),
    }
}
