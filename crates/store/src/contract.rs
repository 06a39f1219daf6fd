//! The contract that every kind of destination keeps, as a series of rules that are tried on a real one.
//!
//! The same suite tests the adapters and runs in `haul destination check` on the user's own destination. It respects
//! what a destination can't do ([`Abilities`]) and uses only its own names, `haul-check-<random>-….tar`, which are gone
//! when it ends, even after failures. If nothing may be deleted, it leaves one archive and no more. It makes one
//! attempt per step, like the adapters.

mod bench;
mod rules;

use std::time::Instant;

use futures_util::future::BoxFuture;
use serde::Serialize;

pub use self::bench::{BUSY, ContractOptions, Measured, is_of_check};
use self::bench::{Bench, Fault};
use crate::{
    error::StoreError,
    store::{Sink, Store},
};

/// What came of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The destination keeps the rule.
    Kept,
    /// It does not, and how that showed.
    Broken(String),
    /// The rule does not apply to this destination, and why.
    NotApplicable(String),
}

/// One rule, tried.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// How long that took.
    pub seconds: f64,
}

impl Finding {
    /// True unless the rule was broken.
    pub fn is_fine(&self) -> bool {
        !matches!(self.outcome, Outcome::Broken(_))
    }
}

/// What came of all rules.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Each rule, in the order in which they were tried.
    pub findings: Vec<Finding>,
    /// The one archive that stays at a destination where nothing may be deleted.
    pub stays: Option<String>,
}

type Trial = for<'a> fn(&'a Bench<'a>) -> BoxFuture<'a, Result<(), Fault>>;

/// The rules in the order in which they are tried: the later ones rely on the earlier ones.
const RULES: &[(&str, Trial)] = &[
    ("what was written is read back byte for byte", |bench| Box::pin(rules::read_back(bench))),
    ("a single byte is enough for an archive", |bench| Box::pin(rules::single_byte(bench))),
    ("nothing is visible under the final name before the end", |bench| Box::pin(rules::hidden_until_commit(bench))),
    ("parts that are sent twice are stored once", |bench| Box::pin(rules::parts_twice(bench))),
    ("parts may come in any order, the first one last", |bench| Box::pin(rules::any_order(bench))),
    ("overwritten bytes have their new value", |bench| Box::pin(rules::overwritten(bench))),
    ("an aborted upload leaves nothing, and may be aborted twice", |bench| Box::pin(rules::given_up(bench))),
    ("a name that already exists is refused", |bench| Box::pin(rules::taken_name(bench))),
    ("a finished archive is never replaced", |bench| Box::pin(rules::never_replaced(bench))),
    ("completing twice does no harm", |bench| Box::pin(rules::completed_twice(bench))),
    ("an archive of the wrong length is refused", |bench| Box::pin(rules::wrong_length(bench))),
    ("an archive with the wrong checksum is refused", |bench| Box::pin(rules::wrong_checksum(bench))),
    ("the list shows what is finished and hides what is not", |bench| Box::pin(rules::listed(bench))),
    ("a missing name is not mistaken for an existing one", |bench| Box::pin(rules::absent(bench))),
    ("any range can be read", |bench| Box::pin(rules::ranges(bench))),
    ("a deleted archive is gone, and may be deleted twice", |bench| Box::pin(rules::deleted(bench))),
    ("names with spaces, umlauts and symbols stay as they are", |bench| Box::pin(rules::odd_names(bench))),
    ("cleaning up leaves uploads in progress alone", |bench| Box::pin(rules::cleanup_spares(bench))),
    ("cleaning up leaves another machine's uploads in progress alone", |bench| {
        Box::pin(rules::cleanup_spares_others(bench))
    }),
    ("an interrupted upload continues where it stopped", |bench| Box::pin(rules::resumed(bench))),
    ("free space can be queried", |bench| Box::pin(rules::free_space(bench))),
];

/// Tries every rule at `store`, reports each finding as soon as it is there, and returns them all.
pub async fn check(
    store: &dyn Store,
    options: &ContractOptions,
    on_finding: &mut (dyn FnMut(&Finding) + Send),
) -> Report {
    try_rules(Bench::new(store, Some(store), *options), on_finding).await
}

/// Like [`check`], for a destination that keeps nothing.
pub async fn check_sink(
    sink: &dyn Sink,
    options: &ContractOptions,
    on_finding: &mut (dyn FnMut(&Finding) + Send),
) -> Report {
    try_rules(Bench::new(sink, None, *options), on_finding).await
}

async fn try_rules(bench: Bench<'_>, on_finding: &mut (dyn FnMut(&Finding) + Send)) -> Report {
    let mut findings = Vec::new();
    for (rule, trial) in RULES {
        let started = Instant::now();
        let outcome = match tokio::time::timeout(bench.options.longest, trial(&bench)).await {
            Ok(Ok(())) => Outcome::Kept,
            Ok(Err(Fault::Broken(reason))) => Outcome::Broken(reason),
            Ok(Err(Fault::NotApplicable(why))) => Outcome::NotApplicable(why.to_owned()),
            Err(_) => Outcome::Broken(format!("it had not finished after {} s", bench.options.longest.as_secs())),
        };
        // Before the next rule, so that a broken one leaves nothing that would disturb it.
        bench.clean_up().await;
        let finding = Finding { rule, outcome, seconds: started.elapsed().as_secs_f64() };
        on_finding(&finding);
        findings.push(finding);
    }
    Report { findings, stays: bench.stays() }
}

/// Sends and reads back one object of about `bytes` bytes, in the way that suits the destination best, and removes it.
pub async fn measure(store: &dyn Store, bytes: u64) -> Result<Measured, StoreError> {
    let bench = Bench::new(store, Some(store), ContractOptions::default());
    let measured = bench.measure(bytes).await;
    bench.clean_up().await;
    measured
}
