//! What a server needs of the file system before it can start: its program, what runs it, and what every program reads.

use crate::config::{ContainConfig, own_within};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs,
    io::Read as _,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

/// Programs, libraries and what they share.
const SYSTEM: &[&str] =
    &["/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/nix/store", "/gnu/store"];

/// What libraries read of the machine. No secret is among them: `/etc/shadow`, `/etc/ssl/private` and the like are not.
const MACHINE: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    // The contained process itself: the link leads to no other.
    "/proc/self",
    "/proc/stat",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/ngroups_max",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/ostype",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/random",
    "/proc/sys/kernel/threads-max",
    "/proc/sys/kernel/version",
    "/proc/sys/vm/max_map_count",
    "/proc/sys/vm/overcommit_memory",
    "/proc/uptime",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Devices that hold nothing.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Links and interpreters that are followed from a program.
const HOPS: usize = 16;
/// A `#!` line is no longer.
const SHEBANG: u64 = 256;

/// What may be opened, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    /// To read, list and run.
    pub(super) read: BTreeSet<PathBuf>,
    /// To change too.
    pub(super) write: BTreeSet<PathBuf>,
    /// Whether a named socket is among those.
    pub(super) sockets: bool,
}

/// The grants of one command. An error where one would open what is Tollgate's own.
pub(super) fn of(config: &ContainConfig, command: &[OsString]) -> Result<Grants, String> {
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let mut grants = Grants::default();
    for named in [SYSTEM, MACHINE].concat() {
        grants.read.insert(PathBuf::from(named));
    }
    grants.write.extend(DEVICES.iter().map(PathBuf::from));
    let found = find(program).ok_or_else(|| format!("`{}` is no program here", program.to_string_lossy()))?;
    let mut started = BTreeSet::new();
    program_files(&found, &mut started, HOPS);
    for argument in arguments {
        let path = Path::new(argument);
        if path.is_file() {
            script_files(path, &mut started);
        }
    }
    // What only a start would need never opens Tollgate's own files; what is missing then is told by the server itself.
    grants.read.extend(started.into_iter().filter(|path| own_within(path, &config.own).is_none()));
    for path in config.read.iter().chain(&config.write).chain(&grants.read) {
        if let Some(own) = own_within(path, &config.own) {
            return Err(format!(
                "`{}` would open Tollgate's own `{}`: the server is not started",
                path.display(),
                own.display()
            ));
        }
    }
    grants.read.extend(config.read.iter().cloned());
    grants.sockets =
        config.write.iter().any(|path| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket()));
    grants.write.extend(config.write.iter().cloned());
    Ok(grants)
}

/// A program as `execvp` finds it.
fn find(program: &OsStr) -> Option<PathBuf> {
    let runs = |path: &Path| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.as_encoded_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return runs(&path).then_some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| runs(path))
}

/// A program, where its links lead, what lies beside it, and what its first line names.
fn program_files(program: &Path, into: &mut BTreeSet<PathBuf>, hops: usize) {
    if hops == 0 {
        return;
    }
    let mut at = program.to_owned();
    for _ in 0..HOPS {
        beside(&at, into);
        let Ok(target) = fs::read_link(&at) else { break };
        at = at.parent().unwrap_or(Path::new("")).join(target);
    }
    let Ok(real) = program.canonicalize() else { return };
    beside(&real, into);
    if let Some(interpreter) = interpreter(&real) {
        program_files(&interpreter, into, hops - 1);
    }
}

/// A script that is handed to a program, and the packages it lies among.
fn script_files(script: &Path, into: &mut BTreeSet<PathBuf>) {
    into.insert(script.to_owned());
    let Ok(real) = script.canonicalize() else { return };
    packages(&real, into);
    into.insert(real);
}

/// A program's own file and, for `…/bin/PROGRAM`, the folders that belong to it.
fn beside(program: &Path, into: &mut BTreeSet<PathBuf>) {
    into.insert(program.to_owned());
    packages(program, into);
    let Some(folder) = program.parent() else { return };
    let Some(above) = folder.parent() else { return };
    // `…/shims/PROGRAM` of pyenv, asdf and the like looks for the version to run in the folder above.
    if folder.file_name() == Some(OsStr::new("shims")) && above.join("versions").is_dir() {
        into.insert(above.to_owned());
    }
    if folder.file_name() == Some(OsStr::new("bin")) && above != Path::new("/") {
        for name in ["bin", "lib", "lib64", "libexec", "pyvenv.cfg"] {
            let path = above.join(name);
            if path.exists() {
                into.insert(path);
            }
        }
    }
}

