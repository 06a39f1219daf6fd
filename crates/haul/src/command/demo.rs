//! `haul demo`: backs up a sample installation whose recorder keeps writing, and proves that it can be restored.

use std::{
    fs,
    io::{stdin, stdout},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sample::{RecorderProcess, USER};
use store::Cancellation;

use crate::{
    args::DemoArgs,
    command,
    failure::{DAMAGED, DONE, FAILED, Failure},
    output, text,
};

/// A real recorder commits every few seconds; the demo's is far busier.
const COMMIT_EVERY_MS: u64 = 20;
/// What must come back to the last byte: users, registries, secrets, automations.
const COMPARED: [&str; 6] =
    [".storage", ".HA_VERSION", "configuration.yaml", "automations.yaml", "secrets.yaml", "custom_components"];

/// Where the demo works; removed at the end unless it is to be kept.
struct Workplace {
    path: PathBuf,
    keep: bool,
}

impl Workplace {
    fn new(keep: Option<&PathBuf>) -> Result<Self, Failure> {
        let (path, keep) = match keep {
            Some(path) => (path.clone(), true),
            None => (std::env::temp_dir().join(format!("haul-demo-{}", std::process::id())), false),
        };
        let failed = |error: std::io::Error| {
            Failure::new(FAILED, format!("can't make {}: {}", path.display(), engine::plain_reason(&error)))
                .hint("give a directory that you may write to: --keep DIR")
        };
        fs::create_dir_all(&path).map_err(failed)?;
        if fs::read_dir(&path).map_err(failed)?.next().is_some() {
            return Err(Failure::usage(format!("{} is not empty", path.display())).hint("give a new directory"));
        }
        Ok(Self { path, keep })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

pub(crate) fn run(args: &DemoArgs, cancel: &Cancellation) -> Result<u8, Failure> {
    let workplace = Workplace::new(args.keep.as_ref())?;
    let config = workplace.path.join("config");
    let say = |line: String| output::lines(&[line]);

    say(format!("1. A sample Home Assistant with {} MB of history in {}", args.size, config.display()))?;
    let options = sample::Options { database_bytes: args.size.saturating_mul(1_000_000), seed: 1 };
    let made = sample::create(&config, &options).map_err(failed)?;
    let files = text::count(made.files, "file", "files");
    say(format!(
        "   {files}, {}, {}",
        text::count(made.entities as u64, "entity", "entities"),
        text::count(made.states_rows, "state", "states")
    ))?;

    say(format!("2. Its recorder runs and commits new states every {COMMIT_EVERY_MS} ms"))?;
    let recorder = start_recorder(&config)?;
    // The states there are before the backup begins must be in it.
    std::thread::sleep(Duration::from_millis(300));

    say("3. haul backup, while it runs".to_owned())?;
    let report = command::backup::simple(&config, workplace.path.clone(), cancel)?;
    command::backup::print(&report)?;
    let written = recorder.stop().map_err(failed)?;
    say(format!(
        "   meanwhile the recorder made {}; {} failed; 99 % took less than {:.1} ms",
        text::count(written.commits, "commit", "commits"),
        written.busy_errors,
        f64::from(written.p99_us) / 1000.0
    ))?;

    say("4. haul verify".to_owned())?;
    let Some(archive) = report.local_path().map(Path::to_owned) else { return Ok(FAILED) };
    let verdict = command::verify::simple(&archive, cancel)?;
    if verdict != DONE {
        return Ok(verdict);
    }

    let restored = workplace.path.join("restored");
    say(format!("5. haul restore --into {}", restored.display()))?;
    command::restore::simple(&archive, &restored, cancel)?;

    say("6. Comparing".to_owned())?;
    compare(&config, &restored, made.states_rows)?;
    if workplace.keep {
        say(format!(
            "Everything is kept in {}. The sample's user is {:?}, its password {:?}.",
            workplace.path.display(),
            USER.0,
            USER.1
        ))?;
    }
    Ok(DONE)
}

fn start_recorder(config: &Path) -> Result<RecorderProcess, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(FAILED, format!("can't find this program: {}", engine::plain_reason(&error))))?;
    let mut command = Command::new(program);
    command.arg("demo-recorder").arg(config).arg("--interval-ms").arg(COMMIT_EVERY_MS.to_string());
    RecorderProcess::start(command, config).map_err(failed)
}

/// The child process: POSIX locks belong to a process, so writer and backup must not share one.
pub(crate) fn record(directory: &Path, interval_ms: u64) -> Result<u8, Failure> {
    sample::run_recorder(directory, Duration::from_millis(interval_ms), stdin(), stdout()).map_err(failed)?;
    Ok(DONE)
}

fn compare(config: &Path, restored: &Path, states_before: u64) -> Result<(), Failure> {
    let mut files = 0;
    for name in COMPARED {
        files += same(&config.join(name), &restored.join(name))?;
    }
    let history = sample::history(restored).map_err(failed)?;
    if history.integrity != "ok" {
        return Err(Failure::new(DAMAGED, format!("the restored history is damaged: {}", history.integrity)));
    }
    if history.states < states_before {
        return Err(Failure::new(
            DAMAGED,
            format!("the restored history has only {} of {states_before} states", history.states),
        ));
    }
    let newer = text::count(history.states - states_before, "state", "states");
    output::lines(&[
        format!(
            "   {} of users, registries, settings and code: identical, byte for byte",
            text::count(files, "file", "files")
        ),
        format!(
            "   history: integrity ok, every state from before the backup is there, plus {newer} written while the \
             backup ran"
        ),
        "The backup restores.".to_owned(),
    ])
}

/// Compares a file or a tree; says how many files were compared. `.storage/tmp…` and `core.restore_state` were written
/// after the backup by the running recorder, and caches are left out of a backup on purpose.
fn same(ours: &Path, theirs: &Path) -> Result<u64, Failure> {
    let differs = |what: &str| Failure::new(DAMAGED, format!("{} {what}", theirs.display()));
    let name = ours.file_name().unwrap_or_default().as_encoded_bytes();
    if name.starts_with(b"tmp")
        || name == b"core.restore_state"
        || name == b"__pycache__"
        || name.windows(9).any(|part| part == b".corrupt.")
    {
        return Ok(0);
    }
    if ours.is_dir() {
        let mut files = 0;
        let entries = fs::read_dir(ours).map_err(|error| differs(&engine::plain_reason(&error)))?;
        for entry in entries.flatten() {
            files += same(&entry.path(), &theirs.join(entry.file_name()))?;
        }
        return Ok(files);
    }
    match (fs::read(ours), fs::read(theirs)) {
        (Ok(ours), Ok(theirs)) if ours == theirs => Ok(1),
        (Ok(_), Ok(_)) => Err(differs("differs")),
        _ => Err(differs("is missing")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn failed(error: sample::Error) -> Failure {
    Failure::new(FAILED, error.to_string())
}
