//! The fixed beginnings of secrets as a table of their first two bytes, so that a text is asked once for each of its bytes
//! whatever the number of beginnings.

use super::shapes::Shape;
use regex_syntax::hir::literal::Extractor;
use std::collections::BTreeMap;

/// What follows a pair of first bytes, and what it begins.
type Rests = Vec<(Box<[u8]>, Shape)>;

/// The beginnings that are looked for.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    /// A bit for each pair of first bytes.
    pairs: Box<[u64]>,
    /// The rest by pair; specific ones first, as they are listed.
    by_pair: BTreeMap<[u8; 2], Rests>,
}

fn slot(pair: [u8; 2]) -> (usize, u64) {
    let [first, second] = pair;
    (usize::from(first) << 2 | usize::from(second >> 6), 1 << (second & 63))
}

impl Starts {
    pub(super) fn none() -> Self {
        Self { pairs: Box::default(), by_pair: BTreeMap::new() }
    }

    /// Expands what has alternatives: `gh[pousr]_` is five beginnings.
    pub(super) fn compile(shapes: impl Iterator<Item = Shape>) -> Result<Self, String> {
        let mut starts = Self { pairs: vec![0; 1024].into(), by_pair: BTreeMap::new() };
        for shape in shapes {
            let parsed =
                regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(shape.start);
            let expanded = Extractor::new().extract(&parsed.map_err(|error| error.to_string())?);
            let literals = expanded.literals().filter(|all| all.iter().all(|one| one.is_exact()));
            let Some(literals) = literals else {
                return Err(format!("`{}` has too many beginnings", shape.start));
            };
            for literal in literals {
                let Some((pair, rest)) = literal.as_bytes().split_first_chunk::<2>() else {
                    return Err(format!("`{}` is too short a beginning", shape.start));
                };
                let (at, bit) = slot(*pair);
                if let Some(bits) = starts.pairs.get_mut(at) {
                    *bits |= bit;
                }
                starts.by_pair.entry(*pair).or_default().push((Box::from(rest), shape));
            }
        }
        Ok(starts)
    }

    /// The next place from which some beginning may stand.
    #[inline]
    pub(super) fn next(&self, bytes: &[u8], from: usize, end: usize) -> Option<usize> {
        let window = bytes.get(from..bytes.len().min(end + 1))?;
        let found = window.windows(2).position(|pair| match pair {
            [first, second] => {
                let (at, bit) = slot([*first, *second]);
                self.pairs.get(at).is_some_and(|bits| bits & bit != 0)
            }
            _ => false,
        });
        found.map(|skipped| from + skipped)
    }

    /// The beginnings that stand here, with the place where each ends.
    pub(super) fn here<'s>(&'s self, bytes: &'s [u8], at: usize) -> impl Iterator<Item = (&'s Shape, usize)> {
        let pair = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
        let known = pair.and_then(|pair| self.by_pair.get(pair)).map(Vec::as_slice).unwrap_or_default();
        let rest = bytes.get(at + 2..).unwrap_or_default();
        known
            .iter()
            .filter(|(more, _)| rest.starts_with(more))
            .map(move |(more, shape)| (shape, at + 2 + more.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::SHAPES;
    use super::*;

    #[test]
    fn every_beginning_is_found_where_it_stands() {
        let starts = Starts::compile(SHAPES.iter().copied()).unwrap();
        let check = |text: &str, at: usize| {
            assert_eq!(starts.next(text.as_bytes(), 0, text.len()), Some(at), "{text}");
            assert!(starts.here(text.as_bytes(), at).next().is_some(), "{text}");
        };
        check("..ghp_x", 2);
        check("..ghs_x", 2);
        check("hooks.slack.com/workflows/x", 0);
        check("&sig=", 0);
        assert_eq!(starts.here(b"ghx_", 0).count(), 0);
        assert_eq!(starts.next(b"", 0, 0), None);
        assert_eq!(starts.next(b"s", 0, 1), None);
    }
}
