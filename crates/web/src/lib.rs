//! The page and the API over the running service.
//!
//! | module | owns |
//! |---|---|
//! | `backend` | what is asked of the service |
//! | `serve` | connections, and what one client may cost |
//! | `app` | one request from its arrival to its answer: the same for every route |
//! | `shared` | what every handler can use, and what it is told of a request |
//! | `visitor` | who asks, and whether another site made them ask |
//! | `auth` | the set-up code, the password, sessions, tokens |
//! | `pages` | HTML, from `templates` |
//! | `api` | `/api/v1` |
//! | `orders`, `download`, `stream` | what both share: doing things, sending files, telling of changes |
//! | `fields`, `refusal`, `text`, `assets` | what was filled in; why not; text for people; style and script |

mod api;
mod app;
mod assets;
mod auth;
pub mod backend;
mod download;
mod fields;
mod kit;
mod orders;
mod pages;
mod refusal;
mod serve;
mod shared;
mod stream;
mod text;
mod visitor;

pub use app::App;
pub use auth::{Scope, TokenInfo};
pub use backend::Backend;
pub use serve::{Listener, serve};
pub use shared::Options;
pub use visitor::{Ingress, NotAdmitted, Trust, Visit};
