//! Reads a located tree into another room's own types (serde), with every misfit and its place, not
//! only the first: what does not fit is reported, left out, and the rest is read again.

use super::{
    near::did_you_mean,
    shown::short,
    source::{Entry, Kind, Node, Report},
};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use std::{collections::BTreeSet, fmt};

/// More misfits than this in one file are not told one by one.
const MAX_MISFITS: usize = 100;

/// Reads the tree. What comes back lacks what did not fit, which is in `report`; the tree that it
/// was read from comes with it, so that paths into the value can be found again.
pub(super) fn read<T: DeserializeOwned + Default>(root: &Node, report: &mut Report<'_>) -> (T, Node) {
    let mut tree = root.clone();
    duplicates(&tree, report);
    for _ in 0..MAX_MISFITS {
        let misfit = match T::deserialize(&tree) {
            Ok(value) => return (value, tree),
            Err(misfit) => misfit,
        };
        let at = misfit.at.unwrap_or(tree.start);
        report.error(at, misfit.message, misfit.expected);
        if misfit.at.is_none() || !prune(&mut tree, at) {
            break;
        }
    }
    (T::default(), tree)
}

fn duplicates(node: &Node, report: &mut Report<'_>) {
    match &node.kind {
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
        Kind::List(items) => items.iter().for_each(|item| duplicates(item, report)),
        Kind::Map(entries) => {
            let mut seen = BTreeSet::new();
            for entry in entries {
                if !seen.insert(entry.key.as_str()) {
                    report.error(entry.at, format!("duplicate key `{}`", short(&entry.key)), "each key once");
                }
                duplicates(&entry.value, report);
            }
        }
    }
}

/// Takes the innermost entry or element at a byte out; false where there is none.
fn prune(node: &mut Node, at: usize) -> bool {
    match &mut node.kind {
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => false,
        Kind::List(items) => {
            if items.iter_mut().any(|item| prune(item, at)) {
                return true;
            }
            let before = items.len();
            items.retain(|item| item.start != at);
            items.len() < before
        }
        Kind::Map(entries) => {
            if entries.iter_mut().any(|entry| prune(&mut entry.value, at)) {
                return true;
            }
            let before = entries.len();
            entries.retain(|entry| entry.at != at && entry.value.start != at);
            entries.len() < before
        }
    }
}

/// Why a tree does not fit a type.
#[derive(Debug)]
pub struct Misfit {
    at: Option<usize>,
    message: String,
    expected: String,
}

impl Misfit {
    fn at(mut self, at: usize) -> Self {
        self.at.get_or_insert(at);
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (expected {})", self.message, self.expected)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            at: None,
            message: message.to_string(),
            expected: "what the documentation of data.yaml says".to_owned(),
        }
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self { at: None, message: shown(found), expected: expected.to_string() }
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self { at: None, message: shown(found), expected: expected.to_string() }
    }
    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let expected = format!("one of {}", known.join(", "));
        let near = did_you_mean(field, known.iter().copied());
        Self { at: None, message: format!("unknown key `{}`{near}", short(field)), expected }
    }
    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        let expected = format!("one of {}", known.join(", "));
        let near = did_you_mean(word, known.iter().copied());
        Self { at: None, message: format!("`{}` is an unknown word{near}", short(word)), expected }
    }
    fn missing_field(field: &'static str) -> Self {
        Self { at: None, message: format!("`{field}` is missing"), expected: format!("`{field}`") }
    }
}

fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("`{}` does not fit", short(text)),
        Unexpected::Bool(value) => format!("`{value}` does not fit"),
        Unexpected::Unsigned(value) => format!("`{value}` does not fit"),
        Unexpected::Signed(value) => format!("`{value}` does not fit"),
        Unexpected::Float(value) => format!("`{value}` does not fit"),
        Unexpected::Seq => "a list does not fit".to_owned(),
        Unexpected::Map => "a map does not fit".to_owned(),
        Unexpected::Unit | Unexpected::Option => "there is no value".to_owned(),
        other => format!("{other} does not fit"),
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let read = match &self.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Text(text) => visitor.visit_borrowed_str(text),
            Kind::Number(text) => match (text.parse::<u64>(), text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(value), _, _) => visitor.visit_u64(value),
                (_, Ok(value), _) => visitor.visit_i64(value),
                (_, _, Ok(value)) => visitor.visit_f64(value),
                (Err(_), Err(_), Err(_)) => visitor.visit_borrowed_str(text),
            },
            Kind::List(items) => visitor.visit_seq(Items(items.iter())),
            Kind::Map(_) => visitor.visit_map(Pairs { rest: self.entries().iter(), value: None }),
        };
        read.map_err(|misfit: Misfit| misfit.at(self.start))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.as_text() {
            Some(text) => visitor.visit_borrowed_str(text).map_err(|misfit: Misfit| misfit.at(self.start)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.kind {
            Kind::Null => visitor.visit_none(),
            Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => {
                visitor.visit_some(self)
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    /// A list is no struct, although serde would take it for one.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.kind {
            Kind::List(_) => {
                let misfit: Misfit = de::Error::invalid_type(Unexpected::Seq, &"a map");
                Err(misfit.at(self.start))
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Map(_) => {
                self.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_enum(Word(self)).map_err(|misfit: Misfit| misfit.at(self.start))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        match self.0.next() {
            Some(item) => seed.deserialize(item).map(Some).map_err(|misfit| misfit.at(item.start)),
            None => Ok(None),
        }
    }
}

struct Pairs<'de> {
    rest: std::slice::Iter<'de, Entry>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some(entry) = self.rest.next() else { return Ok(None) };
        self.value = Some(entry);
        let key = de::value::BorrowedStrDeserializer::new(&entry.key);
        seed.deserialize(key).map(Some).map_err(|misfit: Misfit| misfit.at(entry.at))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        match self.value.take() {
            Some(entry) => seed.deserialize(&entry.value).map_err(|misfit| misfit.at(entry.value.start)),
            None => Err(de::Error::custom("a value is asked for before its key")),
        }
    }
}

/// A word, or a map of one word to what it holds.
struct Word<'de>(&'de Node);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Misfit;
    type Variant = Held<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Held<'de>), Misfit> {
        if let Some(word) = self.0.as_text() {
            let word: de::value::StrDeserializer<'_, Misfit> = word.into_deserializer();
            return seed.deserialize(word).map(|value| (value, Held(None)));
        }
        match &self.0.kind {
            Kind::Map(entries) => match entries.as_slice() {
                [entry] => {
                    let word: de::value::StrDeserializer<'_, Misfit> = entry.key.as_str().into_deserializer();
                    let value = seed.deserialize(word).map_err(|misfit| misfit.at(entry.at))?;
                    Ok((value, Held(Some(&entry.value))))
                }
                _ => Err(de::Error::invalid_type(Unexpected::Map, &"one word")),
            },
            Kind::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"one word")),
            Kind::Bool(value) => Err(de::Error::invalid_type(Unexpected::Bool(*value), &"one word")),
            Kind::Null | Kind::Number(_) | Kind::Text(_) => {
                Err(de::Error::invalid_type(Unexpected::Unit, &"one word"))
            }
        }
    }
}

struct Held<'de>(Option<&'de Node>);

impl<'de> VariantAccess<'de> for Held<'de> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        match self.0 {
            None => Ok(()),
            Some(node) => {
                let misfit: Misfit = de::Error::custom("the word holds nothing");
                Err(misfit.at(node.start))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misfit> {
        match self.0 {
            Some(node) => seed.deserialize(node),
            None => Err(de::Error::custom("the word has no value")),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.struct_variant(&[], visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.0 {
            Some(node) => node.deserialize_any(visitor),
            None => Err(de::Error::custom("the word has no value")),
        }
    }
}
