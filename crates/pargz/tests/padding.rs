//! Members of a length that was announced before they were compressed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::Mutex,
};

use common::{compressed, inputs, noise, records, threads};
use pargz::{
    Announced, CompressError, Compressor, IndexedInflater, InflateError, Inflater, Level, MIN_PADDING, PIECE, Summary,
    read_range,
};

fn to_length(data: &[u8], length: u64, n: usize) -> Result<(Vec<u8>, Summary), CompressError> {
    let mut member = Vec::new();
    let options = Compressor::new().level(Level::Fast).threads(threads(n));
    let announced = Announced { length, piece: &|_, _| {} };
    let summary = options.compress_to_length(data, &mut member, announced)?;
    Ok((member, summary))
}

/// Reads it back every way there is.
fn check(member: &[u8], summary: &Summary, data: &[u8]) {
    let mut inflater = Inflater::new(member);
    let mut back = Vec::new();
    inflater.read_to_end(&mut back).unwrap();
    assert!(back == data, "streamed");
    inflater.finish().unwrap().nothing_follows().unwrap();
    let body = member.to_vec();
    let back = IndexedInflater::new(&summary.pieces).threads(threads(2)).inflate(&body, |reader| {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).map(|_| back)
    });
    assert!(back.unwrap().unwrap() == data, "by the table");
    let from = data.len() as u64 / 2;
    let mut part = Vec::new();
    read_range(&body, &summary.pieces, from..u64::MAX).read_to_end(&mut part).unwrap();
    assert!(part == data[from as usize..], "a range");
}

#[test]
fn every_length_is_reached_to_the_byte() {
    let data = records(3000, 1);
    let (plain, without) = compressed(&data, Level::Fast, 1);
    for more in (MIN_PADDING..MIN_PADDING + 70).chain([65_535, 65_536, 70_000, 300_001]) {
        let length = plain.len() as u64 + more;
        let (member, summary) = to_length(&data, length, 1).unwrap();
        assert_eq!((member.len() as u64, summary.bytes_out), (length, length));
        assert_eq!(summary.pieces, without.pieces, "the table does not change");
        check(&member, &summary, &data);
    }
}

#[test]
fn any_data_can_be_filled() {
    for (name, data) in inputs() {
        let (plain, _) = compressed(&data, Level::Fast, 2);
        let length = plain.len() as u64 + 4321;
        let (member, summary) = to_length(&data, length, 2).unwrap();
        assert_eq!(member.len() as u64, length, "{name}");
        check(&member, &summary, &data);
    }
}

#[test]
fn too_short_a_length_fails_before_it_is_exceeded() {
    let data = noise(3 * PIECE, 1);
    let exact = compressed(&data, Level::Fast, 2).0.len() as u64;
    assert_eq!(to_length(&data, exact, 2).unwrap().0.len() as u64, exact);
    for length in [0, 19, 20, 1000, exact / 2, exact - 1, exact + 1, exact + 4] {
        let mut member = Vec::new();
        let announced = Announced { length, piece: &|_, _| {} };
        let options = Compressor::new().level(Level::Fast).threads(threads(2));
        let result = options.compress_to_length(&data[..], &mut member, announced);
        assert!(matches!(result, Err(CompressError::TooLong)), "{length}");
        assert!(member.len() as u64 <= length);
    }
}

#[test]
fn the_pieces_are_reported_in_order() {
    let data = records(6 * PIECE + 5, 2);
    let reported = Mutex::new(Vec::new());
    let (plain, summary) = compressed(&data, Level::Fast, 1);
    let announced = Announced {
        length: plain.len() as u64 + 100,
        piece: &|number, length| {
            let mut reported = reported.lock().unwrap();
            assert_eq!(reported.len() as u64, number);
            reported.push(length);
        },
    };
    let options = Compressor::new().level(Level::Fast).threads(threads(3));
    options.compress_to_length(&data[..], std::io::sink(), announced).unwrap();
    assert_eq!(reported.into_inner().unwrap(), summary.pieces.lengths);
}

#[test]
fn a_changed_byte_in_the_padding_is_damage() {
    let data = records(100, 3);
    let plain = compressed(&data, Level::Fast, 1).0.len();
    let (member, summary) = to_length(&data, plain as u64 + 43, 1).unwrap();
    for at in plain - 10..plain + 33 {
        for bit in 0..8 {
            let mut damaged = member.clone();
            damaged[at] ^= 1 << bit;
            let result = IndexedInflater::new(&summary.pieces).threads(threads(1)).inflate(&damaged, |_| ());
            assert!(matches!(result, Err(InflateError::Corrupt { .. })), "byte {at}, bit {bit}");
        }
    }
}

const PYTHON: &str = "
import gzip, io, sys, zlib
member = sys.stdin.buffer.read()
reader = zlib.decompressobj(31)
data = reader.decompress(member)
assert reader.eof and not reader.unused_data, 'not exactly one member'
assert gzip.GzipFile(fileobj=io.BytesIO(member)).read() == data
sys.stdout.buffer.write(data)
";

#[test]
fn other_programs_read_filled_members() {
    let data = records(2 * PIECE + 17, 4);
    let plain = compressed(&data, Level::Fast, 2).0.len() as u64;
    let readers: [&[&str]; 4] = [&["gzip", "-dc"], &["igzip", "-dc"], &["pigz", "-dc"], &["python3", "-c", PYTHON]];
    for more in [20, 21, 22, 23, 24, 5_000_003] {
        let (member, _) = to_length(&data, plain + more, 2).unwrap();
        for reader in readers {
            let Ok(mut child) =
                Command::new(reader[0]).args(&reader[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
            else {
                continue;
            };
            let mut stdin = child.stdin.take().unwrap();
            let output = std::thread::scope(|scope| {
                let member = &member;
                scope.spawn(move || stdin.write_all(member));
                child.wait_with_output().unwrap()
            });
            assert!(output.status.success() && output.stdout == data, "{reader:?} with {more} bytes of padding");
        }
    }
}
