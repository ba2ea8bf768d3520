//! Conditions as people write them who think in another language, and what is said to that.

use super::{
    ConditionError,
    error::{At, error},
};
use cel::parser::pratt_parser::{Token, TokenKind};

/// Words that stand between two values in other languages, and how that is written here.
const BETWEEN: &[(&str, &str)] = &[
    ("and", "`&&`"),
    ("or", "`||`"),
    ("is", "`==`, or `!=` for `is not`"),
    ("eq", "`==`"),
    ("equals", "`==`"),
    ("ne", "`!=`"),
    ("neq", "`!=`"),
    ("gt", "`>`"),
    ("lt", "`<`"),
    ("gte", "`>=`"),
    ("lte", "`<=`"),
    ("contains", "`text.contains(part)`, or `part in list`"),
    ("startswith", "`text.startsWith(part)`"),
    ("endswith", "`text.endsWith(part)`"),
    ("matches", "`text.matches('pattern')`"),
    ("like", "`glob(text, pattern)`"),
    ("glob", "`glob(text, pattern)`"),
    ("within", "`within(path, root)`"),
    ("inside", "`within(path, root)`"),
    ("under", "`within(path, root)`"),
    ("between", "`x >= low && x <= high`"),
    ("then", "`condition ? yes : no`"),
    ("else", "`condition ? yes : no`"),
];

/// What the lexer cannot read.
pub(super) fn unreadable(source: &str, at: At) -> ConditionError {
    let rest = source.get(at.start..).unwrap_or_default();
    let first = rest.chars().next().unwrap_or(' ');
    let first_at = At { start: at.start, end: at.start + first.len_utf8() };
    let (at, message, expected) = match first {
        '&' => (first_at, "`&` is no operator".to_owned(), "`&&`".to_owned()),
        '~' => (first_at, "`~` is no operator".to_owned(), "`text.matches('pattern')`".to_owned()),
        '|' => (first_at, "`|` is no operator".to_owned(), "`||`".to_owned()),
        '"' | '\'' | '`' => (
            at,
            format!("the quote `{first}` that opens here is not closed"),
            format!("`{first}` at the end of the text"),
        ),
        '“' | '”' | '„' | '‘' | '’' | '‚' | '«' | '»' => {
            (first_at, format!("`{first}` is a typographic quote"), "`'` on both sides of a text".to_owned())
        }
        c if c.is_ascii_digit() => (
            at,
            format!("`{}` is no number", at.of(source)),
            "digits with at most one point; a time is `duration('5m')`, an amount has no unit".to_owned(),
        ),
        '#' => {
            (first_at, "`#` begins no comment in a condition".to_owned(), "`//` before a comment".to_owned())
        }
        c => (
            first_at,
            format!("`{c}` cannot stand outside of quotes"),
            "facts, literals and operators; a text in quotes: `'…'`".to_owned(),
        ),
    };
    error(source, at, &message, &expected)
}

/// The first thing that is well known from elsewhere and means nothing here, or an open bracket.
pub(super) fn foreign(source: &str, tokens: &[Token]) -> Result<(), ConditionError> {
    for (index, token) in tokens.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| tokens.get(before));
        let after = tokens.get(index + 1);
        if let Some((at, message, expected)) = foreign_token(source, token, before, after) {
            return Err(error(source, at, &message, &expected));
        }
    }
    brackets(source, tokens)
}

type Foreign = (At, String, String);

