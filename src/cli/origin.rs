//! Who or what brings the files in force, and which git commit they stand in.

use crate::gateway::Origin;
use std::{path::Path, process::Stdio, time::Duration};

/// git answers at once, or the record does without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// For a folder of policies, at this moment.
pub(super) async fn of(policies: &Path, reason: &str) -> Origin {
    let by = format!("uid {}", rustix::process::getuid().as_raw());
    let (git_commit, git_clean) = if is_in_git(policies) {
        let commit = git(policies, &["rev-parse", "--verify", "HEAD"]).await;
        let commit = commit.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let changes = git(policies, &["status", "--porcelain", "--", "."]).await;
        (commit, changes.map(|text| text.trim().is_empty()))
    } else {
        (None, None)
    };
    Origin { by, reason: reason.to_owned(), git_commit, git_clean }
}

fn is_in_git(folder: &Path) -> bool {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.ancestors().any(|above| above.join(".git").exists())
}

/// What git says, where it is there, answers in time and succeeds. No program that a repository's configuration names is
/// run for it, and the environment cannot point it at another repository.
async fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    command
        .env("GIT_OPTIONAL_LOCKS", "0")
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(folder: &Path, arguments: &[&str]) {
        let mut command = tokio::process::Command::new("git");
        let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        let done = command.arg("-C").arg(folder).args(who).args(arguments).output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    #[tokio::test]
    async fn the_commit_and_whether_the_folder_is_as_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let policies = dir.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        std::fs::write(policies.join("bundle.yaml"), "version: 1\n").unwrap();
        let origin = of(&policies, "start").await;
        assert_eq!((origin.reason.as_str(), origin.git_commit, origin.git_clean), ("start", None, None));
        run(dir.path(), &["init", "-q"]).await;
        let origin = of(&policies, "start").await;
        assert_eq!((origin.git_commit, origin.git_clean), (None, Some(false)), "nothing is committed yet");
        run(dir.path(), &["add", "."]).await;
        run(dir.path(), &["commit", "-qm", "first"]).await;
        std::fs::write(dir.path().join("beside"), "the folder alone counts").unwrap();
        let origin = of(&policies, "file change").await;
        assert_eq!(origin.git_commit.as_ref().map(String::len), Some(40));
        assert_eq!(origin.git_clean, Some(true));
        std::fs::write(policies.join("new.yaml"), "").unwrap();
        assert_eq!(of(&policies, "file change").await.git_clean, Some(false));
    }
}
