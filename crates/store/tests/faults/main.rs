//! The fault suite: every kind of destination, its real client and a real server, and between them a connection that
//! breaks on purpose.
//!
//! A scenario is written once (`scenarios`) and tried at every destination (`places`). `bench::Place` describes a
//! destination for that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    unreachable_pub
)]

mod bench;
mod endings;
mod lag;
#[path = "../common/lagging.rs"]
mod lagging;
mod names;
mod places;
mod scenarios;

/// One test for each scenario at each destination that it concerns.
macro_rules! suite {
    ($($place:ident: $($group:ident),+;)+) => {
        $(mod $place {
            $(suite!(@$group $place);)+
        })+
    };
    // What can happen to any line, and what a user or a kill does.
    (@line $place:ident) => {
        suite!(@scenarios $place:
            scenarios::connections_cut_at_random_twenty_times,
            scenarios::an_upload_keeps_to_the_rate,
            scenarios::silence_is_noticed,
            scenarios::nobody_listens_for_a_while,
            endings::an_interruption_leaves_nothing,
            endings::an_interruption_ends_a_wait,
            endings::patience_ends_and_says_so,
            endings::what_a_killed_process_left_is_swept,
            endings::a_broken_destination_does_not_disturb_another,
        );
    };
    // What a server answers, where the line can be read and written along.
    (@answers $place:ident) => {
        suite!(@scenarios $place:
            scenarios::overload_passes,
            scenarios::seconds_to_wait_are_waited,
            scenarios::a_date_to_wait_for_is_waited_for,
            scenarios::work_that_was_done_unheard_is_not_done_twice,
            scenarios::a_name_that_does_not_resolve_for_a_while,
            endings::a_denied_permission_stops_at_once,
            endings::a_full_destination_stops_at_once,
        );
    };
    // Once over HTTP and once over SSH: the wait is not the adapter's.
    (@rate $place:ident) => {
        suite!(@scenarios $place: scenarios::reading_keeps_to_the_rate);
    };
    // Not everybody is let in.
    (@login $place:ident) => {
        suite!(@scenarios $place: endings::wrong_credentials_stop_at_once);
    };
    // It shows late what it has done.
    (@lag $place:ident) => {
        suite!(@scenarios $place: lag::a_destination_that_lags_behind_keeps_the_contract);
    };
    // The server knows an upload before it is finished, and may forget it.
    (@sessions $place:ident) => {
        suite!(@scenarios $place: endings::an_upload_that_vanished_is_lost);
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

suite! {
    apache: line, answers, login, sessions, lag;
    wsgidav: line, answers, login, lag;
    webdav_by_patch: line, answers, login, sessions, lag;
    nextcloud: line, answers, login, sessions, lag;
    drive: line, answers, login, sessions, lag;
    s3: line, answers, login, sessions, lag, rate;
    moto: line, answers, sessions;
    sftp: line, login, lag, rate;
    machine: line, login, lag;
}

/// Not a test: the process that [`endings::what_a_killed_process_left_is_swept`] kills.
#[test]
#[ignore = "only as a child of another test"]
fn child() {
    endings::child();
}
