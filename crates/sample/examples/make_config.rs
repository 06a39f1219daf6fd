//! Makes a sample config directory: `make_config DIR [--size 1G] [--seed N]`.

#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let mut dir = None;
    let mut options = sample::Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--size" => options.database_bytes = size(&arguments.next().ok_or("--size needs a value")?)?,
            "--seed" => {
                let value = arguments.next().ok_or("--seed needs a value")?;
                options.seed = value.parse().map_err(|_| format!("{value} is not a number"))?;
            }
            _ => dir = Some(PathBuf::from(argument)),
        }
    }
    let dir = dir.ok_or("usage: make_config DIR [--size 1G] [--seed N]")?;
    let begun = Instant::now();
    let made = sample::create(&dir, &options).map_err(|error| error.to_string())?;
    println!(
        "{} files, {} entities, {} states, database {} bytes, {:.1} s",
        made.files,
        made.entities,
        made.states_rows,
        made.database_bytes,
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// `64M` or `1G` (powers of 1024), or plain bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        other => return Err(format!("{other} is not one of K, M, G")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text} is not a size"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is too large"))
}
