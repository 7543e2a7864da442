//! Lists from the index against what the contract says of each row, over random writes.

use std::collections::BTreeMap;

use contract::{EntityId, EntityType, Key, ListPosition, ListQuery, Registry, Sort, SortBy, Timestamp, TypeName};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::views::{Held, Materialised, Page};

/// What the model knows of an entity.
#[derive(Clone, Debug)]
struct Row {
    fields: Map<String, Value>,
    created: Timestamp,
    updated: Timestamp,
}

/// One write.
#[derive(Clone, Debug)]
enum Write {
    Put { id: u8, fields: Value, created: i64, updated: i64 },
    Delete(u8),
}

const NAMES: [&str; 8] = ["alpha", "ALPHA", "Beta", "beta", "", "\u{c9}t\u{e9}", "\u{e9}T\u{c9}", "zeta"];
const IDS: [&str; 4] = ["p1", "p2", "p.3", "P-4"];

fn id(number: u8) -> EntityId {
    EntityId::parse(&format!("s{number:02}")).unwrap()
}

fn any_write() -> impl Strategy<Value = Write> {
    let name = prop::sample::select(&NAMES[..]);
    let list = prop::sample::subsequence(&IDS[..], 0..4);
    let provider = prop::sample::select(vec![json!(null), json!("p1"), json!("p2")]);
    let fields = (name, 0..2, provider, list, any::<bool>(), 0..1000).prop_map(
        |(name, published, provider, list, flagged, text)| {
            json!({"name": name, "published": published, "provider_id": provider, "taxonomy_ids": list, "flagged": flagged,
                "description": format!("text {text}")})
        },
    );
    let put = (0_u8..90, fields, 0_i64..30, 0_i64..40);
    prop_oneof![
        6 => put.prop_map(|(id, fields, created, updated)| Write::Put { id, fields, created, updated }),
        1 => (0_u8..90).prop_map(Write::Delete),
    ]
}

fn any_query() -> impl Strategy<Value = ListQuery> {
    let values = |of: &'static [&'static str]| prop::collection::vec(prop::sample::select(of), 1..4);
    let filters = [
        ("name", &NAMES[..]),
        ("published", &["0", "1"]),
        ("provider_id", &["p1", "p2", "", "p9"]),
        ("taxonomy_ids", &["p1", "p2", "p.3", ""]),
        ("flagged", &["true", "false", ""]),
    ];
    let filters = filters.map(|(name, of)| {
        prop::option::weighted(0.25, values(of)).prop_map(move |values| values.map(|values| (name.to_owned(), values)))
    });
    let by = prop::sample::select(vec![SortBy::Created, SortBy::Updated, SortBy::Name]);
    let later = prop::option::weighted(0.25, 0_i64..40);
    let ids = prop::option::weighted(0.2, prop::collection::btree_set(0_u8..90, 1..12));
    (filters, by, any::<bool>(), later, ids, 1_usize..30).prop_map(|(filters, by, descending, later, ids, limit)| {
        let owned = |(name, values): (String, Vec<&str>)| (name, values.into_iter().map(str::to_owned).collect());
        ListQuery {
            filter: filters.into_iter().flatten().map(owned).collect(),
            modified_after: later.map(Timestamp::from_millis),
            // Neither ascending nor descending.
            ids: ids.map(|ids| ids.into_iter().map(|number| id((number % 10) * 9 + number / 10)).collect()),
            sort: Sort { by, descending },
            limit,
            after: None,
        }
    })
}

fn held(entity_type: &EntityType, id: &EntityId, row: &Row, version: u64) -> Held {
    let object = entity_type.render(id, &row.fields, row.created, row.updated);
    Held::new(entity_type, id.as_str(), version, row.updated, &object, entity_type.data_schema()).unwrap()
}

fn expected(entity_type: &EntityType, model: &BTreeMap<EntityId, Row>, query: &ListQuery) -> Vec<String> {
    let rows = model.iter().filter(|(_, row)| query.matches(entity_type, &row.fields, row.updated));
    let mut rows: Vec<(&EntityId, ListPosition)> = rows
        .map(|(id, row)| (id, query.position(entity_type, &row.fields, (row.created, row.updated), id.clone())))
        .collect();
    match &query.ids {
        Some(ids) => {
            let place = |id: &EntityId| ids.iter().position(|asked| asked == id);
            rows.retain(|(id, _)| place(id).is_some());
            rows.sort_by_key(|(id, _)| place(id));
        }
        None => rows.sort_by(|a, b| query.sort.compare(a.1.as_ref(), b.1.as_ref())),
    }
    rows.into_iter().map(|(id, _)| id.to_string()).collect()
}

