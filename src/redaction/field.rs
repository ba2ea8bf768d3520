//! Field names that say that their value is sensitive: `password`, `X-Api-Key`, `clientSecret`.
//! Names are read as words, whatever the case and the separators, so that `max_tokens` is not a token.

use super::detector::Kind;
use std::collections::BTreeMap;

/// A longer name is judged by its end.
const MAX_BYTES: usize = 96;
const MAX_WORDS: usize = 12;

/// Where in a name the words may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Anywhere, unless the name ends in a word that speaks of something else (`password_policy`).
    Any,
    /// At the end.
    End,
    /// They are the name.
    Whole,
}

/// Words in their order, where they may stand, and what they mean.
const NAMES: &[(&str, At, Kind)] = &[
    ("password", At::Any, Kind::FIELD_PASSWORD),
    ("passwords", At::Any, Kind::FIELD_PASSWORD),
    ("passwd", At::Any, Kind::FIELD_PASSWORD),
    ("pwd", At::Any, Kind::FIELD_PASSWORD),
    ("passphrase", At::Any, Kind::FIELD_PASSWORD),
    ("passcode", At::Any, Kind::FIELD_PASSWORD),
    ("passwort", At::Any, Kind::FIELD_PASSWORD),
    ("kennwort", At::Any, Kind::FIELD_PASSWORD),
    ("mot de passe", At::End, Kind::FIELD_PASSWORD),
    ("parola chiave", At::End, Kind::FIELD_PASSWORD),
    ("motdepasse", At::End, Kind::FIELD_PASSWORD),
    ("contraseña", At::End, Kind::FIELD_PASSWORD),
    ("contrasena", At::End, Kind::FIELD_PASSWORD),
    ("senha", At::End, Kind::FIELD_PASSWORD),
    ("wachtwoord", At::End, Kind::FIELD_PASSWORD),
    ("hasło", At::End, Kind::FIELD_PASSWORD),
    ("dbpassword", At::Any, Kind::FIELD_PASSWORD),
    ("userpassword", At::Any, Kind::FIELD_PASSWORD),
    ("pgpassword", At::Any, Kind::FIELD_PASSWORD),
    ("sshpass", At::Any, Kind::FIELD_PASSWORD),
    ("pass", At::End, Kind::FIELD_PASSWORD),
    ("pin", At::Whole, Kind::FIELD_PASSWORD),
    ("pin code", At::End, Kind::FIELD_PASSWORD),
    ("card pin", At::End, Kind::FIELD_PASSWORD),
    ("secret", At::Any, Kind::FIELD_SECRET),
    ("secrets", At::Any, Kind::FIELD_SECRET),
    ("clientsecret", At::Any, Kind::FIELD_SECRET),
    ("credential", At::Any, Kind::FIELD_SECRET),
    ("credentials", At::Any, Kind::FIELD_SECRET),
    ("connection string", At::End, Kind::FIELD_SECRET),
    ("connectionstring", At::End, Kind::FIELD_SECRET),
    ("token", At::End, Kind::FIELD_TOKEN),
    ("access tokens", At::End, Kind::FIELD_TOKEN),
    ("refresh tokens", At::End, Kind::FIELD_TOKEN),
    ("api tokens", At::End, Kind::FIELD_TOKEN),
    ("auth tokens", At::End, Kind::FIELD_TOKEN),
    ("token value", At::End, Kind::FIELD_TOKEN),
    ("accesstoken", At::End, Kind::FIELD_TOKEN),
    ("refreshtoken", At::End, Kind::FIELD_TOKEN),
    ("authtoken", At::End, Kind::FIELD_TOKEN),
    ("apitoken", At::End, Kind::FIELD_TOKEN),
    ("idtoken", At::End, Kind::FIELD_TOKEN),
    ("csrftoken", At::End, Kind::FIELD_TOKEN),
    ("xsrftoken", At::End, Kind::FIELD_TOKEN),
    ("bearertoken", At::End, Kind::FIELD_TOKEN),
    ("sessiontoken", At::End, Kind::FIELD_TOKEN),
    ("jwt", At::End, Kind::FIELD_TOKEN),
    ("bearer", At::Whole, Kind::FIELD_TOKEN),
    ("api key", At::Any, Kind::FIELD_KEY),
    ("api keys", At::Any, Kind::FIELD_KEY),
    ("apikey", At::Any, Kind::FIELD_KEY),
    ("apikeys", At::Any, Kind::FIELD_KEY),
    ("access key", At::Any, Kind::FIELD_KEY),
    ("accesskey", At::Any, Kind::FIELD_KEY),
    ("secretkey", At::Any, Kind::FIELD_KEY),
    ("private key", At::Any, Kind::FIELD_KEY),
    ("privatekey", At::Any, Kind::FIELD_KEY),
    ("encryption key", At::Any, Kind::FIELD_KEY),
    ("signing key", At::Any, Kind::FIELD_KEY),
    ("master key", At::Any, Kind::FIELD_KEY),
    ("masterkey", At::Any, Kind::FIELD_KEY),
    ("account key", At::Any, Kind::FIELD_KEY),
    ("accountkey", At::Any, Kind::FIELD_KEY),
    ("storage key", At::Any, Kind::FIELD_KEY),
    ("shared key", At::Any, Kind::FIELD_KEY),
    ("sharedaccesskey", At::Any, Kind::FIELD_KEY),
    ("auth key", At::Any, Kind::FIELD_KEY),
    ("authkey", At::Any, Kind::FIELD_KEY),
    ("service key", At::Any, Kind::FIELD_KEY),
    ("subscription key", At::Any, Kind::FIELD_KEY),
    ("ssh key", At::Any, Kind::FIELD_KEY),
    ("hmac key", At::Any, Kind::FIELD_KEY),
    ("license key", At::Any, Kind::FIELD_KEY),
    ("deploy key", At::Any, Kind::FIELD_KEY),
    ("app key", At::End, Kind::FIELD_KEY),
    ("application key", At::End, Kind::FIELD_KEY),
    ("authorization", At::End, Kind::FIELD_AUTHORIZATION),
    ("auth", At::Whole, Kind::FIELD_AUTHORIZATION),
    ("x auth", At::Whole, Kind::FIELD_AUTHORIZATION),
    ("basic auth", At::End, Kind::FIELD_AUTHORIZATION),
    ("cookie", At::Any, Kind::FIELD_COOKIE),
    ("cookies", At::Any, Kind::FIELD_COOKIE),
    ("session id", At::End, Kind::FIELD_SESSION),
    ("sessionid", At::End, Kind::FIELD_SESSION),
    ("session key", At::End, Kind::FIELD_SESSION),
    ("sessionkey", At::End, Kind::FIELD_SESSION),
    ("phpsessid", At::End, Kind::FIELD_SESSION),
    ("jsessionid", At::End, Kind::FIELD_SESSION),
    ("otp", At::End, Kind::FIELD_CODE),
    ("totp", At::End, Kind::FIELD_CODE),
    ("mfa code", At::End, Kind::FIELD_CODE),
    ("otp code", At::End, Kind::FIELD_CODE),
    ("one time code", At::End, Kind::FIELD_CODE),
    ("verification code", At::End, Kind::FIELD_CODE),
    ("auth code", At::End, Kind::FIELD_CODE),
    ("authorization code", At::End, Kind::FIELD_CODE),
    ("recovery code", At::End, Kind::FIELD_CODE),
    ("recovery codes", At::End, Kind::FIELD_CODE),
    ("backup code", At::End, Kind::FIELD_CODE),
    ("backup codes", At::End, Kind::FIELD_CODE),
    ("code verifier", At::End, Kind::FIELD_CODE),
    ("card number", At::Any, Kind::FIELD_CARD),
    ("cardnumber", At::Any, Kind::FIELD_CARD),
    ("cc number", At::End, Kind::FIELD_CARD),
    ("ccnumber", At::End, Kind::FIELD_CARD),
    ("credit card", At::End, Kind::FIELD_CARD),
    ("creditcard", At::Any, Kind::FIELD_CARD),
    ("cvv", At::End, Kind::FIELD_CARD),
    ("cvc", At::End, Kind::FIELD_CARD),
    ("security code", At::End, Kind::FIELD_CARD),
    ("account number", At::End, Kind::FIELD_ACCOUNT),
    ("accountnumber", At::End, Kind::FIELD_ACCOUNT),
    ("bank account", At::End, Kind::FIELD_ACCOUNT),
    ("routing number", At::End, Kind::FIELD_ACCOUNT),
    ("iban", At::End, Kind::FIELD_ACCOUNT),
    ("ssn", At::End, Kind::FIELD_IDENTITY),
    ("social security", At::Any, Kind::FIELD_IDENTITY),
    ("socialsecuritynumber", At::End, Kind::FIELD_IDENTITY),
    ("tax id", At::End, Kind::FIELD_IDENTITY),
    ("taxid", At::End, Kind::FIELD_IDENTITY),
    ("national id", At::End, Kind::FIELD_IDENTITY),
    ("nationalid", At::End, Kind::FIELD_IDENTITY),
    ("national insurance", At::Any, Kind::FIELD_IDENTITY),
    ("passport", At::End, Kind::FIELD_IDENTITY),
    ("passport number", At::End, Kind::FIELD_IDENTITY),
    ("passportnumber", At::End, Kind::FIELD_IDENTITY),
    ("driver license", At::Any, Kind::FIELD_IDENTITY),
    ("drivers license", At::Any, Kind::FIELD_IDENTITY),
    ("driving licence", At::Any, Kind::FIELD_IDENTITY),
    ("aadhaar", At::End, Kind::FIELD_IDENTITY),
    ("nino", At::End, Kind::FIELD_IDENTITY),
    ("insurance number", At::End, Kind::FIELD_IDENTITY),
    ("pesel", At::End, Kind::FIELD_IDENTITY),
    ("codice fiscale", At::End, Kind::FIELD_IDENTITY),
    ("codicefiscale", At::End, Kind::FIELD_IDENTITY),
    ("bsn", At::End, Kind::FIELD_IDENTITY),
    ("burgerservicenummer", At::End, Kind::FIELD_IDENTITY),
    ("dni", At::End, Kind::FIELD_IDENTITY),
    ("cpf", At::End, Kind::FIELD_IDENTITY),
    ("steuer id", At::End, Kind::FIELD_IDENTITY),
    ("steueridentifikationsnummer", At::End, Kind::FIELD_IDENTITY),
    ("phone", At::End, Kind::FIELD_PHONE),
    ("phone number", At::End, Kind::FIELD_PHONE),
    ("phonenumber", At::End, Kind::FIELD_PHONE),
    ("telephone", At::End, Kind::FIELD_PHONE),
    ("telefon", At::End, Kind::FIELD_PHONE),
    ("telefono", At::End, Kind::FIELD_PHONE),
    ("telefone", At::End, Kind::FIELD_PHONE),
    ("mobile", At::End, Kind::FIELD_PHONE),
    ("mobile number", At::End, Kind::FIELD_PHONE),
    ("msisdn", At::End, Kind::FIELD_PHONE),
    ("fax", At::End, Kind::FIELD_PHONE),
    ("dob", At::End, Kind::FIELD_BIRTH),
    ("date of birth", At::End, Kind::FIELD_BIRTH),
    ("dateofbirth", At::End, Kind::FIELD_BIRTH),
    ("birth date", At::End, Kind::FIELD_BIRTH),
    ("birthdate", At::End, Kind::FIELD_BIRTH),
    ("birthday", At::End, Kind::FIELD_BIRTH),
];

