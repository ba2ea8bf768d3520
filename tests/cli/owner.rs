//! What root types on a record that a user of its own has: nothing of it becomes root's.

use crate::binary::{Serving, shipped, tollgate, tollgate_with_key};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

const NOBODY: u32 = 65_534;

fn of_root(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        if about.uid() == 0 {
            found.push(path.display().to_string());
        }
        if about.is_dir() {
            of_root(&path, found);
        }
    }
}

#[test]
fn root_goes_on_as_the_owner_of_the_record() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI runs as root, and this needs that");
        return;
    }
    let folder = shipped();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join(".tollgate");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    assert_eq!(serving.end().0, 0);
    let orders: [&[&str]; 5] = [
        &["check", "--smoke"],
        &["freeze", "--all", "--reason", "nobody knows yet"],
        &["audit", "checkpoint"],
        &["audit", "verify"],
        &["doctor"],
    ];
    for order in orders {
        let said = tollgate(folder.path(), order);
        assert!(said.code == 0 || order == ["doctor"], "{order:?}: {}{}", said.out, said.err);
    }
    // The key goes along: lifting it takes a person.
    let said =
        tollgate_with_key(folder.path(), "demo-carol-key", &["unfreeze", "--all", "--reason", "known"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let mut found = Vec::new();
    of_root(&data, &mut found);
    assert!(found.is_empty(), "{found:#?}");
    assert!(fs::read_dir(data.join("tollgate.journal")).unwrap().count() > 3, "something was recorded");
    // What is root's stays so: keys are written into a file that the gateway may not change.
    let said = tollgate(folder.path(), &["people", "add", "erin"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(fs::metadata(folder.path().join("policies/authority.yaml")).unwrap().uid(), 0);
}
