//! What is needed to restore on an empty machine: to be printed.

use askama::Template;
use axum::extract::State;
use keeper::status::{ArchiveStatus, DestinationStatus, JobStatus};

use super::{
    Answer, Frame, Service,
    archive::{best, quoted},
    show, view,
};
use crate::{shared::Asked, text::Clock};

#[derive(Template)]
#[template(path = "recovery.html")]
struct Recovery {
    frame: Frame,
    clock: Clock,
    jobs: Vec<Known>,
    destinations: Vec<DestinationStatus>,
}

/// A job and its newest backup.
struct Known {
    job: JobStatus,
    newest: Option<ArchiveStatus>,
    /// The address of its best copy: names of locations are lost with `haul.toml`.
    address: Option<String>,
}

impl Known {
    fn command(&self) -> Option<String> {
        let address = self.address.as_ref()?;
        Some(format!("haul restore {} --into {} --replace", quoted(address), quoted(&self.job.source)))
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
        Some(format!("{}/{}", place.address.trim_end_matches('/'), copy.name))
    };
    let known = |job: JobStatus| {
        let newest = newest(&job);
        Known { address: newest.as_ref().and_then(address), newest, job }
    };
    let jobs = status.jobs.iter().cloned().map(known).collect();
    let frame = Frame::new(&asked, "Recovery", "recovery");
    Ok(show(&Recovery { frame, clock: shared.clock(), jobs, destinations: status.destinations }))
}
