//! `tollgate people …`: who decides, administers and audits, and new keys.

use super::{
    args::PeopleCommand,
    failure::CliError,
    key_book::LastUse,
    keys::Holder,
    screen::{Screen, or_dash},
    setup::Setup,
};
use crate::{
    front::admin::view,
    policy::{Authority, Person},
};
use serde_json::json;

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
            let (used, now) = (LastUse::read(&setup.loaded.config), setup.now());
            if json.json {
                let mut form = view::person(authority, person);
                if let Some(members) = form.as_object_mut() {
                    members.insert("key_details".to_owned(), used.form(&person.keys, now));
                    members.insert("last_used".to_owned(), json!(used.newest(&person.keys)));
                }
                return screen.json(&form);
            }
            for (field, value) in
                ["person", "roles", "groups", "operates", "keys"].into_iter().zip(row(authority, person))
            {
                screen.field(field, &value)?;
            }
            for line in used.lines(&person.keys, now) {
                screen.field("", &line)?;
            }
            if let Some(capabilities) = &person.capabilities {
                let names: Vec<&str> = capabilities.iter().map(|id| id.as_str()).collect();
                screen
                    .field("capabilities", &or_dash(Some(names.join(", ")).filter(|all| !all.is_empty())))?;
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
