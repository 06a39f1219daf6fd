//! Records into a sample config directory until standard input closes, then prints one line of JSON:
//! `recorder DIR [INTERVAL_MS [LATENCIES]]`. The file LATENCIES gets one line per commit: microseconds.

#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sample::{RecordedSummary, Recorder};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: recorder DIR [INTERVAL_MS [LATENCIES]]")?);
    let millis = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let recorder = Recorder::start(&dir, Duration::from_millis(millis))?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    let done = recorder.stop()?;
    if let Some(path) = arguments.next() {
        let lines: Vec<String> = done.latencies_us.iter().map(u32::to_string).collect();
        std::fs::write(
            path,
            lines.join(
                "
",
            ),
        )?;
    }
    println!("{}", RecordedSummary::from(&done).to_json());
    Ok(())
}
