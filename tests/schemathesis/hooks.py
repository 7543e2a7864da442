"""What the document cannot say of a valid request, and what schemathesis cannot know of this API.

Schemas say how a token is spelled, not which tokens there are; nor that the body's id is the path's. Without these hooks such
requests would be refused before anything else of them is looked at. Only what was generated as valid is touched: what was
spoilt on purpose goes out as it is, and with valid company, so that it is refused for what was spoilt.
"""

import collections
import datetime
import json
import random
import uuid

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation

HEADER, QUERY, PATH, BODY = (
    ParameterLocation.HEADER,
    ParameterLocation.QUERY,
    ParameterLocation.PATH,
    ParameterLocation.BODY,
)

# Opaque values that answers gave, to be sent back. Of operations and rows there are more than are worth keeping.
tokens = collections.deque(maxlen=64)
operations = collections.deque(maxlen=64)
# Chooses among them; hypothesis draws the requests themselves from the run's seed.
chance = random.Random(0)

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def http_date(time):
    """RFC 9110 5.6.7, in English whatever the machine speaks."""
    return f"{DAYS[time.weekday()]}, {time.day:02} {MONTHS[time.month - 1]} {time.year} {time:%H:%M:%S} GMT"


dates = st.datetimes(min_value=datetime.datetime(1970, 1, 2))
rows = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from(["id", "name", "term", "details", "option"]), st.text(max_size=40), min_size=1),
        st.just({"name": "Library", "published": 1}),
        st.fixed_dictionaries({"id": st.from_regex(r"\A[A-Za-z0-9._-]{1,64}\Z"), "name": st.text(max_size=255)}),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20), st.lists, max_leaves=4),
    ).map(json.dumps)
    | st.text(max_size=20),
    max_size=20,
)
schemathesis.openapi.media_type("application/x-ndjson", rows.map(lambda lines: "\n".join(lines).encode()))
schemathesis.openapi.format("http-date", dates.map(http_date))


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """An example of text cannot be one of a media type that has a strategy of its own, which makes bytes."""
    for path in raw_schema["paths"].values():
        content = path.get("post", {}).get("requestBody", {}).get("content", {})
        content.get("application/x-ndjson", {}).pop("example", None)


@schemathesis.deserializer("application/x-ndjson", "text/event-stream", "text/html")
def as_text(context, response):
    """The document calls these strings."""
    return response.content.decode()


def valid(case, location):
    """Whether this part of the request is to be accepted."""
    component = case.meta.components.get(location) if case.meta else None
    return component is None or component.mode.is_positive


def replace(values, name, known):
    """A value that an answer gave in place of one that was made up; none where no answer gave one yet."""
    if name not in values:
        return
    if known:
        values[name] = chance.choice(known)
    else:
        del values[name]


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.headers is not None and valid(case, HEADER):
        replace(case.headers, "Consistency-Token", tokens)
        # Only streams of events begin with these; without that Accept they are refused.
        case.headers.pop("Last-Event-ID", None)
        # A key belongs to one request for ever, also over runs on one gateway; these requests all differ.
        if case.media_type == "application/x-ndjson":
            # The document says in words that a batch takes none.
            case.headers.pop("Idempotency-Key", None)
        elif "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = str(uuid.uuid4())
    if isinstance(case.query, dict) and valid(case, QUERY):
        case.query.pop("snapshot", None)
        if case.path == "/changes":
            replace(case.query, "since", tokens)
        else:
            case.query.pop("since", None)
        # A cursor belongs to one list, with its filters and order.
        case.query.pop("cursor", None)
    if case.path == "/operation/{id}" and valid(case, PATH) and operations and chance.random() < 0.8:
        case.path_parameters["id"] = chance.choice(operations)
    if case.media_type == "application/x-ndjson" and not isinstance(case.body, (str, bytes)):
        # Stateful tests put what they know of an entity into any body.
        case.body = json.dumps(case.body).encode()
    elif isinstance(case.body, dict) and valid(case, BODY):
        mend_body(case)


def mend_body(case):
    if "id" in case.body and valid(case, PATH):
        case.body["id"] = case.path_parameters["id"]
    if "timestamps" in (case.query or {}):
        # Of any type where they are ignored; kept are times only.
        case.body.update((name, "2026-11-24T09:30:00Z") for name in ("created", "updated") if name in case.body)
    condition = (case.headers or {}).get("If-None-Match", "")
    if case.method.upper() == "PUT" and condition.strip() == "*" and not is_complete(case):
        del case.headers["If-None-Match"]


def is_complete(case):
    """Whether an entity can be created from the body of an update."""
    content = case.operation.definition.raw["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rsplit("/", 1)[1].removesuffix("Update")
    create = case.operation.schema.raw_schema["components"]["schemas"][f"{name}Create"]
    choices = [rule["oneOf"] for rule in create.get("allOf", []) if "oneOf" in rule]
    either = [{choice["required"][0] for choice in rule} for rule in choices]
    return all(name in case.body for name in create["required"]) and all(names & case.body.keys() for names in either)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A batch is never refused for its rows: each has a line of the answer, with a status of its own."""
    is_batch = case.media_type == "application/x-ndjson" and response.status_code == 200
    of_its_rows = is_batch and all(valid(case, location) for location in (HEADER, QUERY))
    return not (isinstance(failure, AcceptedNegativeData) and of_its_rows)


@schemathesis.hook
def after_call(context, case, response):
    tokens.extend(response.headers.get("consistency-token", []))
    if response.status_code == 202:
        operations.append(response.json()["id"])
