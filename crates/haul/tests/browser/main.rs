//! The page in a real Chromium, over the real service. One browser does everything in turn: it is what costs time.
//! `HAUL_PICTURES=DIRECTORY` keeps a picture of each page: light and dark, wide and on a phone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod asking_back;
#[path = "../serve/home.rs"]
#[allow(dead_code, reason = "it has more than this test needs")]
mod home;
mod look;
mod new_user;
mod running;
mod site;

use testkit::browser::Browser;

#[test]
fn the_page_in_a_real_browser() {
    let Some(browser) = Browser::start() else { return };
    let looks = look::Looks::new(&browser);
    new_user::sets_up_from_nothing_to_the_first_backup(&looks);
    running::a_house_in_trouble(&looks);
    asking_back::locations_that_ask_back(&looks);
}
