//! The Merkle tree over the records, asked: its root, and what shows that a record is in it or an older tree its beginning.

use crate::{
    evidence,
    journal::{
        Range, Reader,
        index::{Field, Pattern, Wanted},
        tree::{Gone, Tree},
    },
    model::{EventDraft, EventType},
    store::{StoreError, TreeAnswer, TreePath},
};
use std::ops::ControlFlow;

/// Answers of the tree over the first `size` records, or over all. All of them are on the disk then: whoever signs the root
/// signs nothing that a power cut takes back, whatever `durability` says.
pub(super) fn ask(journal: &Reader, size: Option<u64>, path: TreePath) -> Result<TreeAnswer, StoreError> {
    let mut tree = Tree::open(journal, &gone(journal)?)?;
    if size.is_none() {
        journal.flush()?;
    }
    let size = size.unwrap_or(tree.size());
    let asked = match path {
        TreePath::None => size,
        TreePath::Inclusion(index) => size.max(index.saturating_add(1)),
        TreePath::Consistency(old) => size.max(old),
    };
    if asked > tree.size() || asked > size {
        let problem =
            format!("a tree over {asked} records was asked for, and there are {}", size.min(tree.size()));
        return Err(StoreError::Failed(problem));
    }
    let path = match path {
        TreePath::None => Vec::new(),
        TreePath::Inclusion(index) => tree.inclusion(index, size)?,
        TreePath::Consistency(old) => tree.consistency(old, size)?,
    };
    Ok(TreeAnswer { size, records: tree.size(), root: tree.root(size)?, path })
}

/// What stays of the tree once everything before a record is removed.
pub(super) fn gone_before(journal: &Reader, stays: i64) -> Result<Gone, StoreError> {
    let size = u64::try_from(stays - 1).unwrap_or(0);
    Ok(Tree::open(journal, &gone(journal)?)?.gone(size)?)
}

/// What the record says of what was removed.
fn gone(journal: &Reader) -> Result<Gone, StoreError> {
    if journal.first()?.seq == 0 {
        return Ok(Gone::default());
    }
    let terms = vec![(Field::EventType, Pattern::Exact(EventType::AdminAction.as_str().to_owned()))];
    let range = Range { first: 1, last: i64::MAX, newest_first: true };
    let mut told = None;
    journal.find(&Wanted { terms, ..Wanted::default() }, range, &mut |entry| {
        told = EventDraft::from_body(&entry.body).ok().and_then(|event| evidence::retired_tree(&event));
        Ok(if told.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(told.map(|(size, subtrees)| Gone { size, subtrees }).unwrap_or_default())
}
