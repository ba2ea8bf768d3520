//! Texts that say in JSON what the structured content of a result says: where one is changed so that it fits, so is the other.

use serde_json::Value;

/// Which items of the content are such texts, and whether they were written in lines.
#[derive(Debug, PartialEq)]
pub(super) struct Copies(Vec<(usize, bool)>);

impl Copies {
    /// Of a result.
    pub(super) fn of(result: &Value) -> Self {
        let Some(structured) = result.get("structuredContent") else { return Self(Vec::new()) };
        let items = result.get("content").and_then(Value::as_array);
        Self::among(structured, items.map(Vec::as_slice).unwrap_or_default())
    }

    /// Of this structured content, among these items.
    pub(super) fn among(structured: &Value, items: &[Value]) -> Self {
        let items = items.iter().enumerate();
        let is_copy = |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|read| read == *structured);
        Self(
            items
                .filter_map(|(at, item)| Some((at, item.get("text")?.as_str()?)))
                .filter(|(_, text)| is_copy(text))
                .map(|(at, text)| (at, text.trim().contains('\n')))
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the item at this place is one.
    pub(super) fn has(&self, place: usize) -> bool {
        self.0.iter().any(|(at, _)| *at == place)
    }

    /// Writes them again, as the structured content is now; where that is gone, they stay.
    pub(super) fn renew(&self, result: &mut Value) {
        let Some(structured) = result.get("structuredContent") else { return };
        let in_lines = || serde_json::to_string_pretty(structured).unwrap_or_default();
        let (plain, pretty) = (structured.to_string(), in_lines());
        for (at, is_pretty) in &self.0 {
            let text = if *is_pretty { &pretty } else { &plain };
            if let Some(slot) = result.pointer_mut(&format!("/content/{at}/text")) {
                *slot = Value::from(text.as_str());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn copies_follow_what_they_copy() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let mut result = json!({
            "content": [text("{\"a\":1}"), text("said"), text("{\n  \"a\": 1\n}"), text("{\"a\":2}")],
            "structuredContent": {"a": 1},
        });
        let copies = Copies::of(&result);
        assert_eq!(copies, Copies(vec![(0, false), (2, true)]));
        result["structuredContent"] = json!({"a": 3});
        copies.renew(&mut result);
        let expect = json!([text("{\"a\":3}"), text("said"), text("{\n  \"a\": 3\n}"), text("{\"a\":2}")]);
        assert_eq!(result["content"], expect);
        result.as_object_mut().unwrap().remove("structuredContent");
        copies.renew(&mut result);
        assert_eq!(result["content"], expect);
    }
}
