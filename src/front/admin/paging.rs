//! Lists that are made whole from what is at hand, and given a page at a time: each item has a cursor, which lists are in the order
//! of, so that what comes and goes between two pages neither repeats nor hides another.

use super::{error::ApiError, params};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The parameters of such a list.
pub(super) const PARAMS: &[&str] = &["after", "limit"];

/// Which page.
#[derive(Debug)]
pub(super) struct Page {
    after: Option<String>,
    limit: usize,
}

impl Page {
    /// Of a list that has no other parameters.
    pub(super) fn read(query: Option<&str>) -> Result<Self, ApiError> {
        Self::of(params::pairs(query, PARAMS)?)
    }

    /// Of those that are left when a list has taken its own.
    pub(super) fn of(pairs: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut page = Self { after: None, limit: params::MAX_LIMIT };
        for (name, value) in pairs {
            match name.as_str() {
                "after" => page.after = Some(value),
                _ => page.limit = params::limit(&value)?,
            }
        }
        Ok(page)
    }

    /// The page of a list, and what is `next`.
    pub(super) fn take<T>(&self, items: impl IntoIterator<Item = (String, T)>) -> (Vec<T>, Option<String>) {
        let mut items: Vec<(String, T)> =
            items.into_iter().filter(|(cursor, _)| self.is_behind(cursor)).collect();
        items.sort_by(|(one, _), (other, _)| one.cmp(other));
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let next = items.last().map(|(cursor, _)| cursor.clone()).filter(|_| more);
        (items.into_iter().map(|(_, item)| item).collect(), next)
    }

    fn is_behind(&self, cursor: &str) -> bool {
        self.after.as_ref().is_none_or(|after| cursor > after.as_str())
    }

    /// A listing of which a member is the page of a list.
    pub(super) fn listing(&self, member: &str, items: impl IntoIterator<Item = (String, Value)>) -> Value {
        let (page, next) = self.take(items);
        json!({member: page, "truncated": next.is_some(), "next": next})
    }

    /// A form of which a list is cut to its page. Its cursor is the member that names each item.
    pub(super) fn cut(&self, mut form: Value, member: &str, name: &str) -> Value {
        let Some(members) = form.as_object_mut() else { return form };
        let Some(Value::Array(items)) = members.remove(member) else { return form };
        let cursor = |item: &Value| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let listing = self.listing(member, items.into_iter().map(|item| (cursor(&item), item)));
        if let Value::Object(listing) = listing {
            members.extend(listing);
        }
        form
    }
}

/// The cursor of what stands at a place: of lists whose order says something.
pub(super) fn at(place: usize, name: &str) -> String {
    format!("{place:06}.{name}")
}

/// The cursor of what is listed by its time, the newest first.
pub(super) fn newest_first(at: Timestamp, name: &str) -> String {
    format!("{:020}.{name}", i64::MAX.saturating_sub(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_make_the_list() {
        let all =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), json!(name))).collect::<Vec<_>>();
        let ask = |query: &str| Page::read(Some(query)).unwrap();
        let listed = ask("limit=2").listing("names", all(&["c", "a", "b"]));
        assert_eq!(listed, json!({"names": ["a", "b"], "truncated": true, "next": "b"}));
        // The one that the page before ended with has gone, and another came.
        let listed = ask("limit=2&after=b").listing("names", all(&["a", "aa", "c"]));
        assert_eq!(listed, json!({"names": ["c"], "truncated": false, "next": null}));
        let listed = ask("limit=3").listing("names", all(&["a", "b", "c"]));
        assert_eq!(listed["truncated"], false);
        assert!(Page::read(Some("limit=0")).is_err() && Page::read(Some("limit=1001")).is_err());
        assert!(Page::read(Some("before=1")).is_err());
    }

    #[test]
    fn what_is_newer_comes_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(newest_first(at(10), "b") < newest_first(at(9), "a"));
        assert!(newest_first(at(10), "a") < newest_first(at(10), "b"));
        assert!(super::at(9, "z") < super::at(10, "a"));
    }
}
