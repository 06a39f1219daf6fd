//! `haul receive` as the machine on the other side, for the tests that need one.
// Not every test reads on.
#![allow(dead_code)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

/// A machine that receives, until it is dropped.
pub(crate) struct Receiving {
    pub(crate) child: Child,
    pub(crate) lines: BufReader<ChildStdout>,
    pub(crate) url: String,
    pub(crate) code: String,
}

impl Receiving {
    /// Starts `receive`, which must listen at a free port of this machine, and reads what it says about itself.
    pub(crate) fn start(receive: &mut Command, title: &str) -> Self {
        let mut child = receive.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let first = line(&mut lines);
        let url = format!("haul://{}", first.rsplit(' ').next().unwrap());
        assert!(first.starts_with(title), "{first}");
        let hint = line(&mut lines);
        assert!(hint.starts_with("Only this machine can reach it"), "{hint}");
        let code = line(&mut lines).split_whitespace().nth(2).unwrap().to_owned();
        Self { child, lines, url, code }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says next.
pub(crate) fn line(lines: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}
