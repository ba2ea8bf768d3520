//! What stands where a secret would and is none: placeholders, references to where it is read from, types and calls of
//! program code, words of prose.

use super::detector::Kind;

/// What documentation and program code write where a value belongs: `YOUR_API_KEY`, `<token>`, `xxxx`,
/// `os.environ["KEY"]`, `${KEY}`.
pub(super) fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    let word = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b' ' | b'.');
    let starts = |word: &str| value.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let blank = value.len() >= 3 && value.bytes().all(|b| matches!(b, b'x' | b'X' | b'*' | b'-' | b'.'));
    let named = value.bytes().all(word)
        && ["your_", "your-", "your ", "my_api_", "insert_", "insert-"].iter().any(|start| starts(start));
    let slot = value
        .strip_prefix('<')
        .and_then(|inside| inside.strip_suffix('>'))
        .is_some_and(|inside| !inside.is_empty() && inside.bytes().all(word));
    blank || named || slot || is_reference(value) || is_pointer(value)
}

/// Whether a value says in which store the secret is kept, or how it was encrypted.
fn is_pointer(value: &str) -> bool {
    const STORES: &[&str] = &[
        "arn:aws:",
        "op://",
        "vault:",
        "!vault",
        "!Ref",
        "!Sub",
        "!GetAtt",
        "!ImportValue",
        "ENC[",
        "keyring:",
        "ssm:/",
    ];
    STORES.iter().any(|store| value.starts_with(store))
}

/// Whether a value only names where the value is read from. A secret may begin like a reference, so the rest must be a
/// name; a default behind the name (`${KEY:-secret}`) is a value.
fn is_reference(value: &str) -> bool {
    const READS: &[&str] = &[
        "os.environ.get(",
        "os.environ",
        "os.getenv(",
        "process.env.",
        "process.env[",
        "System.getenv(",
        "env::var(",
        "ENV[",
        "getenv(",
        "${",
        "{{",
        "$(",
        "$env:",
    ];
    let Some(rest) = READS.iter().find_map(|read| value.strip_prefix(read)) else { return false };
    // In a text the value ends before its closing bracket.
    let closed = rest.ends_with([')', ']', '}']);
    let name = rest
        .trim_start_matches(['[', '{', '(', '"', '\'', ' '])
        .trim_end_matches([')', ']', '}', '"', '\'', ' ']);
    let program = closed && value.starts_with("$(");
    let named = name.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'_' | b'.' | b':' | b'-')
            || (program && matches!(b, b' ' | b'/'))
    });
    let has = |kind: fn(&u8) -> bool| name.as_bytes().iter().any(kind);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase);
    named && !name.contains(":-") && (closed || !mixed)
}

/// What the names of variables in program code begin with.
const ROOTS: &[&str] = &[
    "self",
    "this",
    "req",
    "request",
    "res",
    "response",
    "config",
    "cfg",
    "conf",
    "settings",
    "args",
    "opts",
    "options",
    "params",
    "env",
    "user",
    "users",
    "data",
    "form",
    "body",
    "props",
    "state",
    "ctx",
    "context",
    "event",
    "input",
    "var",
    "local",
    "module",
    "vars",
    "secrets",
    "credentials",
    "creds",
    "account",
    "client",
    "process",
    "os",
    "values",
    "payload",
    "session",
    "auth",
    "row",
    "item",
    "model",
    "schema",
];

/// Whether an unquoted value is program code that reads or names the value: a call, a variable, a type. `loose`: there
/// are blanks around the sign, or it is a colon. `is_name` says whether a word names something sensitive.
pub(super) fn is_code(value: &[u8], kind: Kind, loose: bool, is_name: &dyn Fn(&str) -> bool) -> bool {
    let in_path = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':');
    let plain = value.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.'));
    let open = value.iter().position(|b| *b == b'(');
    let call = open.is_some_and(|open| open > 0 && value.iter().take(open).all(in_path));
    if (call && (loose || value.ends_with(b"("))) || (loose && plain && kind != Kind::FIELD_PASSWORD) {
        return true;
    }
    // `&password`, `:password`, `$password`, `%(password)s`.
    let bare = value
        .iter()
        .take(2)
        .take_while(|b| matches!(b, b'&' | b'*' | b'@' | b':' | b'$' | b'%' | b'(' | b'#' | b'{'));
    let bare = bare.count();
    let rest = value.get(bare..).unwrap_or_default();
    let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    let (word, after) = rest.split_at_checked(length).unwrap_or_default();
    let Ok(word) = std::str::from_utf8(word) else { return false };
    let member = matches!(after, [b'.', b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] | [b'[', ..] | [b'-', b'>', ..] | [b'?', b'.', ..]);
    let variable = plain || bare > 0 || member;
    (variable && (after.is_empty() || after.starts_with(b")")) && is_name(word))
        || (member && ROOTS.contains(&word) && !value.iter().any(u8::is_ascii_digit))
        || (plain
            && std::str::from_utf8(value).is_ok_and(|path| path.rsplit('.').next().is_some_and(is_name)))
        || value == b"%s"
        || value
            .strip_prefix(b"$_")
            .and_then(|name| name.strip_suffix(b"["))
            .is_some_and(|name| name.iter().all(u8::is_ascii_uppercase))
}

