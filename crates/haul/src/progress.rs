//! Shows a running job on standard error: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use engine::{Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use store::{outbound::UploadMeter, retry::Pause};

use crate::{args::ProgressArg, text};

const REDRAW: Duration = Duration::from_millis(150);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Draws until it is dropped.
pub(crate) struct Display {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the job is called while it runs, and whether it names the stage that limits it.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) verb: &'static str,
    pub(crate) encrypted: bool,
    pub(crate) names_limit: bool,
}

impl Job {
    /// An archive is read; nothing of note limits that but the machine.
    pub(crate) fn reading(verb: &'static str) -> Self {
        Self { verb, encrypted: false, names_limit: false }
    }
}

impl Display {
    pub(crate) fn start(how: ProgressArg, job: Job, progress: Arc<Progress>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let bar = match how {
            ProgressArg::None => return Self { stop, thread: None },
            ProgressArg::Bar => true,
            ProgressArg::Plain => false,
            ProgressArg::Auto => stderr().is_terminal(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            if bar { draw_bar(job, &progress, &stopped) } else { print_lines(job, &progress, &stopped) }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn draw_bar(job: Job, progress: &Progress, stop: &AtomicBool) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix} {bar:16.cyan/dim} {percent:>3}%  {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─"));
    bar.set_prefix(job.verb);
    while !stop.load(Ordering::Relaxed) {
        let now = Figures::of(job, progress);
        bar.set_length(now.total.max(1));
        bar.set_position(now.done.min(now.total));
        bar.set_message(now.message());
        std::thread::park_timeout(REDRAW);
    }
    bar.finish_and_clear();
}

fn print_lines(job: Job, progress: &Progress, stop: &AtomicBool) {
    let mut next = Instant::now() + LINE_EVERY;
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        if Instant::now() < next {
            continue;
        }
        next += LINE_EVERY;
        let now = Figures::of(job, progress);
        let percent = now.done.saturating_mul(100).checked_div(now.total).unwrap_or(0).min(100);
        // A closed standard error is no reason to stop a backup.
        let _ = writeln!(stderr(), "{} {percent}%, {}", job.verb, now.message());
    }
}

/// Why nothing moves: which destination Haul waits for and when the next attempt is due, or what on this machine does
/// not answer.
fn waiting(progress: &Progress) -> Option<String> {
    let Some(waiting) = progress.waiting() else { return progress.standstill() };
    let left = text::duration(waiting.until.saturating_duration_since(Instant::now()).as_secs_f64());
    Some(match waiting.what {
        Pause::Retry(reason) => format!("{reason}; next try in {left}"),
        Pause::Answer => format!("everything is sent; waiting up to {left} for the server's answer"),
    })
}

fn behind(upload: &UploadMeter) -> String {
    if upload.is_finishing() {
        return format!("{}: checking the copy", upload.label());
    }
    let limit = if upload.is_limited() { ", limited by the rate limit" } else { "" };
    if let Some(length) = upload.again_of() {
        let (sent, all) = (text::bytes(upload.acknowledged()), text::bytes(length));
        return format!("{}: sending it again with its sizes, {sent} of {all}{limit}", upload.label());
    }
    format!("{}: sending the rest, {} sent so far{limit}", upload.label(), text::bytes(upload.acknowledged()))
}

struct Figures {
    job: Job,
    phase: Phase,
    done: u64,
    total: u64,
    seconds: f64,
    limit: &'static str,
    // Why nothing moves, or what should be known although it does.
    waiting: Option<String>,
    remark: Option<String>,
    // How far behind the slowest remote destination is.
    behind: Option<String>,
}

impl Figures {
    fn of(job: Job, progress: &Progress) -> Self {
        Self {
            job,
            phase: progress.phase(),
            done: progress.done(),
            total: progress.total(),
            seconds: progress.running().as_secs_f64(),
            limit: progress.limited_by(job.encrypted).as_str(),
            waiting: waiting(progress),
            remark: progress.remark(),
            behind: progress
                .uploads()
                .iter()
                .filter(|upload| !upload.has_ended())
                .min_by_key(|upload| upload.acknowledged())
                .map(|upload| behind(upload)),
        }
    }

    fn message(&self) -> String {
        if let Some(waiting) = &self.waiting {
            return waiting.clone();
        }
        match self.phase {
            Phase::Planning => "scanning".to_owned(),
            Phase::Finishing => self.behind.clone().unwrap_or_else(|| "flushing to the disk".to_owned()),
            Phase::Checking => {
                format!("checking what was unpacked, {} of {}", text::bytes(self.done), text::bytes(self.total))
            }
            Phase::Starting => "waiting for Home Assistant to start".to_owned(),
            Phase::Rereading => "reading it back for its SHA-256".to_owned(),
            Phase::Measuring | Phase::Running => {
                let rate = self.done as f64 / self.seconds.max(0.001);
                let left = self.total.saturating_sub(self.done) as f64 / rate.max(1.0);
                let limit = if self.phase == Phase::Measuring {
                    ", measuring (1 of 2)".to_owned()
                } else if self.job.names_limit {
                    format!(", limited by {}", self.limit)
                } else {
                    String::new()
                };
                let remark = self.remark.as_ref().map_or_else(String::new, |remark| format!("; {remark}"));
                // The most wanted first: a narrow terminal cuts the end off.
                format!(
                    "{}/s, {} left{limit}, {} of {}{remark}",
                    text::bytes(rate as u64),
                    text::duration(left),
                    text::bytes(self.done),
                    text::bytes(self.total)
                )
            }
        }
    }
}

/// Shows what is being done if there are no figures: a changing line on a terminal, lines elsewhere. Gone when dropped.
pub(crate) struct Steps {
    bar: Option<ProgressBar>,
    is_plain: bool,
}

impl Steps {
    pub(crate) fn start(how: ProgressArg) -> Self {
        let is_bar = match how {
            ProgressArg::None => return Self { bar: None, is_plain: false },
            ProgressArg::Bar => true,
            ProgressArg::Plain => false,
            ProgressArg::Auto => stderr().is_terminal(),
        };
        if !is_bar {
            return Self { bar: None, is_plain: true };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{spinner:.cyan} {elapsed:>3}  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(REDRAW);
        Self { bar: Some(bar), is_plain: false }
    }

    pub(crate) fn say(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        } else if self.is_plain {
            // A closed standard error is no reason to stop.
            let _ = writeln!(stderr(), "{what}");
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
