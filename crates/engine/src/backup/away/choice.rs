//! Chooses the machine that compresses and encrypts: as the user said, or the one that is faster for a sample of the
//! real data.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use habackup::securetar::Encryptor;
use store::{Cancellation, Kind, RemoteCompressor, outbound::Network, retry::RetryPolicy};

use super::{recipe::Recipe, there::There};
use crate::{
    backup::{
        intent::Intent,
        options::{BackupOptions, Compress},
        report::{BackupReport, Division, Rates},
        source::TarSource,
    },
    error::BackupError,
    findings::Findings,
    progress::Progress,
    write::{destination::Destination, layout::Layout},
};

/// What is read, compressed and sent to see how fast that goes; as much as one message to another machine holds.
const SAMPLE: usize = 4 << 20;
/// How often the sample is sent: the first time the connection is not yet at full speed.
const ROUNDS: u32 = 4;
/// If sending takes longer than this, its rate is known well enough.
const LONG_ENOUGH: Duration = Duration::from_secs(3);
/// The other machine compresses only if that makes the backup at least a tenth faster.
const GAIN: f64 = 1.1;

/// What was decided.
pub(crate) enum Choice<'a> {
    /// Noted in the report when there was something to decide.
    Here(Option<Division>),
    There(Box<(There<'a>, Division)>),
}

impl Choice<'_> {
    /// The report with what was decided.
    pub(crate) fn noted(&self, report: BackupReport) -> BackupReport {
        let division = match self {
            Self::Here(division) => division.clone(),
            Self::There(there) => Some(there.1.clone()),
        };
        BackupReport { division, ..report }
    }
}

/// Decides. Nothing is left anywhere; the error distinguishes a machine that can't do it from one that can't be
/// reached.
pub(crate) fn choose<'a>(
    options: &BackupOptions,
    network: Option<&Network<'a>>,
    cancel: &Cancellation,
) -> Result<Choice<'a>, BackupError> {
    if options.compress == Compress::Here {
        return Ok(Choice::Here(None));
    }
    let (there, compressor) = match (candidate(options, network), options.compress) {
        (Ok(candidate), _) => candidate,
        (Err(reason), Compress::There) => return Err(BackupError::NotThere(reason)),
        (Err(_), _) => return Ok(Choice::Here(None)),
    };
    let machine = compressor.name();
    if options.compress == Compress::There {
        return Ok(Choice::There(Box::new((there, Division { there: true, machine, rates: None }))));
    }
    let rates = match measure(options, &there, cancel) {
        // What it can't make it can still take.
        Err(BackupError::Store(error)) if error.kind() == Some(Kind::Protocol) => return Ok(Choice::Here(None)),
        measured => measured?,
    };
    let division = Division { there: rates.favour_there(), machine, rates: Some(rates) };
    Ok(if division.there { Choice::There(Box::new((there, division))) } else { Choice::Here(Some(division)) })
}

/// The only destination, if it can make archives; else why not.
fn candidate<'a>(
    options: &BackupOptions,
    network: Option<&Network<'a>>,
) -> Result<(There<'a>, Arc<dyn RemoteCompressor>), String> {
    let [destination] = options.destinations.as_slice() else {
        return Err("with several destinations this machine compresses, once for all of them".to_owned());
    };
    let (Destination::Remote { sink, name, context }, Some(network)) = (destination.inner(), network) else {
        return Err("only another machine that runs `haul receive` can compress".to_owned());
    };
    let store = Arc::clone(sink).store();
    let Some((store, compressor)) = store.and_then(|store| Some((Arc::clone(&store), store.compressor()?))) else {
        return Err(format!("{} stores archives but does not create them", sink.label()));
    };
    let there = There {
        store,
        compressor: Arc::clone(&compressor),
        name: name.clone(),
        context: context.clone(),
        network: *network,
        read_back: options.read_back || destination.is_read_back(),
    };
    Ok((there, compressor))
}

