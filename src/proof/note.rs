//! Signed notes as c2sp.org/signed-note has them: a text, and lines of signatures over it. Ed25519 alone: what a log signs, and
//! what a witness adds (c2sp.org/tlog-cosignature).

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::{Zeroize as _, Zeroizing};

/// The longest note that is read.
const LONGEST: usize = 1 << 20;
/// Signatures that are looked at.
const SIGNATURES: usize = 64;
const DASH: &str = "\u{2014} ";
const PRIVATE: &str = "PRIVATE+KEY+";

/// What a signature is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The text: a log's own.
    Log,
    /// The text and a time: a witness's.
    Witness,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }
}

/// Why a note, key or proof is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not written as one.
    #[error("{0}")]
    Malformed(&'static str),
    /// None of the keys has signed it.
    #[error("none of the keys has signed it")]
    Unsigned,
    /// A known key's signature is wrong.
    #[error("the signature of `{0}` is not one over this text")]
    WrongSignature(String),
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The key with which somebody verifies: `NAME+ID+KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    /// Whose it is.
    pub name: String,
    /// What it signs.
    pub kind: Kind,
    public: [u8; 32],
}

impl VerifierKey {
    fn id(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(&self.name);
        hasher.update([b'\n', self.kind.byte()]);
        hasher.update(self.public);
        let [a, b, c, d, ..]: [u8; 32] = hasher.finalize().into();
        [a, b, c, d]
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] where it is none, or of a kind that is not known here.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        const EXPECTED: NoteError = NoteError::Malformed(
            "a verifier key is written NAME+ID+KEY, as `audit checkpoint --vkey` prints it",
        );
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(EXPECTED);
        };
        let key = STANDARD.decode(key).map_err(|_| EXPECTED)?;
        let Some((kind, public)) = key.split_first() else { return Err(EXPECTED) };
        let kind = match kind {
            1 => Kind::Log,
            4 => Kind::Witness,
            _ => return Err(NoteError::Malformed("the key is of a kind that is not known here: Ed25519 is")),
        };
        let public = public.try_into().map_err(|_| EXPECTED)?;
        let read = Self { name: name.to_owned(), kind, public };
        if !is_name(name) || hex::encode(read.id()) != id {
            return Err(NoteError::Malformed("the key's ID is not that of its name and key"));
        }
        Ok(read)
    }

    /// The time of a witness's signature, in seconds since 1970; 0 of a log's.
    fn verify(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let key = UnparsedPublicKey::new(&ED25519, self.public);
        match self.kind {
            Kind::Log => key.verify(text.as_bytes(), signature).ok().map(|()| 0),
            Kind::Witness => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                let signed = format!("cosignature/v1\ntime {time}\n{text}");
                key.verify(signed.as_bytes(), signature).ok().map(|()| time)
            }
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind.byte()];
        key.extend(self.public);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

/// The key with which a log signs: `PRIVATE+KEY+NAME+ID+SEED`.
pub struct Signer {
    key: VerifierKey,
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Signer {
    /// The key that a seed of 32 random bytes makes.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] where the name is none.
    pub fn new(name: &str, seed: [u8; 32]) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Malformed("a key's name has neither spaces nor `+`, and is not empty"));
        }
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
            .map_err(|_| NoteError::Malformed("the seed makes no key"))?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| NoteError::Malformed("the seed makes no key"))?;
        let key = VerifierKey { name: name.to_owned(), kind: Kind::Log, public };
        Ok(Self { key, seed, pair })
    }

    /// Reads one as [`Self::secret`] writes it.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] where it is none.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        const EXPECTED: NoteError = NoteError::Malformed("a signing key is written PRIVATE+KEY+NAME+ID+SEED");
        let mut parts = text.trim().strip_prefix(PRIVATE).ok_or(EXPECTED)?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(EXPECTED);
        };
        let mut key = STANDARD.decode(key).map_err(|_| EXPECTED)?;
        let seed = match key.split_first() {
            Some((1, seed)) => <[u8; 32]>::try_from(seed).map_err(|_| EXPECTED),
            Some(_) | None => Err(EXPECTED),
        };
        key.zeroize();
        let read = Self::new(name, seed?)?;
        if hex::encode(read.key.id()) != id {
            return Err(NoteError::Malformed("the key's ID is not that of its name and seed"));
        }
        Ok(read)
    }

    /// What is kept of it, for nobody else to read.
    pub fn secret(&self) -> Zeroizing<String> {
        let mut key = Zeroizing::new(vec![Kind::Log.byte()]);
        key.extend(self.seed.iter());
        let (name, id) = (&self.key.name, hex::encode(self.key.id()));
        Zeroizing::new(format!("{PRIVATE}{name}+{id}+{}", STANDARD.encode(&*key)))
    }

    /// With what its signatures are verified.
    pub fn verifier(&self) -> &VerifierKey {
        &self.key
    }

    fn line(&self, text: &str) -> String {
        let mut signature = self.key.id().to_vec();
        signature.extend(self.pair.sign(text.as_bytes()).as_ref());
        format!("{DASH}{} {}\n", self.key.name, STANDARD.encode(signature))
    }
}

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is signed, with the line feed at its end.
    pub text: String,
    /// The lines of signatures, each with its line feed.
    signatures: Vec<String>,
}

impl Note {
    /// A text that ends with a line feed, signed.
    pub fn signed(text: String, signers: &[&Signer]) -> Self {
        let signatures = signers.iter().map(|signer| signer.line(&text)).collect();
        Self { text, signatures }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] where it is none.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > LONGEST {
            return Err(NoteError::Malformed("it is longer than 1 MiB"));
        }
        if text.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed("it holds control characters, which no note does"));
        }
        let Some((before, signatures)) = text.rsplit_once("\n\n") else {
            return Err(NoteError::Malformed("it has no empty line between text and signatures"));
        };
        let signatures = signature_lines(signatures)?;
        if signatures.is_empty() || before.is_empty() {
            return Err(NoteError::Malformed("it has no signature, or no text"));
        }
        Ok(Self { text: format!("{before}\n"), signatures })
    }

    /// Adds lines of signatures of a witness, those that it can verify by a key: `false` where there is none.
    ///
    /// # Errors
    /// [`NoteError`] where they are no such lines, or a signature of the key is wrong.
    pub fn add(&mut self, lines: &str, key: &VerifierKey) -> Result<bool, NoteError> {
        let mut found = false;
        for line in signature_lines(lines)? {
            let one = Self { text: self.text.clone(), signatures: vec![line.clone()] };
            if one.time_of(key)?.is_some() && !self.signatures.contains(&line) {
                self.signatures.push(line);
                found = true;
            }
        }
        Ok(found)
    }

    /// When a witness signed it, in seconds since 1970 (0 of a log); `None` where the key has not signed it.
    ///
    /// # Errors
    /// [`NoteError::WrongSignature`] where there is a signature of that key over something else.
    pub fn time_of(&self, key: &VerifierKey) -> Result<Option<u64>, NoteError> {
        for line in &self.signatures {
            let Some((name, bytes)) = parts(line) else { continue };
            let Some((id, signature)) = bytes.split_first_chunk::<4>() else { continue };
            if name == key.name && *id == key.id() {
                return match key.verify(&self.text, signature) {
                    Some(time) => Ok(Some(time)),
                    None => Err(NoteError::WrongSignature(key.name.clone())),
                };
            }
        }
        Ok(None)
    }

    /// The keys that have signed it, of those that are known.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] where none has, [`NoteError::WrongSignature`] where one is wrong.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signed = Vec::new();
        for key in keys {
            if self.time_of(key)?.is_some() {
                signed.push(key);
            }
        }
        if signed.is_empty() { Err(NoteError::Unsigned) } else { Ok(signed) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.text, self.signatures.concat())
    }
}

fn parts(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, signature) = line.strip_prefix(DASH)?.strip_suffix('\n')?.split_once(' ')?;
    Some((name, STANDARD.decode(signature).ok()?))
}

fn signature_lines(text: &str) -> Result<Vec<String>, NoteError> {
    const WRONG: NoteError =
        NoteError::Malformed("a line of signatures is written `\u{2014} NAME SIGNATURE`, with a line feed");
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(WRONG);
    }
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        let Some((name, signature)) = parts(line) else { return Err(WRONG) };
        if !is_name(name) || signature.len() < 5 {
            return Err(WRONG);
        }
        if lines.len() == SIGNATURES {
            return Err(NoteError::Malformed("it has more than 64 signatures"));
        }
        lines.push(line.to_owned());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new("tollgate.example/log", [7; 32]).expect("a name")
    }

    /// The key and note of Go's documentation of `sumdb/note`.
    #[test]
    fn notes_of_others_are_read() {
        let key = VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
            .expect("a key");
        let text = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note = Note::parse(text).expect("a note");
        assert_eq!(note.verify(std::slice::from_ref(&key)), Ok(vec![&key]));
        assert_eq!(note.to_string(), text);
        assert_eq!(key.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let edited = Note::parse(&text.replace("answer", "Answer")).expect("a note");
        assert_eq!(edited.verify(&[key]), Err(NoteError::WrongSignature("PeterNeumann".to_owned())));
    }

    #[test]
    fn what_is_signed_verifies_and_keys_are_read_back() {
        let (signer, other) = (signer(), Signer::new("other", [8; 32]).expect("a name"));
        let note = Note::signed("one\ntwo\n".to_owned(), &[&signer, &other]);
        let keys = [signer.verifier().clone(), other.verifier().clone()];
        assert_eq!(Note::parse(&note.to_string()).as_ref(), Ok(&note));
        assert_eq!(note.verify(&keys).map(|keys| keys.len()), Ok(2));
        let again = Signer::parse(&signer.secret()).expect("the same");
        assert_eq!(again.verifier(), signer.verifier());
        assert_eq!(VerifierKey::parse(&keys[0].to_string()).as_ref(), Ok(&keys[0]));
        assert!(!format!("{signer:?}").contains(&STANDARD.encode([7; 32])));
        let third = Signer::new("third", [9; 32]).expect("a name");
        assert_eq!(note.verify(&[third.verifier().clone()]), Err(NoteError::Unsigned));
    }

    #[test]
    fn a_witness_signs_with_a_time() {
        let mut note = Note::signed("log\n1\n\u{41}\n".to_owned(), &[&signer()]);
        let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("a key");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        let key = VerifierKey { name: "witness.example/w".to_owned(), kind: Kind::Witness, public };
        let line = |time: u64, told: u64| {
            let signed = format!("cosignature/v1\ntime {time}\n{}", note.text);
            let mut bytes = key.id().to_vec();
            bytes.extend(told.to_be_bytes());
            bytes.extend(pair.sign(signed.as_bytes()).as_ref());
            format!("{DASH}{} {}\n", key.name, STANDARD.encode(bytes))
        };
        let (right, wrong) = (line(1_700_000_000, 1_700_000_000), line(1_700_000_000, 1_700_000_001));
        assert_eq!(VerifierKey::parse(&key.to_string()).as_ref(), Ok(&key));
        assert_eq!(note.add(&wrong, &key), Err(NoteError::WrongSignature(key.name.clone())));
        assert_eq!(note.add("\u{2014} somebody AAAAAAAA\n", &key), Ok(false));
        assert_eq!(note.add(&right, &key), Ok(true));
        assert_eq!(note.time_of(&key), Ok(Some(1_700_000_000)));
        assert_eq!(Note::parse(&note.to_string()).as_ref(), Ok(&note));
    }

    #[test]
    fn what_is_no_note_or_key_is_refused() {
        let good = Note::signed("text\n".to_owned(), &[&signer()]).to_string();
        for bad in [
            String::new(),
            "text\n".to_owned(),
            "text\n\n".to_owned(),
            good.replace('\u{2014}', "-"),
            good.trim_end().to_owned(),
            format!("{good}\r\n"),
            good.replace("tollgate.example/log", "two names"),
            format!("{}{}", good, good.lines().last().expect("a line").repeat(2)),
        ] {
            assert!(Note::parse(&bad).is_err(), "{bad:?}");
        }
        let key = signer().verifier().to_string();
        for bad in [
            "",
            "a+b",
            "a+b+c",
            &key.replace("tollgate", "tollgat"),
            key.get(..key.len() - 4).unwrap_or_default(),
        ] {
            assert!(VerifierKey::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Signer::new("a name", [1; 32]).is_err());
        assert!(Signer::parse(&key).is_err());
    }
}
