//! Lists of any kind, against a plain model of what they are to find: filters, orders, ids, and pages to the end.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use contract::{EntityId, EntityType, Sort, SortBy, SortKey};
use serde_json::{Value, json};

use super::*;
use crate::decide::Tombstone;

/// Numbers that look random and are the same each time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// What the model knows of an entity.
#[derive(Clone)]
struct Known {
    version: u64,
    /// None once it was deleted.
    live: Option<Live>,
}

#[derive(Clone)]
struct Live {
    fields: Value,
    created: Timestamp,
    updated: Timestamp,
}

const NAMES: [&str; 8] = ["alpha", "ALPHA", "Beta", "beta", "", "\u{c9}t\u{e9}", "\u{e9}T\u{c9}", "zeta"];
const IDS: [&str; 4] = ["p1", "p2", "p.3", "P-4"];

fn any_fields(numbers: &mut Numbers) -> Value {
    let list: Vec<_> = IDS.iter().filter(|_| numbers.below(3) == 0).collect();
    json!({
        "name": numbers.one(&NAMES),
        "published": numbers.below(2),
        "provider_id": numbers.one(&[json!(null), json!("p1"), json!("p2")]),
        "taxonomy_ids": list,
        "flagged": numbers.below(2) == 0,
        "description": format!("text {}", numbers.below(1000)),
    })
}

fn revision(entity_type: &EntityType, id: &str, known: &Known) -> Revision {
    let command = CommandId(Uuid::from_u128(u128::from(known.version)));
    let Some(Live { fields, created, updated }) = &known.live else {
        return Revision::Deleted(Tombstone { version: known.version, time: at(1), command });
    };
    let (id, map) = (EntityId::parse(id).unwrap(), fields.as_object().unwrap());
    Revision::Live(Entity {
        version: known.version,
        object: entity_type.render(&id, map, *created, *updated).into(),
        data_schema: entity_type.data_schema().into(),
        created: *created,
        updated: *updated,
        time: at(1),
        command,
    })
}

/// Changes some entities; `index` tells whether the batch brings the index on.
async fn write(
    database: &dyn Database,
    model: &mut BTreeMap<String, Known>,
    numbers: &mut Numbers,
    (owner, expected): (u64, Option<u64>),
    index: bool,
) {
    let entity_type = Arc::clone(Registry::built_in().unwrap().get("service").unwrap());
    let mut changes = BTreeMap::new();
    for _ in 0..60 {
        let id = format!("s{:02}", numbers.below(120));
        let before = model.get(&id).cloned();
        let deletes = before.as_ref().is_some_and(|known| known.live.is_some()) && numbers.below(4) == 0;
        let was = before.as_ref().and_then(|known| known.live.clone());
        let live = (!deletes).then(|| Live {
            fields: any_fields(numbers),
            created: was.map_or(at(numbers.below(40) as i64), |live| live.created),
            updated: at(numbers.below(60) as i64),
        });
        let known = Known { version: before.as_ref().map_or(0, |known| known.version) + 1, live };
        // Each entity once in a batch.
        if changes.contains_key(&id) {
            continue;
        }
        let before = before.map(|known| revision(&entity_type, &id, &known));
        let next = revision(&entity_type, &id, &known);
        let entries = index.then(|| IndexChange::between(&entity_type, before.as_ref(), &next));
        let key = key("service", &id);
        model.insert(id.clone(), known);
        changes.insert(id, Change::new(key, before.as_ref(), next, entries.unwrap_or_default()));
    }
    let next = expected.map_or(1, |next| next + 1);
    let changes = changes.into_values().collect();
    database.commit(Batch { changes, ..batch(150, owner, expected, next) }).await.unwrap();
}

fn any_query(numbers: &mut Numbers) -> ListQuery {
    let mut query = ListQuery { limit: 1 + numbers.below(30), ..ListQuery::default() };
    let values = |numbers: &mut Numbers, of: &[&str]| {
        (0..=numbers.below(3)).map(|_| (*numbers.one(of)).to_owned()).collect::<Vec<_>>()
    };
    for (name, of) in [
        ("name", &NAMES[..]),
        ("published", &["0", "1"]),
        ("provider_id", &["p1", "p2", "", "p9"]),
        ("taxonomy_ids", &["p1", "p2", "p.3", ""]),
        ("flagged", &["true", "false", ""]),
    ] {
        if numbers.below(4) == 0 {
            query.filter.insert(name.to_owned(), values(numbers, of));
        }
    }
    query.modified_after = (numbers.below(4) == 0).then(|| at(numbers.below(60) as i64));
    let by = *numbers.one(&[SortBy::Created, SortBy::Updated, SortBy::Name]);
    query.sort = Sort { by, descending: numbers.below(2) == 0 };
    if numbers.below(5) == 0 {
        let ids = (0..10).map(|n| format!("s{:02}", (numbers.below(13) + 13 * n) % 130));
        query.ids = Some(ids.map(|id| EntityId::parse(&id).unwrap()).collect());
    }
    query
}

