//! The OpenAPI 3.1 document, generated from the entity types and the routes.
//!
//! It says what this gateway answers today and nothing more. What operations share (parameters, headers, problems, examples)
//! stands once under `components`. A component that belongs to an entity type is named by the type's name with a capital,
//! which no name of a shared component can be (see [`Names`]).

mod changes;
mod entity;
pub(super) mod example;
pub(super) mod schema;
mod shared;
mod system;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use contract::{EntityType, Registry, Slug};
use serde_json::{Map, Value, json};

/// The OpenAPI document of a gateway that serves these types. `public_url` is where clients reach it (empty: wherever the
/// document came from), `version` that of the API.
pub fn openapi(registry: &Registry, public_url: &str, version: &str) -> Value {
    let url = match public_url.trim_end_matches('/') {
        "" => "/",
        url => url,
    };
    let mut paths = Map::new();
    let (mut schemas, mut examples, mut parameters) = (schema::shared(), example::shared(), shared::parameters());
    for entity_type in registry.iter() {
        let names = Names::of(entity_type);
        entity::paths(&names, &mut paths);
        entity::filters(entity_type, &names, &mut parameters);
        schema::entity(entity_type, &names, &mut schemas);
        example::entity(entity_type, &names, &mut examples);
    }
    for entity_type in registry.iter() {
        entity::plural_paths(&Names::of(entity_type), entity_type.plural(), &mut paths);
    }
    let types: Vec<_> = registry.iter().map(|entity_type| entity_type.name().as_str()).collect();
    parameters["Type"]["schema"]["enum"] = types.into();
    changes::paths(&mut paths);
    system::paths(registry, &mut paths);
    let responses = used(shared::responses(registry.iter().any(|t| t.plural().is_some())), &paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Directory of Services",
            "summary": "Who provides which service, where, when, for whom and at what cost.",
            "description": description(),
            "contact": {"name": "The operator of this directory"},
            "license": {"name": "MIT", "identifier": "MIT"},
            "version": version,
        },
        "servers": [{"url": url, "description": "This gateway"}],
        "security": [],
        "tags": tags(registry),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": parameters,
            "headers": shared::headers(),
            "responses": responses,
            "examples": examples,
        },
    })
}

/// Those of the responses that a path refers to.
fn used(mut responses: Map<String, Value>, paths: &Map<String, Value>) -> Map<String, Value> {
    let mut names = HashSet::new();
    for operation in paths.values().filter_map(Value::as_object).flat_map(Map::values) {
        let responses = operation.get("responses").and_then(Value::as_object).into_iter().flat_map(Map::values);
        let references = responses.filter_map(|response| response.get("$ref").and_then(Value::as_str));
        names.extend(references.filter_map(|reference| reference.rsplit('/').next()));
    }
    responses.retain(|name, _| names.contains(name.as_str()));
    responses
}

/// The document as YAML.
pub fn to_yaml(document: &Value) -> String {
    // Writing a JSON value as YAML cannot fail: its keys are strings and its numbers finite.
    serde_norway::to_string(document).unwrap_or_default()
}

/// How documents call an entity type.
pub(super) struct Names {
    /// The type's name and path segment: `costoption`.
    pub(super) path: String,
    /// In components and operation ids: `Costoption`. Only the first letter is raised, so that two types never meet, nor a type
    /// and what belongs to another (`CostoptionUpdate`).
    pub(super) component: String,
    /// In a sentence: `cost option`.
    pub(super) one: String,
    /// In a sentence, with its article: `a cost option`.
    pub(super) a: String,
    /// In a sentence: `cost options`.
    pub(super) many: String,
    /// The components of the parameters that filter lists: `Costoption.option`.
    filters: Vec<String>,
}

