//! An S3 server on loopback for benches: prints its address, key, secret and directory, and runs until standard input
//! ends.

use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let server = testkit::s3::S3Server::start(&["bench"])?;
    let mut out = io::stdout();
    writeln!(
        out,
        "{} {} {} {}",
        server.url(),
        testkit::s3::ACCESS_KEY,
        testkit::s3::SECRET_KEY,
        server.directory().display()
    )?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