fn fits(live: &Live, query: &ListQuery) -> bool {
    let has = |name: &str, value: &str| match &live.fields[name] {
        Value::Null => value.is_empty(),
        Value::String(text) => text == value,
        Value::Array(items) if items.is_empty() => value.is_empty(),
        Value::Array(items) => items.iter().any(|item| item == value),
        other => serde_json::to_string(other).is_ok_and(|text| text == value),
    };
    query.modified_after.is_none_or(|after| live.updated > after)
        && query.filter.iter().all(|(name, values)| values.iter().any(|value| has(name, value)))
}

fn expected(model: &BTreeMap<String, Known>, query: &ListQuery) -> Vec<String> {
    let live = model.iter().filter_map(|(id, known)| Some((id, known.live.as_ref()?)));
    let mut rows: Vec<_> = live.filter(|(_, live)| fits(live, query)).collect();
    if let Some(ids) = &query.ids {
        let place = |id: &String| ids.iter().position(|asked| asked.as_str() == id);
        rows.retain(|(id, _)| place(id).is_some());
        rows.sort_by_key(|(id, _)| place(id));
        return rows.into_iter().map(|(id, _)| id.clone()).collect();
    }
    rows.sort_by(|(a, one), (b, other)| {
        let name = |live: &Live| live.fields["name"].as_str().unwrap().to_lowercase();
        let unnamed = |live: &Live| query.sort.by == SortBy::Name && name(live).is_empty();
        let order = match query.sort.by {
            SortBy::Created => one.created.cmp(&other.created),
            SortBy::Updated => one.updated.cmp(&other.updated),
            SortBy::Name => name(one).cmp(&name(other)),
        };
        let order = order.then(a.cmp(b));
        let order = if query.sort.descending { order.reverse() } else { order };
        unnamed(one).cmp(&unnamed(other)).then(if order == Ordering::Equal { a.cmp(b) } else { order })
    });
    rows.into_iter().map(|(id, _)| id.clone()).collect()
}

async fn compare(database: &dyn Database, model: &BTreeMap<String, Known>, query: ListQuery) {
    compare_pages(database, "service", model, query, usize::MAX).await;
}

/// Compares the first pages; all of them where there are no more.
async fn compare_pages(
    database: &dyn Database,
    name: &str,
    model: &BTreeMap<String, Known>,
    query: ListQuery,
    pages_max: usize,
) {
    let entity_type = Arc::clone(Registry::built_in().unwrap().get(name).unwrap());
    assert_eq!(query.faults(&entity_type), [], "{query:?}");
    let (mut expected, mut found, mut asked) = (expected(model, &query), Vec::<String>::new(), query);
    for number in 0.. {
        if number == pages_max {
            expected.truncate(found.len());
            break;
        }
        let page = database.list(Arc::clone(&entity_type), asked.clone()).await.unwrap();
        assert_eq!(page.total, expected.len() as u64, "{asked:?}");
        assert!(page.items.len() <= asked.limit);
        found.extend(page.items.iter().map(|item| {
            let item: Value = serde_json::from_str(item.get()).unwrap();
            let id = item["id"].as_str().unwrap().to_owned();
            assert_eq!(item["description"], model[&id].live.as_ref().unwrap().fields["description"]);
            id
        }));
        let Some(next) = page.next else { break };
        assert!(!page.items.is_empty());
        asked.after = Some(next);
        assert_eq!(asked.faults(&entity_type), [], "a page ends at a place of its order");
    }
    assert_eq!(found, expected, "{asked:?}");
}

