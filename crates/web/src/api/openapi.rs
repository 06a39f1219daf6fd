//! The description of the API that programs read.

use axum::Json;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{accounts, archives, channels, orders, settings, status};
use crate::refusal::ErrorBody;

#[derive(OpenApi)]
#[openapi(
    info(title = "Haul", description = "Backups of Home Assistant by themselves.", license(name = "MIT")),
    paths(
        status::status,
        status::events,
        status::runs,
        status::log,
        status::metrics,
        status::configuration,
        crate::stream::stream,
        archives::archives,
        archives::archive,
        archives::contents,
        archives::compare,
        archives::download,
        archives::file,
        archives::parts,
        orders::sync,
        orders::run,
        orders::pause,
        orders::resume,
        orders::rehearse_newest,
        orders::cancel,
        orders::verify,
        orders::rehearse,
        orders::pin,
        orders::unpin,
        orders::note,
        orders::delete,
        orders::restore,
        orders::restore_parts,
        orders::migrate,
        orders::agree,
        settings::settings,
        settings::kinds,
        settings::put_job,
        settings::remove_job,
        settings::new_key,
        settings::kit,
        settings::put_time_zone,
        settings::put_location,
        settings::remove_location,
        settings::try_location,
        channels::put,
        channels::remove,
        channels::try_out,
        channels::put_broker,
        channels::remove_broker,
        channels::try_broker,
        settings::sign_in,
        settings::signing_in,
        settings::end_sign_in,
        accounts::tokens,
        accounts::add_token,
        accounts::revoke_token,
        accounts::set_password,
    ),
    components(schemas(ErrorBody, Item, crate::stream::Logged)),
    modifiers(&Everywhere)
)]
struct Description;

/// What holds for every path: it needs a token, and failures look alike.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", bearer);
        // The engine describes archives, and knows nothing of this description.
        if let Some(openapi::RefOr::T(openapi::Schema::Object(archive))) = components.schemas.get_mut("ArchiveStatus") {
            archive.properties.insert("item".to_owned(), openapi::Ref::from_schema_name("Item").into());
        }
        document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("token", [])]);
        let failure = openapi::ResponseBuilder::new()
            .description("It was not done.")
            .content(
                "application/json",
                openapi::ContentBuilder::new().schema(Some(openapi::Ref::from_schema_name("Error"))).build(),
            )
            .build();
        for path in document.paths.paths.values_mut() {
            let operations = [&mut path.get, &mut path.post, &mut path.put, &mut path.delete];
            for operation in operations.into_iter().filter_map(Option::as_mut) {
                for response in operation.responses.responses.values_mut() {
                    if let openapi::RefOr::T(response) = response
                        && response.description.is_empty()
                    {
                        // The standard asks for one; the summary above says the same.
                        "It was done.".clone_into(&mut response.description);
                    }
                }
                operation.responses.responses.insert("default".to_owned(), failure.clone().into());
            }
        }
    }
}

pub(super) async fn document() -> Json<openapi::OpenApi> {
    Json(Description::openapi())
}

/// What an archive says of itself: as [`engine::inventory::Item`] is written.
#[expect(dead_code, reason = "only its form counts")]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(ToSchema)]
struct Item {
    /// Its name at a destination.
    name: String,
    /// Home Assistant's own id of the backup.
    slug: Option<String>,
    /// Its size in bytes.
    size: u64,
    /// When it was made, as far as known; else when it was last changed.
    date: jiff::Timestamp,
    /// What Home Assistant shows as the backup's name.
    title: Option<String>,
    /// The version of Home Assistant that it was made for.
    home_assistant: Option<String>,
    /// The program that made it: `own`, `other`, `unknown` or `unreadable`.
    made_by: String,
    /// It is encrypted.
    protected: bool,
    /// Its owner said never to remove it.
    pinned: bool,
    /// Home Assistant's id of the instance that it is of.
    instance: Option<String>,
    /// What is known of it from outside: `whole`, `incomplete`, `damaged` or `unknown`.
    verdict: String,
    /// What an incomplete one lacks, as text.
    missing: Option<String>,
    /// Whether that is users, settings or the history.
    essential: bool,
    /// Whether it holds the history.
    history: bool,
    /// It is a symbolic link.
    link: bool,
    /// The paired machine that sent it, and when it arrived, at a receiver that keeps what it has.
    #[schema(value_type = Option<Object>)]
    arrival: Option<String>,
    /// What is wrong with it, as text.
    problem: Option<String>,
}
