//! This program again, as one of the other parts of the rig.

use crate::{Fallible, ROLE};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

/// A part in a process of its own; it ends with this value.
pub(crate) struct Process {
    pub(crate) port: u16,
    pub(crate) id: u32,
    _child: Child,
    /// Kept open, so that what it writes later does not end it.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this program again in a role, and waits for its port.
    pub(crate) async fn start(role: &str) -> Fallible<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, role);
        Self::run(command).await
    }

    /// Starts a gateway that is not ours before this upstream, and waits until it listens. The program gets the upstream's
    /// port, writes its own as its first line, and becomes the gateway (`exec`).
    pub(crate) async fn other(program: &Path, upstream: u16) -> Fallible<Self> {
        let mut command = Command::new(program);
        command.arg(upstream.to_string());
        let started = Self::run(command).await?;
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", started.port)).await.is_ok() {
                return Ok(started);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("nothing listens on port {}", started.port).into())
    }

    async fn run(mut command: Command) -> Fallible<Self> {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or("the process has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await?.ok_or("the process does not say its port")?;
        let id = child.id().unwrap_or_default();
        Ok(Self { port: line.trim().parse()?, id, _child: child, _lines: lines })
    }
}

/// Tells the starter where this part listens.
pub(crate) fn tell(port: u16) {
    println!("{port}");
}

/// CPU time that a process has used so far, in seconds, with what its threads that ended have used.
pub(crate) fn cpu_seconds(id: u32) -> Fallible<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The command's name may hold anything but ends with the last parenthesis.
    let fields = stat.rsplit_once(')').ok_or("no stat")?.1;
    let ticks = |place: usize| -> Fallible<f64> {
        Ok(fields.split_whitespace().nth(place).ok_or("no times")?.parse()?)
    };
    // utime and stime, in the hundredths of a second that Linux shows everywhere.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