/// The outermost `node_modules` that a file lies in: packages read each other.
fn packages(file: &Path, into: &mut BTreeSet<PathBuf>) {
    let mut folder = PathBuf::new();
    for part in file.components() {
        folder.push(part);
        if part == Component::Normal(OsStr::new("node_modules")) {
            into.insert(folder);
            return;
        }
    }
}

/// What the first line of a script names; through `env`, what that finds.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    fs::File::open(program).ok()?.take(SHEBANG).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let named = Path::new(words.next()?);
    if named.file_name() != Some(OsStr::new("env")) {
        return Some(named.to_owned());
    }
    let word = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    find(OsStr::new(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn runnable(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_program_brings_its_links_its_libraries_and_its_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().canonicalize().unwrap().join(path);
        runnable(&at("base/bin/python3.11"), "\x7fELF");
        fs::create_dir_all(at("base/lib/python3.11")).unwrap();
        fs::create_dir_all(at("venv/bin")).unwrap();
        fs::create_dir_all(at("venv/lib")).unwrap();
        fs::write(at("venv/pyvenv.cfg"), "").unwrap();
        symlink(at("base/bin/python3.11"), at("venv/bin/python")).unwrap();
        runnable(&at("venv/bin/server"), &format!("#!{}\n", at("venv/bin/python").display()));
        fs::create_dir_all(at("base/secrets")).unwrap();
        let command = [at("venv/bin/server").into_os_string()];
        let grants = of(&ContainConfig::default(), &command).unwrap();
        for path in ["venv/bin", "venv/lib", "venv/pyvenv.cfg", "base/bin", "base/lib"] {
            assert!(grants.read.contains(&at(path)), "{path}: {:?}", grants.read);
        }
        let opened =
            |path: &Path| grants.read.iter().chain(&grants.write).any(|granted| path.starts_with(granted));
        for path in ["base/secrets", "venv", "base", "."] {
            assert!(!opened(&at(path)), "{path}");
        }
        for path in
            ["/root/.ssh/id_ed25519", "/home/a/.ssh", "/etc/shadow", "/proc/1/environ", "/run/docker.sock"]
        {
            assert!(!opened(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_script_brings_its_packages_and_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().canonicalize().unwrap().join(path);
        runnable(&at("bin2/run"), "\x7fELF");
        runnable(&at("app/node_modules/a/node_modules/b/x.js"), "");
        runnable(&at("app/other/y.js"), "");
        let command = ["bin2/run", "app/node_modules/a/node_modules/b/x.js", "app/other/y.js", "app/other"]
            .map(|path| at(path).into_os_string());
        let grants = of(&ContainConfig::default(), &command).unwrap();
        assert!(grants.read.contains(&at("app/node_modules")) && grants.read.contains(&at("app/other/y.js")));
        assert!(!grants.read.contains(&at("app/other")), "a folder is granted where the table says so");
    }

    #[test]
    fn no_grant_opens_what_is_tollgates_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        runnable(&root.join("run"), "\x7fELF");
        fs::create_dir(root.join("data")).unwrap();
        symlink(root.join("data"), root.join("link")).unwrap();
        fs::write(root.join("servers.toml"), "").unwrap();
        let command = [root.join("run").into_os_string(), root.join("servers.toml").into_os_string()];
        let own = vec![root.join("servers.toml"), root.join("data")];
        let check = |read: &Path, expect: bool| {
            let config =
                ContainConfig { read: vec![read.to_owned()], own: own.clone(), ..Default::default() };
            let granted = of(&config, &command);
            assert_eq!(granted.is_ok(), expect, "{}: {granted:?}", read.display());
            if let Ok(granted) = granted {
                assert!(
                    !granted.read.contains(&root.join("servers.toml")),
                    "an argument opens nothing of its own"
                );
            }
        };
        check(&root, false);
        check(&root.join("servers.toml"), false);
        check(&root.join("data/tollgate.db"), false);
        check(&root.join("link"), false);
        check(&root.join("elsewhere"), true);
    }
}
