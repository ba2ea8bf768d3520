//! The process between the gateway and a stdio child: it outlives a gateway that was killed just long enough to
//! take the child and all its descendants with it.
//!
//! The child inherits stdin, stdout and stderr, so no byte passes through here. The supervisor keeps the read end
//! of stdin open and waits for its other end, the gateway's, to close.

use super::contain;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid},
};
use std::{
    ffi::OsString,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitCode},
    time::Duration,
};
use tokio::sync::mpsc;

/// The hidden subcommand of `tollgate` that runs [`main`].
pub const SUBCOMMAND: &str = "supervise-child";

/// How long the child may take to leave after its stdin closed, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

enum Happened {
    /// The gateway closed stdin, orderly or by dying.
    StdinClosed,
    /// The child ended; it is not yet reaped, so its process group cannot be another's.
    ChildEnded,
    /// Somebody wants us to leave.
    Signalled,
}

/// Runs the command in `args` (program first) in its own process group until it ends or the gateway is gone,
/// then ends what is left of the group. The exit code is the child's.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let Some(program) = args.next() else {
        eprintln!("tollgate: `{SUBCOMMAND}` needs a command");
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tollgate: the supervisor cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Descendants that left the process group still come to us when their parent ends.
    #[cfg(target_os = "linux")]
    if rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_err() {
        eprintln!("tollgate: descendants that leave their process group cannot be watched");
    }
    let mut child = match Command::new(&program).args(args).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("tollgate: `{}` cannot be started: {error}", program.to_string_lossy());
            return ExitCode::from(127);
        }
    };
    let status = runtime.block_on(supervise(&mut child));
    // A thread may still wait on stdin; leaving does not wait for it.
    runtime.shutdown_background();
    status
}

async fn supervise(child: &mut Child) -> ExitCode {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return ExitCode::FAILURE;
    };
    let (tell, mut happened) = mpsc::unbounded_channel();
    watch_stdin(tell.clone());
    watch_child(pid, tell.clone());
    watch_signals(tell);
    let mut ended = false;
    let mut asked = false;
    // Three steps, each with its time: stdin closed, SIGTERM, SIGKILL.
    while !ended {
        let next = if asked {
            tokio::time::timeout(GRACE, happened.recv()).await
        } else {
            Ok(happened.recv().await)
        };
        match next {
            Ok(Some(Happened::ChildEnded)) => ended = true,
            Ok(Some(Happened::StdinClosed)) => asked = true,
            Ok(Some(Happened::Signalled)) => break,
            Ok(None) | Err(_) => break,
        }
    }
    signal_group(pid, Signal::TERM);
    if !ended {
        let deadline = tokio::time::sleep(GRACE);
        tokio::pin!(deadline);
        while !ended {
            tokio::select! {
                what = happened.recv() => ended = matches!(what, Some(Happened::ChildEnded) | None),
                () = &mut deadline => break,
            }
        }
    } else if group_lives(pid) {
        // What the child left behind gets a moment to end by itself.
        let mut waited = Duration::ZERO;
        while waited < GRACE && group_lives(pid) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            waited += Duration::from_millis(50);
        }
    }
    signal_group(pid, Signal::KILL);
    // It may have left for a group of its own, where the wait below would never end.
    kill_process(pid, Signal::KILL).ok();
    let code = match child.wait() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).unwrap_or(1),
            (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(1),
            (None, None) => 1,
        },
        Err(_) => 1,
    };
    if let Ok(pid) = u32::try_from(pid.as_raw_nonzero().get()) {
        if let Some(why) = contain::ended_for(pid) {
            eprintln!("tollgate: error: {why}");
        }
        contain::clear(pid);
    }
    end_strays();
    ExitCode::from(code)
}

fn watch_stdin(tell: mpsc::UnboundedSender<Happened>) {
    std::thread::spawn(move || {
        let stdin = std::io::stdin();
        loop {
            // No event is asked for: only the other end's closing is reported.
            let mut fds = [PollFd::new(&stdin, PollFlags::empty())];
            match poll(&mut fds, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        drop(tell.send(Happened::StdinClosed));
    });
}

fn watch_child(pid: Pid, tell: mpsc::UnboundedSender<Happened>) {
    std::thread::spawn(move || {
        while let Err(rustix::io::Errno::INTR) =
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
        drop(tell.send(Happened::ChildEnded));
    });
}

fn watch_signals(tell: mpsc::UnboundedSender<Happened>) {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        if let Ok(mut signals) = signal(kind) {
            let tell = tell.clone();
            tokio::spawn(async move {
                signals.recv().await;
                drop(tell.send(Happened::Signalled));
            });
        }
    }
}

fn signal_group(pid: Pid, signal: Signal) {
    // The group may be empty already.
    kill_process_group(pid, signal).ok();
}

/// Whether the group holds anybody beside the child itself, which is ended but not reaped.
fn group_lives(group: Pid) -> bool {
    let group = group.as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        pid.is_some_and(|pid| pid != group) && {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // After the name in parentheses: state, parent, process group.
            let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).into_iter().flatten();
            let fields: Vec<&str> = fields.take(3).collect();
            matches!(fields.as_slice(), [state, _, of] if *state != "Z" && of.parse() == Ok(group))
        }
    })
}

/// How often it is looked for strays that were started meanwhile.
const ROUNDS: usize = 64;

/// Ends descendants that left the process group: as their subreaper we are their parent now. They are stopped first, all
/// of them, so that none starts another while it is looked for.
fn end_strays() {
    let mut stopped: Vec<Pid> = Vec::new();
    for _round in 0..ROUNDS {
        let found = descendants();
        let fresh: Vec<Pid> = found.into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if fresh.is_empty() {
            break;
        }
        for pid in &fresh {
            kill_process(*pid, Signal::STOP).ok();
        }
        stopped.extend(fresh);
    }
    for _round in 0..ROUNDS {
        let left = descendants();
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill_process(pid, Signal::KILL).ok();
            // Those of others come to us when their parent is gone.
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).ok();
        }
    }
}

/// The processes below this one.
fn descendants() -> Vec<Pid> {
    let mut found = Vec::new();
    let mut parents = vec!["self".to_owned()];
    while let Some(parent) = parents.pop() {
        for task in std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in text.split_whitespace() {
                if let Some(pid) = child.parse().ok().and_then(Pid::from_raw)
                    && !found.contains(&pid)
                {
                    found.push(pid);
                    parents.push(child.to_owned());
                }
            }
        }
    }
    found
}
