//! Matches what no automaton of bytes can, or only one that is too large: lookaround, references back, and long repetitions
//! of large classes. It takes as many steps as it is allowed, and keeps no more than so many places to go back to.

use super::{
    exceeded::Exceeded,
    part::{Anchor, Part, Set},
};
use std::ops::Range;

/// The longest program.
const MOST_OPS: usize = 20_000;
/// Operations for one step of the budget.
const PER_STEP: u64 = 8;
/// Operations that are paid for at once.
const PAID: u64 = 512;
/// Places to go back to.
const MOST_PLACES: usize = 400_000;

#[derive(Debug)]
enum Op {
    One(Set),
    /// So many of one set, as many as there are first.
    Many(Set, u32, Option<u32>),
    At(Anchor),
    /// First this, then that.
    Split(usize, usize),
    Jump(usize),
    /// Where a group begins (even) or ends (odd).
    Save(usize),
    /// Groups that the next turn of a repetition has not matched.
    Forget(Range<usize>),
    /// Where a turn of a repetition begins.
    Turn(usize),
    /// A turn that took nothing is the last.
    Took(usize),
    Look {
        behind: bool,
        negated: bool,
        /// Where to go on.
        then: usize,
    },
    Back(Vec<usize>, bool),
    Done,
}

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Backtracking {
    ops: Vec<Op>,
    /// Places that a run remembers: two for each group, one for each repetition.
    slots: usize,
    /// It can match at the start only.
    anchored: bool,
}

impl Backtracking {
    pub(super) fn compile(part: &Part, groups: usize) -> Option<Self> {
        let mut compiler = Compiler { ops: Vec::new(), slots: (groups + 1) * 2 };
        compiler.part(part)?;
        compiler.push(Op::Done)?;
        Some(Self { ops: compiler.ops, slots: compiler.slots, anchored: is_anchored(part) })
    }

    pub(super) fn states(&self) -> usize {
        self.ops.len()
    }

    /// Whether it matches anywhere. `charge` is asked for steps before they are taken.
    pub(super) fn is_match(
        &self,
        text: &str,
        charge: &mut dyn FnMut(u64) -> Result<(), Exceeded>,
    ) -> Result<bool, Exceeded> {
        let mut run =
            Run { program: self, text, slots: vec![None; self.slots], undo: Vec::new(), paid: 0, charge };
        run.pay(self.slots as u64 / 8)?;
        for (start, _) in text.char_indices().chain([(text.len(), ' ')]) {
            if run.matches(0, start, None)? {
                return Ok(true);
            }
            if self.anchored {
                break;
            }
        }
        Ok(false)
    }
}

fn is_anchored(part: &Part) -> bool {
    match part {
        Part::At(anchor) => *anchor == Anchor::Start,
        Part::All(parts) => parts.first().is_some_and(is_anchored),
        Part::Any(parts) => parts.iter().all(is_anchored),
        Part::Group(part, _) => is_anchored(part),
        Part::Repeat { part, least, .. } => *least > 0 && is_anchored(part),
        Part::Set(_) | Part::Look { .. } | Part::Back(..) => false,
    }
}

struct Compiler {
    ops: Vec<Op>,
    slots: usize,
}

impl Compiler {
    fn push(&mut self, op: Op) -> Option<usize> {
        if self.ops.len() >= MOST_OPS {
            return None;
        }
        self.ops.push(op);
        Some(self.ops.len() - 1)
    }

    fn set(&mut self, at: usize, op: Op) {
        if let Some(slot) = self.ops.get_mut(at) {
            *slot = op;
        }
    }

    /// None: it is too long.
    fn part(&mut self, part: &Part) -> Option<()> {
        match part {
            Part::Set(set) => drop(self.push(Op::One(set.clone()))?),
            Part::At(anchor) => drop(self.push(Op::At(*anchor))?),
            Part::All(parts) => parts.iter().try_for_each(|part| self.part(part))?,
            Part::Any(parts) => self.any(parts)?,
            Part::Group(part, number) => {
                self.push(Op::Save(number * 2))?;
                self.part(part)?;
                self.push(Op::Save(number * 2 + 1))?;
            }
            Part::Repeat { part, least, most } => match &**part {
                Part::Set(set) => drop(self.push(Op::Many(set.clone(), *least, *most))?),
                part => self.repeat(part, *least, *most)?,
            },
            Part::Look { part, behind, negated } => {
                let look = self.push(Op::Done)?;
                self.part(part)?;
                self.push(Op::Done)?;
                let then = self.ops.len();
                self.set(look, Op::Look { behind: *behind, negated: *negated, then });
            }
            Part::Back(groups, any_case) => drop(self.push(Op::Back(groups.clone(), *any_case))?),
        }
        Some(())
    }

