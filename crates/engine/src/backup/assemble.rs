//! Puts a backup's archive together: the description, the inner archive wherever its bytes come from, the index.

use std::sync::Arc;

use habackup::{archive::MANIFEST, manifest::Manifest, outer::Outer, securetar::Keys};
use store::Cancellation;

use crate::{
    backup::{
        away::stream::Delivery,
        measure::{self, Lengths, Measured},
        plan::Plan,
        source::{Gathered, TarSource},
    },
    error::BackupError,
    findings::Findings,
    progress::Progress,
    text::plain,
    verdict::Judgement,
    write::{
        broken::{Broken, Ended},
        layout::{INDEX, Layout},
        pipeline::Output,
    },
};

/// What was found too late for the description of an archive that is sent in order.
const SENT_TOO_EARLY: &str = "Haul found some of this after it had sent the archive's own description: `haul list` and \
`haul prune` do not know about it, so do not rely on this archive alone";

/// Where the inner archive comes from.
pub(crate) enum Work<'a> {
    /// From the source; its size is put in afterwards.
    Once(Box<Plan>),
    /// From a source that was measured; all sizes are announced.
    Measured(&'a mut Measured, Lengths),
    /// From another machine, as a plain tar; its size is put in afterwards.
    Delivered(Delivery),
}

/// An archive that is complete but for its name.
pub(crate) struct Made {
    pub(crate) output: Output,
    /// Bytes of the inner tar.
    pub(crate) bytes_in: u64,
    pub(crate) length: u64,
    pub(crate) findings: Findings,
}

impl Layout {
    /// `backup.json` as the sender of the tar has judged it. Nothing but the verdict is taken from there, and one that
    /// says nothing leaves it open.
    fn judged_elsewhere(&self, said: Option<&[u8]>) -> Vec<u8> {
        let open = self.json(None);
        let is_ours = |json: &&[u8]| {
            json.len() == open.len()
                && Manifest::parse(json).is_ok_and(|manifest| manifest.to_stamped_json(None) == open)
        };
        said.filter(is_ours).map_or_else(|| open.clone(), <[u8]>::to_vec)
    }

    pub(crate) fn measure(
        &self,
        plan: Plan,
        holds_writers: bool,
        progress: &Arc<Progress>,
        cancel: &Cancellation,
    ) -> Result<Measured, BackupError> {
        let measured = measure::measure(plan, self.inner_name(), self.compression, holds_writers, progress, cancel);
        let mut measured = measured.map_err(|error| match Broken::from(error) {
            Broken::Inside(reason) => BackupError::Pipeline(reason),
            // Nothing is written while measuring.
            Broken::Cancelled | Broken::Write(_) | Broken::Stale => BackupError::Cancelled,
        })?;
        measured.describe(self.json(Some(&Judgement::of_source(measured.findings(), &self.manifest))));
        Ok(measured)
    }

    pub(crate) fn lengths(&self, measured: &Measured) -> Lengths {
        let version = self.keys.as_ref().map(Keys::version);
        measured.lengths((MANIFEST, measured.json.len() as u64), self.inner_name(), INDEX, version, self.mtime)
    }
}

/// Lays the archive out; when that breaks, every copy is given up.
pub(crate) fn write_archive(
    layout: &Layout,
    work: Work<'_>,
    mut output: Output,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Made, Ended> {
    match lay_out(layout, work, &mut output, progress, cancel) {
        Ok((bytes_in, length, findings)) => Ok(Made { output, bytes_in, length, findings }),
        Err(broken) => {
            let failures = output.into_outbound().abort();
            Err(broken.into_ended(failures, cancel))
        }
    }
}

/// `./backup.json`, the inner archive, the index. Gives the bytes of the inner tar, the archive's length, and what was
/// found on the way.
fn lay_out(
    layout: &Layout,
    work: Work<'_>,
    output: &mut Output,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<(u64, u64, Findings), Broken> {
    let outer = Outer::new(output, layout.mtime);
    // The description comes first and the verdict is known last, unless the source was measured before.
    let (outer, json_at) = match &work {
        Work::Once(_) | Work::Delivered(_) => outer.member_for_later(MANIFEST, &layout.json(None))?,
        Work::Measured(measured, _) => (outer.member(MANIFEST, &measured.json)?, 0),
    };
    let inner_name = layout.inner_name();
    let announced = match &work {
        Work::Once(_) | Work::Delivered(_) => None,
        Work::Measured(measured, lengths) => Some((measured.inner, *lengths)),
    };

    let member = match announced {
        Some((_, lengths)) => outer.begin_known(inner_name, lengths.member)?,
        None => outer.begin_late(inner_name)?,
    };
    let mut sink = layout.sink(member, announced.map(|(inner, _)| inner))?;
    let (bytes_in, findings, index, mut outer, verdict) = match work {
        Work::Once(plan) => {
            let mut source = TarSource::new(
                inner_name,
                &plan.scope,
                plan.first,
                plan.findings,
                Arc::clone(progress),
                cancel.clone(),
            );
            let (pieces, sum) = layout.pack(&mut source, &mut sink, progress, cancel)?;
            let (member, nonces) = sink.finish(true)?;
            let bytes_in = source.position();
            let Gathered { findings, mut index } = source.finish();
            let json = layout.json(Some(&Judgement::of_source(&findings, &layout.manifest)));
            index.describe(&json);
            index.sum(sum);
            (bytes_in, findings, index.finish(pieces.as_ref(), &nonces), member.end()?.0, Some(json))
        }
        Work::Delivered(mut delivery) => {
            let (pieces, sum) = layout.pack(&mut delivery, &mut sink, progress, cancel)?;
            let (member, nonces) = sink.finish(true)?;
            let (bytes_in, index) = delivery.finish().map_err(|error| Broken::Inside(plain(&error)))?;
            let json = layout.judged_elsewhere(index.description());
            (
                bytes_in,
                Findings::default(),
                index.completed(&json, pieces.as_ref(), sum, &nonces),
                member.end()?.0,
                Some(json),
            )
        }
        Work::Measured(measured, _) => {
            let mut sent = measured.send(&mut sink, progress, cancel)?;
            if layout.json(Some(&Judgement::of_source(&sent.findings, &layout.manifest))) != measured.json {
                sent.findings.warn(SENT_TOO_EARLY);
            }
            let (member, nonces) = sink.finish(false)?;
            let index = measured.index(sent.pieces.as_ref(), sent.sum, &nonces);
            (measured.tar_len(), sent.findings, index, member.end()?.0, None)
        }
    };
    if let Some(json) = verdict {
        outer.patch(json_at, &json).map_err(Broken::Write)?;
    }
    let outer = layout.index(outer, index)?;
    let (_, length) = outer.finish()?;
    match announced {
        Some((_, Lengths { total, .. })) if total != length => {
            Err(Broken::Inside(format!("the archive has {length} bytes instead of {total}")))
        }
        _ => Ok((bytes_in, length, findings)),
    }
}
