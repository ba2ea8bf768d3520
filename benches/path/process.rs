//! This program again, as one of the other parts of the rig.

use crate::{Fallible, ROLE};
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A part in a process of its own; it ends with this value.
pub(crate) struct Process {
    pub(crate) port: u16,
    pub(crate) id: u32,
    _child: Child,
}

impl Process {
    /// Starts this program again in a role, and waits for its port.
    pub(crate) async fn start(role: &str) -> Fallible<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the process has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        Ok(Self { port: line.trim().parse()?, id: child.id().unwrap_or_default(), _child: child })
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