    fn any(&mut self, parts: &[Part]) -> Option<()> {
        let mut ends = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            if at + 1 == parts.len() {
                self.part(part)?;
                break;
            }
            let split = self.push(Op::Done)?;
            self.part(part)?;
            ends.push(self.push(Op::Done)?);
            self.set(split, Op::Split(split + 1, self.ops.len()));
        }
        let end = self.ops.len();
        for jump in ends {
            self.set(jump, Op::Jump(end));
        }
        Some(())
    }

    fn turn(&mut self, part: &Part) -> Option<()> {
        let mut groups = Vec::new();
        groups_of(part, &mut groups);
        if let (Some(first), Some(last)) = (groups.iter().min(), groups.iter().max()) {
            self.push(Op::Forget(first * 2..last * 2 + 2))?;
        }
        self.part(part)
    }

    fn repeat(&mut self, part: &Part, least: u32, most: Option<u32>) -> Option<()> {
        for _ in 0..least {
            self.turn(part)?;
        }
        match most {
            None => {
                let slot = self.slots;
                self.slots += 1;
                let split = self.push(Op::Done)?;
                self.push(Op::Turn(slot))?;
                self.turn(part)?;
                self.push(Op::Took(slot))?;
                self.push(Op::Jump(split))?;
                self.set(split, Op::Split(split + 1, self.ops.len()));
            }
            Some(most) => {
                let mut splits = Vec::new();
                for _ in least..most {
                    splits.push(self.push(Op::Done)?);
                    self.turn(part)?;
                }
                let end = self.ops.len();
                for split in splits {
                    self.set(split, Op::Split(split + 1, end));
                }
            }
        }
        Some(())
    }
}

fn groups_of(part: &Part, found: &mut Vec<usize>) {
    match part {
        Part::Group(part, number) => {
            found.push(*number);
            groups_of(part, found);
        }
        Part::All(parts) | Part::Any(parts) => parts.iter().for_each(|part| groups_of(part, found)),
        Part::Repeat { part, .. } | Part::Look { part, .. } => groups_of(part, found),
        Part::Set(_) | Part::At(_) | Part::Back(..) => {}
    }
}

/// What is undone on the way back.
enum Undo {
    /// Go on here.
    Try(usize, usize),
    /// One character less of the same set, as long as there are any.
    Fewer {
        then: usize,
        from: usize,
        at: usize,
    },
    Slot(usize, Option<usize>),
}

struct Run<'r> {
    program: &'r Backtracking,
    text: &'r str,
    slots: Vec<Option<usize>>,
    undo: Vec<Undo>,
    paid: u64,
    charge: &'r mut dyn FnMut(u64) -> Result<(), Exceeded>,
}

