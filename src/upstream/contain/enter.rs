//! Takes the limits on, in the order that each needs: what opens files first, what forbids that last.

use super::{Containment, cgroup, grants, kernel};
use crate::config::{ContainConfig, CpuLimit};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;

/// Restricts this process and all that it starts. An error where nothing may be started at all.
pub(super) fn restrict(config: &ContainConfig, command: &[OsString]) -> Result<Containment, String> {
    let grants = grants::of(config, command)?;
    let mut stands = Containment::default();
    let groups = cgroup::enter(config);
    let rules = kernel::FileRules::open(&grants);
    let separate = kernel::unshare(!config.network, config.processes.is_some() && !groups.processes);
    limits(config, groups, separate, &mut stands);
    if let Err(error) = kernel::drop_capabilities() {
        stands.missing.push(format!("root's rights (they cannot be given up: {error})"));
    }
    let landlock = rules.enforce(config.network)?;
    let filter = kernel::filter_sockets(config.network, grants.sockets);
    if landlock.files {
        stands.by.insert(0, "files (Landlock)".to_owned());
    } else {
        stands.missing.insert(0, "file rules (Landlock of Linux 6.2 or newer)".to_owned());
    }
    if !config.network {
        let by: Vec<&str> = [
            (filter.is_ok(), "system call filter"),
            (separate.network, "network namespace"),
            (landlock.tcp, "Landlock TCP rules"),
        ]
        .into_iter()
        .filter_map(|(stands, what)| stands.then_some(what))
        .collect();
        match filter.is_ok() || separate.network {
            true => stands.by.push(format!("no network ({})", by.join(", "))),
            false => stands.missing.push(format!(
                "no network (a filter of system calls, or user namespaces: {})",
                filter.err().unwrap_or_default()
            )),
        }
    } else if let Err(error) = filter {
        stands.missing.push(format!("no named sockets (a filter of system calls: {error})"));
    }
    if landlock.scope {
        stands.by.push("no signals to other processes (Landlock)".to_owned());
    }
    Ok(stands)
}

/// Memory, processes and time.
fn limits(
    config: &ContainConfig,
    groups: cgroup::Entered,
    separate: kernel::Separate,
    stands: &mut Containment,
) {
    let set = |resource, most: u64| {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|error| error.to_string())
    };
    // A core file would hold what the server was told.
    set(Resource::Core, 0).ok();
    if let Some(bytes) = config.memory {
        let shown = format!("memory {}", bytes_shown(bytes));
        if groups.memory {
            stands.by.push(format!("{shown} (control group)"));
        } else {
            // Of what a process may write to, so that what interpreters only reserve does not count.
            match set(Resource::Data, bytes) {
                Ok(()) => stands.by.push(format!("{shown} for each process (resource limit)")),
                Err(error) => stands.missing.push(format!("{shown} ({error})")),
            }
        }
    }
    if let Some(most) = config.processes {
        let shown = format!("processes {most}");
        let counted = separate.user && !rustix::process::geteuid().is_root();
        if groups.processes {
            stands.by.push(format!("{shown} (control group)"));
        } else if counted && set(Resource::Nproc, most).is_ok() {
            stands.by.push(format!("{shown} (resource limit in a user namespace)"));
        } else {
            let else_by = match rustix::process::geteuid().is_root() {
                true => "",
                false => ", or user namespaces",
            };
            stands
                .missing
                .push(format!("{shown} (a control group that can be made beside Tollgate's own{else_by})"));
        }
    }
    match config.cpu {
        Some(CpuLimit::Time(span)) => {
            let shown = format!("cpu {} for each process", humantime::format_duration(span));
            match set(Resource::Cpu, span.as_secs().max(1)) {
                Ok(()) => stands.by.push(format!("{shown} (resource limit)")),
                Err(error) => stands.missing.push(format!("{shown} ({error})")),
            }
        }
        Some(CpuLimit::Cores(thousandths)) => {
            let cores = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            let shown = format!("cpu {} cores", cores.trim_end_matches('0').trim_end_matches('.'));
            match groups.cores {
                true => stands.by.push(format!("{shown} (control group)")),
                false => {
                    stands
                        .missing
                        .push(format!("{shown} (a control group that can be made beside Tollgate's own)"));
                }
            }
        }
        None => {}
    }
}

/// As servers.toml writes it.
fn bytes_shown(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}
