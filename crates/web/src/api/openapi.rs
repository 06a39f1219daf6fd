//! The description of the API that programs read.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{accounts, archives, orders, status};
use crate::refusal::ErrorBody;

#[derive(OpenApi)]
#[openapi(
    info(title = "Haul", description = "Backups of Home Assistant by themselves.", license(name = "MIT")),
    paths(
        status::status,
        status::events,
        status::runs,
        status::metrics,
        status::configuration,
        crate::stream::stream,
        archives::archives,
        archives::archive,
        archives::contents,
        archives::compare,
        archives::download,
        archives::file,
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
        orders::agree,
        accounts::tokens,
        accounts::add_token,
        accounts::revoke_token,
        accounts::set_password,
    ),
    components(schemas(ErrorBody)),
    modifiers(&Everywhere)
)]
struct Description;

/// What holds for every path: it needs a token, and failures look alike.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("token", bearer);
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
                operation.responses.responses.insert("default".to_owned(), failure.clone().into());
            }
        }
    }
}

pub(super) async fn document() -> Json<openapi::OpenApi> {
    Json(Description::openapi())
}
