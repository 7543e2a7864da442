use std::sync::atomic::Ordering;

use crate::client::fake::{Clock, Fake, Fault, Heard, never};

use super::*;

struct Setup {
    fake: Fake,
    dir: tempfile::TempDir,
    args: Args,
}

impl Setup {
    async fn new(files: &[(&str, &str)]) -> Self {
        let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let paths = vec![dir.path().to_owned()];
        let args = Args {
            paths,
            url: fake.url.clone(),
            dry_run: false,
            parallel: 4,
            create_only: false,
            no_timestamps: false,
        };
        Self { fake, dir, args }
    }

    async fn run(&self) -> (Report, Vec<String>) {
        let heard = Heard::default();
        let report = run(&self.args, Arc::new(Clock::default()), &heard, &never()).await.unwrap();
        let dir = format!("{}/", self.dir.path().display());
        let complaints = heard.complaints.into_inner().unwrap();
        if report.stopped.is_none() {
            assert_eq!(heard.done.load(Ordering::SeqCst), heard.total.load(Ordering::SeqCst));
        }
        (report, complaints.iter().map(|line| line.replace(&dir, "")).collect())
    }
}

fn rows(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|n| format!("{{\"id\":\"p{n}\",\"name\":\"n{n}\"}}\n")).collect()
}

#[tokio::test]
async fn a_second_run_changes_nothing_and_a_changed_row_is_merged() {
    let setup = Setup::new(&[("provider.jsonl", &rows(0..40)), ("event.jsonl", &rows(0..3)), ("notes.txt", "x")]).await;
    let (first, _) = setup.run().await;
    assert_eq!(first.types[1].1, Counts { rows: 40, created: 40, ..Counts::default() });
    assert_eq!(first.total().created, 43);
    assert!(setup.fake.with(|state| state.in_flight_max) <= 4);
    assert!(setup.fake.with(|state| state.seen.contains(&"PUT /provider/p0?timestamps=keep".to_owned())));

    let (second, complaints) = setup.run().await;
    assert_eq!(second.total(), Counts { rows: 43, unchanged: 43, ..Counts::default() });
    assert!(complaints.is_empty() && second.is_clean());

    std::fs::write(setup.dir.path().join("event.jsonl"), "{\"id\":\"p1\",\"name\":\"other\"}").unwrap();
    let (third, _) = setup.run().await;
    assert_eq!(third.types[0].1, Counts { rows: 1, updated: 1, ..Counts::default() });
}

#[tokio::test]
async fn what_is_or_was_there_can_be_left_alone() {
    let mut setup = Setup::new(&[("provider.jsonl", &rows(0..5))]).await;
    setup.args.create_only = true;
    let of = |id: &str| ("provider".to_owned(), id.to_owned());
    setup.fake.with(|state| {
        state.entities.insert(of("p1"), (3, serde_json::json!({"id": "p1", "name": "edited"})));
        state.pages.insert("/provider/p2".to_owned(), (410, "{}".to_owned(), None));
        state.faults.extend([Fault::Lost, Fault::Forgotten, Fault::Later]);
    });
    let (report, complaints) = setup.run().await;
    assert_eq!(report.total(), Counts { rows: 5, created: 3, kept: 1, gone: 1, ..Counts::default() }, "{complaints:?}");
    assert!(report.create_only && report.is_clean());
    setup.fake.with(|state| {
        assert_eq!(state.entities[&of("p1")].1["name"], "edited");
        assert!(!state.entities.contains_key(&of("p2")));
        state.seen.clear();
    });
    let (again, _) = setup.run().await;
    assert_eq!(again.total(), Counts { rows: 5, kept: 4, gone: 1, ..Counts::default() });
    assert!(setup.fake.with(|state| state.seen.iter().all(|line| line.starts_with("GET"))), "nothing is written");
}

