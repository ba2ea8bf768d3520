//! What calls name: a tool, a prompt, or a URI.

/// What begins what was asked at a URI: its query and its fragment.
pub const ASKS: [char; 2] = ['?', '#'];

/// What is called, and what was asked there with the character that begins it: the query and the fragment of a URI.
fn parts(target: &str) -> Option<(&str, &str)> {
    target.find(ASKS).filter(|_| target.contains(':')).and_then(|at| target.split_at_checked(at))
}

/// What is called, without query and fragment of a URI: what a glob of tools matches, unless it names those itself.
#[must_use]
pub fn path_of(target: &str) -> &str {
    parts(target).map_or(target, |(path, _)| path)
}

/// What is called, with a mask for query and fragment of a URI: that is what was asked there.
#[must_use]
pub fn without_query(target: &str) -> String {
    match parts(target) {
        Some((path, asked)) => {
            let mut rest = asked.chars();
            let mark = rest.next().unwrap_or('?');
            format!("{path}{mark}[withheld:string:{}]", rest.count())
        }
        None => target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_no_part_of_the_path() {
        let check = |target: &str, path: &str, told: &str| {
            assert_eq!((path_of(target), &*without_query(target)), (path, told));
        };
        check("https://h/a?q=1#f", "https://h/a", "https://h/a?[withheld:string:5]");
        check("https://h/a#f?x", "https://h/a", "https://h/a#[withheld:string:3]");
        check("https://h/a", "https://h/a", "https://h/a");
        check("what?", "what?", "what?");
        check("files__read", "files__read", "files__read");
    }
}
