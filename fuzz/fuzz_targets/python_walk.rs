//! Any bytes as a tar that Python's `tarfile` walks.
#![no_main]

use std::io;

use habackup::tar::python::{End, Input, Walk};
use haul_fuzz::{choice, mend_tar};
use libfuzzer_sys::fuzz_target;

struct Bytes<'a>(&'a [u8]);

impl Input for Bytes<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (now, rest) = self.0.split_at(buffer.len().min(self.0.len()));
        buffer[..now.len()].copy_from_slice(now);
        self.0 = rest;
        Ok(now.len())
    }

    fn pass(&mut self, count: u64) -> io::Result<u64> {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.0.len());
        self.0 = &self.0[count..];
        Ok(count as u64)
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = choice(data) else { return };
    let mut bytes = rest.to_vec();
    if mode & 1 == 1 {
        mend_tar(&mut bytes);
    }
    let mut walk = Walk::new(Bytes(&bytes));
    let mut members = 0;
    loop {
        match walk.step() {
            Ok(member) => {
                members += 1;
                assert!(member.header_offset < member.data_offset);
                assert!(walk.position() <= bytes.len() as u64);
                let mut body = vec![0; walk.left().min(100) as usize];
                walk.read(&mut body).expect("memory does not fail");
            }
            Err(End::Input(error)) => panic!("memory does not fail: {error}"),
            Err(_) => break,
        }
    }
    assert!(members <= bytes.len() / 512, "{members} members in {} bytes", bytes.len());
});
