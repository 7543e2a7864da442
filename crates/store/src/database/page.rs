//! A page of a list, item by item.

use contract::reply::Page;
use contract::{EntityId, EntityType, ListPosition, Timestamp};
use serde_json::value::RawValue;

use super::{Error, PAGE_BYTES_MAX};

/// A stored row of a list.
pub(super) struct Row<'a> {
    pub(super) created: i64,
    pub(super) id: &'a str,
    pub(super) schema: &'a str,
    pub(super) object: &'a [u8],
}

/// Takes rows in order until the page is full.
pub(super) struct Filling<'a> {
    entity_type: &'a EntityType,
    limit: usize,
    page: Page,
    last: Option<ListPosition>,
    size_bytes: usize,
}

impl<'a> Filling<'a> {
    pub(super) fn new(entity_type: &'a EntityType, limit: usize, total: i64) -> Self {
        let page = Page { items: Vec::new(), total: total.max(0).cast_unsigned(), next: None };
        Self { entity_type, limit, page, last: None, size_bytes: 0 }
    }

    /// False once the row was one too many: the page is full, and there is a next one.
    pub(super) fn push(&mut self, row: &Row<'_>) -> Result<bool, Error> {
        let (position, item) = self.item(row)?;
        self.size_bytes += item.get().len() + 1;
        let items = self.page.items.len();
        if items >= self.limit || (self.size_bytes > PAGE_BYTES_MAX && items > 0) {
            self.page.next = self.last.take();
            return Ok(false);
        }
        self.page.items.push(item);
        self.last = Some(position);
        Ok(true)
    }

    pub(super) fn finish(self) -> Page {
        self.page
    }

    fn item(&self, row: &Row<'_>) -> Result<(ListPosition, Box<RawValue>), Error> {
        let (entity_type, id) = (self.entity_type, row.id);
        let damaged = |reason: &str| Error::Data(format!("{} {id} cannot be read: {reason}", entity_type.name()));
        let parsed = EntityId::parse(id).ok_or_else(|| damaged("its id is none"))?;
        let text = if row.schema == entity_type.data_schema() {
            row.object.to_vec()
        } else {
            entity_type.render_again(&parsed, row.object).map_err(|error| damaged(&error.to_string()))?
        };
        let text = String::from_utf8(text).map_err(|_| damaged("it is no UTF-8"))?;
        let item = RawValue::from_string(text).map_err(|error| damaged(&error.to_string()))?;
        Ok((ListPosition { created: Timestamp::from_millis(row.created), id: parsed }, item))
    }
}
