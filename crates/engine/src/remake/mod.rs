//! An archive made anew of one that somebody else is still writing: each part is compressed and encrypted while it
//! comes, the description is corrected, and an index and a verdict are added. Nothing is stored on the way.
//!
//! The parts come as plain tars, in any order, and their bytes stay as they are. The description is known last, as in
//! every archive of Home Assistant's Supervisor, so it stands behind the parts.
//!
//! | module | owns |
//! |---|---|
//! | `part` | one part as a reader: what its writer puts behind it is left out |
//! | `look` | what a part's members say, while they pass |
//! | `folder` | a folder that the other archive lacks |

mod folder;
mod look;
mod part;

use std::{
    ffi::OsStr,
    io::Read,
    num::NonZeroUsize,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use habackup::{
    archive::MANIFEST,
    index::IndexBuilder,
    manifest::Manifest,
    outer::Outer,
    securetar::{Keys, Password},
    settings::RECORDER,
    version::HaVersion,
};
use jiff::Timestamp;
use pargz::Level;
use store::{
    Cancellation, Expected,
    outbound::{Network, Outbound},
};

pub use self::part::{Piece, Pieces};
use self::{
    folder::FolderTar,
    look::{Look, Main},
    part::PartReader,
};
use crate::{
    backup::{
        configuration::{self, History},
        intent::instance_id,
    },
    error::BackupError,
    inventory::bare_name,
    progress::{Phase, Progress},
    verdict::{Judgement, Verdict},
    write::{
        broken::{Broken, Ended},
        destination::{self, CopyReport, Destination},
        layout::{Layout, Packed, SecureTar, container_version},
        pipeline::{Output, all_cores},
    },
};

/// What else a member's body may be, beside a part: kept whole.
const SMALL: u64 = 16 << 20;
/// Home Assistant's own part.
const MAIN: &str = "homeassistant";

/// How the new archive is made.
pub struct RemakeOptions {
    /// Where it goes.
    pub destinations: Vec<Destination>,
    /// Its file name.
    pub file_name: String,
    /// `None`: not compressed.
    pub level: Option<Level>,
    /// `None`: not encrypted.
    pub password: Option<Password>,
    /// Which encryption.
    pub securetar: SecureTar,
    /// Home Assistant's version, by which the encryption is chosen; `None`: one that every version reads.
    pub ha_version: Option<HaVersion>,
    /// A folder that its writer leaves out, as in the description, and where it is: it is added.
    pub folder: Option<(String, PathBuf)>,
    /// Threads to work with; `None` for one per core.
    pub threads: Option<NonZeroUsize>,
    /// The live configuration, if it can be read: it says of which instance the archive is, and where the history is.
    pub config: Option<PathBuf>,
    /// The moment.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Remade {
    /// Bytes of the archive.
    pub size: u64,
    /// Bytes of its parts as they came.
    pub bytes_in: u64,
    /// Its copies.
    pub copies: Vec<CopyReport>,
    /// What it is worth.
    pub judgement: Judgement,
    /// Home Assistant's identifier of it.
    pub slug: String,
}

/// Makes an archive of what comes. `complaints` is asked once, when the description is there: what of it is missing, in
/// the words of whoever made it. When this returns, every copy that arrived has its final name, whole and checked;
/// nothing is left of any other.
pub fn remake(
    options: &RemakeOptions,
    pieces: &mut dyn Pieces,
    complaints: &dyn Fn(&Manifest) -> Vec<String>,
    network: Option<&Network<'_>>,
    progress: &Arc<Progress>,
    cancel: &Cancellation,
) -> Result<Remade, BackupError> {
    let is_vault = destination::is_vault(&options.destinations)?;
    let of = |destination: &Destination| (destination.target(&options.file_name), destination.is_read_back());
    let mut outbound = Outbound::prepare_each(options.destinations.iter().map(of).collect(), network.copied())?;
    outbound.sizes_come_last()?;
    let version = options
        .ha_version
        .as_ref()
        .map_or(habackup::securetar::SecureTarVersion::V2, |version| container_version(options.securetar, version));
    let password = options.password.as_ref().filter(|_| !is_vault);
    let keys = password.map(|password| Keys::create(version, password)).transpose();
    let threads = options.threads.unwrap_or_else(all_cores);
    let layout = Layout {
        manifest: Manifest::default(),
        mtime: (options.now.as_second(), options.now.subsec_nanosecond().unsigned_abs()),
        compression: options
            .level
            .filter(|_| !is_vault)
            .map(|level| pargz::Compressor::new().level(level).threads(threads)),
        keys: keys.map_err(|error| BackupError::Pipeline(error.to_string()))?,
    };
    // From here on, a destination that is not ready makes everything wait; the progress display needs the reason.
    progress.watch(outbound.writers(), outbound.meters());
    outbound.begin(Expected::default())?;
    progress.enter(Phase::Running);
    progress.set_threads(threads.get());
    let mut output = Output::new(outbound, Arc::clone(progress));
    let folder = options.folder.as_ref();
    let work =
        Work { layout, folder, source: Source::of(options.config.as_deref()), pieces, complaints, progress, cancel };
    let laid = match work.lay_out(&mut output) {
        Ok(laid) => laid,
        Err(broken) => {
            let failures = output.into_outbound().abort();
            return Err(match broken.into_ended(failures, cancel) {
                // Nothing else inside can fail.
                Ended::Failed(BackupError::Pipeline(why)) => BackupError::Came(why),
                Ended::Failed(error) => error,
                Ended::Stale => BackupError::Cancelled,
            });
        }
    };
    progress.enter(Phase::Finishing);
    let copies = destination::settle(output.into_outbound().finish())?;
    let Laid { size, bytes_in, judgement, slug } = laid;
    Ok(Remade { size, bytes_in, copies, judgement, slug })
}

struct Work<'a> {
    layout: Layout,
    folder: Option<&'a (String, PathBuf)>,
    source: Source,
    pieces: &'a mut dyn Pieces,
    complaints: &'a dyn Fn(&Manifest) -> Vec<String>,
    progress: &'a Arc<Progress>,
    cancel: &'a Cancellation,
}

