//! What a signature over a bundle covers: the name and the content of each of its files, in one canonical text.

use super::input::SourceFile;
use sha2::{Digest as _, Sha256};

/// The first line: no signature over anything else passes for one over a bundle.
const HEAD: &str = "tollgate bundle 1";

/// The names of signature files, in the bundle's folder: of SSH and of minisign.
pub const SIGNATURES: [&str; 2] = ["bundle.sig", "bundle.minisig"];

/// Whether a file of the bundle's folder belongs to it. Fixtures of `policy test` do not.
pub fn is_bundle_file(name: &str) -> bool {
    name.ends_with(".yaml") && !name.contains('/') && !name.starts_with('.')
}

/// Whether a file of the bundle's folder is the signature over it.
pub fn is_signature(name: &str) -> bool {
    SIGNATURES.contains(&name)
}

/// The manifest of a bundle: a line for each of its files, sorted by name, as `sha256sum` writes it. The error names a file
/// whose name cannot stand in it.
pub fn manifest(files: &[SourceFile]) -> Result<String, String> {
    let mut listed: Vec<&SourceFile> = files.iter().filter(|file| is_bundle_file(&file.name)).collect();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = format!("{HEAD}\n");
    for SourceFile { name, text } in listed {
        if name.chars().any(char::is_control) {
            return Err(format!("the name of `{}` holds a control character", name.escape_debug()));
        }
        out.push_str(&format!("{}  {name}\n", hex::encode(Sha256::digest(text.as_bytes()))));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_canonical() {
        let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
        let files = [
            file("bundle.yaml", "b"),
            file("bundle.sig", "s"),
            file("tests/a.yaml", "t"),
            file("a.yaml", ""),
        ];
        assert_eq!(
            manifest(&files).unwrap(),
            "tollgate bundle 1\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a.yaml\n\
             3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d  bundle.yaml\n"
        );
        assert!(manifest(&[file("a\nb.yaml", "")]).is_err());
    }
}