/// The page, however long its index takes.
fn list(views: &Materialised, name: &TypeName, query: &ListQuery) -> Page {
    loop {
        match views.list(name, query) {
            Ok(page) => return page,
            Err(_) => std::thread::yield_now(),
        }
    }
}

fn check(views: &Materialised, entity_type: &EntityType, model: &BTreeMap<EntityId, Row>, query: &ListQuery) {
    let (expected, mut asked, mut found) = (expected(entity_type, model, query), query.clone(), Vec::new());
    loop {
        let page = list(views, entity_type.name(), &asked);
        assert_eq!(page.total, expected.len() as u64, "{asked:?}");
        assert!(page.rows.len() <= asked.limit);
        for row in &page.rows {
            let id = EntityId::parse(row.id()).unwrap();
            assert_eq!(row.object(), held(entity_type, &id, &model[&id], 1).object());
            found.push(row.id().to_owned());
        }
        let Some(next) = page.next else { break };
        assert!(!page.rows.is_empty());
        asked.after = Some(next);
    }
    assert_eq!(found, expected, "{query:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn lists_are_what_the_contract_says_of_each_row(
        before in prop::collection::vec(any_write(), 0..150),
        after in prop::collection::vec((any_write(), prop::option::weighted(0.1, any_query())), 0..200),
        queries in prop::collection::vec(any_query(), 8),
    ) {
        let registry = Registry::built_in().unwrap();
        let entity_type = registry.get("service").unwrap();
        let views = Materialised::new(&registry);
        views.complete();
        let (mut model, mut version) = (BTreeMap::new(), 0);
        let mut write = |write: Write, model: &mut BTreeMap<EntityId, Row>| {
            version += 1;
            match write {
                Write::Put { id: number, fields, created, updated } => {
                    let Value::Object(fields) = fields else { panic!("an object") };
                    let (created, updated) = (Timestamp::from_millis(created), Timestamp::from_millis(updated));
                    let (id, row) = (id(number), Row { fields, created, updated });
                    views.apply(entity_type.name(), &held(entity_type, &id, &row, version), None);
                    model.insert(id, row);
                }
                Write::Delete(number) => {
                    views.delete(&Key::new(entity_type.name().clone(), id(number)), version);
                    model.remove(&id(number));
                }
            }
        };
        before.into_iter().for_each(|one| write(one, &mut model));
        for query in &queries[..4] {
            check(&views, entity_type, &model, query);
        }
        for (one, query) in after {
            write(one, &mut model);
            query.into_iter().for_each(|query| check(&views, entity_type, &model, &query));
        }
        for query in &queries {
            check(&views, entity_type, &model, query);
        }
    }
}

