//! What the kernel enforces on this process: namespaces, fewer capabilities, Landlock, a filter of system calls.

use super::grants::Grants;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::{
    process::{getegid, geteuid},
    thread::{
        CapabilitySet, CapabilitySets, UnshareFlags, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use std::{collections::BTreeMap, fs, io, path::PathBuf};

/// The newest rules that are asked for; an older kernel enforces those that it knows.
const NEWEST: ABI = ABI::V9;

/// Namespaces of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Separate {
    pub(super) network: bool,
    /// A user namespace: resource limits count in it alone.
    pub(super) user: bool,
}

/// Enters namespaces of its own, as far as they are wanted and allowed.
pub(super) fn unshare(network: bool, user: bool) -> Separate {
    if network && !user && leave(UnshareFlags::NEWNET).is_ok() {
        return Separate { network, user: false };
    }
    if !network && !user {
        return Separate::default();
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let both = UnshareFlags::NEWUSER | UnshareFlags::NEWNET;
    let entered = match network && leave(both).is_ok() {
        true => Separate { network: true, user: true },
        false => Separate { network: false, user: user && leave(UnshareFlags::NEWUSER).is_ok() },
    };
    if entered.user {
        // The same user and group as outside, so that files keep their owner.
        fs::write("/proc/self/setgroups", "deny").ok();
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).ok();
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).ok();
    }
    entered
}

#[expect(deprecated, reason = "unsafe only with FILES, which is not used: this process has one thread")]
fn leave(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

/// What root may still do: whose files it may open is for the file rules to say.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

/// Gives up what root may do to the machine, for this process and all that it becomes.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let has = capabilities(None)?;
    if has.permitted.is_empty() {
        return Ok(());
    }
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        match remove_capability_from_bounding_set(capability) {
            // Not known to this kernel, or not ours to remove: an unprivileged user gains none by what it starts.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    clear_ambient_capability_set().ok();
    let kept = has.permitted & KEPT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

/// Which of Landlock's rules stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Enforced {
    /// All that files need: what an older kernel lacks would leave a way to shorten any file.
    pub(super) files: bool,
    pub(super) tcp: bool,
    /// Neither signals to others, nor abstract sockets of others.
    pub(super) scope: bool,
}

/// Files and folders, opened before they are forbidden.
pub(super) struct FileRules(Vec<(PathFd, BitFlags<AccessFs>)>);

impl FileRules {
    /// Opens what is granted. What is not there is no grant.
    pub(super) fn open(grants: &Grants) -> Self {
        let read = AccessFs::from_read(NEWEST);
        let made = AccessFs::MakeChar | AccessFs::MakeBlock;
        let write = AccessFs::from_all(NEWEST) & !made;
        let one = |path: &PathBuf, access: BitFlags<AccessFs>| {
            let opened = PathFd::new(path).ok()?;
            let is_folder = fs::metadata(path).ok()?.is_dir();
            let access = if is_folder { access } else { access & AccessFs::from_file(NEWEST) };
            Some((opened, access))
        };
        let read = grants.read.iter().filter_map(|path| one(path, read));
        let write = grants.write.iter().filter_map(|path| one(path, write));
        Self(read.chain(write).collect())
    }

    /// From here on nothing else can be opened.
    pub(super) fn enforce(self, network: bool) -> Result<Enforced, String> {
        let told = |error: landlock::RulesetError| format!("Landlock refused its rules: {error}");
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))
            .map_err(told)?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)
            .map_err(told)?;
        if !network {
            ruleset = ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp).map_err(told)?;
        }
        let mut ruleset = ruleset.create().map_err(told)?;
        for (opened, access) in self.0 {
            ruleset = ruleset.add_rule(PathBeneath::new(opened, access)).map_err(told)?;
        }
        let status = ruleset.restrict_self().map_err(told)?;
        let known = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => effective_abi,
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => ABI::Unsupported,
        };
        let stands = status.ruleset != RulesetStatus::NotEnforced && status.no_new_privs;
        Ok(Enforced {
            files: stands && known >= ABI::V3,
            tcp: stands && !network && known >= ABI::V4,
            scope: stands && known >= ABI::V6,
        })
    }
}

/// `socket(2)` by architecture, with its other spellings there.
#[cfg(target_arch = "x86_64")]
const SOCKET: &[i64] = &[41, 0x4000_0000 + 41];
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SOCKET: &[i64] = &[198];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
const SOCKET: &[i64] = &[];
/// `io_uring_setup(2)`, which opens sockets past any filter.
const RINGS: &[i64] = &[425, 0x4000_0000 + 425];
const AF_UNIX: u64 = 1;
const EACCES: u32 = 13;

/// No sockets but those that are granted. A pair of connected sockets, as interpreters use among their own processes,
/// is no way out and stays.
pub(super) fn filter_sockets(network: bool, named: bool) -> Result<(), String> {
    if SOCKET.is_empty() {
        return Err("not on this processor".to_owned());
    }
    let only = |operator: SeccompCmpOp| {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, AF_UNIX);
        let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
        rule.map(|rule| vec![rule]).map_err(|error| error.to_string())
    };
    let sockets = match (network, named) {
        (false, false) => Some(Vec::new()),
        (false, true) => Some(only(SeccompCmpOp::Ne)?),
        (true, false) => Some(only(SeccompCmpOp::Eq)?),
        (true, true) => None,
    };
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    if let Some(rules) = sockets {
        refused.extend(SOCKET.iter().map(|number| (*number, rules.clone())));
        refused.extend(RINGS.iter().map(|number| (*number, Vec::new())));
    }
    if refused.is_empty() {
        return Ok(());
    }
    let arch = std::env::consts::ARCH.try_into().map_err(|_| "not on this processor".to_owned())?;
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(EACCES), arch);
    let program: Result<BpfProgram, _> = filter.and_then(BpfProgram::try_from);
    let program = program.map_err(|error| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())
}
