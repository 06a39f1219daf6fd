//! Records into a sample config directory until standard input closes, then prints one line of JSON:
//! `recorder DIR [INTERVAL_MS]`.

use std::path::PathBuf;
use std::time::Duration;

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: recorder DIR [INTERVAL_MS]")?);
    let millis = arguments.next().map_or(Ok(20), |text| text.parse()).map_err(|_| "INTERVAL_MS is a number")?;
    let interval = Duration::from_millis(millis);
    sample::run_recorder(&dir, interval, std::io::stdin().lock(), std::io::stdout().lock()).map(|_| ()).map_err(|error| error.to_string())
}