impl Rates {
    /// Compressing here, the line carries only what is left; compressing there, everything.
    pub(crate) fn favour_there(&self) -> bool {
        let here = self.here.min(self.line / self.ratio.max(0.01));
        self.there.min(self.line) > here * GAIN
    }
}

fn measure(options: &BackupOptions, there: &There<'_>, cancel: &Cancellation) -> Result<Rates, BackupError> {
    let intent = Intent::of(options)?;
    let layout = intent.trial_layout(options)?;
    let sample = sample(&intent, &layout, cancel)?;
    let length = sample.len().max(1) as f64;
    let started = Instant::now();
    let left = try_out(&layout, &sample, cancel).map_err(BackupError::Pipeline)?;
    let here = length / started.elapsed().as_secs_f64().max(1e-9);

    let recipe = Recipe::of(&layout, false).to_json();
    let context = there.context.as_ref().unwrap_or(there.network.context);
    let policy = RetryPolicy::new(context);
    let sample = [Bytes::from(sample)];
    let (mut line, mut far) = (0.0_f64, 0.0_f64);
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let worked = there.network.bridge.wait(policy.retry(|| there.compressor.try_out(&recipe, &sample)))?;
        let carried = started.elapsed().saturating_sub(worked);
        line = line.max(length / carried.as_secs_f64().max(1e-9));
        far = far.max(length / worked.as_secs_f64().max(1e-9));
        if begun.elapsed() > LONG_ENOUGH {
            break;
        }
    }
    Ok(Rates { here, there: far, line, ratio: left as f64 / length })
}

/// The beginning of what is by far the largest part of most installations, else of everything.
fn sample(intent: &Intent, layout: &Layout, cancel: &Cancellation) -> Result<Vec<u8>, BackupError> {
    let progress = Arc::new(Progress::default());
    let plan = intent.plan(Vec::new(), &[], &progress, cancel)?;
    let first = plan.largest.into_iter().collect();
    let source = TarSource::new(layout.inner_name(), &plan.scope, first, Findings::default(), progress, cancel.clone());
    let mut sample = Vec::with_capacity(SAMPLE);
    // The source never fails; what it can't read it pads.
    let _ = source.take(SAMPLE as u64).read_to_end(&mut sample);
    Ok(sample)
}

/// Does with a sample what would be done with all of it, and says how much is left.
pub(super) fn try_out(layout: &Layout, sample: &[u8], cancel: &Cancellation) -> Result<u64, String> {
    let mut sink: Box<dyn Write + Send> = match &layout.keys {
        Some(keys) => Box::new(Encryptor::with_keys(keys, io::sink()).map_err(|error| error.to_string())?),
        None => Box::new(io::sink()),
    };
    match &layout.compression {
        Some(compression) => {
            let summary =
                compression.cancel(cancel.flag()).compress(sample, sink).map_err(|error| error.to_string())?;
            Ok(summary.bytes_out)
        }
        None => sink.write_all(sample).map(|()| sample.len() as u64).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    fn rates(here: f64, there: f64, line: f64) -> Rates {
        Rates { here: here * MIB, there: there * MIB, line: line * MIB, ratio: 0.4 }
    }

    #[test]
    fn a_weak_machine_on_a_good_line_sends_it_plain() {
        assert!(rates(25.0, 400.0, 110.0).favour_there());
        assert!(rates(60.0, 2000.0, 1000.0).favour_there());
    }

    #[test]
    fn a_thin_line_carries_less_when_it_is_compressed_first() {
        assert!(!rates(25.0, 400.0, 11.0).favour_there());
        assert!(!rates(25.0, 400.0, 0.1).favour_there());
    }

    #[test]
    fn a_strong_machine_does_its_own_work() {
        assert!(!rates(400.0, 400.0, 110.0).favour_there());
        assert!(!rates(400.0, 30.0, 1000.0).favour_there());
    }

    #[test]
    fn for_a_little_nothing_is_changed() {
        assert!(!rates(100.0, 105.0, 1000.0).favour_there());
    }
}