fn foreign_token(
    source: &str,
    token: &Token,
    before: Option<&Token>,
    after: Option<&Token>,
) -> Option<Foreign> {
    let at = |from: &Token, to: &Token| At { start: from.start, end: to.end };
    let touches = |left: &Token, right: &Token| left.end == right.start;
    let text = source.get(token.start..token.end)?;
    let is = |token: Option<&Token>, kind| token.is_some_and(|token| token.kind == kind);
    match token.kind {
        TokenKind::TokEqual => {
            let triple = before.filter(|before| {
                touches(before, token)
                    && matches!(before.kind, TokenKind::TokEqualEqual | TokenKind::TokExclamationEqual)
            });
            let turned = after.filter(|after| {
                touches(token, after) && matches!(after.kind, TokenKind::TokGreater | TokenKind::TokLess)
            });
            Some(match (triple, turned) {
                (Some(before), _) => {
                    let right = source.get(before.start..before.end)?;
                    (at(before, token), format!("`{right}=` is no operator"), format!("`{right}`"))
                }
                (None, Some(after)) => {
                    let sign = source.get(after.start..after.end)?;
                    (at(token, after), format!("`={sign}` is no operator"), format!("`{sign}=`"))
                }
                (None, None) => (at(token, token), "`=` compares nothing".to_owned(), "`==`".to_owned()),
            })
        }
        TokenKind::TokGreater
            if before.is_some_and(|b| b.kind == TokenKind::TokLess && touches(b, token)) =>
        {
            Some((at(before?, token), "`<>` is no operator".to_owned(), "`!=`".to_owned()))
        }
        TokenKind::TokIdent | TokenKind::TokReservedWord if !is(before, TokenKind::TokDot) => {
            let word = text.to_ascii_lowercase();
            let between =
                before.is_some_and(|t| ends_value(t.kind)) && after.is_some_and(|t| begins_value(t.kind));
            if word == "not" {
                let expected = match is(after, TokenKind::TokIn) {
                    true => "`!(x in list)`",
                    false => "`!`",
                };
                let negates = after.is_some_and(|t| begins_value(t.kind) || t.kind == TokenKind::TokIn);
                return negates
                    .then(|| (at(token, token), format!("`{text}` is no operator"), expected.to_owned()));
            }
            if word == "if" && token.kind == TokenKind::TokReservedWord {
                let expected = "the condition alone, or `condition ? yes : no`".to_owned();
                return Some((at(token, token), "`if` cannot stand in a condition".to_owned(), expected));
            }
            let (_, expected) = BETWEEN.iter().find(|(known, _)| *known == word && between)?;
            Some((at(token, token), format!("`{text}` is no operator"), (*expected).to_owned()))
        }
        _ => None,
    }
}

fn ends_value(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::TokIdent
            | TokenKind::TokInt
            | TokenKind::TokUint
            | TokenKind::TokFloat
            | TokenKind::TokString
            | TokenKind::TokBytes
            | TokenKind::TokNull
            | TokenKind::TokTrue
            | TokenKind::TokFalse
            | TokenKind::TokRightParen
            | TokenKind::TokRightBracket
            | TokenKind::TokRightBrace
    )
}

fn begins_value(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::TokIdent
            | TokenKind::TokInt
            | TokenKind::TokUint
            | TokenKind::TokFloat
            | TokenKind::TokString
            | TokenKind::TokBytes
            | TokenKind::TokNull
            | TokenKind::TokTrue
            | TokenKind::TokFalse
            | TokenKind::TokLeftParen
            | TokenKind::TokLeftBracket
            | TokenKind::TokMinus
            | TokenKind::TokExclamation
    )
}

/// Every bracket has its other half.
fn brackets(source: &str, tokens: &[Token]) -> Result<(), ConditionError> {
    let mut open: Vec<&Token> = Vec::new();
    let at = |token: &Token| At { start: token.start, end: token.end };
    let shown = |token: &Token| source.get(token.start..token.end).unwrap_or_default().to_owned();
    for token in tokens {
        let opens = match token.kind {
            TokenKind::TokLeftParen | TokenKind::TokLeftBracket | TokenKind::TokLeftBrace => {
                open.push(token);
                continue;
            }
            TokenKind::TokRightParen => TokenKind::TokLeftParen,
            TokenKind::TokRightBracket => TokenKind::TokLeftBracket,
            TokenKind::TokRightBrace => TokenKind::TokLeftBrace,
            _ => continue,
        };
        match open.pop() {
            Some(before) if before.kind == opens => {}
            Some(before) => {
                let message = format!("`{}` closes nothing: `{}` is open", shown(token), shown(before));
                return Err(error(source, at(token), &message, closer(before.kind)));
            }
            None => {
                let message = format!("nothing opens this `{}`", shown(token));
                return Err(error(source, at(token), &message, "as many brackets that open as that close"));
            }
        }
    }
    match open.pop() {
        Some(token) => {
            let message = format!("the `{}` that opens here is not closed", shown(token));
            Err(error(source, at(token), &message, closer(token.kind)))
        }
        None => Ok(()),
    }
}

fn closer(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::TokLeftBracket => "`]`",
        TokenKind::TokLeftBrace => "`}`",
        _ => "`)`",
    }
}

/// The parser's words in ours: what it says, and what would have been right.
pub(super) fn in_other_words(text: &str, said: &str) -> (String, &'static str) {
    let cannot = format!("`{text}` cannot stand here");
    if said.contains("'<EOF>' expecting") {
        let message = format!("the condition ends too early, after `{text}`");
        return (message, "a value after the last operator");
    }
    if said.contains("expecting <EOF>") {
        let message = format!("`{text}` follows what is a whole condition already");
        return (message, "an operator before it, like `&&`; a text in quotes");
    }
    if said.starts_with("reserved identifier") {
        return (format!("`{text}` is a word that CEL keeps for itself"), "another name");
    }
    if said.contains("invalid argument to has() macro") {
        return (format!("`{text}`: `has` asks for a field"), "`has(args.x)`");
    }
    if said.contains("argument must be a simple name") {
        return (
            format!("`{text}` cannot be the variable of a loop"),
            "a name, as in `list.exists(item, item == 'x')`",
        );
    }
    if said.contains("int literal") || said.contains("double literal") {
        return (format!("`{text}` is too large a number"), "a number of at most 18 digits");
    }
    if said.contains("conditional expression") {
        return (format!("`{text}` stands where `:` must"), "`condition ? yes : no`");
    }
    if said.contains("expected identifier") {
        return (format!("`{text}` is no name of a field"), "a name behind the dot, like `args.path`");
    }
    (cannot, "a fact, a literal, a function or `(`")
}