/// Whether a line that should hold a header is a list of types: `auth: Config, cookie: Options`.
pub(super) fn is_typed(value: &[u8]) -> bool {
    let length = value.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    length > 0 && matches!(value.get(length), Some(b',' | b')' | b'}'))
}

/// Whether a colon stands in a sentence: `password: changed by the operator`.
pub(super) fn is_prose(value: &[u8], after: &[u8]) -> bool {
    let Some(rest) = after.strip_prefix(b" ") else { return false };
    let length = rest.iter().take_while(|b| b.is_ascii_lowercase()).count();
    let ends = |b: &u8| matches!(b, b' ' | b'.' | b',' | b'\n' | b'!');
    value.iter().all(u8::is_ascii_lowercase) && length >= 2 && rest.get(length).is_none_or(ends)
}

/// A value without the word that says what it is: `Bearer`, `Basic`.
pub(super) fn without_scheme(value: &str) -> &str {
    const SCHEMES: &[&str] = &["Bearer", "Basic", "Token", "ApiKey", "Digest", "Negotiate", "SSWS", "Key"];
    let value = value.trim_start();
    let rest = |scheme: &&str| {
        let (word, rest) = value.split_at_checked(scheme.len())?;
        (word.eq_ignore_ascii_case(scheme) && (rest.is_empty() || rest.starts_with(' '))).then_some(rest)
    };
    SCHEMES.iter().filter(|scheme| value.len() >= scheme.len()).find_map(rest).map_or(value, str::trim)
}

/// What forms call their fields.
const LABELS: &[&str] = &[
    "Password",
    "Passwort",
    "Kennwort",
    "Contraseña",
    "Mot de passe",
    "Senha",
    "Wachtwoord",
    "Hasło",
    "Passphrase",
    "Token",
    "Secret",
    "API key",
    "API Key",
];

/// Whether a value that its place calls sensitive is one.
pub(super) fn holds(kind: Kind, value: &str) -> bool {
    if LABELS.contains(&value) {
        return false;
    }
    match kind {
        Kind::FIELD_PHONE => {
            let digits = value.bytes().filter(u8::is_ascii_digit).count();
            let in_phone =
                |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b' ' | b'-' | b'.' | b'/' | b'(' | b')');
            (7..=16).contains(&digits) && value.bytes().all(in_phone)
        }
        Kind::FIELD_AUTHORIZATION => {
            let rest = without_scheme(value);
            let variable = |b: u8| b.is_ascii_alphabetic() || b == b'_';
            let named = rest.strip_prefix('$').is_some_and(|name| name.bytes().all(variable));
            !rest.is_empty() && !named && !is_placeholder(rest) && !is_placeholder(value)
        }
        _ => !is_placeholder(value),
    }
}

/// Words and signs that stand where a value would.
pub(super) fn stands_for_nothing(value: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "true",
        "false",
        "null",
        "none",
        "nil",
        "undefined",
        "string",
        "str",
        "text",
        "bool",
        "boolean",
        "int",
        "integer",
        "number",
        "object",
        "array",
        "required",
        "optional",
        "yes",
        "the",
        "and",
        "string,",
        "any",
        "is",
        "are",
        "was",
        "must",
        "should",
        "can",
        "cannot",
        "may",
        "will",
        "not",
        "for",
        "your",
        "missing",
        "invalid",
        "incorrect",
        "wrong",
        "expired",
        "hidden",
        "encrypted",
        "masked",
        "redacted",
        "unset",
        "empty",
        "option",
        "optional",
        "secretstring",
        "secretstr",
        "varchar",
        "char",
        "bytes",
        "vec",
        "self",
        "unknown",
        "async",
        "await",
        "new",
        "function",
    ];
    let same = value.windows(2).all(|pair| pair.first() == pair.last())
        && value.first().is_some_and(|b| !b.is_ascii_alphanumeric());
    let variable = value.strip_prefix(b"$").is_some_and(|name| {
        name.starts_with(b"{")
            || name.starts_with(b"(")
            || name.iter().all(|b| b.is_ascii_uppercase() || *b == b'_')
    });
    let slot = value.starts_with(b"{{");
    same || variable || slot || WORDS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

/// `PWD=/home/user`
pub(super) fn plain_path(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_no_value_and_a_value_that_begins_like_one_is() {
        for reference in [
            "${DB_PASSWORD_2}",
            "${DB_PASSWORD",
            "${env:API_KEY}",
            "${input:api-key}",
            "{{ secrets.token2 }}",
            "${{ secrets.API_KEY }}",
            "${{",
            "$(cat /run/secrets/db2)",
            "$(cat",
            "$env:API_KEY",
            "os.environ[\"API_KEY\"]",
            "os.environ[",
            "os.environ.get('API_KEY')",
            "os.getenv(",
            "process.env.API_KEY",
        ] {
            assert!(is_placeholder(reference), "{reference}");
        }
        for value in [
            "${Tr0ub4dor&3",
            "$(Tr0ub4dor",
            "{{hunter2",
            "${KEY:-hunter2}",
            "${KEY} hunter2",
            "ENV[hunter2!",
            "os.environ or 'hunter2'",
        ] {
            assert!(!is_placeholder(value), "{value}");
        }
    }
}