/// A name that ends so speaks of the sensitive thing, and does not hold it.
const ABOUT: &[&str] = &[
    "count",
    "counts",
    "type",
    "types",
    "url",
    "uri",
    "name",
    "names",
    "id",
    "ids",
    "arn",
    "limit",
    "length",
    "len",
    "policy",
    "policies",
    "expires",
    "expiry",
    "expiration",
    "expired",
    "at",
    "in",
    "ttl",
    "usage",
    "used",
    "budget",
    "endpoint",
    "path",
    "file",
    "dir",
    "enabled",
    "required",
    "reset",
    "version",
    "format",
    "hint",
    "strategy",
    "status",
    "field",
    "fields",
    "label",
    "prompt",
    "placeholder",
    "min",
    "max",
    "algorithm",
    "alg",
    "size",
    "age",
    "date",
    "time",
    "created",
    "updated",
    "changed",
    "rotation",
    "store",
    "ref",
    "kind",
    "scope",
    "scopes",
    "issuer",
    "prefix",
    "bucket",
    "mode",
    "strength",
    "domain",
    "manager",
    "provider",
    "only",
];

/// A token after one of these is a place in a list or a unit of text, not a credential.
const NO_CREDENTIAL: &[&str] = &[
    "next",
    "page",
    "paging",
    "pagination",
    "continuation",
    "continue",
    "cursor",
    "sync",
    "delta",
    "progress",
    "max",
    "min",
    "num",
    "total",
    "per",
    "prompt",
    "completion",
    "input",
    "output",
    "cached",
    "skip",
    "first",
    "last",
    "previous",
    "prev",
    "start",
    "end",
    "stop",
    "eos",
    "bos",
    "pad",
    "mask",
    "unk",
    "special",
    "idempotency",
    "concurrency",
    "fencing",
    "cancellation",
    "cancel",
    "resume",
    "upload",
    "thumbnail",
    "parse",
    "syntax",
    "each",
];

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Sensitive(Kind),
    Harmless,
}

