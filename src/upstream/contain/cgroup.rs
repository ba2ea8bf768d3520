//! Control groups: limits over all processes of a server together. Each is named by the process that it was made for, so
//! that whoever started that one can remove it.

use crate::config::{ContainConfig, CpuLimit};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const PREFIX: &str = "tollgate-contained-";
/// The period that a share of the processor is measured over, in microseconds.
const PERIOD: u64 = 100_000;
/// Rounds of ending what is left in a group, and the pause between them.
const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A hierarchy that a process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Where a group can be made, best first.
    folders: Vec<PathBuf>,
    /// Of the first version: what it controls. Empty: the unified one.
    controllers: Vec<String>,
}

/// Which limits stand by groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entered {
    pub(super) memory: bool,
    pub(super) processes: bool,
    pub(super) cores: bool,
}

/// Makes groups for what is limited, and puts this process into them.
pub(super) fn enter(config: &ContainConfig) -> Entered {
    let wants = Entered {
        memory: config.memory.is_some(),
        processes: config.processes.is_some(),
        cores: matches!(config.cpu, Some(CpuLimit::Cores(_))),
    };
    let mut entered = Entered::default();
    if wants == entered {
        return entered;
    }
    let pid = std::process::id();
    for place in places() {
        let open = Entered {
            memory: wants.memory && !entered.memory && place.has("memory"),
            processes: wants.processes && !entered.processes && place.has("pids"),
            cores: wants.cores && !entered.cores && place.has("cpu"),
        };
        if open == Entered::default() {
            continue;
        }
        let made = place.folders.iter().find_map(|folder| place.join(folder, pid, config, open));
        let made = made.unwrap_or_default();
        entered.memory |= made.memory;
        entered.processes |= made.processes;
        entered.cores |= made.cores;
    }
    entered
}

impl Place {
    fn has(&self, controller: &str) -> bool {
        self.controllers.is_empty() || self.controllers.iter().any(|other| other == controller)
    }

    fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Makes a group in a folder and enters it, where it can limit anything that is asked for.
    fn join(&self, folder: &Path, pid: u32, config: &ContainConfig, open: Entered) -> Option<Entered> {
        sweep(folder);
        if self.is_unified() {
            for (controller, wanted) in
                [("memory", open.memory), ("pids", open.processes), ("cpu", open.cores)]
            {
                if wanted {
                    // Whether it is on shows in the files that the group has.
                    fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")).ok();
                }
            }
        }
        let group = folder.join(format!("{PREFIX}{pid}"));
        if let Err(error) = fs::create_dir(&group)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return None;
        }
        let made = self.limit(&group, config, open);
        let entered =
            made != Entered::default() && fs::write(group.join("cgroup.procs"), pid.to_string()).is_ok();
        if !entered {
            fs::remove_dir(&group).ok();
        }
        entered.then_some(made)
    }

    fn limit(&self, group: &Path, config: &ContainConfig, open: Entered) -> Entered {
        let put = |file: &str, value: String| fs::write(group.join(file), value).is_ok();
        let unified = self.is_unified();
        let memory = config.memory.filter(|_| open.memory).is_some_and(|bytes| {
            let (limit, swap) = match unified {
                true => (put("memory.max", bytes.to_string()), put("memory.swap.max", "0".to_owned())),
                // The second counts memory and swap together, and may be no less than the first.
                false => (
                    put("memory.limit_in_bytes", bytes.to_string()),
                    put("memory.memsw.limit_in_bytes", bytes.to_string()),
                ),
            };
            // A kernel that does not count swap has no file for it.
            let _: bool = swap;
            if unified {
                put("memory.oom.group", "1".to_owned());
            }
            limit
        });
        let processes =
            config.processes.filter(|_| open.processes).is_some_and(|most| put("pids.max", most.to_string()));
        let cores = match config.cpu.filter(|_| open.cores) {
            Some(CpuLimit::Cores(thousandths)) => {
                let quota = (thousandths * PERIOD / 1000).max(1000);
                match unified {
                    true => put("cpu.max", format!("{quota} {PERIOD}")),
                    false => {
                        put("cpu.cfs_period_us", PERIOD.to_string())
                            && put("cpu.cfs_quota_us", quota.to_string())
                    }
                }
            }
            Some(CpuLimit::Time(_)) | None => false,
        };
        Entered { memory, processes, cores }
    }
}

