//! What is needed to restore on an empty machine: to be printed.

use askama::Template;
use axum::extract::State;
use keeper::status::{ArchiveStatus, DestinationStatus, JobStatus};

use super::{
    Answer, Frame, Service,
    archive::{best, quoted},
    show, view,
};
use crate::{kit, shared::Asked, text::Clock};

#[derive(Template)]
#[template(path = "recovery.html")]
struct Recovery {
    frame: Frame,
    clock: Clock,
    jobs: Vec<Known>,
    /// Each with what is behind its folder.
    destinations: Vec<(DestinationStatus, Option<String>)>,
}

/// A job and its newest backup.
struct Known {
    job: JobStatus,
    newest: Option<ArchiveStatus>,
    /// Its best copy by address, since names are lost with `haul.toml`; by name where that has to say more.
    address: Option<String>,
    /// What to write into `haul.toml` before that.
    lines: Option<String>,
}

impl Known {
    fn command(&self) -> Option<String> {
        let address = self.address.as_ref()?;
        let config = if self.lines.is_some() { "--config haul.toml " } else { "" };
        Some(format!("haul {config}restore {} --into {} --replace", quoted(address), quoted(&self.job.source)))
    }
}

pub(super) async fn recovery(State(shared): Service, asked: Asked) -> Answer {
    let (status, archives) = shared.ask(|backend| (backend.status(), backend.archives())).await?;
    let newest = |job: &JobStatus| {
        archives.iter().find(|archive| archive.job.as_ref() == Some(&job.name) && best(archive).is_some()).cloned()
    };
    let address = |newest: &ArchiveStatus| {
        let copy = best(newest)?;
        let place = status.destinations.iter().find(|place| copy.destination == place.name)?;
        let lines = kit::lines(place);
        let location = if lines.is_some() { &place.name } else { place.address.trim_end_matches('/') };
        Some((format!("{location}/{}", copy.name), lines))
    };
    let known = |job: JobStatus| {
        let newest = newest(&job);
        let (address, lines) = newest.as_ref().and_then(address).unzip();
        Known { address, lines: lines.flatten(), newest, job }
    };
    let jobs = status.jobs.iter().cloned().map(known).collect();
    let frame = Frame::new(&asked, "Recovery", "recovery");
    let storages = kit::storages(&shared, &asked).await?;
    let with_storage = |place: DestinationStatus| {
        let behind = kit::behind(&place, &storages);
        (place, behind)
    };
    let destinations = status.destinations.into_iter().map(with_storage).collect();
    Ok(show(&Recovery { frame, clock: shared.clock(), jobs, destinations }))
}