/// The compiled names.
#[derive(Clone, Debug)]
pub(super) struct FieldNames {
    /// By first word: the words after it, where, what.
    by_first: BTreeMap<&'static str, Vec<usize>>,
    /// Sequences of [`NAMES`], split.
    sequences: Vec<Vec<&'static str>>,
    /// The bundle's own names, letters and digits only.
    own: BTreeMap<String, Meaning>,
    /// Which word hashes can begin anything: most names are rejected by it alone.
    bloom: Box<[u64; BLOOM]>,
}

impl FieldNames {
    pub(super) fn new() -> Self {
        let mut names = Self {
            by_first: BTreeMap::new(),
            sequences: Vec::new(),
            own: BTreeMap::new(),
            bloom: Box::new([0; BLOOM]),
        };
        for (at, (words, _, _)) in NAMES.iter().enumerate() {
            let words: Vec<&'static str> = words.split(' ').collect();
            if let Some(first) = words.first().copied() {
                names.by_first.entry(first).or_default().push(at);
                names.add_to_bloom(first);
            }
            names.sequences.push(words);
        }
        names
    }

    /// Adds a name of the bundle, which matches the whole name only. `None`: not sensitive by name.
    pub(super) fn add_own(&mut self, name: &str, kind: Option<Kind>) {
        let plain = plain(name);
        self.add_to_bloom(&plain);
        self.own.insert(plain, kind.map_or(Meaning::Harmless, Meaning::Sensitive));
    }