/// So many that orders are walked: no condition has few entries.
async fn many(database: &dyn Database) {
    const COUNT: usize = 11_000;
    let entity_type = Arc::clone(Registry::built_in().unwrap().get("provider").unwrap());
    let (mut model, mut numbers, mut expected) = (BTreeMap::new(), Numbers(11), None);
    let owner = database.take(151).await.unwrap().owner;
    for number in 0..COUNT {
        let name = ["", "alpha", "BETA", "beta"][numbers.below(4)];
        let fields =
            json!({"name": name, "flagged": number % 10 == 0, "description": number.to_string(), "published": 1});
        let (created, updated) = (at(numbers.below(4000) as i64), at(numbers.below(4000) as i64));
        let known = Known { version: 1, live: Some(Live { fields, created, updated }) };
        model.insert(format!("c{number:05}"), known);
    }
    for (next, known) in (1..).zip(model.iter().collect::<Vec<_>>().chunks(2000)) {
        let change = |(id, known): &(&String, &Known)| {
            let next = revision(&entity_type, id, known);
            let index = IndexChange::between(&entity_type, None, &next);
            Change::new(key("provider", id), None, next, index)
        };
        let changes = known.iter().map(change).collect();
        database.commit(Batch { changes, ..batch(151, owner, expected, next) }).await.unwrap();
        expected = Some(next);
    }
    let flagged = |value: &str| BTreeMap::from([("flagged".to_owned(), vec![value.to_owned()])]);
    for by in [SortBy::Created, SortBy::Updated, SortBy::Name] {
        for descending in [false, true] {
            let query = ListQuery { limit: 150, sort: Sort { by, descending }, ..ListQuery::default() };
            let later = ListQuery { modified_after: Some(at(1000)), ..query.clone() };
            let mut both = ListQuery { filter: flagged("false"), ..later.clone() };
            for query in [ListQuery { filter: flagged("false"), ..query.clone() }, later, both.clone(), query] {
                compare_pages(database, "provider", &model, query, 2).await;
            }
            // The end of what has a name, and what has none.
            both.after = Some(match by {
                SortBy::Name => {
                    ListPosition { key: SortKey::Name("alpha".to_owned()), id: EntityId::parse("c00300").unwrap() }
                }
                _ => ListPosition::at(at(2000), EntityId::parse("c").unwrap()),
            });
            let page = database.list(Arc::clone(&entity_type), both.clone()).await.unwrap();
            let position = |id: &String| {
                let live = model[id].live.as_ref().unwrap();
                let fields = live.fields.as_object().unwrap();
                let id = EntityId::parse(id).unwrap();
                both.position(&entity_type, fields, (live.created, live.updated), id)
            };
            let behind =
                |id: &String| both.sort.compare(position(id).as_ref(), both.after.as_ref().unwrap().as_ref()).is_gt();
            let rest: Vec<_> = self::expected(&model, &both).into_iter().filter(behind).take(150).collect();
            let found: Vec<_> = page
                .items
                .iter()
                .map(|item| {
                    let item: Value = serde_json::from_str(item.get()).unwrap();
                    item["id"].as_str().unwrap().to_owned()
                })
                .collect();
            assert_eq!(found, rest, "{both:?}");
        }
    }
}

pub(super) async fn all(database: &dyn Database) {
    let types: Vec<_> = Registry::built_in().unwrap().iter().cloned().collect();
    let entity_type = Arc::clone(Registry::built_in().unwrap().get("service").unwrap());
    let (mut model, mut numbers) = (BTreeMap::new(), Numbers(7));
    let owner = database.take(150).await.unwrap().owner;
    // Without the index only plain lists and ids are answered.
    database.index(None).await.unwrap();
    write(database, &mut model, &mut numbers, (owner, None), false).await;
    write(database, &mut model, &mut numbers, (owner, Some(1)), false).await;
    let sorted = Sort { by: SortBy::Name, descending: false };
    let query = ListQuery { limit: 5, sort: sorted, ..ListQuery::default() };
    assert!(matches!(database.list(Arc::clone(&entity_type), query.clone()).await, Err(Error::Data(_))));
    compare(database, &model, ListQuery { limit: 7, ..ListQuery::default() }).await;
    // It is made from what is there, and brought on.
    database.index(Some(types.clone())).await.unwrap();
    database.index(Some(types.clone())).await.unwrap();
    for next in 2..12 {
        for _ in 0..12 {
            compare(database, &model, any_query(&mut numbers)).await;
        }
        write(database, &mut model, &mut numbers, (owner, Some(next)), true).await;
    }
    // What a batch without it brought is seen once it was made anew.
    database.index(None).await.unwrap();
    write(database, &mut model, &mut numbers, (owner, Some(12)), false).await;
    database.index(Some(types)).await.unwrap();
    for _ in 0..20 {
        compare(database, &model, any_query(&mut numbers)).await;
    }
    many(database).await;
    let unnamed = ListPosition { key: SortKey::Unnamed, id: EntityId::parse("s50").unwrap() };
    let rest = ListQuery { after: Some(unnamed), sort: Sort { descending: true, ..sorted }, ..query };
    let page = database.list(entity_type, rest.clone()).await.unwrap();
    let ids = expected(&model, &rest);
    let blank = |id: &String| model[id].live.as_ref().unwrap().fields["name"] == "" && id.as_str() < "s50";
    assert_eq!(page.items.len(), ids.iter().filter(|id| blank(id)).count().min(5));
}