/// Enough that orders are walked, values have bits, and segments are made by several threads.
#[test]
fn many_rows_are_listed_as_few_are() {
    const COUNT: usize = 11_000;
    let registry = Registry::built_in().unwrap();
    let entity_type = registry.get("service").unwrap();
    let views = Materialised::new(&registry);
    views.complete();
    let mut model = BTreeMap::new();
    let put = |number: usize, model: &mut BTreeMap<EntityId, Row>, version: u64| {
        let name = ["", "alpha", "BETA", "beta"][number % 4];
        let fields = json!({"name": name, "published": usize::from(!number.is_multiple_of(10)),
            "flagged": number.is_multiple_of(3), "provider_id": format!("p{}", number % 700), "taxonomy_ids": [format!("t{}", number % 5)]});
        let Value::Object(fields) = fields else { panic!("an object") };
        let at = |millis: usize| Timestamp::from_millis(i64::try_from(millis).unwrap());
        // All that are not published are the newest, too.
        let updated = if number.is_multiple_of(10) { at(9000 + number) } else { at(number * 7 % 4000) };
        let (id, row) = (
            EntityId::parse(&format!("c{number:05}")).unwrap(),
            Row { fields, created: at(number * 13 % 4000), updated },
        );
        views.apply(entity_type.name(), &held(entity_type, &id, &row, version), None);
        model.insert(id, row);
    };
    (0..COUNT).for_each(|number| put(number, &mut model, 1));
    let filter = |filters: &[(&str, &str)]| {
        filters.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect::<BTreeMap<_, _>>()
    };
    let check_all = |model: &BTreeMap<EntityId, Row>| {
        for filters in [
            &[][..],
            &[("published", "1")],
            &[("published", "0")],
            &[("published", "1"), ("flagged", "false")],
            &[("provider_id", "p7")],
            &[("provider_id", "p7"), ("taxonomy_ids", "t2")],
            &[("provider_id", "p7"), ("flagged", "true")],
        ] {
            for sort in ["created", "-created", "updated", "-updated", "name", "-name"] {
                let query = ListQuery {
                    filter: filter(filters),
                    sort: Sort::parse(sort).unwrap(),
                    limit: 150,
                    ..ListQuery::default()
                };
                let later = ListQuery { modified_after: Some(Timestamp::from_millis(1000)), ..query.clone() };
                for query in [query, later] {
                    check(&views, entity_type, model, &query);
                }
            }
        }
    };
    check_all(&model);
    // A third of them anew, as they were, elsewhere, or not at all.
    for number in (0..COUNT).step_by(3) {
        let id = EntityId::parse(&format!("c{number:05}")).unwrap();
        match number % 4 {
            0 => put(number, &mut model, 2),
            1 => {
                views.delete(&Key::new(entity_type.name().clone(), id.clone()), 2);
                model.remove(&id);
            }
            _ => put(number + COUNT, &mut model, 1),
        }
    }
    check_all(&model);
}

/// Segments are made and merged all the while.
#[test]
fn a_page_is_of_one_moment_whatever_is_written() {
    const COUNT: usize = 120;
    const ROUNDS: u64 = 150;
    let registry = Registry::built_in().unwrap();
    let entity_type = registry.get("service").unwrap();
    let views = Materialised::new(&registry);
    views.complete();
    let put = |number: usize, version: u64, published: bool| {
        let fields = json!({"name": format!("n{}", version % 5), "published": u8::from(published), "provider_id": "p"});
        let Value::Object(fields) = fields else { panic!("an object") };
        let id = EntityId::parse(&format!("c{number:03}")).unwrap();
        let at = |number: u64| Timestamp::from_millis(i64::try_from(number).unwrap());
        let row = Row { fields, created: at(number as u64 % 7), updated: at(version) };
        views.apply(entity_type.name(), &held(entity_type, &id, &row, version), None);
    };
    (0..COUNT).for_each(|number| put(number, 1, true));
    let done = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (put, done) = (&put, &done);
            scope.spawn(move || {
                for version in 2..ROUNDS {
                    // Each key has one writer. The first ones always fit, of the others every second version does.
                    for number in (writer..COUNT).step_by(3) {
                        put(number, version, number < COUNT / 2 || version % 2 == 0);
                    }
                }
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        let filter = BTreeMap::from([("published".to_owned(), vec!["1".to_owned()])]);
        let mut pages = 0;
        while done.load(std::sync::atomic::Ordering::SeqCst) < 3 || pages == 0 {
            for sort in ["created", "-created", "updated", "-name"] {
                let sort = Sort::parse(sort).unwrap();
                let query = ListQuery { filter: filter.clone(), sort, limit: 200, ..ListQuery::default() };
                let page = list(&views, entity_type.name(), &query);
                let ids: std::collections::BTreeSet<&str> = page.rows.iter().map(Held::id).collect();
                assert_eq!(ids.len(), page.rows.len(), "a row came twice");
                assert_eq!(page.total, page.rows.len() as u64, "the number is not that of the rows");
                assert!(
                    (0..COUNT / 2).all(|number| ids.contains(format!("c{number:03}").as_str())),
                    "a row was missed"
                );
                pages += 1;
            }
        }
    });
    let all = ListQuery { sort: Sort::parse("name").unwrap(), limit: 200, ..ListQuery::default() };
    assert_eq!(list(&views, entity_type.name(), &all).rows.len(), COUNT);
}
