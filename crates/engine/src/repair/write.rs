//! Streams the new archive.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    sync::Arc,
};

use habackup::{
    archive::MANIFEST,
    index::{Index, IndexBuilder},
    outer::Outer,
    read_at::Window,
    readers::Finding,
    securetar::Keys,
    settings::RECORDER,
    tar::Kind,
};
use store::{
    Cancellation,
    outbound::{Network, Outbound},
};

use super::{
    Encryption, RepairError, RepairOptions, Written,
    bytes::Bytes,
    decode::{self, Shut},
    notes::{NoteKind, Notes},
    parts::Piece,
    plan::{Part, Plan},
    remade::{Done, Extra, Remade},
};
use crate::{
    error::BackupError,
    names::Names,
    progress::{Phase, Progress},
    read::Stream,
    text::{in_units, shown},
    verdict::Judgement,
    write::{
        broken::{Broken, Ended},
        destination::{self, expected_of},
        layout::Layout,
        pipeline::{Output, all_cores},
    },
};

/// Bytes of a member copied at once.
const BLOCK: usize = 1 << 20;

/// Writes all of it, or nothing.
pub(super) fn write(
    bytes: &Bytes<'_>,
    plan: &Plan,
    before: &[Finding],
    options: &RepairOptions,
    network: Option<&Network<'_>>,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<(Written, Notes), RepairError> {
    let layout = layout(plan, options)?;
    let target = options.destination.target(&plan.file_name());
    let mut outbound =
        Outbound::prepare(vec![target], network.copied(), options.read_back || options.destination.is_read_back())?;
    outbound.sizes_come_last().map_err(BackupError::from)?;
    outbound.begin(expected_of(plan.bytes(), 0, plan.level.is_some()))?;
    let mut output = Output::new(outbound, Arc::clone(progress));
    let mut notes = plan.notes.clone();
    let job = Job { bytes, plan, before, layout: &layout, progress, cancel };
    let (size, members) = match job.lay_out(&mut output, &mut notes) {
        Ok(laid) => laid,
        Err(broken) => {
            let failures = output.into_outbound().abort();
            return Err(match broken.into_ended(failures, cancel) {
                Ended::Failed(error) => error.into(),
                Ended::Stale => RepairError::Cancelled,
            });
        }
    };
    progress.enter(Phase::Finishing);
    let mut copies = destination::settle(output.into_outbound().finish())?;
    let copy = copies.pop().ok_or(RepairError::Cancelled)?;
    Ok((Written { copy, size_bytes: size, members, seconds: progress.elapsed().as_secs_f64() }, notes))
}

fn layout(plan: &Plan, options: &RepairOptions) -> Result<Layout, RepairError> {
    let password = match &options.encryption {
        Encryption::Keep => options.password.as_ref(),
        Encryption::Add(password) | Encryption::Change(password) => Some(password),
        Encryption::Remove => None,
    };
    let keys = plan.sealing.zip(password).map(|(version, password)| Keys::create(version, password)).transpose();
    let now = options.now.timestamp();
    let threads = options.threads.unwrap_or_else(all_cores);
    Ok(Layout {
        manifest: plan.manifest.clone(),
        mtime: (now.as_second(), now.subsec_nanosecond().unsigned_abs()),
        compression: plan.level.map(|level| pargz::Compressor::new().level(level).threads(threads)),
        keys: keys.map_err(|error| BackupError::Pipeline(error.to_string()))?,
    })
}

struct Job<'a, 'b> {
    bytes: &'a Bytes<'b>,
    plan: &'a Plan,
    /// What is wrong with the old archive.
    before: &'a [Finding],
    layout: &'a Layout,
    progress: &'a Arc<Progress>,
    cancel: &'a Cancellation,
}

