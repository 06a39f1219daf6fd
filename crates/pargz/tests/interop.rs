//! What others make of our members, and we of theirs. Programs that are not installed are skipped.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    thread,
};

use common::{compressed, inputs, records};
use pargz::{Inflater, Level, PIECE};

/// Runs a filter; `None` if the program is not installed.
fn filter(command: &[&str], input: Vec<u8>) -> Option<Vec<u8>> {
    let mut child =
        Command::new(command[0]).args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let feeder = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let fed = feeder.join().unwrap();
    assert!(output.status.success(), "{command:?} failed");
    fed.unwrap();
    Some(output.stdout)
}

const PYTHON: &str = "
import sys, zlib
member = sys.stdin.buffer.read()
reader = zlib.decompressobj(31)
data = reader.decompress(member)
assert reader.eof and not reader.unused_data, 'not exactly one member'
sys.stdout.buffer.write(data)
";

#[test]
fn other_programs_read_our_members_as_exactly_one() {
    let readers: [&[&str]; 4] = [&["gzip", "-dc"], &["igzip", "-dc"], &["pigz", "-dc"], &["python3", "-c", PYTHON]];
    for (name, data) in inputs() {
        for level in [Level::Fast, Level::Balanced, Level::Small] {
            if level == Level::Small && data.len() > 2 * PIECE {
                continue; // slow, and no different from the shorter ones
            }
            let (member, _) = compressed(&data, level, 2);
            for reader in readers {
                if let Some(read) = filter(reader, member.clone()) {
                    assert!(read == data, "{reader:?} on {name} at {level:?}");
                }
            }
        }
    }
}

#[test]
fn members_of_other_programs_are_read() {
    let writers: [&[&str]; 5] =
        [&["gzip", "-1c"], &["gzip", "-9c"], &["igzip", "-0c"], &["igzip", "-3c"], &["pigz", "-p2", "-c"]];
    for length in [0, 1, 100_000, 2 * PIECE + 3] {
        let data = records(length, 5);
        for writer in writers {
            if let Some(member) = filter(writer, data.clone()) {
                let mut read = Vec::new();
                let mut inflater = Inflater::new(&member[..]);
                inflater.read_to_end(&mut read).unwrap();
                assert!(read == data, "{writer:?} of {length} bytes");
                inflater.finish().unwrap().nothing_follows().unwrap();
            }
        }
    }
}
