//! Regular expressions as ECMA-262 writes them, read into a tree: JSON Schema names that syntax, and no engine at hand reads
//! all of it.

use super::part::{Anchor, Part, Set};
use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange, Hir, HirKind};
use std::{iter::Peekable, str::Chars, sync::Arc};

/// Groups in groups.
const MAX_DEPTH: usize = 60;
/// The highest count of a repetition that is told from "any number".
const MAX_COUNT: u32 = 1 << 20;
/// `\s`: white space and line terminators.
const SPACE: [(char, char); 10] = [
    ('\t', '\r'),
    (' ', ' '),
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{feff}', '\u{feff}'),
];
const WORD: [(char, char); 4] = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
/// What `.` does not match.
const LINE_ENDS: [(char, char); 3] = [('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')];

/// Reads an expression; also gives how many groups it has.
pub(super) fn parse(text: &str) -> Result<(Part, usize), String> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
        groups: 0,
        names: Vec::new(),
        depth: 0,
        flags: Flags::default(),
    };
    let part = reader.alternatives()?;
    if reader.rest.next().is_some() {
        return Err("a `)` closes nothing".to_owned());
    }
    let part = reader.resolve(part)?;
    Ok((part, reader.groups))
}

/// What modifiers say.
#[derive(Clone, Copy, Default)]
struct Flags {
    any_case: bool,
    lines: bool,
    dot_all: bool,
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    groups: usize,
    names: Vec<(String, usize)>,
    depth: usize,
    flags: Flags,
}

/// What stands in a class.
enum Item {
    One(char),
    Set(ClassUnicode),
}

/// A group named by `\k`, until all names are known: the number is its place in this list.
const NAMED: usize = usize::MAX / 2;