impl Job<'_, '_> {
    /// Writes the parts; gives the length of the archive, and how many members are in its parts.
    fn lay_out(&self, output: &mut Output, notes: &mut Notes) -> Result<(u64, u64), Broken> {
        let mut members = 0;
        let (mut outer, json_at) =
            Outer::new(output, self.layout.mtime).member_for_later(MANIFEST, &self.layout.json(None))?;
        let mut index = None;
        for part in self.plan.all() {
            let is_main = self.plan.main.as_ref().is_some_and(|main| std::ptr::eq(main, part));
            let mut remade = self.remade(part, is_main).map_err(Broken::Write)?;
            let packed;
            (outer, packed) = self.layout.member(outer, &part.name, &mut remade, self.progress, self.cancel)?;
            let Done { index: built, notes: more, members: made } = remade.finish();
            members += made;
            notes.append(more);
            if let Some(mut built) = built {
                built.sum(packed.sum);
                index = Some((built, packed));
            }
        }
        for piece in &self.plan.others {
            outer = self.copy(outer, piece)?;
        }
        if let Some((mut built, packed)) = index {
            let made = Index::parse(&built.finish(None, &[])).map_err(|error| Broken::Inside(error.to_string()))?;
            self.name_lost(&made, notes);
            let json = self.layout.json(Some(&self.judge(&made, notes)));
            outer.patch(json_at, &json).map_err(Broken::Write)?;
            built.describe(&json);
            outer = self.layout.index(outer, built.finish(packed.pieces.as_ref(), &packed.nonces))?;
        }
        Ok((outer.finish()?.1, members))
    }

    /// Of what is lost, the old archive's index may have the names.
    fn name_lost(&self, made: &Index, notes: &mut Notes) {
        let Some(old) = self.plan.index.as_ref().filter(|_| notes.counts.lost > 0) else { return };
        let mut kept = Names::default();
        for file in made.files() {
            kept.repeated(&file.path);
        }
        let said: HashSet<String> = notes.list.iter().filter_map(|note| note.member.clone()).collect();
        for file in old.files().filter(|file| file.kind == Kind::File && !kept.has(&file.path)) {
            if !said.contains(&shown(&file.path)) {
                let size = in_units(file.size);
                notes.lost(&file.path, format!("it had {size}; only its name is left, in the index"));
            }
        }
    }

    fn judge(&self, made: &Index, notes: &Notes) -> Judgement {
        let names =
            notes.list.iter().filter(|note| note.kind == NoteKind::Lost).filter_map(|note| note.member.as_deref());
        Judgement::of_repaired(made, &self.plan.manifest, self.before, (notes.counts.lost, names))
    }

    fn remade<'p>(&'p self, part: &'p Part, is_main: bool) -> io::Result<Remade<'p>> {
        let again = move || match decode::open(self.bytes, &part.piece, &self.plan.keyring) {
            Ok(plain) => Ok(plain.split().0),
            Err(Shut::Io(error)) => Err(error),
            // It was open a moment ago.
            Err(_) => Err(io::Error::other("the archive changed while Haul read it")),
        };
        let index = is_main.then(|| IndexBuilder::new(&part.name));
        let (first, last) = if is_main { self.extras(part) } else { (Vec::new(), Vec::new()) };
        Ok(Remade::new(Box::new(again), &part.survey, index, self.layout.mtime)?.with(first, last))
    }

    fn extras(&self, part: &Part) -> (Vec<Extra>, Vec<Extra>) {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        if !part.survey.has_root {
            first.push(Extra { path: b"data".to_vec(), content: Vec::new(), kind: Kind::Directory });
        }
        if part.survey.version.is_none() {
            let version = self.plan.manifest.home_assistant_version().unwrap_or_default();
            first.push(Extra {
                path: b"data/.HA_VERSION".to_vec(),
                content: version.as_bytes().to_vec(),
                kind: Kind::File,
            });
        }
        if part.survey.wants_log {
            last.push(Extra { path: [b"data/", RECORDER, b"-wal"].concat(), content: Vec::new(), kind: Kind::File });
        }
        (first, last)
    }

    fn copy<'o>(&self, outer: Outer<&'o mut Output>, piece: &Piece) -> Result<Outer<&'o mut Output>, Broken> {
        let mut member = outer.begin_known(&piece.name, piece.size)?;
        let window = Window::new(self.bytes, piece.offset, piece.size)
            .ok_or_else(|| Broken::Inside("the archive changed while Haul read it".into()))?;
        let mut source = Stream::new(window);
        let mut buffer = vec![0; BLOCK];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => member.write_all(&buffer[..count])?,
                Err(error) => return Err(Broken::Inside(crate::text::plain(&error))),
            }
        }
        Ok(member.end()?.0)
    }
}