    fn add_to_bloom(&mut self, word: &str) {
        let hash = word.bytes().fold(FNV_START, fnv);
        if let Some(slot) = self.bloom.get_mut(bloom_slot(hash)) {
            *slot |= bloom_bit(hash);
        }
    }

    fn may_hold(&self, hash: u32) -> bool {
        self.bloom.get(bloom_slot(hash)).is_some_and(|slot| slot & bloom_bit(hash) != 0)
    }

    /// What a field of this name holds, if its name says so.
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        if name.len() < 3 || !self.worth_a_look(name) {
            return None;
        }
        let name = match name.len().checked_sub(MAX_BYTES) {
            Some(over) => name.get(name.ceil_char_boundary(over)..).unwrap_or(name),
            None => name,
        };
        let words = words(name);
        let whole = words.concat();
        if !self.own.is_empty() {
            match self.own.get(&whole) {
                Some(Meaning::Sensitive(kind)) => return Some(*kind),
                Some(Meaning::Harmless) => return None,
                None => {}
            }
        }
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|word| !word.bytes().all(|b| b.is_ascii_digit()))
            .collect();
        self.sequence_kind(&words, false).or_else(|| self.sequence_kind(&[whole.as_str()], false))
    }

    /// The same for words of a sentence, which name a field only with their last words.
    pub(super) fn kind_at_end(&self, words_of_text: &str) -> Option<Kind> {
        if !self.worth_a_look(words_of_text) {
            return None;
        }
        let words = words(words_of_text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.sequence_kind(&words, true)
    }

    fn sequence_kind(&self, words: &[&str], at_end: bool) -> Option<Kind> {
        for start in 0..words.len() {
            let rest = words.get(start..).unwrap_or_default();
            let Some(candidates) = rest.first().and_then(|first| self.by_first.get(first)) else { continue };
            for at in candidates {
                let (Some(sequence), Some((_, place, kind))) = (self.sequences.get(*at), NAMES.get(*at))
                else {
                    continue;
                };
                if !rest.starts_with(sequence) {
                    continue;
                }
                let ends = rest.len() == sequence.len();
                let fits = match place {
                    At::Whole => ends && start == 0,
                    At::End => ends,
                    At::Any => ends || !at_end && words.last().is_some_and(|last| !ABOUT.contains(last)),
                };
                let before = start.checked_sub(1).and_then(|before| words.get(before));
                let credential =
                    *kind != Kind::FIELD_TOKEN || before.is_none_or(|word| !NO_CREDENTIAL.contains(word));
                if fits && credential {
                    return Some(*kind);
                }
            }
        }
        None
    }

    /// A cheap pass over the bytes: whether any word of the name, or the name without separators,
    /// may be known. Never false where [`FieldNames::kind`] would find something.
    fn worth_a_look(&self, name: &str) -> bool {
        let mut word = FNV_START;
        let mut whole = FNV_START;
        let mut before = Class::Break;
        let bytes = name.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let class = Class::of(*byte);
            if starts_word(before, class, bytes.get(at + 1).copied()) {
                if self.may_hold(word) {
                    return true;
                }
                word = FNV_START;
            }
            if class != Class::Break {
                let lower = byte.to_ascii_lowercase();
                word = fnv(word, lower);
                whole = fnv(whole, lower);
            }
            before = class;
        }
        self.may_hold(word) || self.may_hold(whole)
    }
}