/// Names of facts that people bring along, and where it is found here.
pub(super) const OTHER_FACTS: &[(&str, &str)] = &[
    ("environment", "env"),
    ("environ", "env"),
    ("stage", "env"),
    ("arguments", "args"),
    ("argument", "args"),
    ("arg", "args"),
    ("params", "args"),
    ("parameters", "args"),
    ("input", "args"),
    ("inputs", "args"),
    ("payload", "args"),
    ("request", "args"),
    ("True", "true"),
    ("False", "false"),
    ("yes", "true"),
    ("no", "false"),
    ("None", "null"),
    ("nil", "null"),
    ("undefined", "null"),
    ("caller", "agent"),
    ("principal", "agent"),
    ("actor", "agent"),
    ("subject", "agent"),
    ("client", "agent"),
    ("person", "user"),
    ("operator", "agent.operator"),
    ("role", "agent.role"),
    ("agent_type", "agent.type"),
    ("agent_id", "agent.id"),
    ("tenant", "agent.tenant"),
    ("owner", "agent.owner"),
    ("autonomy", "agent.autonomy"),
    ("scope", "capability"),
    ("capabilities", "capability"),
    ("tools", "tool"),
    ("tool_name", "tool.name"),
    ("action", "tool.action"),
    ("upstream", "tool.upstream"),
    ("server", "tool.upstream"),
    ("label", "tool.labels"),
    ("labels", "tool.labels"),
    ("read_only", "tool.read_only"),
    ("destructive", "tool.destructive"),
    ("path", "args.path"),
    ("uri", "args.uri"),
    ("resource", "args.uri"),
    ("url", "args.url"),
    ("size", "call.size"),
    ("kind", "call.kind"),
    ("price", "cost.estimate_usd"),
    ("cost_usd", "cost.estimate_usd"),
    ("sensitivity", "data.level"),
    ("sensitivity_level", "data.level"),
    ("classification", "data.level"),
    ("level", "data.level"),
    ("time", "now"),
    ("date", "now"),
    ("today", "now"),
    ("timestamp", "now"),
];

/// The same of fields.
pub(super) const OTHER_FIELDS: &[(&str, &str)] = &[
    ("name", "id"),
    ("agent_type", "type"),
    ("kind", "type"),
    ("label", "labels"),
    ("tags", "labels"),
    ("server", "upstream"),
    ("readonly", "read_only"),
    ("usd", "estimate_usd"),
    ("estimate", "estimate_usd"),
    ("amount", "estimate_usd"),
    ("sensitivity", "level"),
    ("classes", "labels"),
    ("count", "repeats"),
    ("bytes", "size"),
    ("length", "size"),
];

/// The same of functions.
pub(super) const OTHER_FUNCTIONS: &[(&str, &str)] = &[
    ("inside", "within"),
    ("is_within", "within"),
    ("isWithin", "within"),
    ("under", "within"),
    ("in_folder", "within"),
    ("subpath", "within"),
    ("hostname", "host"),
    ("domain", "host"),
    ("len", "size"),
    ("length", "size"),
    ("count", "size"),
    ("beginsWith", "startsWith"),
    ("hasPrefix", "startsWith"),
    ("hasSuffix", "endsWith"),
    ("includes", "contains"),
    ("has_substring", "contains"),
    ("regex", "matches"),
    ("match", "matches"),
    ("like", "glob"),
    ("wildcard", "glob"),
    ("fnmatch", "glob"),
    ("exist", "has"),
    ("defined", "has"),
    ("isset", "has"),
    ("any", "exists"),
    ("some", "exists"),
    ("every", "all"),
    ("str", "string"),
    ("toString", "string"),
    ("float", "double"),
    ("number", "double"),
    ("integer", "int"),
    ("boolean", "bool"),
    ("date", "timestamp"),
    ("hour", "getHours"),
    ("hours", "getHours"),
    ("minute", "getMinutes"),
    ("weekday", "getDayOfWeek"),
    ("dayofweek", "getDayOfWeek"),
    ("day", "getDate"),
    ("month", "getMonth"),
    ("year", "getFullYear"),
    ("getYear", "getFullYear"),
    ("getDay", "getDayOfWeek"),
];
