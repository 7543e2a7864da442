//! One gateway: its parts, put together.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use contract::{Env, Registry};
use http::{Request, Response};
use http_body_util::Full;
use stream::Stream;
use tokio::sync::Semaphore;

use crate::config::{Access, Config};
use crate::dispatch::{Answers, Dispatch, Retrieves};
use crate::docs::Documents;
use crate::feed::Feed;
use crate::http::{BATCHES_MAX, Incoming, Outgoing, STREAMS_MAX, handle};
use crate::metrics::HttpMetrics;
use crate::ready::Ready;
use crate::views::{Follow, Progress, Snapshots, Views};

/// What every request is answered from.
pub struct Gateway {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) views: Arc<Views>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) retrieves: Arc<Retrieves>,
    pub(crate) ready: Arc<Ready>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) feed: Arc<Feed>,
    snapshots: Option<Arc<Snapshots>>,
    documents: OnceLock<Documents>,
    pub(crate) metrics: HttpMetrics,
    /// Places for streams that are compressed.
    pub(crate) encoders: Arc<Semaphore>,
    /// Places for batches.
    pub(crate) batches: Arc<Semaphore>,
    request_prefix: u32,
    requests: AtomicU64,
}

impl Gateway {
    /// Starts the tails of views and replies. The gateway answers at once, and is ready when its views are complete.
    ///
    /// # Errors
    /// Why the folder for snapshots cannot be used.
    pub fn start(
        config: Config,
        registry: Registry,
        stream: Arc<dyn Stream>,
        env: Arc<dyn Env>,
    ) -> Result<Arc<Self>, String> {
        let views = Arc::new(Views::new(&config, &registry, &env));
        let answers = Arc::new(Answers::new(config.in_flight_max, Arc::clone(&views)));
        let retrieves = Arc::new(Retrieves::new(Arc::clone(&views), registry.clone()));
        let ready = Arc::new(Ready::new());
        let progress = Arc::new(Progress::new());
        let dispatch = Arc::new(Dispatch {
            stream: Arc::clone(&stream),
            registry: registry.clone(),
            answers: Arc::clone(&answers),
            env: Arc::clone(&env),
            source: format!("/gateway/{}", config.instance),
            write_wait: config.write_wait,
            read_wait: config.read_wait,
        });
        let snapshots = match &config.snapshot_dir {
            Some(folder) => Snapshots::open(folder, config.snapshot_every, &views, &registry, &env)?,
            None => None,
        };
        let feed = Arc::new(Feed::new(
            config.feed.clone(),
            Arc::clone(&stream),
            registry.clone(),
            Arc::clone(&views),
            Arc::clone(&progress),
            Arc::clone(&env),
        ));
        let follow = Follow {
            stream,
            registry: registry.clone(),
            mode: config.views,
            views: Arc::clone(&views),
            answers,
            retrieves: Arc::clone(&retrieves),
            ready: Arc::clone(&ready),
            progress: Arc::clone(&progress),
            feed: Arc::clone(&feed),
            snapshots: snapshots.clone(),
            env: Arc::clone(&env),
        };
        Arc::new(follow).start();
        let [a, b, c, d, ..] = env.random();
        let request_prefix = u32::from_be_bytes([a, b, c, d]);
        let metrics = HttpMetrics::new();
        let requests = AtomicU64::new(0);
        Ok(Arc::new(Self {
            config,
            registry,
            env,
            views,
            dispatch,
            retrieves,
            ready,
            progress,
            feed,
            snapshots,
            documents: OnceLock::new(),
            metrics,
            encoders: Arc::new(Semaphore::new(STREAMS_MAX)),
            batches: Arc::new(Semaphore::new(BATCHES_MAX)),
            request_prefix,
            requests,
        }))
    }

    /// Answers one request as the server does, without a connection. `anonymous` is what callers without credentials may do.
    pub async fn answer(self: &Arc<Self>, anonymous: Access, request: Request<Bytes>) -> Response<Outgoing> {
        handle(self, anonymous, request.map(|body| Incoming::Whole(Full::new(body)))).await
    }

    /// Whether requests about entities are answered.
    pub fn is_ready(&self) -> bool {
        self.ready.is_open()
    }

    /// What is missing until it is ready, by part and without names of hosts; empty when it is.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        self.ready.errors()
    }

    /// Writes the last snapshot of the view, once requests are no longer answered.
    pub async fn stop(&self) {
        if let Some(snapshots) = &self.snapshots {
            snapshots.save().await;
        }
    }

    /// Put together when they are first asked for.
    pub(crate) fn documents(&self) -> &Documents {
        self.documents
            .get_or_init(|| Documents::new(&self.registry, &self.config.public_url, &self.config.topic_prefix))
    }

    /// A label for a request that came without one: unique in this process, and most likely among all.
    pub(crate) fn request_id(&self) -> impl Display + use<> {
        let (prefix, number) = (self.request_prefix, self.requests.fetch_add(1, Ordering::Relaxed));
        std::fmt::from_fn(move |f| write!(f, "{prefix:08x}-{number:x}"))
    }
}
