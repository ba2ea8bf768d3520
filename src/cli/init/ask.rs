//! Questions to the person at the terminal.

use crate::cli::failure::CliError;
use std::io::{self, IsTerminal as _, Write as _};

/// Whether there is somebody to ask.
pub(super) fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A line; the end of the input is no answer.
pub(super) async fn line(question: &str) -> Result<String, CliError> {
    let question = question.to_owned();
    apart(move || {
        write!(io::stderr(), "{question} ")?;
        io::stderr().flush()?;
        let mut answer = String::new();
        match io::stdin().read_line(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.trim().to_owned()),
        }
    })
    .await
}

/// A line that is not shown while it is typed.
pub(super) async fn hidden(question: &str) -> Result<String, CliError> {
    let question = question.to_owned();
    apart(move || {
        write!(io::stderr(), "{question} ")?;
        console::Term::stderr().read_secure_line()
    })
    .await
}

/// Yes or no; Enter is yes.
pub(super) async fn agrees(question: &str) -> Result<bool, CliError> {
    yes_or_no(&format!("{question} [Y/n]"), true).await
}

/// Yes or no; Enter is no.
pub(super) async fn consents(question: &str) -> Result<bool, CliError> {
    yes_or_no(&format!("{question} [y/N]"), false).await
}

async fn yes_or_no(question: &str, enter: bool) -> Result<bool, CliError> {
    loop {
        match line(question).await?.to_ascii_lowercase().as_str() {
            "" => return Ok(enter),
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

/// On a thread of its own, so that an interrupt ends the command meanwhile.
async fn apart<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, CliError> {
    let stopped = |source| CliError::Io { what: "no answer, and nothing was written".to_owned(), source };
    tokio::task::spawn_blocking(read).await.map_err(|lost| stopped(io::Error::other(lost)))?.map_err(stopped)
}