#[tokio::test]
async fn an_interrupt_ends_it_with_a_report() {
    let setup = Setup::new(&[("event.jsonl", &rows(0..2)), ("provider.jsonl", &rows(0..50_000))]).await;
    let (interrupt, interrupted) = watch::channel(false);
    let heard = Heard::default();
    let import = run(&setup.args, Arc::new(Clock::default()), &heard, &interrupted);
    let later = async {
        while setup.fake.with(|state| state.seen.len() < 50) {
            tokio::task::yield_now().await;
        }
        interrupt.send_replace(true);
    };
    let report = tokio::join!(import, later).0.unwrap();
    let total = report.total();
    assert_eq!(report.stopped.as_deref(), Some("interrupted"));
    assert!(total.created > 2 && total.rows < 50_000 && total.created + total.unknown == total.rows, "{report:?}");

    let early = run(&setup.args, Arc::new(Clock::default()), &heard, &interrupted).await.unwrap_err();
    assert_eq!(early.to_string(), "interrupted before a row was sent");
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_no_empty_file() {
    let setup = Setup::new(&[("provider.jsonl", &rows(0..1))]).await;
    std::os::unix::fs::symlink("gone.jsonl", setup.dir.path().join("event.jsonl")).unwrap();
    let error = run(&setup.args, Arc::new(Clock::default()), &Heard::default(), &never()).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.starts_with("cannot follow ") && text.contains("event.jsonl to gone.jsonl"), "{text}");
    assert!(check_paths(&setup.args.paths).is_err());
    assert!(setup.fake.with(|state| state.seen.is_empty()));
}

#[tokio::test]
async fn what_is_no_directory_of_services_is_refused_at_once() {
    let mut setup = Setup::new(&[("provider.jsonl", &rows(0..1))]).await;
    setup.args.url = format!("{}/foo", setup.fake.url);
    for (status, body, words) in [
        (404, "{}", "was answered with: HTTP 404"),
        (200, "<html>", "does not list resources"),
        (200, "[]", "lists no resource"),
    ] {
        setup.fake.with(|state| state.pages.insert("/foo/".to_owned(), (status, body.to_owned(), None)));
        let error = run(&setup.args, Arc::new(Clock::default()), &Heard::default(), &never()).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(words) && text.contains("--url"), "{text}");
    }
    assert!(setup.fake.with(|state| state.seen.iter().all(|line| line == "GET /foo/")));
}

#[tokio::test]
async fn bad_rows_are_named_and_the_others_go_in() {
    let file =
        "{\"id\":\"a\",\"name\":\"x\"}\nnonsense\n{\"id\":\"b\"}\n{\"id\":\"a/b\"}\n{\"id\":\"c\",\"name\":\"y\"}";
    let setup = Setup::new(&[("provider.jsonl", file)]).await;
    let (report, mut complaints) = setup.run().await;
    complaints.sort();
    assert_eq!(report.total(), Counts { rows: 5, created: 2, rejected: 3, ..Counts::default() });
    assert!(!report.is_clean());
    assert_eq!(complaints[0], "provider.jsonl:2: not a JSON object: nonsense");
    assert_eq!(complaints[1], "provider.jsonl:3: 1 field is wrong; #/name: is missing");
    assert!(complaints[2].starts_with("provider.jsonl:4: id \"a/b\""));
}

#[tokio::test]
async fn a_gateway_that_takes_batches_gets_few_requests() {
    let file = format!("{}{{\"id\":\"bad\"}}\n{}", rows(0..700), rows(700..1200));
    let setup = Setup::new(&[("provider.jsonl", &file)]).await;
    setup.fake.with(|state| state.takes_batches = true);
    let (first, complaints) = setup.run().await;
    assert_eq!(first.total(), Counts { rows: 1201, created: 1200, rejected: 1, ..Counts::default() });
    assert_eq!(complaints, ["provider.jsonl:701: 1 field is wrong; #/name: is missing"]);
    let seen = setup.fake.with(|state| std::mem::take(&mut state.seen));
    // The first few rows find out; then 500 at a time.
    assert_eq!(seen.iter().filter(|line| *line == "BATCH /provider?timestamps=keep").count(), 4, "{seen:?}");
    assert!(seen.iter().all(|line| line.starts_with("BATCH") || line == "GET /"), "{seen:?}");
    let (second, _) = setup.run().await;
    assert_eq!(second.total(), Counts { rows: 1201, unchanged: 1200, rejected: 1, ..Counts::default() });
}

