//! A bundle's files → a [`PolicySet`] or everything that is wrong with them.

use super::{
    Authority, BundleInfo, BundleParts, PolicySet, authority, budgets, data, gates,
    index::PolicyIndex,
    input::{CompileInput, SourceFile},
    lints, loops,
    manifest::{is_bundle_file, is_signature},
    meaning,
    names::{Deciding, Names, Scope},
    outcome::DECISIONS,
    oversight,
    parts::{BundleParsed, Parts},
    prices,
    read::{count, fields, mismatch, short, text, texts, word},
    source::{Node, Report, parse_yaml},
    zones::{ZoneData, ZoneTable},
};
use crate::cost::{ModelPrice, PriceTable};
use crate::model::{Decision, Place, Problem, Problems, Severity, SnapshotId};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

const BUNDLE: &str = "bundle.yaml";
const AUTHORITY: &str = "authority.yaml";
const PRICES: &str = "prices.yaml";
const BUDGETS: &str = "budgets.yaml";
const DATA: &str = "data.yaml";

/// `loop: {max_repeats}` where bundle.yaml has none.
const MAX_REPEATS: u32 = 20;

/// Compiles a bundle. The set is there exactly where no problem is an error.
// Long: one part of the bundle after the other
pub fn compile(files: &[SourceFile], input: &CompileInput) -> (Option<PolicySet>, Problems) {
    let mut sorted: Vec<&SourceFile> = files.iter().filter(|f| is_bundle_file(&f.name)).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));

    let mut problems = Problems::default();
    let mut parsed: Vec<Parsed<'_>> = Vec::new();
    for file in &sorted {
        let mut report = Report::new(&file.name, &file.text);
        let root = parse_yaml(&mut report);
        parsed.push(Parsed { name: &file.name, report, root });
    }
    let mut contents = BundleParts::default();
    for file in &parsed {
        file.root.iter().for_each(|root| contents.add(file.name, root));
    }
    for pair in sorted.windows(2) {
        if let [first, second] = pair
            && first.name == second.name
        {
            problems.0.push(whole_file(&second.name, "the file is given twice", "each file once"));
        }
    }
    for (name, expected) in [
        (BUNDLE, "bundle.yaml with at least `version`"),
        (AUTHORITY, "authority.yaml with the agents and what they may use"),
    ] {
        if !sorted.iter().any(|f| f.name == name) {
            problems.0.push(whole_file(name, &format!("`{name}` is missing"), expected));
        }
    }

    let root = |name: &str| parsed.iter().find(|p| p.name == name).and_then(|p| p.root.as_ref());
    let names = root(AUTHORITY).map(|authority| Names::collect(authority).with_defaults(root(BUNDLE)));
    let environments = root(BUNDLE).and_then(environments);
    let zones = ZoneTable::new(&input.known.zones);
    let scope = Scope {
        names: names.as_ref(),
        known: &input.known,
        // Where the bundle's own words are not known, nothing is held against them.
        environment: root(BUNDLE).map_or("", |_| &*input.environment),
        environments: environments.as_ref(),
        classes: &data::classes(root(DATA)),
        zones: &zones,
    };
    let parts = read_parts(&mut parsed, scope);
    let zones = zones.used();
    let snapshot = snapshot(&parsed, &zones, &parts.prices, input);
    for file in parsed {
        problems.0.extend(file.report.into_problems().0);
    }
    problems.sort();
    if problems.has_errors() {
        return (None, problems);
    }
    let Some((bundle, max_repeats, loops, oversight)) = parts.bundle else {
        problems.0.push(whole_file(
            BUNDLE,
            "`bundle.yaml` could not be read",
            "a map with at least `version`",
        ));
        return (None, problems);
    };
    let index = PolicyIndex::build(&parts.policies);
    let set = PolicySet {
        snapshot,
        parts: contents,
        environment: input.environment.clone(),
        bundle,
        authority: parts.authority,
        prices: parts.prices,
        budgets: parts.budgets,
        data: parts.data,
        policies: parts.policies,
        max_repeats,
        loops,
        oversight,
        files: sorted.into_iter().chain(signatures(files)).cloned().collect(),
        zones,
        index,
    };
    (Some(set), problems)
}

