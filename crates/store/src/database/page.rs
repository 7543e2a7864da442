//! A page of a list, item by item.

use contract::reply::Page;
use contract::{EntityId, EntityType, ListPosition, ListQuery, SortBy, SortKey, Timestamp};
use serde_json::value::RawValue;

use super::index::name_of;
use super::{Error, PAGE_BYTES_MAX};

/// A stored row of a list.
pub(super) struct Row<'a> {
    pub(super) id: &'a str,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) schema: &'a str,
    pub(super) object: &'a [u8],
    /// What names are sorted by, where the list is.
    pub(super) name: Option<&'a [u8]>,
}

/// Takes rows in order until the page is full.
pub(super) struct Filling<'a> {
    entity_type: &'a EntityType,
    query: &'a ListQuery,
    page: Page,
    last: Option<ListPosition>,
    size_bytes: usize,
    is_full: bool,
    /// Whether the rows are still those of the page before; only where ids were asked for.
    is_before: bool,
}

impl<'a> Filling<'a> {
    pub(super) fn new(entity_type: &'a EntityType, query: &'a ListQuery, total: i64) -> Self {
        let page = Page { items: Vec::new(), total: total.max(0).cast_unsigned(), next: None };
        let is_before = query.ids.is_some() && query.after.is_some();
        Self { entity_type, query, page, last: None, size_bytes: 0, is_full: false, is_before }
    }

    /// False once the row was one too many: the page is full, and there is a next one.
    pub(super) fn push(&mut self, row: &Row<'_>) -> Result<bool, Error> {
        let key = match (self.query.sort.by, row.name) {
            (SortBy::Created, _) => SortKey::Time(Timestamp::from_millis(row.created)),
            (SortBy::Updated, _) => SortKey::Time(Timestamp::from_millis(row.updated)),
            (SortBy::Name, name) => name_of(name.unwrap_or_default()),
        };
        let id = self.id(row)?;
        self.take(row, ListPosition { key, id })
    }

    /// Takes a row that was asked for by its id, if it fits the filters: in the order asked for, and all of them are counted.
    pub(super) fn offer(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let fields = self.entity_type.fields_of(row.object).map_err(|error| self.damaged(row, &error.to_string()))?;
        let times @ (_, updated) = (Timestamp::from_millis(row.created), Timestamp::from_millis(row.updated));
        if !self.query.matches(self.entity_type, &fields, updated) {
            return Ok(());
        }
        self.page.total += 1;
        if !self.is_before && !self.is_full {
            let position = self.query.position(self.entity_type, &fields, times, self.id(row)?);
            self.take(row, position)?;
        }
        Ok(())
    }

    /// Tells, behind each id that was asked for, that the next page may begin.
    pub(super) fn passed(&mut self, id: &EntityId) {
        self.is_before &= self.query.after.as_ref().is_some_and(|after| after.id != *id);
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(super) fn finish(self) -> Page {
        self.page
    }

    fn take(&mut self, row: &Row<'_>, position: ListPosition) -> Result<bool, Error> {
        let item = self.item(row, &position.id)?;
        self.size_bytes += item.get().len() + 1;
        let items = self.page.items.len();
        if items >= self.query.limit || (self.size_bytes > PAGE_BYTES_MAX && items > 0) {
            self.page.next = self.last.take();
            self.is_full = true;
            return Ok(false);
        }
        self.page.items.push(item);
        self.last = Some(position);
        Ok(true)
    }

    fn id(&self, row: &Row<'_>) -> Result<EntityId, Error> {
        EntityId::parse(row.id).ok_or_else(|| self.damaged(row, "its id is none"))
    }

    fn item(&self, row: &Row<'_>, id: &EntityId) -> Result<Box<RawValue>, Error> {
        let text = if row.schema == self.entity_type.data_schema() {
            row.object.to_vec()
        } else {
            let again = self.entity_type.render_again(id, row.object);
            again.map_err(|error| self.damaged(row, &error.to_string()))?
        };
        let text = String::from_utf8(text).map_err(|_| self.damaged(row, "it is no UTF-8"))?;
        RawValue::from_string(text).map_err(|error| self.damaged(row, &error.to_string()))
    }

    fn damaged(&self, row: &Row<'_>, reason: &str) -> Error {
        Error::Data(format!("{} {} cannot be read: {reason}", self.entity_type.name(), row.id))
    }
}