#[tokio::test]
async fn what_a_batch_leaves_open_is_settled_row_by_row() {
    for fault in [Fault::Busy, Fault::Lost, Fault::Later, Fault::Forgotten] {
        let setup = Setup::new(&[("provider.jsonl", &(rows(0..6) + "{\"name\":\"x\"}\n"))]).await;
        setup.fake.with(|state| {
            state.takes_batches = true;
            state.faults.extend([fault; 2]);
        });
        let (report, complaints) = setup.run().await;
        let counts = report.total();
        assert_eq!(
            (counts.created, counts.rejected, counts.unknown),
            (7, 0, 0),
            "{fault:?}: {counts:?} {complaints:?}"
        );
        assert!(setup.fake.with(|state| state.entities.values().all(|entity| entity.0 == 1)), "{fault:?}");
        assert_eq!(setup.fake.with(|state| state.entities.len()), 7, "{fault:?}");
    }
    // Without an id it is sent once only.
    let setup = Setup::new(&[("provider.jsonl", "{\"name\":\"x\"}\n")]).await;
    setup.fake.with(|state| {
        state.takes_batches = true;
        state.faults.push_back(Fault::Lost);
    });
    let (report, _) = setup.run().await;
    assert_eq!(report.total(), Counts { rows: 1, unknown: 1, without_id: 1, ..Counts::default() });
    assert_eq!(setup.fake.with(|state| state.entities.len()), 1);
}

#[tokio::test]
async fn of_one_id_the_later_row_wins() {
    let file: String = (0..30).map(|n| format!("{{\"id\":\"same\",\"name\":\"n{n}\"}}\n")).collect();
    let setup = Setup::new(&[("provider.jsonl", &file)]).await;
    let (report, _) = setup.run().await;
    assert_eq!(report.total(), Counts { rows: 30, created: 1, updated: 29, ..Counts::default() });
    let name = setup.fake.with(|state| state.entities.values().next().unwrap().1["name"].clone());
    assert_eq!(name, "n29");
}

#[tokio::test]
async fn every_fault_is_survived_without_a_second_execution() {
    for fault in [Fault::Busy, Fault::Lost, Fault::Later, Fault::Forgotten] {
        let setup = Setup::new(&[("provider.jsonl", &rows(0..1))]).await;
        for expected in
            [Counts { rows: 1, created: 1, ..Counts::default() }, Counts { rows: 1, unchanged: 1, ..Counts::default() }]
        {
            setup.fake.with(|state| state.faults.extend([fault, fault]));
            let (report, complaints) = setup.run().await;
            let counts = report.total();
            // A lost or forgotten create cannot be told from one that was there: it counts as this run's.
            let doubtful = counts.created == 1 && matches!(fault, Fault::Lost | Fault::Forgotten);
            assert!(counts == expected || doubtful, "{fault:?}: {counts:?} {complaints:?}");
            assert_eq!(setup.fake.with(|state| state.entities.values().map(|e| e.0).collect::<Vec<_>>()), [1]);
            setup.fake.with(|state| state.faults.clear());
        }
    }
}

#[tokio::test]
async fn a_merge_by_way_of_an_operation_is_told_from_no_change() {
    let setup = Setup::new(&[("provider.jsonl", "{\"id\":\"a\",\"name\":\"1\"}\n{\"id\":\"a\",\"name\":\"2\"}")]).await;
    setup.fake.with(|state| state.faults.extend([Fault::Later; 3]));
    let (report, _) = setup.run().await;
    assert_eq!(report.total(), Counts { rows: 2, created: 1, updated: 1, ..Counts::default() });
}

