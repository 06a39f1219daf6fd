//! Lets time pass in a sample config directory: `age DIR HOURS [--scatter PERCENT]`. HOURS are counted from
//! 2026-11-20 00:00 UTC, where a new sample ends; `--scatter` then changes so many of the database's pages.

#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = Vec::new();
    let mut scattered = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--scatter" {
            scattered = Some(arguments.next().ok_or("--scatter needs a value")?.parse::<f64>()?);
        } else {
            words.push(argument);
        }
    }
    let [dir, hours] = &words[..] else {
        return Err("usage: age DIR HOURS [--scatter PERCENT]".into());
    };
    let dir = PathBuf::from(dir);
    let begun = Instant::now();
    let done = sample::age(&dir, Duration::from_secs(hours.parse::<u64>()? * 3600))?;
    println!(
        "{} states came, {} went in {} nights, repacked {} times, database {} bytes, {:.1} s",
        done.written,
        done.purged,
        done.purges,
        done.repacks,
        done.database_bytes,
        begun.elapsed().as_secs_f64()
    );
    if let Some(percent) = scattered {
        println!("{} pages changed", sample::scatter(&dir, percent / 100.0)?);
    }
    Ok(())
}
