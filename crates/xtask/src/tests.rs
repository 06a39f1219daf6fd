//! Every test of the workspace, several test programs at a time: many of ours wait for a server, a browser or a kernel
//! that starts, and `cargo test` runs one program after the other.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write, stdout},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A program with tests, as cargo has built it.
struct Program {
    /// `engine backup`
    name: String,
    executable: PathBuf,
    /// The directory of its crate, where cargo would start it.
    directory: PathBuf,
}

/// Builds all tests with cargo's own `arguments`, runs them, `at_a_time` programs beside each other, and the examples in
/// the documentation after them; what fails is run once more, alone. Every program's output appears whole. Fails when a test does, after all have run.
pub(crate) fn run(arguments: &[String], at_a_time: usize) -> Result<()> {
    let programs = build(arguments)?;
    if programs.is_empty() {
        bail!("cargo built no tests");
    }
    let waiting = Mutex::new(VecDeque::from(programs));
    let ended: Mutex<Vec<(Program, Duration, bool)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(program) = next else { return };
                    let (began, (passed, output)) = (Instant::now(), one(&program));
                    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut out = stdout().lock();
                    let _ = writeln!(out, "     Running {} ({})", program.name, program.executable.display());
                    let _ = out.write_all(&output);
                    let _ = out.flush();
                    ended.push((program, began.elapsed(), passed));
                }
            });
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    // What fails beside others may only lack a core: it has to pass alone.
    for (program, _, passed) in ended.iter_mut().filter(|(_, _, passed)| !passed) {
        let (again, output) = one(program);
        writeln!(stdout(), "     Running {} again, alone", program.name)?;
        stdout().write_all(&output)?;
        *passed = again;
    }
    ended.sort_by_key(|(_, took, _)| std::cmp::Reverse(*took));
    let mut failed: Vec<&str> =
        ended.iter().filter(|(_, _, passed)| !passed).map(|(program, ..)| program.name.as_str()).collect();
    let longest: Vec<String> =
        ended.iter().take(12).map(|(program, took, _)| format!("{} {} s", program.name, took.as_secs())).collect();
    let documented = cargo().args(["test", "--doc"]).args(arguments).status().context("cargo did not start")?;
    if !documented.success() {
        failed.push("the examples in the documentation");
    }
    writeln!(stdout(), "longest: {}", longest.join(", "))?;
    if failed.is_empty() {
        return Ok(());
    }
    bail!("these failed: {}", failed.join(", "));
}

fn cargo() -> Command {
    Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

fn build(arguments: &[String]) -> Result<Vec<Program>> {
    let mut child = cargo()
        .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo did not start")?;
    let mut programs = Vec::new();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        programs.extend(program(&message));
    }
    if !child.wait()?.success() {
        bail!("the tests don't build");
    }
    Ok(programs)
}

fn program(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let krate = directory.file_name()?.to_str()?.to_owned();
    let target = message["target"]["name"].as_str()?;
    let name = if target == krate { krate } else { format!("{krate} {target}") };
    Some(Program { name, executable: message["executable"].as_str()?.into(), directory })
}

/// Whether its tests passed, and what it printed.
fn one(program: &Program) -> (bool, Vec<u8>) {
    let ran = Command::new(&program.executable)
        .current_dir(&program.directory)
        .env("CARGO_MANIFEST_DIR", &program.directory)
        .stdin(Stdio::null())
        .output();
    match ran {
        Ok(output) => (output.status.success(), [output.stdout, output.stderr].concat()),
        Err(error) => (false, format!("it did not start: {error}\n").into_bytes()),
    }
}
