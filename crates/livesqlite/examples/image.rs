//! Reads a live database as a backup would, and says how fast: `image DATABASE [OUT]`. With `check` as OUT the image
//! goes through the structural check instead of a file.
#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use livesqlite::check::ImageChecker;
use livesqlite::{Options, Snapshot};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let database = words.next().ok_or("which database?")?;
    let out = words.next();
    let check = out.as_deref() == Some("check");
    let mut file = if check { None } else { out.map(File::create).transpose()? };
    let started = Instant::now();
    let mut snapshot = Snapshot::open(Path::new(&database), &Options::default())?;
    println!("{:?}, opened in {:?}", snapshot.info(), started.elapsed());
    let mut checker = ImageChecker::new();
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0_u64;
    loop {
        let count = snapshot.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        total += count as u64;
        if check {
            checker.push(&buffer[..count]);
        }
        if let Some(file) = &mut file {
            file.write_all(&buffer[..count])?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{total} bytes in {seconds:.3} s: {:.2} GB/s", total as f64 / seconds / 1e9);
    if check {
        println!("{:?}", checker.finish());
    }
    Ok(())
}
