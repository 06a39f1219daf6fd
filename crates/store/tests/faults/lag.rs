//! Every kind of destination, seen through a layer that shows changes late: archives that have arrived are invisible
//! for a while, deleted ones still visible.

use std::time::Duration;

use store::contract::{self, ContractOptions, Outcome};

use crate::{
    bench::Bench,
    lagging::{Hides, Hiding},
};

pub fn a_destination_that_lags_behind_keeps_the_contract(mut bench: Bench) {
    // Nothing breaks here, so nothing needs to be noticed soon.
    bench.tuning.stall = Duration::from_secs(30);
    let place = Hiding::new(bench.connect(), Hides::Committed(2));
    let options = ContractOptions { settle: Duration::from_secs(2), longest: Duration::from_mins(2) };
    let report = bench.bridge.wait(contract::check(&place, &options, &mut |_| ()));
    let broken: Vec<_> = report.findings.iter().filter(|finding| !finding.is_fine()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let kept = report.findings.iter().filter(|finding| finding.outcome == Outcome::Kept).count();
    assert!(kept >= 12, "{:#?}", report.findings);
    assert!(bench.place.leftovers().is_empty() && bench.place.unfinished() == 0, "{:?}", bench.place.leftovers());
}
