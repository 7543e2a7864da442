//! Names and help texts of the gateway's metrics.

use ::metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};

const HTTP_REQUESTS: &str = "dos_http_requests_total";
const HTTP_DURATION: &str = "dos_http_request_duration_seconds";
/// Commands that wait for their answer.
pub(crate) const IN_FLIGHT: &str = "dos_dispatch_in_flight";
/// Records of views and replies that could not be read.
pub(crate) const UNREADABLE: &str = "dos_views_unreadable_total";
/// Retrieve events sent for reads.
pub(crate) const RETRIEVES: &str = "dos_views_retrieves_total";

/// Reads that looked into the shared cache, by what came of it.
pub(crate) const SHARED_READS: &str = "dos_shared_cache_reads_total";
/// What retrieves gave for the shared cache, by what became of it.
pub(crate) const SHARED_INSERTS: &str = "dos_shared_cache_inserts_total";
/// Generations begun in the shared cache because views had passed it by.
pub(crate) const SHARED_RENEWED: &str = "dos_shared_cache_generations_total";
/// Whether the shared cache is connected.
pub(crate) const SHARED_UP: &str = "dos_shared_cache_up";

/// Starts that looked for a snapshot of the view, by what came of it.
pub(crate) const SNAPSHOT_LOADS: &str = "dos_views_snapshot_loads_total";
/// Snapshots of the view, by whether they could be written.
pub(crate) const SNAPSHOT_WRITES: &str = "dos_views_snapshot_writes_total";

/// Streams of changes that are open.
pub(crate) const FEED_STREAMS: &str = "dos_feed_streams";
/// Streams of changes that were cut off because their client took less than happened.
pub(crate) const FEED_CUT: &str = "dos_feed_cut_total";

/// Route labels, as [`HttpMetrics::record`] takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteLabel {
    Entity,
    Collection,
    Operation,
    Changes,
    System,
    Unknown,
}

const ROUTES: [(RouteLabel, &str); 6] = [
    (RouteLabel::Entity, "/{type}/{id}"),
    (RouteLabel::Collection, "/{type}"),
    (RouteLabel::Operation, "/operation/{id}"),
    (RouteLabel::Changes, "/changes"),
    (RouteLabel::System, "system"),
    (RouteLabel::Unknown, "unknown"),
];

/// Handles made once, so that counting a request allocates nothing and touches no lock.
pub(crate) struct HttpMetrics {
    routes: Vec<PerRoute>,
}

struct PerRoute {
    reads: [Counter; 5],
    writes: [Counter; 5],
    duration: Histogram,
}

impl HttpMetrics {
    pub(crate) fn new() -> Self {
        describe_counter!(HTTP_REQUESTS, "Requests answered, by route, kind (read or write) and class of status");
        describe_histogram!(HTTP_DURATION, Unit::Seconds, "Time from a request's header to its answer, by route");
        describe_gauge!(IN_FLIGHT, "Commands that wait for their answer");
        describe_counter!(UNREADABLE, "Records of views and replies that could not be read");
        describe_counter!(RETRIEVES, "Retrieve events sent for reads");
        describe_counter!(SHARED_READS, "Reads that looked into the shared cache, by what came of it");
        describe_counter!(SHARED_INSERTS, "What retrieves gave for the shared cache, by what became of it");
        describe_counter!(SHARED_RENEWED, "Generations begun in the shared cache because views had passed it by");
        describe_gauge!(SHARED_UP, "Whether the shared cache is connected");
        describe_counter!(SNAPSHOT_LOADS, "Starts that looked for a snapshot of the view, by what came of it");
        describe_counter!(SNAPSHOT_WRITES, "Snapshots of the view, by whether they could be written");
        describe_gauge!(FEED_STREAMS, "Streams of changes that are open");
        describe_counter!(
            FEED_CUT,
            "Streams of changes that were cut off because their client took less than happened"
        );
        let counters = |route: &'static str, kind: &'static str| {
            ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|status| counter!(HTTP_REQUESTS, "route" => route, "kind" => kind, "status" => status))
        };
        let routes = ROUTES.iter().map(|(_, route)| PerRoute {
            reads: counters(route, "read"),
            writes: counters(route, "write"),
            duration: histogram!(HTTP_DURATION, "route" => *route),
        });
        Self { routes: routes.collect() }
    }

    pub(crate) fn record(&self, route: RouteLabel, write: bool, status: u16, seconds: f64) {
        let Some(per_route) = self.routes.get(route as usize) else { return };
        let counters = if write { &per_route.writes } else { &per_route.reads };
        if let Some(counter) = counters.get(usize::from(status / 100).saturating_sub(1)) {
            counter.increment(1);
        }
        per_route.duration.record(seconds);
    }
}
