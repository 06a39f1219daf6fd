//! Running the other implementations that archives are exchanged with: Python's `tarfile` and GNU tar.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a Python program on an input; its standard output.
pub(crate) fn python(program: &str, arguments: &[&Path], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("python3");
    command.arg("-c").arg(program).args(arguments).env("PYTHONUTF8", "1");
    run(command, input)
}

/// Runs GNU tar on an input; its standard output.
pub(crate) fn gnu_tar(arguments: &[&str], directory: &Path, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.args(arguments).current_dir(directory).env("LC_ALL", "C").env("TZ", "UTC");
    run(command, input)
}

fn run(mut command: Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A program that stops early is judged by its exit status.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