#[tokio::test]
async fn rows_without_id_are_never_sent_twice() {
    let setup = Setup::new(&[("provider.jsonl", "{\"name\":\"x\"}")]).await;
    setup.fake.with(|state| state.faults.extend([Fault::Busy, Fault::Lost]));
    let (report, complaints) = setup.run().await;
    assert_eq!(report.total(), Counts { rows: 1, unknown: 1, without_id: 1, ..Counts::default() });
    assert!(complaints[0].contains("may or may not have gone in"), "{complaints:?}");
    assert_eq!(setup.fake.with(|state| state.entities.len()), 1);
    let posts = setup.fake.with(|state| state.seen.iter().filter(|line| line.starts_with("POST")).count());
    assert_eq!(posts, 2);
}

#[tokio::test]
async fn a_write_that_stays_pending_is_reported() {
    let setup = Setup::new(&[("provider.jsonl", &rows(0..1))]).await;
    setup.fake.with(|state| state.faults.push_back(Fault::Never));
    let (report, complaints) = setup.run().await;
    assert_eq!(report.total().unknown, 1);
    assert!(complaints[0].ends_with("still pending after 60 s; ask /operation/0"), "{complaints:?}");
}

#[tokio::test]
async fn a_gateway_that_refuses_everything_stops_the_import() {
    let setup = Setup::new(&[("provider.jsonl", &rows(0..5000))]).await;
    setup.fake.with(|state| state.faults.extend([Fault::Busy; 5000]));
    let (report, _) = setup.run().await;
    assert!(report.stopped.clone().unwrap().contains("busy (tried 8 times)"), "{report:?}");
    assert!(report.total().rows < 20 && report.total().rows == report.total().unknown, "{report:?}");
}

#[tokio::test]
async fn a_dry_run_checks_and_sends_nothing() {
    let file = "\u{feff}{\"id\":\"a\"}\r\n{\"id\":\"a\"}\n{}\n7\n";
    let mut setup = Setup::new(&[("provider.jsonl", file)]).await;
    setup.args.dry_run = true;
    let (report, complaints) = setup.run().await;
    assert_eq!(report.total(), Counts { rows: 4, rejected: 1, repeated: 1, without_id: 1, ..Counts::default() });
    assert_eq!(complaints[0], "provider.jsonl:2: id a stands in line 1 already: the later row wins");
    assert!(setup.fake.with(|state| state.seen.is_empty()));
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_a_row_is_sent() {
    let mut setup = Setup::new(&[("provider.jsonl", &rows(0..1)), ("costs.jsonl", "{}")]).await;
    let env: Arc<dyn Env> = Arc::new(Clock::default());
    let heard = Heard::default();
    let error = async |args: &Args| format!("{:#}", run(args, Arc::clone(&env), &heard, &never()).await.unwrap_err());
    let text = error(&setup.args).await;
    assert!(text.contains("has no type \"costs\", only provider, event"), "{text}");
    assert!(setup.fake.with(|state| state.seen.iter().all(|line| line.starts_with("GET"))));

    setup.args.paths = vec![setup.dir.path().join("no.jsonl")];
    assert!(error(&setup.args).await.contains("cannot read"));
    std::fs::write(setup.dir.path().join("My List.jsonl"), "").unwrap();
    setup.args.paths = vec![setup.dir.path().join("My List.jsonl")];
    assert!(error(&setup.args).await.contains("is no entity type"));

    setup.args.paths = vec![setup.dir.path().join("provider.jsonl")];
    // Port 9 of this machine (discard) is not served.
    setup.args.url = "http://127.0.0.1:9".to_owned();
    let text = error(&setup.args).await;
    assert!(
        text.starts_with("cannot reach http://127.0.0.1:9: ") && text.contains("is `dos serve` running there?"),
        "{text}"
    );
}