struct Laid {
    size: u64,
    bytes_in: u64,
    judgement: Judgement,
    slug: String,
}

/// A part that was taken.
struct Taken {
    /// As in the description: `homeassistant`, an app's slug, a folder with `_` for `/`.
    name: String,
    /// What is wrong with it.
    fault: Option<&'static str>,
}

/// What the live configuration says.
#[derive(Default)]
struct Source {
    instance: Option<String>,
    /// The history is in no backup of it, or there is none.
    is_elsewhere: bool,
    /// Its name in the archive, where that is unusual.
    history: Option<Vec<u8>>,
}

impl Source {
    fn of(config: Option<&Path>) -> Self {
        let Some(config) = config.filter(|config| config.is_dir()) else { return Self::default() };
        let history = match configuration::history(config) {
            History::Here(path) if config.join(OsStr::from_bytes(&path)).exists() => Some(path),
            History::Here(_) | History::Elsewhere(_) | History::Unknown(_) => None,
        };
        Self {
            instance: instance_id(config),
            is_elsewhere: history.is_none(),
            history: history.filter(|path| path != RECORDER).map(|path| [b"data/", &path[..]].concat()),
        }
    }
}

impl Work<'_> {
    fn lay_out(mut self, output: &mut Output) -> Result<Laid, Broken> {
        let mut outer = Outer::new(output, self.layout.mtime);
        let (mut manifest, mut main): (Option<Manifest>, Option<(Main, Packed)>) = (None, None);
        let (mut taken, mut bytes_in) = (Vec::new(), 0);
        while let Some(name) = part::begin(self.pieces).map_err(Broken::Inside)? {
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            let mut reader = PartReader::new(self.pieces);
            if Some(name.as_str()) == MANIFEST.strip_prefix("./") {
                manifest = Some(describe(&mut reader)?);
                continue;
            }
            let Some(base) = name.strip_suffix(".tar") else {
                // What a later Supervisor may add; an archive that is compressed already is not made anew.
                let body = if name.ends_with(".tar.gz") { None } else { small(&mut reader)? };
                let body = body.ok_or_else(|| Broken::Inside(format!("{name} is no plain archive")))?;
                outer = outer.member(&name, &body)?;
                continue;
            };
            // Of two, each reader would take another one.
            if taken.iter().any(|part: &Taken| part.name == base) {
                return Err(Broken::Inside(format!("{name} comes twice")));
            }
            let is_main = base == MAIN;
            let new_name = if self.layout.compression.is_some() { format!("{name}.gz") } else { name.clone() };
            let of_main = || Main::new(IndexBuilder::new(&new_name), self.source.history.clone());
            let mut look = Look::new(&mut reader, is_main.then(of_main));
            let packed;
            (outer, packed) = self.layout.member(outer, &new_name, &mut look, self.progress, self.cancel)?;
            let (fault, of_main) = look.finish();
            bytes_in += reader.finish().map_err(Broken::Inside)?;
            if let Some(mut of_main) = of_main {
                of_main.index.sum(packed.sum);
                main = Some((of_main, packed));
            }
            taken.push(Taken { name: base.to_owned(), fault });
        }
        let mut manifest = manifest.ok_or_else(|| Broken::Inside("it has no description".to_owned()))?;
        let lacks = |(folder, path): &&(String, PathBuf)| {
            !manifest.folders().contains(&folder.as_str()) && folder::has_content(path)
        };
        let mut faults = Vec::new();
        if let Some((folder, path)) = self.folder.filter(lacks) {
            let name = folder.replace('/', "_");
            let suffix = if self.layout.compression.is_some() { ".tar.gz" } else { ".tar" };
            let mut tar = FolderTar::new(path);
            (outer, _) = self.layout.member(outer, &(name.clone() + suffix), &mut tar, self.progress, self.cancel)?;
            faults = tar.finish();
            taken.push(Taken { name, fault: None });
            let mut folders: Vec<&str> = manifest.folders();
            folders.push(folder);
            let folders = serde_json::json!(folders);
            manifest.set("folders", folders);
        }
        self.layout.manifest = self.corrected(manifest);
        let mut judgement = match &mut main {
            Some((main, _)) => {
                let content = main.content();
                let (elsewhere, inside) = (self.source.is_elsewhere, main.has_history);
                Judgement::of_content(&content, &self.layout.manifest, elsewhere, inside)
            }
            None => Judgement::default(),
        };
        self.lose(&taken, &mut judgement);
        for fault in faults {
            judgement.lose(&fault, false);
        }
        let json = self.layout.json(Some(&judgement));
        outer = outer.member(MANIFEST, &json)?;
        if let Some((Main { mut index, .. }, packed)) = main {
            index.describe(&json);
            outer = self.layout.index(outer, index.finish(packed.pieces.as_ref(), &packed.nonces))?;
        }
        let slug = self.layout.manifest.slug().unwrap_or_default().to_owned();
        Ok(Laid { size: outer.finish()?.1, bytes_in, judgement, slug })
    }

    fn corrected(&self, mut manifest: Manifest) -> Manifest {
        manifest.set("compressed", self.layout.compression.is_some().into());
        manifest.set("protected", self.layout.keys.is_some().into());
        if let Some(instance) = &self.source.instance {
            manifest.set_instance(instance);
        }
        manifest
    }

    /// What is missing, by what the description promises and by what its maker says.
    fn lose(&self, taken: &[Taken], judgement: &mut Judgement) {
        let manifest = &self.layout.manifest;
        let addons = manifest.addons();
        let called = |base: &str| match addons.iter().find(|addon| addon.slug == base) {
            _ if base == MAIN => "Home Assistant's configuration".to_owned(),
            Some(addon) if !addon.name.is_empty() => format!("the app {}", addon.name),
            Some(addon) => format!("the app {}", addon.slug),
            None => format!("the folder {}", base.replace('_', "/")),
        };
        for part in taken {
            if let Some(fault) = part.fault {
                judgement.lose(&format!("{} ({fault})", called(&part.name)), part.name == MAIN);
            }
        }
        let is_there = |base: &str| taken.iter().any(|part| part.name == base);
        for base in manifest.inner_archives().iter().map(|name| bare_name(name)).filter(|base| !is_there(base)) {
            judgement.lose(&called(base), base == MAIN);
        }
        for complaint in (self.complaints)(manifest) {
            judgement.lose(&complaint, false);
        }
        debug_assert!(judgement.missing.is_empty() || judgement.verdict >= Verdict::Incomplete);
    }
}

fn describe(reader: &mut PartReader<'_>) -> Result<Manifest, Broken> {
    let json = small(reader)?.ok_or_else(|| Broken::Inside("its description is far too long".to_owned()))?;
    Manifest::parse(&json).map_err(|error| Broken::Inside(error.to_string()))
}

/// A whole body; `None`: it is too long for that.
fn small(reader: &mut PartReader<'_>) -> Result<Option<Vec<u8>>, Broken> {
    let mut body = Vec::new();
    let read = (&mut *reader).take(SMALL + 1).read_to_end(&mut body);
    read.map_err(|error| Broken::Inside(error.to_string()))?;
    if body.len() as u64 > SMALL {
        return Ok(None);
    }
    reader.finish().map_err(Broken::Inside)?;
    Ok(Some(body))
}
