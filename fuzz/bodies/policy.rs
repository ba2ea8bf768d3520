//! Any bundle: it is compiled, or every problem has a place in one of its files.
//!
//! Input: `=== name`, then the text of that file, and so on.

use tollgate::policy::{CompileInput, KnownNames, SourceFile, compile};

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let files: Vec<SourceFile> = text
        .split("=== ")
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .map(|(name, text)| SourceFile { name: name.trim().to_owned(), text: text.to_owned() })
        .collect();
    let input = CompileInput {
        environment: "staging".into(),
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, problems) = compile(&files, &input);
    assert!(set.is_some() || !problems.0.is_empty(), "neither a bundle nor a problem");
    for problem in &problems.0 {
        let place = &problem.place;
        assert_eq!(place.line == 0, place.column == 0, "{problem:?}");
        let mut named = files.iter().filter(|file| file.name == place.file);
        if let (Some(file), None) = (named.next(), named.next()) {
            // The end of a file stands on a line of its own.
            assert!(place.line <= file.text.lines().count() + 1, "{problem:?}");
        }
    }
}
