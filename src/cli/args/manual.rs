//! `completions` and `man`: their arguments.

use super::*;

/// `completions SHELL`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `man DIR`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder; it is made where it is missing
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
