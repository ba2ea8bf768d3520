//! A proof as c2sp.org/tlog-proof has it: that a record stands in a log, for whoever has the log's key and nothing else. What is
//! `extra` there is the hash of the record here, which is the leaf's content.

use super::{Checkpoint, Hash, Note, NoteError, decimal, decode, encode, is_included, leaf_hash};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// The longest path there is: one hash for each level.
const LEVELS: usize = 64;

/// That a record stands in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// The record's hash.
    pub record: Hash,
    /// The leaf's number, from 0.
    pub index: u64,
    /// From the leaf's sibling to the child of the root.
    pub path: Vec<Hash>,
    /// The checkpoint, signed.
    pub checkpoint: Note,
}

impl TlogProof {
    /// As it is written to a file.
    pub fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\nextra {}\nindex {}\n", encode(&self.record), self.index);
        for hash in &self.path {
            text.push_str(&encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint.to_string());
        text
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] where it is none.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        const WRONG: NoteError = NoteError::Malformed(
            "a proof begins with `c2sp.org/tlog-proof@v1`, `extra RECORD` and `index N`, as `audit prove` prints it",
        );
        let (head, checkpoint) = text.split_once("\n\n").ok_or(WRONG)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(WRONG);
        }
        let record =
            lines.next().and_then(|line| line.strip_prefix("extra ")).and_then(decode).ok_or(WRONG)?;
        let index =
            lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal).ok_or(WRONG)?;
        let path: Option<Vec<Hash>> = lines.take(LEVELS + 1).map(decode).collect();
        let path = path.filter(|path| path.len() <= LEVELS).ok_or(WRONG)?;
        Ok(Self { record, index, path, checkpoint: Note::parse(checkpoint)? })
    }

    /// Whether the record stands in the tree of the checkpoint. Whose checkpoint it is the signatures say.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] where the checkpoint is none, or the path does not lead to its root.
    pub fn verify(&self) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::parse(&self.checkpoint.text)?;
        let leaf = leaf_hash(&self.record);
        if is_included(&leaf, self.index, checkpoint.size, &self.path, &checkpoint.root) {
            Ok(checkpoint)
        } else {
            Err(NoteError::Malformed("the path does not lead from this record to the root of the checkpoint"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{Signer, node_hash};

    #[test]
    fn a_proof_is_read_as_it_was_written_and_holds_for_its_record_alone() {
        let leaves = [leaf_hash(&[1; 32]), leaf_hash(&[2; 32])];
        let root = node_hash(&leaves[0], &leaves[1]);
        let signer = Signer::new("log", [1; 32]).expect("a name");
        let checkpoint = Checkpoint { origin: "log".to_owned(), size: 2, root };
        let proof = TlogProof {
            record: [2; 32],
            index: 1,
            path: vec![leaves[0]],
            checkpoint: checkpoint.sign(&[&signer]),
        };
        let text = proof.to_text();
        assert_eq!(TlogProof::parse(&text), Ok(proof.clone()));
        assert_eq!(proof.verify(), Ok(checkpoint));
        assert!(TlogProof { record: [1; 32], ..proof.clone() }.verify().is_err());
        assert!(TlogProof { index: 0, ..proof.clone() }.verify().is_err());
        let long = format!("{}\n", encode(&[0; 32])).repeat(65);
        for bad in [
            text.replace("@v1", "@v2"),
            text.replace("index 1", "index 01"),
            text.replace("extra ", "extra"),
            text.replace("index 1\n", &format!("index 1\n{long}")),
            text.replace("\n\n", "\n"),
        ] {
            assert!(TlogProof::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
