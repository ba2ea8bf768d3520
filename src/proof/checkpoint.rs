//! A checkpoint as c2sp.org/tlog-checkpoint has it: which log, how many records, and the root of the tree over them.

use super::{Hash, Note, NoteError, Signer, decimal, decode, encode};

/// What a log says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves the tree has.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

impl Checkpoint {
    /// Reads one from a note's text. Lines behind the third are the log's own, and left alone.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] where it is none.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        const WRONG: NoteError = NoteError::Malformed(
            "a checkpoint has three lines: the log, the number of its records, the root in base64",
        );
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(WRONG);
        };
        let (size, root) = (decimal(size).ok_or(WRONG)?, decode(root).ok_or(WRONG)?);
        if origin.is_empty() {
            return Err(WRONG);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Its text, signed.
    pub fn sign(&self, signers: &[&Signer]) -> Note {
        let Self { origin, size, root } = self;
        Note::signed(format!("{origin}\n{size}\n{}\n", encode(root)), signers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let checkpoint = Checkpoint { origin: "example.com/log".to_owned(), size: 10, root: [9; 32] };
        let signer = Signer::new("example.com/log", [1; 32]).expect("a name");
        let note = checkpoint.sign(&[&signer]);
        assert_eq!(Checkpoint::parse(&note.text), Ok(checkpoint.clone()));
        assert_eq!(Checkpoint::parse(&format!("{}more\n", note.text)), Ok(checkpoint));
        for bad in
            ["", "log\n", "log\n01\nAA==\n", "log\n-1\n", "\n1\n", &note.text.replace("\n10\n", "\n+10\n")]
        {
            assert!(Checkpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
