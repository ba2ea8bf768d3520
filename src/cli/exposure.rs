//! Who would be let in from another machine that must not be: holders of the shipped bundle's keys, which are for
//! anybody to read, and callers without a key. The configuration is checked for the latter when it is read; here it is
//! held against the listeners that really stand, which a reload does not move.

use super::{demo_upstream::PUBLISHED_KEY_DIGESTS, wiring::Loaded};
use crate::model::{Place, Problem, Problems, Severity};

/// What may not be served where somebody beyond this machine can reach a listener.
pub(super) fn check(loaded: &Loaded) -> Problems {
    let gateway = &loaded.config.gateway;
    let near = [gateway.listen, loaded.config.admin.listen].iter().all(|at| at.ip().is_loopback());
    if near && !gateway.behind_tls_proxy {
        return Problems::default();
    }
    let authority = &loaded.policies.authority;
    let agents = authority.agents.values().map(|a| ("agent", a.id.as_str(), &a.keys));
    let people = authority.people.values().map(|p| ("person", p.id.as_str(), &p.keys));
    let file = gateway.policies.join("authority.yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let problems = agents.chain(people).flat_map(|(kind, name, keys)| {
        let published = keys.iter().map(|key| hex::encode(key.digest)).filter(|key| PUBLISHED_KEY_DIGESTS.contains(&key.as_str()));
        published.map(|key| {
            let (line, column) = place(&text, &key);
            Problem {
                place: Place { file: file.display().to_string(), line, column },
                severity: Severity::Error,
                message: format!(
                    "{kind} `{name}` has a key of the shipped example, which anybody can read, and a listener can be \
                     reached from other machines"
                ),
                expected: "a key of its own (`tollgate agents rotate NAME --end-old`), or listeners on loopback without \
                           behind_tls_proxy"
                    .to_owned(),
                strict: false,
            }
        }).collect::<Vec<_>>()
    });
    let reachable = !gateway.listen.ip().is_loopback() || gateway.behind_tls_proxy;
    let anonymous = loaded.config.auth.anonymous_agent.as_ref().filter(|_| reachable);
    let anonymous = anonymous.map(|agent| Problem {
        place: Place { file: loaded.config.path.display().to_string(), line: 0, column: 0 },
        severity: Severity::Error,
        message: format!(
            "anyone could act as `{agent}`: the listener at `{}` can be reached from other machines",
            gateway.listen
        ),
        expected: "no anonymous_agent, or a restart with a loopback address without behind_tls_proxy"
            .to_owned(),
        strict: false,
    });
    Problems(problems.chain(anonymous).collect())
}

/// Where a text stands, from 1; 0 where it does not.
pub(super) fn place(text: &str, wanted: &str) -> (usize, usize) {
    let found = text.lines().enumerate().find_map(|(line, text)| {
        let before = text.split_once(wanted)?.0;
        Some((line + 1, before.chars().count() + 1))
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// R3: what is published opens nothing from afar.
    #[test]
    fn a_published_key_is_for_loopback_only() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let shipped = std::fs::read_to_string(root.join("servers.toml")).unwrap();
        let policies = root.join("policies").display().to_string();
        let check = |from: &str, to: &str, expect: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            let text = shipped.replace("policies = \"policies\"", &format!("policies = \"{policies}\""));
            assert_ne!(text, shipped);
            let changed = text.replace(from, to);
            let path = folder.path().join("servers.toml");
            std::fs::write(&path, changed).unwrap();
            let loaded = crate::config::load(&path, &|_| None).unwrap();
            let problems = super::check(&loaded);
            assert_eq!(problems.0.len(), expect.len(), "{problems:?}");
            for (problem, name) in problems.0.iter().zip(expect) {
                assert!(problem.message.contains(name) && problem.place.line > 0, "{problem}");
            }
        };
        let everybody = [
            "agent `demo-agent`",
            "agent `demo-keeper`",
            "agent `demo-scout`",
            "person `alice`",
            "person `bob`",
            "person `carol`",
        ];
        check("", "", &[]);
        // As after a reload of a gateway that listens to all.
        let mut loaded = crate::config::load(&root.join("servers.toml"), &|_| None).unwrap();
        loaded.config.auth.anonymous_agent = Some("demo-agent".into());
        assert!(super::check(&loaded).0.is_empty());
        loaded.config.gateway.listen = "0.0.0.0:8787".parse().unwrap();
        let problems = super::check(&loaded);
        assert!(problems.to_string().contains("anyone could act as `demo-agent`"), "{problems:?}");
        loaded.config.gateway.listen = "127.0.0.1:8787".parse().unwrap();
        loaded.config.gateway.behind_tls_proxy = true;
        let problems = super::check(&loaded);
        assert!(problems.to_string().contains("anyone could act as `demo-agent`"), "{problems:?}");
        check("[gateway]\n", "[gateway]\nbehind_tls_proxy = true\n", &everybody);
    }
}