impl Names {
    pub(super) fn of(entity_type: &EntityType) -> Self {
        let path = entity_type.name().to_string();
        let mut component = capital(&path);
        if schema::SHARED.contains(&component.as_str()) {
            component.push('_');
        }
        let one = entity_type.title().to_lowercase();
        let article = if one.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        let many = match one.strip_suffix('y') {
            Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
            _ if one.ends_with('s') => one.clone(),
            _ => format!("{one}s"),
        };
        let fields = (0..).zip(entity_type.fields()).filter(|(_, field)| field.filter);
        let filters = fields.map(|(number, field)| {
            let plain = field.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            // What no component may be called is called by its number.
            if plain { format!("{component}.{}", field.name) } else { format!("{component}..{number}") }
        });
        let filters = filters.collect();
        Self { path, component, a: format!("{article} {one}"), one, many, filters }
    }
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// The grammar of ids, without `.` and `..`, which no path can hold. Spelled without a look-ahead, which not every reader has.
const ID_PATTERN: &str =
    "^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63}|\\.[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}|\\.\\.[A-Za-z0-9._-]{1,62})$";

/// A reference to a component.
pub(super) fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// The tag of the paths of the published 1.0.x specification.
const OLD_PATHS: &str = "1.0.x paths";

/// The tag of everything that is no entity.
const SYSTEM: &str = "system";

fn tags(registry: &Registry) -> Value {
    let mut tags: Vec<_> =
        registry.iter().map(|t| json!({"name": t.name().as_str(), "description": t.description()})).collect();
    tags.push(json!({"name": SYSTEM, "description": "The gateway itself: what it serves, how it is, what became of a write."}));
    if registry.iter().any(|t| t.plural().is_some()) {
        tags.push(json!({
            "name": OLD_PATHS,
            "description": "The plural paths of the published 1.0.x specification. They are answered in place, in all \
                their methods, by the paths named in the singular; use those.",
        }));
    }
    Value::Array(tags)
}

fn description() -> String {
    let mut text = DESCRIPTION.to_owned();
    let mut slugs = Slug::ALL.to_vec();
    slugs.sort_by_key(|slug| slug.status());
    let (mut status, mut separator) = (0, "");
    for slug in slugs {
        if slug.status() == status {
            text.push_str(", ");
        } else {
            status = slug.status();
            text.push_str(&format!("{separator}{status} "));
            separator = " · ";
        }
        text.push_str(&format!("[{slug}](problem/{slug})", slug = slug.as_str()));
    }
    text
}

const DESCRIPTION: &str = "\
The gateway of a Directory of Services. Every entity type has a pair of paths: `/T` to list and create, `/T/{id}` to read and \
update. Data is JSON in UTF-8; a response always holds the full object, every field in the same order, `null` where unset.\n\
\n\
- **Reading** is answered from the current view that the gateway keeps. Send the `ETag` back in `If-None-Match` to get `304` \
while nothing has changed, or `Cache-Control: no-cache` to have the data store asked.\n\
- **Writing** is a command to the data store over an event stream; the answer is what the data store made of it. A write waits up \
to 5 seconds for that (`Prefer: wait=N`), or not at all (`Prefer: respond-async`). `202` means: the command is stored and will be \
carried out; ask the operation at `Location` what became of it.\n\
- **`PUT` merges**: fields sent are set, fields not sent keep their value, `null` clears. `PATCH` (`application/merge-patch+json`) is \
the standard form of the same.\n\
- **`DELETE`** answers `204`; from then on the entity is `410`, until `PUT` with `If-None-Match: *` creates it anew.\n\
- **Conditions** of writes are decided by the data store: with the `ETag` you read in `If-Match` nobody's change is lost (`412`).\n\
- **`Idempotency-Key`** makes a write that is sent again be carried out once; the first answer comes again.\n\
- **Times** are RFC 3339 in UTC with `Z`, to the millisecond. **Ids** are opaque: 1 to 64 of `A-Z a-z 0-9 . _ -`.\n\
- **Lists** are read a page at a time: follow `Link: rel=\"next\"` until there is none. They are filtered, sorted, polled with the \
page's `ETag`, and streamed whole as `application/x-ndjson`.\n\
- **`HEAD`** is answered wherever `GET` is, `OPTIONS` everywhere.\n\
- **Compression**: lists, streams and documents are sent with `gzip` to those who ask (`Accept-Encoding`); single entities never. A body that \
is sent encoded is refused (`415`).\n\
- **Read your writes anywhere**: answers about entities carry a `Consistency-Token`. A request that sends it, to whichever instance, is \
answered from a view that has seen all that the token tells of, and gets a newer one back.\n\
- **Pages of other origins** (CORS) may read what anonymous callers may, and all headers of the answers; writes and credentials are not \
open to them.\n\
- **What changes** can be followed: `Accept: text/event-stream` on `/T`, `/T/{id}` and `/changes`, or pages of `/changes` for those who poll. \
Every event's id, every `rel=\"next\"` there and every `Consistency-Token` is a position to go on from, on any gateway.\n\
- **Other services** of the same system listen to the event stream itself: [asyncapi.json](asyncapi.json) describes its topics and messages.\n\
- **Not offered yet**, and therefore refused with `400` rather than passed over: on writes \
`If-Modified-Since`; on lists and other documents `If-Match` and `If-Unmodified-Since`.\n\
- **`X-Request-ID`** is your label of a request: it comes back in the response and stands in the gateway's log.\n\
- **Problems** are `application/problem+json` (RFC 9457). `type` is one of this closed list, `errors` names every bad field at once \
(the first 100; `detail` says how many there are), and on writes `retry` says whether to send it again: `safe` (nothing was produced), `unknown` (it may have happened: look first), `no` (it \
would be refused again). `code` and `message` repeat `status` and `detail` for clients of the 1.0.x specification. A method \
that a path does not offer is answered `405` with `Allow`.\n\
\n\
Problems by status, each with a page that says what to do: ";
