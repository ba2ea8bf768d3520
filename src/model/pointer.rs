//! JSON pointers (RFC 6901) into arguments and results, with edits that never panic.

use serde_json::Value;
use std::{fmt, sync::Arc};

/// A parsed JSON pointer. `*` as a whole token matches every member or element where a pointer is
/// used to select (`sensitive`, redaction rules); edits take no `*`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pointer {
    text: Arc<str>,
    tokens: Arc<[String]>,
}

/// Why a text is not a JSON pointer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a JSON pointer: expected \"\" or a text that starts with \"/\", with ~0 for ~ and ~1 for /"
)]
pub struct PointerError(String);

impl Pointer {
    /// Reads a pointer.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let bad = || PointerError(text.to_owned());
        if text.is_empty() {
            return Ok(Self { text: Arc::from(text), tokens: Arc::from([]) });
        }
        let rest = text.strip_prefix('/').ok_or_else(bad)?;
        let mut tokens = Vec::new();
        for raw in rest.split('/') {
            let mut token = String::with_capacity(raw.len());
            let mut chars = raw.chars();
            while let Some(c) = chars.next() {
                match c {
                    '~' => match chars.next() {
                        Some('0') => token.push('~'),
                        Some('1') => token.push('/'),
                        _ => return Err(bad()),
                    },
                    other => token.push(other),
                }
            }
            tokens.push(token);
        }
        Ok(Self { text: Arc::from(text), tokens: Arc::from(tokens) })
    }

    /// Reads a pointer, or takes a bare member name as the pointer to that member.
    pub fn parse_or_name(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() || text.starts_with('/') {
            return Self::parse(text);
        }
        Self::parse(&format!("/{}", escape(text)))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The unescaped tokens.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Whether a path of tokens is the place this pointer names; `*` matches any one token.
    pub fn matches(&self, path: &[impl AsRef<str>]) -> bool {
        self.tokens.len() == path.len()
            && self.tokens.iter().zip(path).all(|(mine, theirs)| mine == "*" || mine == theirs.as_ref())
    }

    /// The value there, if there is one.
    pub fn get<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.tokens.iter().try_fold(value, |value, token| match value {
            Value::Object(map) => map.get(token),
            Value::Array(items) => index(token).and_then(|i| items.get(i)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }

    /// The value there, to change it.
    pub fn get_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        self.tokens.iter().try_fold(value, |value, token| match value {
            Value::Object(map) => map.get_mut(token),
            Value::Array(items) => index(token).and_then(|i| items.get_mut(i)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }

    /// Puts a value there, making the objects on the way. False where a step is not an object
    /// or an existing element, and then nothing is changed that mattered.
    pub fn set(&self, target: &mut Value, new: Value) -> bool {
        let mut place = target;
        for token in self.tokens.iter() {
            place = match place {
                Value::Object(map) => {
                    map.entry(token.clone()).or_insert_with(|| Value::Object(Default::default()))
                }
                Value::Array(items) => match index(token).and_then(|i| items.get_mut(i)) {
                    Some(item) => item,
                    None => return false,
                },
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return false,
            };
        }
        *place = new;
        true
    }

    /// Takes the value there out; `None` where there is none.
    pub fn remove(&self, target: &mut Value) -> Option<Value> {
        let (last, parents) = self.tokens.split_last()?;
        let parent = parents.iter().try_fold(target, |value, token| match value {
            Value::Object(map) => map.get_mut(token),
            Value::Array(items) => index(token).and_then(|i| items.get_mut(i)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })?;
        match parent {
            Value::Object(map) => map.shift_remove(last),
            Value::Array(items) => {
                let i = index(last)?;
                (i < items.len()).then(|| items.remove(i))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
}

/// One token in its escaped form.
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

fn index(token: &str) -> Option<usize> {
    if token.len() > 1 && token.starts_with('0') || token.starts_with('+') {
        return None;
    }
    token.parse().ok()
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pointer({:?})", &*self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_sets_and_removes() {
        let mut value = json!({"a": {"b/c": [1, {"d": 2}]}});
        let at = |text: &str| Pointer::parse(text).unwrap();
        assert_eq!(at("/a/b~1c/1/d").get(&value), Some(&json!(2)));
        assert_eq!(at("/a/b~1c/01").get(&value), None);
        assert!(at("/x/y").set(&mut value, json!(true)));
        assert_eq!(at("/a/b~1c/0").remove(&mut value), Some(json!(1)));
        assert_eq!(value, json!({"a": {"b/c": [{"d": 2}]}, "x": {"y": true}}));
        assert!(!at("/a/b~1c/7").set(&mut value, json!(0)));
        assert_eq!(Pointer::parse_or_name("b/c").unwrap().as_str(), "/b~1c");
        assert!(Pointer::parse("a").is_err());
        assert!(Pointer::parse("/~2").is_err());
        assert!(at("/a/*/d").matches(&["a", "0", "d"]));
        assert!(!at("/a/*").matches(&["a"]));
    }
}
