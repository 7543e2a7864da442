//! Documents about the API: the OpenAPI description, the AsyncAPI description of the events, the interactive reference at `/docs`, a page per problem type.
//!
//! All of it is computed from the entity types and from files embedded in the program; nothing is fetched.

mod assets;
mod asyncapi;
mod documents;
mod openapi;
mod problem;

pub(crate) use assets::{CSP, asset};
pub use asyncapi::asyncapi;
pub use documents::API_VERSION;
pub(crate) use documents::{Document, Documents, VERSIONS};
pub use openapi::{openapi, to_yaml};
pub(crate) use problem::{PROBLEM_CSP, problem_page};
