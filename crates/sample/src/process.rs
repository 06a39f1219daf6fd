//! The recorder in its own process: the child's side ([`run_recorder`]) and the parent's ([`RecorderProcess`]). A
//! closed standard input means stop, and the answer is one line of JSON.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Error;
use crate::recorder::{Recorded, Recorder};

/// What a recorder did, in numbers that fit one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedSummary {
    /// Transactions that succeeded.
    pub commits: u64,
    /// Rows of `states` they hold.
    pub rows: u64,
    /// How often SQLite answered "busy" or "locked".
    pub busy_errors: u64,
    /// The first `state_id` written; 0 if none was.
    pub first_state_id: i64,
    /// The last `state_id` written; 0 if none was.
    pub last_state_id: i64,
    /// Median commit latency in microseconds.
    pub p50_us: u32,
    /// 99th percentile.
    pub p99_us: u32,
    /// The slowest commit.
    pub max_us: u32,
}

impl From<&Recorded> for RecordedSummary {
    fn from(recorded: &Recorded) -> Self {
        let mut sorted = recorded.latencies_us.clone();
        sorted.sort_unstable();
        // Nearest rank; 0 where nothing was committed.
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self {
            commits: recorded.commits,
            rows: recorded.rows,
            busy_errors: recorded.busy_errors,
            first_state_id: recorded.first_state_id.unwrap_or(0),
            last_state_id: recorded.last_state_id.unwrap_or(0),
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: at(1.0),
        }
    }
}

impl RecordedSummary {
    /// One JSON object on one line, without the line end.
    pub fn to_json(&self) -> String {
        json!({
            "commits": self.commits,
            "rows": self.rows,
            "busy_errors": self.busy_errors,
            "first_state_id": self.first_state_id,
            "last_state_id": self.last_state_id,
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "max_us": self.max_us,
        })
        .to_string()
    }

    /// Reads what [`RecordedSummary::to_json`] wrote; `None` for anything else.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text.trim()).ok()?;
        let whole = |key: &str| value.get(key)?.as_u64();
        let micros = |key: &str| u32::try_from(whole(key)?).ok();
        Some(Self {
            commits: whole("commits")?,
            rows: whole("rows")?,
            busy_errors: whole("busy_errors")?,
            first_state_id: value.get("first_state_id")?.as_i64()?,
            last_state_id: value.get("last_state_id")?.as_i64()?,
            p50_us: micros("p50_us")?,
            p99_us: micros("p99_us")?,
            max_us: micros("max_us")?,
        })
    }
}

/// The child's whole work: records until `stop` ends (standard input closed by the parent, or the parent
/// gone), then writes one line of JSON to `answer`.
pub fn run_recorder(
    dir: &Path,
    interval: Duration,
    mut stop: impl Read,
    mut answer: impl Write,
) -> Result<RecordedSummary, Error> {
    let recorder = Recorder::start(dir, interval)?;
    // Input on standard input is ignored; an unreadable one counts as closed.
    let _ = io::copy(&mut stop, &mut io::sink());
    let summary = RecordedSummary::from(&recorder.stop()?);
    writeln!(answer, "{}", summary.to_json())
        .and_then(|()| answer.flush())
        .map_err(|error| Error::Recorder(format!("could not answer: {error}")))?;
    Ok(summary)
}

/// A child process that runs [`run_recorder`]. Dropped without [`RecorderProcess::stop`], it is killed.
#[derive(Debug)]
pub struct RecorderProcess {
    child: Child,
}

impl RecorderProcess {
    /// Starts `command` (which must call [`run_recorder`] on `dir` with its standard streams) and returns once
    /// the first commit is in the write-ahead log.
    pub fn start(mut command: Command, dir: &Path) -> Result<Self, Error> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Error::Recorder(format!("could not be started: {error}")))?;
        let mut process = Self { child };
        // Only the size is read: opening the log here would disturb the locks of this process.
        let log = dir.join("home-assistant_v2.db-wal");
        let limit = Instant::now() + Duration::from_secs(30);
        while std::fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
            if let Ok(Some(status)) = process.child.try_wait() {
                return Err(Error::Recorder(format!("ended before its first commit ({status})")));
            }
            if Instant::now() > limit {
                return Err(Error::Recorder("wrote nothing for 30 seconds".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(process)
    }

    /// Asks the child to stop and waits for its answer.
    pub fn stop(mut self) -> Result<RecordedSummary, Error> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        if let Some(mut answer) = self.child.stdout.take() {
            answer.read_to_string(&mut text).map_err(|error| Error::Recorder(format!("gave no answer: {error}")))?;
        }
        let status = self.child.wait().map_err(|error| Error::Recorder(format!("cannot be waited for: {error}")))?;
        RecordedSummary::from_json(&text)
            .filter(|_| status.success())
            .ok_or_else(|| Error::Recorder(format!("failed ({status})")))
    }
}

impl Drop for RecorderProcess {
    fn drop(&mut self) {
        // Both fail harmlessly after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