/// The signatures over a bundle: no part of what it says, and kept with it.
fn signatures(files: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    files.iter().filter(|file| is_signature(&file.name))
}

/// What a bundle's authority.yaml names, right or wrong as the rest may be; `None` where it cannot be read.
pub fn authority_names(files: &[SourceFile]) -> Option<Names> {
    let file = files.iter().find(|f| f.name == AUTHORITY)?;
    let mut report = Report::new(&file.name, &file.text);
    Some(Names::collect(&parse_yaml(&mut report)?))
}

struct Parsed<'t> {
    name: &'t str,
    report: Report<'t>,
    root: Option<Node>,
}

/// Reads every file.
fn read_parts(files: &mut [Parsed<'_>], scope: Scope<'_>) -> Parts {
    let mut unread = Report::new(DATA, "");
    let mut parts = Parts {
        bundle: None,
        authority: Authority::default(),
        prices: PriceTable::built_in(),
        budgets: Vec::new(),
        data: data::compile(None, &mut unread),
        policies: Vec::new(),
    };
    let mut ids = gates::Ids::default();
    for Parsed { name, report, root } in files.iter_mut() {
        let Some(root) = root.as_ref() else { continue };
        match *name {
            BUNDLE => parts.bundle = bundle(root, scope, report),
            AUTHORITY => parts.authority = authority::read(root, scope, report),
            PRICES => parts.prices = prices::read(root, scope, report),
            BUDGETS => parts.budgets = budgets::read(root, scope, &mut ids, report),
            DATA => parts.data = data::compile(Some(root), report),
            _ => parts.policies.extend(gates::read(root, scope, &mut ids, report)),
        }
    }
    if let Some(Parsed { report, root: Some(root), .. }) = files.iter_mut().find(|f| f.name == AUTHORITY) {
        parts.prices.know(parts.authority.agents.values().filter_map(|agent| agent.model.as_ref()));
        authority::lint_models(root, &parts.prices, report);
        if parts.asks_everyone()
            && !scope.names.is_some_and(|names| names.people.values().any(|decides| *decides))
        {
            report.doubt(
                    root.get("people").map_or(root.start, |people| people.start),
                    "nobody can approve this: approvals are asked of everyone with role `approver`, and nobody has it: none can be given",
                    "a person with roles: [approver]",
                );
        }
    }
    // Where something is wrong it is what has to be mended first.
    if !files.iter().any(|file| file.report.has_errors()) {
        for Parsed { name, report, root } in files.iter_mut() {
            match (*name, root) {
                (BUNDLE, Some(root)) => lints::bundle(root, &parts, report),
                (AUTHORITY, Some(root)) => lints::workflows(root, &parts, report),
                (DATA, Some(root)) => lints::data(root, scope, report),
                _ => {}
            }
        }
    }
    parts
}

const BUNDLE_KEYS: &[&str] = &[
    "version",
    "owner",
    "environments",
    "default_decision",
    "default_approvers",
    "required",
    "loop",
    "max_catalog_tokens",
    "alerts",
    "audit",
];

/// `environments`, right or wrong as the rest may be.
fn environments(root: &Node) -> Option<BTreeSet<String>> {
    let listed = root.get("environments")?;
    Some(listed.items().iter().filter_map(Node::as_text).map(str::to_owned).collect())
}

fn bundle(root: &Node, scope: Scope<'_>, report: &mut Report<'_>) -> Option<BundleParsed> {
    let map = fields(root, BUNDLE, BUNDLE_KEYS, report)?;
    let version = map
        .required("version", "your own version of the bundle, like \"1\"", report)
        .and_then(|node| text(node, "version", report));
    let owner = map.read("owner", report, text);
    if map.lacks("owner") {
        report.lint(map.at, "the bundle has no owner", "owner: who answers for it");
    }
    let default_decision = map.read("default_decision", report, |node, key, report| {
        let decision = word(DECISIONS)(node, key, report)?;
        match decision {
            Decision::Deny | Decision::RequireApproval | Decision::Suggest => {}
            Decision::Allow => report.lint(
                node.start,
                "`ALLOW` lets through every call that no policy speaks of",
                "DENY, and a policy for what is allowed",
            ),
            Decision::AllowWithConstraints | Decision::Remediate | Decision::Throttle => {
                mismatch(node, key, "ALLOW, REQUIRE_APPROVAL, SUGGEST or DENY", report);
            }
        }
        Some(decision)
    });
    let default_approvers =
        map.read("default_approvers", report, |node, key, report| scope.approvers(node, key, report));
    if let (Some(approvers), Some(node)) = (&default_approvers, map.get("default_approvers")) {
        scope.somebody(approvers, 1, Deciding::default(), node.start, report);
    }
    let environments = map.read("environments", report, texts);
    if let (Some(environments), Some(node)) = (environments, map.get("environments"))
        && !scope.environment.is_empty()
        && !environments.iter().any(|name| **name == *scope.environment)
    {
        report.lint(
            node.start,
            format!("the environment of this gateway, `{}`, is none of them", short(scope.environment)),
            "`[gateway] environment` of servers.toml, or the environments that the bundle is for",
        );
    }
    let required = map.read("required", report, texts).unwrap_or_default();
    let (max_repeats, loops) = map.get("loop").map(|node| loops::read(node, report)).unwrap_or_default();
    let info = BundleInfo {
        version: version?,
        owner,
        default_decision: default_decision.unwrap_or(Decision::Deny),
        default_approvers,
        required,
        max_catalog_tokens: map.read("max_catalog_tokens", report, count(1, u64::MAX)),
    };
    let max_repeats = max_repeats.and_then(|n| u32::try_from(n).ok()).unwrap_or(MAX_REPEATS);
    let oversight = oversight::read(map.get("alerts"), map.get("audit"), report);
    Some((info, max_repeats, loops, oversight))
}

/// Hashes what every file says, and what servers.toml resolves to. The names of files count, since the order of policies
/// follows them. Lengths go before what they measure, so that no two bundles give the same bytes.
fn snapshot(files: &[Parsed<'_>], zones: &ZoneData, prices: &PriceTable, input: &CompileInput) -> SnapshotId {
    let mut hash = Sha256::new();
    let part = |hash: &mut Sha256, bytes: &[u8]| {
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    part(&mut hash, b"tollgate bundle 2");
    part(&mut hash, input.environment.as_bytes());
    part(&mut hash, &input.servers_digest_material);
    for file in files {
        part(&mut hash, file.name.as_bytes());
        if let Some(root) = &file.root {
            meaning::write(root, &mut hash);
        }
    }
    // With other rules the same condition says something else.
    for (name, data) in zones {
        part(&mut hash, name.as_bytes());
        part(&mut hash, data);
    }
    // Prices that no file states are those of this program: another version may have others.
    for (model, price) in prices.not_of_the_bundle() {
        part(&mut hash, model.as_bytes());
        let price = price.map(|price| {
            let ModelPrice { input_usd_per_mtok, output_usd_per_mtok, encoding, multiplier_milli } = price;
            format!("{input_usd_per_mtok} {output_usd_per_mtok} {} {multiplier_milli}", encoding.as_str())
        });
        part(&mut hash, price.unwrap_or_default().as_bytes());
    }
    SnapshotId::from(hex::encode(hash.finalize()))
}

fn whole_file(file: &str, message: &str, expected: &str) -> Problem {
    Problem {
        place: Place { file: file.to_owned(), line: 0, column: 0 },
        severity: Severity::Error,
        message: message.to_owned(),
        expected: expected.to_owned(),
        strict: false,
    }
}