/// Whether a number in such a field is sensitive: a count of tokens is not.
pub(super) fn numbers_count(kind: Kind) -> bool {
    ![
        Kind::FIELD_TOKEN,
        Kind::FIELD_SECRET,
        Kind::FIELD_COOKIE,
        Kind::FIELD_AUTHORIZATION,
        Kind::FIELD_KEY,
        Kind::FIELD_SESSION,
    ]
    .contains(&kind)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Break,
}

impl Class {
    fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' | 0x80.. => Self::Lower,
            b'A'..=b'Z' => Self::Upper,
            b'0'..=b'9' => Self::Digit,
            _ => Self::Break,
        }
    }
}

/// `fooBar` is foo·Bar, `APIKey` is API·Key, `key2` is key·2, and separators separate.
fn starts_word(before: Class, now: Class, next: Option<u8>) -> bool {
    match (before, now) {
        (_, Class::Break) | (Class::Break, _) => true,
        (Class::Lower, Class::Upper) | (Class::Digit, Class::Upper | Class::Lower) => true,
        (Class::Lower | Class::Upper, Class::Digit) => true,
        (Class::Upper, Class::Upper) => next.is_some_and(|b| b.is_ascii_lowercase()),
        (Class::Lower | Class::Upper, Class::Lower) | (Class::Digit, Class::Digit) => false,
    }
}

fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut before = Class::Break;
    let bytes = name.as_bytes();
    for (at, c) in name.char_indices() {
        let class = if c.is_ascii() { Class::of(c as u8) } else { Class::Lower };
        if starts_word(before, class, bytes.get(at + 1).copied()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if class != Class::Break {
            word.push(c.to_ascii_lowercase());
        }
        before = class;
    }
    if !word.is_empty() {
        words.push(word);
    }
    let over = words.len().saturating_sub(MAX_WORDS);
    words.drain(..over);
    words
}

/// Letters and digits only, in lower case.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}

/// So many words of bits that hardly a name that means nothing is read twice.
const BLOOM: usize = 256;

const FNV_START: u32 = 0x811c_9dc5;

fn fnv(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

fn bloom_slot(hash: u32) -> usize {
    (hash >> 6) as usize % BLOOM
}

fn bloom_bit(hash: u32) -> u64 {
    1 << (hash & 63)
}

#[cfg(test)]
#[path = "field_tests.rs"]
mod tests;
