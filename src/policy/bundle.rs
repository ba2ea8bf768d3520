//! A bundle's files → a [`PolicySet`] or everything that is wrong with them.

use super::{
    ApprovalRule, Authority, BundleInfo, BundleParts, Policy, PolicyBody, PolicySet, RuleOutcome, authority,
    budgets, data, gates,
    index::PolicyIndex,
    input::{CompileInput, SourceFile},
    meaning,
    names::{Deciding, Names, Scope},
    outcome::DECISIONS,
    prices,
    read::{count, fields, mismatch, text, texts, word},
    source::{Node, Report, parse_yaml},
};
use crate::{
    cost::{BudgetAction, BudgetRule, PriceTable},
    model::{Decision, Place, Problem, Problems, Severity, SnapshotId},
    redaction::DataRules,
};
use sha2::{Digest, Sha256};

const BUNDLE: &str = "bundle.yaml";
const AUTHORITY: &str = "authority.yaml";
const PRICES: &str = "prices.yaml";
const BUDGETS: &str = "budgets.yaml";
const DATA: &str = "data.yaml";

/// `loop: {max_repeats}` where bundle.yaml has none (SPEC 5).
const MAX_REPEATS: u32 = 20;

/// Whether a file of the bundle's folder belongs to it. Fixtures of `policy test` do not.
pub fn is_bundle_file(name: &str) -> bool {
    name.ends_with(".yaml") && !name.contains('/') && !name.starts_with('.')
}

/// Compiles a bundle. The set is there exactly where no problem is an error.
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
    let snapshot = snapshot(&parsed, input);
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
    let scope = Scope { names: names.as_ref(), known: &input.known };
    let parts = Parts::read(&mut parsed, scope);
    for file in parsed {
        problems.0.extend(file.report.into_problems().0);
    }
    problems.sort();
    if problems.has_errors() {
        return (None, problems);
    }
    let Some((bundle, max_repeats)) = parts.bundle else {
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
        files: sorted.into_iter().cloned().collect(),
        index,
    };
    (Some(set), problems)
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

struct Parts {
    bundle: Option<(BundleInfo, u32)>,
    authority: Authority,
    prices: PriceTable,
    budgets: Vec<BudgetRule>,
    data: DataRules,
    policies: Vec<Policy>,
}

impl Parts {
    fn read(files: &mut [Parsed<'_>], scope: Scope<'_>) -> Self {
        let mut unread = Report::new(DATA, "");
        let mut parts = Self {
            bundle: None,
            authority: Authority::default(),
            prices: prices::built_in_prices(),
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
        if let Some(Parsed { report, root: Some(root), .. }) = files.iter_mut().find(|f| f.name == AUTHORITY)
        {
            authority::lint_models(root, &parts.prices, report);
            if parts.asks_everyone()
                && !scope.names.is_some_and(|names| names.people.values().any(|decides| *decides))
            {
                report.doubt(
                    root.get("people").map_or(root.start, |people| people.start),
                    "approvals are asked of everyone with role `approver`, and nobody has it: none can be given",
                    "a person with roles: [approver]",
                );
            }
        }
        parts
    }
}

impl Parts {
    /// Whether something asks for an approval without saying of whom.
    fn asks_everyone(&self) -> bool {
        let nobody_by_default =
            self.bundle.as_ref().is_some_and(|(info, _)| info.default_approvers.is_none());
        let asked_by_default =
            self.bundle.as_ref().is_some_and(|(info, _)| info.default_decision == Decision::RequireApproval);
        let open = |rule: &ApprovalRule| rule.approvers.is_none();
        let asks = |policy: &Policy| match &policy.body {
            PolicyBody::Gate(rules) => rules.iter().any(|rule| match &rule.outcome {
                RuleOutcome::RequireApproval(approval) => open(approval),
                RuleOutcome::Check(check) => open(&check.approval),
                RuleOutcome::Allow
                | RuleOutcome::AllowWithConstraints(_)
                | RuleOutcome::Remediate(_)
                | RuleOutcome::Suggest
                | RuleOutcome::Throttle(_)
                | RuleOutcome::Deny => false,
            }),
            PolicyBody::Rulebook(book) => book.requires_approval.as_ref().is_some_and(open),
        };
        let asked_by_budget = self.budgets.iter().any(|b| b.on_exceed == BudgetAction::RequireApproval);
        nobody_by_default && (asked_by_default || asked_by_budget || self.policies.iter().any(asks))
    }
}

const BUNDLE_KEYS: &[&str] =
    &["version", "owner", "default_decision", "default_approvers", "required", "loop"];

fn bundle(root: &Node, scope: Scope<'_>, report: &mut Report<'_>) -> Option<(BundleInfo, u32)> {
    let map = fields(root, BUNDLE, BUNDLE_KEYS, report)?;
    let version = map
        .required("version", "your own version of the bundle, like \"1\"", report)
        .and_then(|node| text(node, "version", report));
    let owner = map.read("owner", report, text);
    if map.get("owner").is_none() {
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
    let required = map.read("required", report, texts).unwrap_or_default();
    let max_repeats = map.get("loop").and_then(|node| {
        let map = fields(node, "loop", &["max_repeats"], report)?;
        map.read("max_repeats", report, count(1, u64::from(u32::MAX)))
    });
    let info = BundleInfo {
        version: version?,
        owner,
        default_decision: default_decision.unwrap_or(Decision::Deny),
        default_approvers,
        required,
    };
    Some((info, max_repeats.and_then(|n| u32::try_from(n).ok()).unwrap_or(MAX_REPEATS)))
}

/// Hashes what every file says, and what servers.toml resolves to. The names of files count, since the order of policies
/// follows them. Lengths go before what they measure, so that no two bundles give the same bytes.
fn snapshot(files: &[Parsed<'_>], input: &CompileInput) -> SnapshotId {
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
