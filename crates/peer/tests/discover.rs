//! Receivers on the local network, as far as this machine's network lets itself be searched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::time::Duration;

use peer::discover::{Announcement, search};

#[tokio::test]
async fn a_receiver_is_found_by_its_port_alone() {
    let Ok(_announcement) = Announcement::start(18_744) else {
        eprintln!("skipped: this machine has no network to announce anything on");
        return;
    };
    let found = search(Duration::from_secs(4)).await.unwrap();
    if found.is_empty() {
        eprintln!("skipped: multicast does not come back on this machine");
        return;
    }
    assert!(found.iter().any(|address| address.port() == 18_744), "{found:?}");
}