impl Run<'_> {
    fn pay(&mut self, ops: u64) -> Result<(), Exceeded> {
        while self.paid < ops {
            (self.charge)(PAID / PER_STEP)?;
            self.paid += PAID;
        }
        self.paid -= ops;
        Ok(())
    }

    fn push(&mut self, undo: Undo) -> Result<(), Exceeded> {
        if self.undo.len() >= MOST_PLACES {
            return Err(Exceeded);
        }
        self.undo.push(undo);
        Ok(())
    }

    fn save(&mut self, slot: usize, at: Option<usize>) -> Result<(), Exceeded> {
        if let Some(known) = self.slots.get_mut(slot) {
            let before = std::mem::replace(known, at);
            self.push(Undo::Slot(slot, before))?;
        }
        Ok(())
    }

    fn next(&self, at: usize) -> Option<char> {
        self.text.get(at..)?.chars().next()
    }

    fn before(&self, at: usize) -> Option<char> {
        self.text.get(..at)?.chars().next_back()
    }

    /// From this operation and place on; `end`: where it has to end.
    fn matches(&mut self, op: usize, at: usize, end: Option<usize>) -> Result<bool, Exceeded> {
        let bottom = self.undo.len();
        let mut here = Some((op, at));
        loop {
            self.pay(1)?;
            let Some((op, at)) = here else {
                if self.undo.len() <= bottom {
                    return Ok(false);
                }
                here = self.back();
                continue;
            };
            if matches!(self.program.ops.get(op), Some(Op::Done) | None) {
                if end.is_none_or(|end| end == at) {
                    return Ok(true);
                }
                here = None;
                continue;
            }
            here = self.step(op, at)?;
        }
    }

    /// The place to go on, of what was left for later.
    fn back(&mut self) -> Option<(usize, usize)> {
        match self.undo.pop()? {
            Undo::Try(op, at) => Some((op, at)),
            Undo::Slot(slot, before) => {
                if let Some(known) = self.slots.get_mut(slot) {
                    *known = before;
                }
                None
            }
            Undo::Fewer { then, from, at } => {
                let shorter = at - self.before(at).map_or(0, char::len_utf8);
                if shorter > from {
                    self.undo.push(Undo::Fewer { then, from, at: shorter });
                }
                Some((then, shorter))
            }
        }
    }

    /// One operation: where to go on, if it fits.
    fn step(&mut self, op: usize, at: usize) -> Result<Option<(usize, usize)>, Exceeded> {
        let next = op + 1;
        let program = self.program;
        Ok(match program.ops.get(op) {
            Some(Op::One(set)) => self.next(at).filter(|c| has(set, *c)).map(|c| (next, at + c.len_utf8())),
            Some(Op::Many(set, least, most)) => {
                self.many(set, (*least, *most), at, next)?.map(|at| (next, at))
            }
            Some(Op::At(anchor)) => self.is_at(*anchor, at).then_some((next, at)),
            Some(Op::Split(first, then)) => {
                self.push(Undo::Try(*then, at))?;
                Some((*first, at))
            }
            Some(Op::Jump(to)) => Some((*to, at)),
            Some(Op::Save(slot) | Op::Turn(slot)) => {
                self.save(*slot, Some(at))?;
                Some((next, at))
            }
            Some(Op::Took(slot)) => {
                let nothing = self.slots.get(*slot).copied().flatten() == Some(at);
                (!nothing).then_some((next, at))
            }
            Some(Op::Forget(slots)) => {
                for slot in slots.clone() {
                    if self.slots.get(slot).is_some_and(Option::is_some) {
                        self.save(slot, None)?;
                    }
                }
                self.pay(slots.len() as u64 / 8)?;
                Some((next, at))
            }
            Some(Op::Look { behind, negated, then }) => {
                let found = self.looks(next, at, *behind, *negated)?;
                (found != *negated).then_some((*then, at))
            }
            Some(Op::Back(groups, any_case)) => self.same(groups, *any_case, at)?.map(|at| (next, at)),
            Some(Op::Done) | None => None,
        })
    }

    fn many(
        &mut self,
        set: &Set,
        (least, most): (u32, Option<u32>),
        at: usize,
        then: usize,
    ) -> Result<Option<usize>, Exceeded> {
        let most = most.map_or(usize::MAX, |most| most as usize);
        let mut count = 0;
        let mut to = at;
        let mut from = at;
        let least = least as usize;
        for c in self.text.get(at..).unwrap_or_default().chars().take(most) {
            if !has(set, c) {
                break;
            }
            count += 1;
            to += c.len_utf8();
            if count == least {
                from = to;
            }
        }
        self.pay(count as u64 / 4)?;
        if count < least {
            return Ok(None);
        }
        if to > from {
            self.push(Undo::Fewer { then, from, at: to })?;
        }
        Ok(Some(to))
    }

    fn is_at(&self, anchor: Anchor, at: usize) -> bool {
        let ends = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let edge = || self.before(at).is_some_and(word) != self.next(at).is_some_and(word);
        match anchor {
            Anchor::Start => at == 0,
            Anchor::End => at == self.text.len(),
            Anchor::LineStart => self.before(at).is_none_or(ends),
            Anchor::LineEnd => self.next(at).is_none_or(ends),
            Anchor::WordEdge => edge(),
            Anchor::NoWordEdge => !edge(),
        }
    }

    /// Whether what is looked for is there. What its groups matched stays, where it is there and should be.
    fn looks(&mut self, op: usize, at: usize, behind: bool, negated: bool) -> Result<bool, Exceeded> {
        let bottom = self.undo.len();
        let mut found = false;
        if behind {
            for start in (0..=at).rev() {
                if self.text.is_char_boundary(start) && self.matches(op, start, Some(at))? {
                    found = true;
                    break;
                }
            }
        } else {
            found = self.matches(op, at, None)?;
        }
        // Nobody comes back into it; what it saved is undone with what was before it.
        let mut kept = Vec::new();
        for undo in self.undo.drain(bottom..) {
            if let Undo::Slot(..) = undo {
                kept.push(undo);
            }
        }
        if found && !negated {
            self.undo.extend(kept);
        } else {
            for undo in kept.into_iter().rev() {
                if let Undo::Slot(slot, before) = undo
                    && let Some(known) = self.slots.get_mut(slot)
                {
                    *known = before;
                }
            }
        }
        Ok(found)
    }

    /// What a group matched, once more.
    fn same(&mut self, groups: &[usize], any_case: bool, at: usize) -> Result<Option<usize>, Exceeded> {
        let slot = |number: usize| self.slots.get(number).copied().flatten();
        let matched = groups.iter().find_map(|group| Some((slot(group * 2)?, slot(group * 2 + 1)?)));
        // A group that matched nothing is the same as nothing.
        let Some((from, to)) = matched else { return Ok(Some(at)) };
        let wanted = self.text.get(from..to).unwrap_or_default();
        let rest = self.text.get(at..).unwrap_or_default();
        let length = match any_case {
            false => rest.starts_with(wanted).then_some(wanted.len()),
            true => {
                let mut length = 0;
                let mut there = rest.chars();
                let same = wanted.chars().all(|c| {
                    there.next().is_some_and(|other| {
                        length += other.len_utf8();
                        c.to_lowercase().eq(other.to_lowercase())
                    })
                });
                same.then_some(length)
            }
        };
        self.pay(1 + wanted.len() as u64 / 16)?;
        Ok(length.map(|length| at + length))
    }
}

fn has(set: &Set, c: char) -> bool {
    let ranges = set.ranges();
    let after = ranges.partition_point(|range| range.start() <= c);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| c <= range.end())
}