/// The hierarchies of this process.
fn places() -> Vec<Place> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    places_of(&read("/proc/self/mounts"), &read("/proc/self/cgroup"))
}

fn places_of(mounts: &str, own: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(mount), Some(kind), Some(options)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let mount = Path::new(mount);
        let options: Vec<&str> = options.split(',').collect();
        for entry in own.lines() {
            let mut parts = entry.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (parts.next(), parts.next()) else { continue };
            let path = mount.join(path.trim_start_matches('/'));
            if kind == "cgroup2" && names.is_empty() {
                // A group that holds processes cannot hand its controllers down; one beside it can be made instead.
                let above = path.parent().filter(|above| above.starts_with(mount)).map(Path::to_owned);
                let folders = [Some(path), above].into_iter().flatten().collect();
                places.push(Place { folders, controllers: Vec::new() });
            } else if kind == "cgroup" && !names.is_empty() {
                let names: Vec<String> = names.split(',').map(str::to_owned).collect();
                if names.iter().all(|name| options.contains(&name.as_str())) {
                    places.push(Place { folders: vec![path], controllers: names });
                }
            }
        }
    }
    places
}

/// The groups that were made for a process.
fn groups(pid: u32) -> impl Iterator<Item = PathBuf> {
    let folders = places().into_iter().flat_map(|place| place.folders);
    folders.map(move |folder| folder.join(format!("{PREFIX}{pid}"))).filter(|group| group.is_dir())
}

/// Whether the kernel ended something in its groups for want of memory.
pub(super) fn out_of_memory(pid: u32) -> bool {
    groups(pid).any(|group| {
        ["memory.events", "memory.oom_control"].iter().any(|file| {
            let told = fs::read_to_string(group.join(file)).unwrap_or_default();
            told.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    })
}

/// Ends what is left in the groups of a process, and removes them.
pub(super) fn clear(pid: u32) {
    for group in groups(pid) {
        // With no room for another process, what is there cannot outrun the signals.
        fs::write(group.join("pids.max"), "0").ok();
        fs::write(group.join("cgroup.kill"), "1").ok();
        for _ in 0..ROUNDS {
            if fs::remove_dir(&group).is_ok() {
                break;
            }
            for left in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                let left = left.parse().ok().and_then(rustix::process::Pid::from_raw);
                if let Some(left) = left {
                    rustix::process::kill_process(left, rustix::process::Signal::KILL).ok();
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Removes empty groups whose process is gone: their supervisor was killed.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            fs::remove_dir(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_where_this_process_is() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
            cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n\
            tmpfs /tmp tmpfs rw 0 0\n";
        let own = "8:pids:/a/b\n4:memory:/c\n1:cpu:/\n0::/x/y\n";
        let place = |folders: &[&str], controllers: &[&str]| Place {
            folders: folders.iter().map(PathBuf::from).collect(),
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        };
        let found = places_of(mounts, own);
        assert_eq!(
            found,
            [
                place(&["/sys/fs/cgroup/cpu"], &["cpu"]),
                place(&["/sys/fs/cgroup/pids/a/b"], &["pids"]),
                place(&["/sys/fs/cgroup/unified/x/y", "/sys/fs/cgroup/unified/x"], &[]),
            ]
        );
        // Nothing is made above the mount.
        let found = places_of("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "0::/\n");
        assert_eq!(found, [place(&["/sys/fs/cgroup/"], &[])]);
    }
}
