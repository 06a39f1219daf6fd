//! The end that reads: it sends the plain tar of the live directory to the other machine, which reports figures about
//! the archive that it made.

use std::sync::Arc;

use serde::Deserialize;
use store::{
    Cancellation, Context, Expected, RemoteCompressor, Store,
    outbound::{Network, Outbound, Target},
    retry::RetryPolicy,
};

use super::{
    recipe::{MadeReport, Recipe},
    stream::Blocks,
};
use crate::{
    backup::{
        closing::{Finished, report},
        intent::Intent,
        options::BackupOptions,
        plan::Plan,
        report::BackupReport,
        source::{Gathered, TarSource},
    },
    error::BackupError,
    findings::Findings,
    progress::{Phase, Progress},
    verdict::Judgement,
    write::{
        broken::{Broken, Ended},
        destination::{self, expected_of},
        layout::Layout,
        pipeline::{self, Output},
    },
};

/// A machine that makes the archive, and how to reach it.
pub(crate) struct There<'a> {
    pub(super) store: Arc<dyn Store>,
    pub(super) compressor: Arc<dyn RemoteCompressor>,
    /// The archive's name there, when it is not the usual one.
    pub(super) name: Option<String>,
    pub(super) context: Option<Context>,
    pub(super) network: Network<'a>,
    pub(super) read_back: bool,
}

impl There<'_> {
    /// One archive. [`Kind::Lost`](store::Kind::Lost) when the other machine has nothing of it any more.
    pub(crate) fn attempt(
        &self,
        options: &BackupOptions,
        progress: &Arc<Progress>,
        cancel: &Cancellation,
    ) -> Result<BackupReport, Ended> {
        let intent = Intent::of(options)?;
        self.remove_abandoned();
        let layout = intent.layout(options)?;
        let job = self.compressor.job(Recipe::of(&layout, self.read_back).to_json());
        let name = self.name.clone().unwrap_or_else(|| intent.file_name.clone());
        let target = Target::Remote { sink: job.sink, name, context: Some(self.patient()) };
        let mut outbound = Outbound::prepare(vec![target], Some(self.network), false)?;
        let plan = intent.plan(Vec::new(), &[], progress, cancel)?;
        progress.begin(Phase::Running, plan.bytes);
        // Only the tar's length is known; the minimum is the archive's, to check whether there is space.
        let expected = expected_of(plan.bytes, plan.holes, options.compressed);
        outbound.begin(Expected { about: Some(plan.bytes), ..expected })?;
        let mut output = Output::new(outbound, Arc::clone(progress));
        let sent = send(plan, &layout, &mut output, progress, cancel);
        let outbound = output.into_outbound();
        let (bytes_in, findings) = match sent {
            Ok(sent) => sent,
            Err(broken) => {
                let failures = outbound.abort();
                return Err(broken.into_ended(failures, cancel));
            }
        };
        progress.enter(Phase::Finishing);
        let copies = destination::settle(outbound.finish())?;
        let made = job.made.get().and_then(|made| MadeReport::deserialize(made).ok());
        let Some(made) = made else {
            return Err(
                BackupError::Pipeline(format!("{} did not report what it created", self.compressor.name())).into()
            );
        };
        let finished = Finished { bytes_in, length: made.size, findings, copies, elsewhere: true };
        Ok(report(options, intent, finished, progress))
    }
}

impl There<'_> {
    /// The machine answered before, so this is no first contact: Haul waits for a busy or restarting machine.
    fn patient(&self) -> Context {
        let mut context = self.context.as_ref().unwrap_or(self.network.context).clone();
        context.tuning.first_contact = context.tuning.give_up_after;
        context
    }

    /// What a killed run left there goes first; that it can't be done now is no reason to make no backup.
    fn remove_abandoned(&self) {
        let context = self.context.as_ref().unwrap_or(self.network.context);
        let _ = self.network.bridge.wait(RetryPolicy::new(context).unless_cancelled(self.store.remove_abandoned()));
    }
}

/// The tar and its index. Gives the tar's length, and what was found on the way.
fn send(
    plan: Plan,
    layout: &Layout,
    output: &mut Output,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<(u64, Findings), Broken> {
    let mut source = TarSource::new(
        layout.inner_name(),
        &plan.scope,
        plan.first,
        plan.findings,
        Arc::clone(progress),
        cancel.clone(),
    );
    let mut blocks = Blocks(output);
    pipeline::copy(&mut source, &mut blocks, progress, cancel)?;
    let length = source.position();
    let Gathered { findings, mut index } = source.finish();
    // Only the reader knows what is missing: it sends the verdict with the index.
    index.describe(&layout.json(Some(&Judgement::of_source(&findings, &layout.manifest))));
    blocks.finish(&index.finish(None, &[]))?;
    Ok((length, findings))
}
