//! `tollgate people …`: who decides, administers and audits, and new keys.

use super::{
    args::PeopleCommand,
    failure::CliError,
    keys::Holder,
    screen::{Screen, or_dash},
    setup::Setup,
};
use crate::{
    front::admin::view,
    policy::{Authority, Person},
};

/// Runs one of them.
pub(super) fn people(setup: Setup, command: PeopleCommand) -> Result<(), CliError> {
    let authority = &setup.loaded.policies.authority;
    let mut screen = Screen::new();
    match command {
        PeopleCommand::List(flag) => {
            if flag.json {
                let people =
                    authority.people.values().map(|person| view::person(authority, person)).collect();
                return screen.json(&view::listing("people", people));
            }
            let rows: Vec<Vec<String>> =
                authority.people.values().map(|person| row(authority, person)).collect();
            let none = "no people: `tollgate people add NAME` makes one";
            screen.table(&["person", "roles", "groups", "operates", "keys"], &rows, none)
        }
        PeopleCommand::Show { name, json } => {
            let person = find(authority, &name)?;
            if json.json {
                return screen.json(&view::person(authority, person));
            }
            for (field, value) in
                ["person", "roles", "groups", "operates", "keys"].into_iter().zip(row(authority, person))
            {
                screen.field(field, &value)?;
            }
            Ok(())
        }
        PeopleCommand::Add { name, group, role, key } => {
            let roles: Vec<&str> = role.iter().map(|role| role.as_str()).collect();
            let choose = if roles.is_empty() {
                "        # approver, admin, auditor, auditor-full, viewer"
            } else {
                ""
            };
            let members = format!("groups: [{}]\nroles: [{}]{choose}\n", group.join(", "), roles.join(", "));
            let taken = authority.people.contains_key(name.as_str());
            Holder::Person.add(&setup, &name, taken, &members, &key)
        }
        PeopleCommand::Rotate { name, end_old, key } => {
            Holder::Person.rotate(&setup, &name, &find(authority, &name)?.keys, end_old, &key)
        }
    }
}

fn row(authority: &Authority, person: &Person) -> Vec<String> {
    let words = |words: Vec<&str>| or_dash(Some(words.join(", ")).filter(|words| !words.is_empty()));
    vec![
        person.id.to_string(),
        words(person.roles.iter().map(|role| role.as_str()).collect()),
        words(person.groups.iter().map(|group| &**group).collect()),
        words(view::operated(authority, person)),
        person.keys.len().to_string(),
    ]
}

fn find<'a>(authority: &'a Authority, name: &str) -> Result<&'a Person, CliError> {
    authority.people.get(name).ok_or_else(|| CliError::Unknown {
        kind: "person",
        name: name.chars().take(80).collect(),
        hint: "`tollgate people list` shows them all".to_owned(),
    })
}
