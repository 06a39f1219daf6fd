//! The fault suite: every kind of place, its real client and a real server, and between them a line that breaks on purpose.
//!
//! A scenario is written once (`scenarios`) and tried at every place (`places`). What a place must say about itself for that is `bench::Place`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::needless_pass_by_value, clippy::unnecessary_wraps, unreachable_pub)]

mod bench;
mod endings;
mod names;
mod places;
mod scenarios;

/// One test for each scenario at each place.
macro_rules! suite {
    ($($place:ident),+ $(,)?) => {
        $(mod $place {
            suite!(@scenarios $place:
                scenarios::connections_cut_at_random_twenty_times,
                scenarios::overload_passes,
                scenarios::seconds_to_wait_are_waited,
                scenarios::a_date_to_wait_for_is_waited_for,
                scenarios::silence_is_noticed,
                scenarios::work_that_was_done_unheard_is_not_done_twice,
                scenarios::nobody_listens_for_a_while,
                scenarios::a_name_that_does_not_resolve_for_a_while,
                endings::wrong_credentials_stop_at_once,
                endings::a_denied_permission_stops_at_once,
                endings::a_full_place_stops_at_once,
                endings::an_upload_that_vanished_is_lost,
                endings::an_interruption_leaves_nothing,
                endings::an_interruption_ends_a_wait,
                endings::patience_ends_and_says_so,
                endings::what_a_killed_process_left_is_swept,
                endings::a_broken_place_does_not_disturb_another,
            );
        })+
    };
    (@scenarios $place:ident: $($module:ident::$scenario:ident),+ $(,)?) => {
        $(
            #[test]
            fn $scenario() {
                if let Some(place) = crate::places::$place() {
                    crate::$module::$scenario(crate::bench::Bench::new(place));
                }
            }
        )+
    };
}

suite!(apache, wsgidav, webdav_by_patch, nextcloud, drive, sftp, s3, moto, machine);

/// Not a test: the process that [`endings::what_a_killed_process_left_is_swept`] kills.
#[test]
#[ignore = "only as a child of another test"]
fn child() {
    endings::child();
}