impl Reader<'_> {
    fn eat(&mut self, wanted: char) -> bool {
        self.rest.next_if_eq(&wanted).is_some()
    }

    /// Whether this comes next; then it is read.
    fn eat_all(&mut self, wanted: &str) -> bool {
        let mut ahead = self.rest.clone();
        if wanted.chars().all(|c| ahead.next() == Some(c)) {
            self.rest = ahead;
            return true;
        }
        false
    }

    fn alternatives(&mut self) -> Result<Part, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        let flags = self.flags;
        let mut parts = vec![self.sequence()?];
        while self.eat('|') {
            parts.push(self.sequence()?);
        }
        self.flags = flags;
        self.depth -= 1;
        Ok(match (parts.pop(), parts.is_empty()) {
            (Some(only), true) => only,
            (last, _) => Part::Any(parts.into_iter().chain(last).collect()),
        })
    }

    fn sequence(&mut self) -> Result<Part, String> {
        let mut parts = Vec::new();
        while let Some(next) = self.rest.peek().copied() {
            if matches!(next, '|' | ')') {
                break;
            }
            self.rest.next();
            let part = match next {
                '^' | '$' => Part::At(match (next, self.flags.lines) {
                    ('^', false) => Anchor::Start,
                    ('^', true) => Anchor::LineStart,
                    (_, false) => Anchor::End,
                    (_, true) => Anchor::LineEnd,
                }),
                '(' => match self.group()? {
                    Some(part) => part,
                    None => continue,
                },
                '[' => self.class()?,
                '.' => {
                    let mut set = ranges(&LINE_ENDS);
                    if self.flags.dot_all {
                        set = ClassUnicode::empty();
                    }
                    set.negate();
                    Part::Set(Arc::new(set))
                }
                '\\' => self.escape()?,
                '*' | '+' | '?' => return Err(format!("a `{next}` repeats nothing")),
                '{' if self.counts().is_some() => return Err("a `{` repeats nothing".to_owned()),
                literal => Part::Set(self.literal(literal)),
            };
            let is_anchor = matches!(part, Part::At(_));
            match self.repetition()? {
                Some(_) if is_anchor => return Err("a place between characters is repeated".to_owned()),
                Some((least, most)) => parts.push(Part::Repeat { part: Box::new(part), least, most }),
                None => parts.push(part),
            }
        }
        Ok(match (parts.pop(), parts.is_empty()) {
            (Some(only), true) => only,
            (last, _) => Part::All(parts.into_iter().chain(last).collect()),
        })
    }

    fn repetition(&mut self) -> Result<Option<(u32, Option<u32>)>, String> {
        let found = match self.rest.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                let mut ahead = self.rest.clone();
                ahead.next();
                std::mem::swap(&mut ahead, &mut self.rest);
                match self.counts() {
                    Some(counts) => {
                        self.eat('?');
                        return match counts {
                            (least, Some(most)) if least > most => {
                                Err(format!("`{{{least},{most}}}` asks for more than it allows"))
                            }
                            counts => Ok(Some(counts)),
                        };
                    }
                    // Other languages read it as "at most", and ECMA-262 as letters.
                    None if self.rest.peek() == Some(&',') => {
                        return Err("`{,` is not a count in ECMA-262".to_owned());
                    }
                    None => {
                        self.rest = ahead;
                        return Ok(None);
                    }
                }
            }
            Some(_) | None => return Ok(None),
        };
        self.rest.next();
        // Whether there is a match does not depend on which is tried first.
        self.eat('?');
        Ok(Some(found))
    }

    /// `n}`, `n,}` or `n,m}`, after the `{`; else nothing is read.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let before = self.rest.clone();
        let least = self.number();
        let most = match (least, self.eat(',')) {
            (Some(_), true) => self.number(),
            (least, _) => least,
        };
        match (least, self.eat('}')) {
            (Some(least), true) => Some((least, most)),
            (_, _) => {
                self.rest = before;
                None
            }
        }
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = None;
        while let Some(digit) = self.rest.peek().and_then(|c| c.to_digit(10)) {
            self.rest.next();
            number = Some(number.unwrap_or(0_u32).saturating_mul(10).saturating_add(digit).min(MAX_COUNT));
        }
        number
    }

    /// After the `(`. None: only modifiers.
    fn group(&mut self) -> Result<Option<Part>, String> {
        let look =
            |part: Part, behind: bool, negated: bool| Part::Look { part: Box::new(part), behind, negated };
        let flags = self.flags;
        let part = if !self.eat('?') {
            self.captured()?
        } else if self.eat(':') {
            self.alternatives()?
        } else if self.eat('=') {
            look(self.alternatives()?, false, false)
        } else if self.eat('!') {
            look(self.alternatives()?, false, true)
        } else if self.eat_all("<=") {
            look(self.alternatives()?, true, false)
        } else if self.eat_all("<!") {
            look(self.alternatives()?, true, true)
        } else if self.eat('<') || self.eat_all("P<") {
            let name = self.name()?;
            self.names.push((name, self.groups + 1));
            self.captured()?
        } else {
            self.modifiers()?;
            // `(?i)`, as other languages write it, counts to the end of the group it stands in.
            if self.eat(')') {
                return Ok(None);
            }
            if !self.eat(':') {
                return Err("a group begins with `(?` and what is none of ECMA-262's".to_owned());
            }
            self.alternatives()?
        };
        self.flags = flags;
        if !self.eat(')') {
            return Err("a group is not closed".to_owned());
        }
        Ok(Some(part))
    }

    fn captured(&mut self) -> Result<Part, String> {
        self.groups += 1;
        let number = self.groups;
        Ok(Part::Group(Box::new(self.alternatives()?), number))
    }

    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('>') if !name.is_empty() => return Ok(name),
                Some(c) if c.is_alphanumeric() || matches!(c, '_' | '$') => name.push(c),
                Some(_) | None => return Err("a group's name cannot be read".to_owned()),
            }
        }
    }

    fn modifiers(&mut self) -> Result<(), String> {
        let mut on = true;
        let mut any = false;
        loop {
            let flag = match self.rest.peek() {
                Some('i') => &mut self.flags.any_case,
                Some('m') => &mut self.flags.lines,
                Some('s') => &mut self.flags.dot_all,
                Some('-') if on => {
                    on = false;
                    self.rest.next();
                    continue;
                }
                Some(':' | ')') if any => return Ok(()),
                Some(_) | None => {
                    return Err("a group begins with `(?` and what is none of ECMA-262's".to_owned());
                }
            };
            *flag = on;
            any = true;
            self.rest.next();
        }
    }

    fn literal(&self, c: char) -> Set {
        self.cased(ranges(&[(c, c)]))
    }

    fn cased(&self, mut set: ClassUnicode) -> Set {
        if self.flags.any_case && set.try_case_fold_simple().is_err() {
            // Without tables every case stays its own.
            return Arc::new(set);
        }
        Arc::new(set)
    }

    /// After the `\`, outside a class.
    fn escape(&mut self) -> Result<Part, String> {
        let back = |groups, flags: Flags| Part::Back(groups, flags.any_case);
        Ok(match self.rest.peek().copied() {
            Some('b') => {
                self.rest.next();
                Part::At(Anchor::WordEdge)
            }
            Some('B') => {
                self.rest.next();
                Part::At(Anchor::NoWordEdge)
            }
            Some('k') => {
                self.rest.next();
                if !self.eat('<') {
                    return Err("`\\k` names no group".to_owned());
                }
                let name = self.name()?;
                self.names.push((name, NAMED));
                back(vec![NAMED + self.names.len()], self.flags)
            }
            Some('1'..='9') => match self.number() {
                Some(number) => back(vec![number as usize], self.flags),
                None => return Err("a reference back names no group".to_owned()),
            },
            Some(_) => match self.escaped()? {
                Item::One(c) => Part::Set(self.literal(c)),
                Item::Set(set) => Part::Set(self.cased(set)),
            },
            None => return Err("it ends with a `\\`".to_owned()),
        })
    }

    /// References back, when all groups are known.
    fn resolve(&self, part: Part) -> Result<Part, String> {
        let all =
            |parts: Vec<Part>| parts.into_iter().map(|part| self.resolve(part)).collect::<Result<_, _>>();
        let boxed = |part: Box<Part>| self.resolve(*part).map(Box::new);
        Ok(match part {
            Part::Back(groups, any_case) => {
                let group = groups.first().copied().unwrap_or_default();
                if let Some(place) = group.checked_sub(NAMED + 1) {
                    let name = self.names.get(place).map(|(name, _)| name);
                    let named = self.names.iter().filter(|(known, _)| Some(known) == name);
                    let groups: Vec<usize> =
                        named.map(|(_, group)| *group).filter(|group| *group < NAMED).collect();
                    if groups.is_empty() {
                        return Err("`\\k` names no group".to_owned());
                    }
                    Part::Back(groups, any_case)
                } else if group > self.groups {
                    return Err(format!("`\\{group}` names no group"));
                } else {
                    Part::Back(groups, any_case)
                }
            }
            Part::All(parts) => Part::All(all(parts)?),
            Part::Any(parts) => Part::Any(all(parts)?),
            Part::Group(part, number) => Part::Group(boxed(part)?, number),
            Part::Repeat { part, least, most } => Part::Repeat { part: boxed(part)?, least, most },
            Part::Look { part, behind, negated } => Part::Look { part: boxed(part)?, behind, negated },
            part @ (Part::Set(_) | Part::At(_)) => part,
        })
    }

    /// After the `\`: a character, or several.
    fn escaped(&mut self) -> Result<Item, String> {
        let Some(c) = self.rest.next() else { return Err("it ends with a `\\`".to_owned()) };
        let set = |of: &[(char, char)], negated: bool| {
            let mut set = ranges(of);
            if negated {
                set.negate();
            }
            Item::Set(set)
        };
        Ok(match c {
            'd' | 'D' => set(&[('0', '9')], c == 'D'),
            'w' | 'W' => set(&WORD, c == 'W'),
            's' | 'S' => set(&SPACE, c == 'S'),
            'p' | 'P' => Item::Set(self.property(c == 'P')?),
            't' => Item::One('\t'),
            'n' => Item::One('\n'),
            'v' => Item::One('\u{b}'),
            'f' => Item::One('\u{c}'),
            'r' => Item::One('\r'),
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => Item::One('\0'),
            'c' => match self.rest.next() {
                Some(letter) if letter.is_ascii_alphabetic() => Item::One(char::from(letter as u8 % 32)),
                Some(_) | None => return Err("`\\c` needs a letter".to_owned()),
            },
            'x' => Item::One(self.code(2)?),
            'u' => Item::One(self.unicode()?),
            c if c.is_ascii_alphanumeric() => return Err(format!("`\\{c}` means nothing in ECMA-262")),
            c => Item::One(c),
        })
    }

    fn digits(&mut self, count: usize) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..count {
            let digit = self.rest.next().and_then(|c| c.to_digit(16));
            code = code * 16 + digit.ok_or("an escape lacks digits")?;
        }
        Ok(code)
    }

    fn code(&mut self, digits: usize) -> Result<char, String> {
        char::from_u32(self.digits(digits)?).ok_or_else(|| "it names a half of a surrogate pair".to_owned())
    }

    /// After `\u`.
    fn unicode(&mut self) -> Result<char, String> {
        if self.eat('{') {
            let mut code = 0_u32;
            let mut digits = 0;
            while let Some(digit) = self.rest.peek().and_then(|c| c.to_digit(16)) {
                self.rest.next();
                digits += 1;
                code = code.saturating_mul(16).saturating_add(digit);
            }
            return match (char::from_u32(code), self.eat('}')) {
                (Some(c), true) if digits > 0 => Ok(c),
                _ => Err("`\\u{` names no character".to_owned()),
            };
        }
        let first = self.digits(4)?;
        if (0xd800..0xdc00).contains(&first) && self.eat_all("\\u") {
            let second = self.digits(4)?;
            let pair = char::decode_utf16([first, second].map(|half| half as u16)).next();
            return match pair {
                Some(Ok(c)) => Ok(c),
                Some(Err(_)) | None => Err("it names a half of a surrogate pair".to_owned()),
            };
        }
        char::from_u32(first).ok_or_else(|| "it names a half of a surrogate pair".to_owned())
    }

    /// After `\p`.
    fn property(&mut self, negated: bool) -> Result<ClassUnicode, String> {
        if !self.eat('{') {
            return Err("`\\p` needs a name in braces".to_owned());
        }
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('}') => break,
                Some(c) if name.len() < 80 && (c.is_ascii_alphanumeric() || matches!(c, '_' | '=')) => {
                    name.push(c)
                }
                Some(_) | None => return Err("a property's name cannot be read".to_owned()),
            }
        }
        let known = regex_syntax::parse(&format!("\\p{{{name}}}")).map(Hir::into_kind);
        match known {
            Ok(HirKind::Class(regex_syntax::hir::Class::Unicode(mut set))) => {
                if negated {
                    set.negate();
                }
                Ok(set)
            }
            // A property of one character.
            Ok(HirKind::Literal(literal)) => {
                let chars = std::str::from_utf8(&literal.0).unwrap_or_default().chars();
                let mut set = ClassUnicode::new(chars.map(|c| ClassUnicodeRange::new(c, c)));
                if negated {
                    set.negate();
                }
                Ok(set)
            }
            Ok(_) | Err(_) => Err(format!("`\\p{{{name}}}` is not known")),
        }
    }

    /// After the `[`.
    fn class(&mut self) -> Result<Part, String> {
        let negated = self.eat('^');
        let mut set = ClassUnicode::empty();
        loop {
            let item = match self.rest.peek() {
                Some(']') => {
                    self.rest.next();
                    break;
                }
                Some(_) => self.item()?,
                None => return Err("a class is not closed".to_owned()),
            };
            let mut ahead = self.rest.clone();
            let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']');
            match item {
                Item::One(from) if is_range => {
                    self.rest.next();
                    match self.item()? {
                        Item::One(to) if from <= to => set.push(ClassUnicodeRange::new(from, to)),
                        Item::One(_) => return Err("a range of a class is the wrong way round".to_owned()),
                        // With several on one side, the hyphen is one character more.
                        Item::Set(more) => {
                            set.union(&ranges(&[(from, from), ('-', '-')]));
                            set.union(&more);
                        }
                    }
                }
                Item::One(c) => set.push(ClassUnicodeRange::new(c, c)),
                Item::Set(more) => set.union(&more),
            }
        }
        let mut set = Arc::unwrap_or_clone(self.cased(set));
        if negated {
            set.negate();
        }
        Ok(Part::Set(Arc::new(set)))
    }

    fn item(&mut self) -> Result<Item, String> {
        match self.rest.next() {
            Some('\\') if self.eat('b') => Ok(Item::One('\u{8}')),
            Some('\\') => self.escaped(),
            Some(c) => Ok(Item::One(c)),
            None => Err("a class is not closed".to_owned()),
        }
    }
}

fn ranges(of: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(of.iter().map(|(from, to)| ClassUnicodeRange::new(*from, *to)))
}
