//! The list of all backups, a part at a time.

use askama::Template;
use axum::extract::State;
use keeper::status::ArchiveStatus;

use super::{Answer, Frame, Service, show, view};
use crate::{
    fields::Fields,
    shared::{Asked, Shared},
    text::Clock,
};

/// What one page lists.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "backups.html")]
struct Backups {
    frame: Frame,
    clock: Clock,
    archives: Vec<ArchiveStatus>,
    filter: Filter,
    jobs: Vec<String>,
    locations: Vec<String>,
    /// How many fit the filter, and their bytes at all locations.
    total: usize,
    size: u64,
    page: usize,
    pages: usize,
}

impl Backups {
    fn newer(&self) -> String {
        self.filter.page(self.page - 1)
    }

    fn older(&self) -> String {
        self.filter.page(self.page + 1)
    }
}

/// What is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    job: Option<String>,
    location: Option<String>,
    /// `pinned`, `leaving` or `damaged`.
    only: Option<String>,
}

impl Filter {
    fn of(query: &Fields) -> Self {
        let text = |name| query.get(name).map(str::to_owned);
        Self { job: text("job"), location: text("location"), only: text("only") }
    }

    fn fits(&self, archive: &ArchiveStatus) -> bool {
        let only = match self.only.as_deref() {
            Some("pinned") => view::is_pinned(archive),
            Some("leaving") => archive.copies.iter().any(|copy| copy.leaving),
            Some("damaged") => view::archive_level(archive) >= keeper::status::Level::Warning,
            _ => true,
        };
        let at = |location: &String| archive.copies.iter().any(|copy| copy.destination == *location);
        only && self.job.as_ref().is_none_or(|job| archive.job.as_ref() == Some(job))
            && self.location.as_ref().is_none_or(at)
    }

    fn is_set(&self) -> bool {
        *self != Self::default()
    }

    fn is_job(&self, job: &str) -> bool {
        self.job.as_deref() == Some(job)
    }

    fn is_location(&self, location: &str) -> bool {
        self.location.as_deref() == Some(location)
    }

    fn is_only(&self, only: &str) -> bool {
        self.only.as_deref() == Some(only)
    }

    /// The address of another part of the same list.
    fn page(&self, page: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("job", &self.job), ("location", &self.location), ("only", &self.only)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.append_pair("page", &page.to_string()).finish()
    }
}

pub(super) async fn list(State(shared): Service, asked: Asked) -> Answer {
    let filter = Filter::of(&asked.query);
    let page = asked.query.get("page").and_then(|page| page.parse().ok()).unwrap_or(1);
    let page = prepared(&shared, &asked, filter, page).await?;
    Ok(show(&page))
}

async fn prepared(
    shared: &std::sync::Arc<Shared>,
    asked: &Asked,
    filter: Filter,
    page: usize,
) -> Result<Backups, crate::refusal::Refusal> {
    let (frame, clock) = (Frame::new(asked, "Backups", "backups"), shared.clock());
    shared
        .ask(move |backend| {
            let mut archives = backend.archives();
            archives.retain(|archive| filter.fits(archive));
            let total = archives.len();
            let size = archives.iter().flat_map(|archive| &archive.copies).map(|copy| copy.size).sum();
            let pages = total.div_ceil(PAGE).max(1);
            let page = page.clamp(1, pages);
            let archives = archives.into_iter().skip((page - 1) * PAGE).take(PAGE).collect();
            let status = backend.status();
            let jobs = status.jobs.into_iter().map(|job| job.name).collect();
            let locations = status.destinations.into_iter().map(|destination| destination.name).collect();
            Backups { frame, clock, archives, filter, jobs, locations, total, size, page, pages }
        })
        .await
}
