use crate::client::fake::{Clock, Fake, Heard, never};

use super::*;

struct Setup {
    fake: Fake,
    dir: tempfile::TempDir,
    args: Args,
}

impl Setup {
    /// Pages of providers: `(status, body, link)`, the first at `?limit=200`, the others at `?cursor=N`.
    async fn new(pages: &[(u16, &str, Option<&str>)]) -> Self {
        let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
        fake.with(|state| {
            state.pages.insert("/event?limit=200".to_owned(), (200, "[]".to_owned(), None));
            for (n, (status, body, link)) in pages.iter().enumerate() {
                let target = if n == 0 { "/provider?limit=200".to_owned() } else { format!("/provider?cursor={n}") };
                state.pages.insert(target, (*status, (*body).to_owned(), link.map(str::to_owned)));
            }
        });
        let args = Args { dir: dir.path().join("out"), url: fake.url.clone(), force: false };
        Self { fake, dir, args }
    }

    async fn run(&self) -> anyhow::Result<Report> {
        run(&self.args, Arc::new(Clock::default()), &Heard::default()).await
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.args.dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn pages_are_followed_and_objects_kept_byte_for_byte() {
    let first = r#"[{"id":"a","x":1.50,"y":"\u00e9"}, {"id": "b",
        "n": 12345678901234567890123}]"#;
    let setup = Setup::new(&[
        (200, first, Some("</provider?cursor=1>; rel=\"next\"")),
        (200, "[]", Some("<https://public.example/api/provider?cursor=2>; rel=\"next\"")),
        (200, r#"[{"id":"c"}]"#, None),
    ])
    .await;
    let report = setup.run().await.unwrap();
    assert_eq!(setup.files(), ["event.jsonl", "provider.jsonl"]);
    let text = std::fs::read_to_string(setup.args.dir.join("provider.jsonl")).unwrap();
    let expected = "{\"id\":\"a\",\"x\":1.50,\"y\":\"\\u00e9\"}\n{\"id\": \"b\",         \"n\": 12345678901234567890123}\n{\"id\":\"c\"}\n";
    assert_eq!(text, expected);
    assert_eq!(std::fs::read(setup.args.dir.join("event.jsonl")).unwrap(), b"");
    let mut out = Vec::new();
    report.write(&mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("provider: 3 rows in ") && out.contains("total: 3 rows in 2 files in "), "{out}");
}

#[tokio::test]
async fn files_are_replaced_only_by_force() {
    let mut setup = Setup::new(&[(200, "[]", None)]).await;
    setup.run().await.unwrap();
    let error = format!("{:#}", setup.run().await.unwrap_err());
    assert!(error.contains("is there already") && error.contains("--force"), "{error}");
    setup.args.force = true;
    setup.run().await.unwrap();
    assert_eq!(setup.files(), ["event.jsonl", "provider.jsonl"]);
}

#[tokio::test]
async fn a_failed_page_leaves_no_file() {
    let next = Some("</provider?cursor=1>; rel=\"next\"");
    for (second, reason) in [
        ((500, r#"{"detail":"broken","retry":"no"}"#, None), "broken"),
        ((200, r#"{"id":"a"}"#, None), "something else than an array"),
        ((200, "[]", next), "leads nowhere"),
        ((301, "", None), "HTTP 301"),
    ] {
        let setup = Setup::new(&[(200, r#"[{"id":"a"}]"#, next), second]).await;
        let error = format!("{:#}", setup.run().await.unwrap_err());
        assert!(error.contains(reason) && error.contains("no file was written"), "{error}");
        assert!(setup.files().is_empty(), "{:?}", setup.files());
    }
}

#[tokio::test]
async fn what_was_exported_can_be_imported() {
    let setup = Setup::new(&[(200, r#"[{"id":"a","name":"x"},{"id":"b","name":"y"}]"#, None)]).await;
    setup.run().await.unwrap();
    let args = crate::client::import::Args {
        paths: vec![setup.args.dir.clone()],
        url: setup.fake.url.clone(),
        dry_run: false,
        parallel: 2,
        create_only: false,
        no_timestamps: false,
    };
    let (env, heard) = (Arc::new(Clock::default()), Heard::default());
    let report = crate::client::import::run(&args, env, &heard, &never()).await.unwrap();
    assert_eq!((report.total().created, report.is_clean()), (2, true));
    assert!(setup.dir.path().exists());
}
