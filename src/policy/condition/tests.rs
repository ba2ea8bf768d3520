use super::*;
use crate::{
    model::{Autonomy, CallKind, MicroUsd, Sensitivity, ToolTraits},
    policy::{AgentFacts, CallFacts, CostFacts, DataFacts, ToolFacts, WorkflowFacts},
};
use serde_json::{Value, json};

fn facts(args: Value) -> Facts {
    Facts {
        agent: AgentFacts {
            id: "planner-01".into(),
            agent_type: "planner".into(),
            role: "ops".into(),
            tenant: "acme".into(),
            owner: "data-team".into(),
            operator: Some("alice".into()),
            autonomy: Autonomy::Supervised,
            attended: true,
        },
        user: Some("alice".into()),
        workflow: Some(WorkflowFacts { id: "wf-1".into(), owner: Some("data-team".into()) }),
        tool: ToolFacts {
            name: "files__write_file".into(),
            upstream: "files".into(),
            action: "files:write".into(),
            labels: ["internal".into(), "write".into()].into(),
            traits: ToolTraits::UNTRUSTED,
            fingerprint: "ab".into(),
            pinned: true,
            unaccepted: false,
        },
        args: Arc::new(args),
        call: CallFacts { kind: CallKind::Tool, repeats: 2, size: 100 },
        cost: CostFacts { estimate: MicroUsd(300_000), tokens: 40 },
        data: DataFacts {
            level: Sensitivity::Confidential,
            labels: vec!["pii".into()],
            findings: vec!["email".into()],
        },
        session_labels: vec!["restricted".into()],
        now: "2026-11-20T23:30:15.250Z".parse().unwrap(),
        capabilities: vec!["files".into()],
        missing_metadata: Vec::new(),
        workflow_refused: None,
        user_groups: Vec::new(),
        resource: "".into(),
        prompt: "".into(),
        remediated: false,
        share: Default::default(),
        checks: Vec::new(),
    }
}

fn args() -> Value {
    serde_json::from_str(
        r#"{"path": "/srv/docs/a.md", "n": 5, "big": 9007199254740993, "f": 0.3, "list": ["a", "b"], "mixed": ["a", 1],
            "nothing": null, "yes": true, "deep": {"x": {"y": "z"}}, "url": "https://Example.COM./x", "empty": [],
            "content-type": "text/plain", "huge": 123456789012345678901234567890, "numbers": [1, 2.5, 3]}"#,
    )
    .unwrap()
}

fn run(source: &str, facts: &Facts) -> Result<bool, String> {
    let condition = Condition::compile(source).unwrap_or_else(|e| panic!("{source}: {e}"));
    condition.evaluate(facts, "production").map_err(|e| e.message)
}

#[test]
fn conditions_have_the_values_that_cel_gives() {
    let facts = facts(args());
    let check = |source: &str, expect: bool| assert_eq!(run(source, &facts), Ok(expect), "{source}");
    // Facts.
    check("env == 'production'", true);
    check("env != \"production\"", false);
    check("agent.id == 'planner-01' && agent.type == 'planner' && agent.role == 'ops'", true);
    check("agent.tenant == 'acme' && agent.owner == 'data-team' && agent.operator == 'alice'", true);
    check("agent.autonomy == 'supervised' && agent.attended", true);
    check("user == 'alice' && user != null && workflow.id == 'wf-1' && workflow.owner == 'data-team'", true);
    check(
        "tool.name.startsWith('files__') && tool.upstream == 'files' && tool.action == 'files:write'",
        true,
    );
    check("'write' in tool.labels && !('read' in tool.labels)", true);
    check("tool.destructive && tool.open_world && !tool.read_only && !tool.idempotent && tool.pinned", true);
    check("call.kind == 'tool' && call.repeats == 2 && call.size > 99", true);
    check("cost.estimate_usd > 0.29 && cost.estimate_usd == 0.3 && cost.tokens <= 40", true);
    check("data.level == 'confidential' && 'pii' in data.labels && 'email' in data.findings", true);
    check("session.labels.exists(label, label == 'restricted')", true);
    // Levels are ordered by how sensitive they are: by their letters `public` would come after `internal`.
    check("data.level >= 'confidential' && data.level > 'internal' && data.level > 'public'", true);
    check("data.level < 'restricted' && 'public' < data.level && data.level <= data.level", true);
    check("data.level >= 'restricted' || 'internal' >= data.level", false);
    check("agent['role'] == 'ops'", true);
    // Logic.
    check("true || false && false", true);
    check("(true || false) && false", false);
    check("!true || !!true", true);
    check("env == 'x' ? args.missing == 1 : call.size == 100", true);
    // Arguments.
    check("args.n == 5 && args.n == 5.0 && args.n == 5u && 5 == args.n", true);
    check("args.deep.x.y == 'z' && args['deep']['x'].y == 'z'", true);
    check(
        "args.list[0] == 'a' && args.list == ['a', 'b'] && size(args.list) == 2 && args.list.size() == 2",
        true,
    );
    check("has(args.path) && !has(args.missing) && has(args.nothing) && has(args.deep.x)", true);
    check("'path' in args && !('missing' in args)", true);
    check("args.nothing == null && args.path != null && null != args.n", true);
    check("has(args.`content-type`) && args.`content-type` == 'text/plain'", true);
    check("'a' in args.list && !('c' in args.list) && !('c' in args.empty)", true);
    check("args.path in ['/x', '/srv/docs/a.md']", true);
    check(
        "type(args.n) == int && type(args.f) == double && type(args.list) == list && type(args) == map",
        true,
    );
    check("type(args.nothing) == null_type && type(args.yes) == bool && type(args.path) == string", true);
    check("dyn(env) == args.path || true", true);
    // Numbers.
    check("args.big == 9007199254740993 && args.big != 9007199254740992", true);
    check("args.huge > 1 && args.huge == args.huge && args.huge < 1e38", true);
    check("args.f == 0.3 && args.f + 0.1 == 0.4 && 0.1 + 0.2 == 0.3", true);
    check("7 / 2 == 3 && 7.0 / 2.0 == 3.5 && 7 % 4 == 3 && -7 / 2 == -3", true);
    check("-args.n == -5 && 1 - -1 == 2 && 2 + 3 * 4 == 14", true);
    check("0x1F == 31 && 1.5e3 == 1500", true);
    check(
        "int('7') == 7 && int(7.9) == 7 && double('2.5') == 2.5 && uint(3) == 3u && string(args.n) == '5'",
        true,
    );
    check("args.numbers.all(n, n < 4) && args.numbers.exists_one(n, n == 2.5)", true);
    check("args.numbers.map(n, n * 2) == [2, 5, 6] && args.numbers.filter(n, n > 1) == [2.5, 3]", true);
    check("args.numbers.map(n, n > 1, n + 1) == [3.5, 4]", true);
    check("args.numbers.filter(n, n > 1).map(n, string(n)) == ['2.5', '3']", true);
    check("args.deep.exists(key, key == 'x')", true);
    check("[1, 2] + [3] == [1, 2, 3] && 'a' + 'b' == 'ab' && b'a' + b'b' == b'ab'", true);
    // Text.
    check("args.path.contains('docs') && args.path.endsWith('.md') && size('äö') == 2", true);
    check("args.path.matches('^/srv/.*[.]md$') && !matches(args.path, 'x{3}')", true);
    check("'a' < 'b' && 'b' >= 'a' && r'\\d' == '\\\\d'", true);
    check("string(bytes('é')) == 'é' && bool('true') && size(b'\\xff') == 1", true);
    // Our own.
    check(
        "glob(args.path, '/srv/**') && !glob(args.path, '/srv/*') && glob(tool.name, agent.role + '*') == false",
        true,
    );
    check("within(args.path, '/srv/docs') && !within('/srv/docs/../x', '/srv/docs')", true);
    check("host(args.url) == 'example.com' && host('http://0x7f.1/') == '127.0.0.1'", true);
    // Time: a Friday, 23:30:15.250 UTC.
    check(
        "now.getDayOfWeek() == 5 && now.getHours() == 23 && now.getMinutes() == 30 && now.getSeconds() == 15",
        true,
    );
    check(
        "now.getFullYear() == 2026 && now.getMonth() == 10 && now.getDate() == 20 && now.getDayOfMonth() == 19",
        true,
    );
    check("now.getDayOfYear() == 323 && now.getMilliseconds() == 250", true);
    check(
        "now.getHours('+02:00') == 1 && now.getDayOfWeek('+02:00') == 6 && now.getHours('UTC') == 23",
        true,
    );
    check("now > timestamp('2026-11-20T00:00:00Z') && now < timestamp('2026-11-21T00:00:00+00:00')", true);
    check("now - timestamp('2026-11-20T23:00:00Z') > duration('30m') && now - duration('1h') < now", true);
    check("duration('1h30m').getMinutes() == 90 && duration('1.5s') == duration('1500ms')", true);
    check(
        "int(timestamp('1970-01-01T00:01:00Z')) == 60 && timestamp(60) == timestamp('1970-01-01T00:01:00Z')",
        true,
    );
}

/// The clock of a zone is moved by its rules, summer time among them.
#[test]
fn times_are_those_of_the_zone() {
    let facts = facts(args());
    let read = |name: &str| {
        let data: Arc<[u8]> = std::fs::read(format!("/usr/share/zoneinfo/{name}")).unwrap().into();
        (Arc::from(name), data)
    };
    let zones: crate::policy::ZoneData =
        ["Europe/Berlin", "America/St_Johns", "Asia/Kolkata"].map(read).into();
    let zones = ZoneTable::new(&crate::policy::Zones::of(zones));
    let check = |source: &str| {
        let condition = Condition::compile_in(source, &zones).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(condition.evaluate(&facts, "production"), Ok(true), "{source}");
    };
    // Friday the 20th of November, 23:30:15.250 UTC is Saturday in Berlin.
    check("now.getFullYear('Europe/Berlin') == 2026 && now.getMonth('Europe/Berlin') == 10");
    check("now.getDate('Europe/Berlin') == 21 && now.getDayOfMonth('Europe/Berlin') == 20");
    check("now.getDayOfWeek('Europe/Berlin') == 6 && now.getDayOfYear('Europe/Berlin') == 324");
    check("now.getHours('Europe/Berlin') == 0 && now.getMinutes('Europe/Berlin') == 30");
    check("now.getSeconds('Europe/Berlin') == 15 && now.getMilliseconds('Europe/Berlin') == 250");
    check("now.getHours('Asia/Kolkata') == 5 && now.getMinutes('Asia/Kolkata') == 0");
    check("now.getHours('America/St_Johns') == 20 && now.getMinutes('America/St_Johns') == 0");
    // Summer, and the hours around the change of 2026.
    check("timestamp('2026-07-01T22:30:00Z').getHours('Europe/Berlin') == 0");
    check("timestamp('2026-03-29T00:59:59Z').getHours('Europe/Berlin') == 1");
    check("timestamp('2026-03-29T01:00:00Z').getHours('Europe/Berlin') == 3");
    check("timestamp('2026-10-25T00:30:00Z').getHours('Europe/Berlin') == 2");
    check("timestamp('2026-10-25T01:30:00Z').getHours('Europe/Berlin') == 2");
    let wrong = Condition::compile_in("args.path.getHours('Europe/Berlin') == 1", &zones).unwrap();
    let told = wrong.evaluate(&facts, "production").unwrap_err().message;
    assert_eq!(told, "`args.path` is text, and a timestamp is needed there");
}

/// R79: the capability that lets the call through; absent where none does.
#[test]
fn the_capability_is_a_fact() {
    let facts = facts(args());
    let files = "files".into();
    let around = Surroundings { environment: "production", capability: Some(&files) };
    let check = |source: &str, around: Surroundings<'_>, expect: bool| {
        let condition = Condition::compile(source).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(condition.evaluate(&facts, around), Ok(expect), "{source}");
    };
    check("capability == 'files' && capability.startsWith('f') && capability != null", around, true);
    check("capability in ['mail', 'web']", around, false);
    check("capability == 'files'", "production".into(), false);
    check("capability == null", "production".into(), true);
}

/// I2: what cannot be answered is an error and never false.
#[test]
fn what_cannot_be_answered_is_an_error() {
    let facts = facts(args());
    let check = |source: &str, expect: &str| {
        let told = run(source, &facts).unwrap_err();
        assert!(told.contains(expect), "{source}: {told}");
    };
    check("args.missing == 'x'", "`args.missing` is missing");
    check("args.missing != 'x'", "`args.missing` is missing");
    check("args['missing'] == 'x'", "`args['missing']` is missing");
    check("args.deep.nope.y == 'x'", "`args.deep.nope` is missing");
    check("has(args.nope.y)", "`args.nope` is missing");
    check("args.path.x == 'y'", "`args.path` is text, and an object is needed there");
    check("args.n == '5'", "`args.n == '5'` compares a number with text");
    check("args.n != '5'", "compares a number with text");
    check("!(args.n == '5')", "compares a number with text");
    check("args.list == 'a'", "compares a list with text");
    check("args.nothing == 'a'", "compares null with text");
    check("args.nothing == user", "");
    check("args.mixed == ['a', 'b']", "compares a number with text");
    check("args.n in ['a', 'b']", "compares a number with text");
    check("args.list in ['a', 'b']", "compares a list with text");
    check("'z' in args.mixed", "compares text with a number");
    check("'z' in args.path", "`args.path` is text, and a list or an object is needed there");
    check("args.n in args", "compares a number with text");
    check("args.n < 'a'", "compares a number with text");
    check("args.list < args.list", "no order");
    check("args.list[2] == 'a'", "`args.list[2]` is missing");
    check("args.list['x'] == 'a'", "`'x'` is text, and a number is needed there");
    check("args.yes && args.path", "`args.path` is text, and true or false is needed there");
    check("args.n", "`args.n` is a number, and true or false is needed there");
    check("args.n + 'a' == 'b'", "compares a number with text");
    check("1 / 0 == 1", "`1 / 0` cannot be calculated");
    check("args.n % 0.5 == 1", "cannot be calculated");
    check("args.n.startsWith('a')", "`args.n` is a number, and text is needed there");
    check("args.n.matches('a')", "`args.n` is a number, and text is needed there");
    check("glob(args.path, args.path + '***')", "is not a glob");
    check("glob(args.n, 'x')", "`args.n` is a number");
    check("within(args.n, '/srv')", "`args.n` is a number");
    check("host(args.path) == 'x'", "`args.path` is not a URL with a host");
    check("int(args.path) == 1", "`args.path` is not a whole number");
    check("timestamp(args.path) > now", "`args.path` is not a timestamp");
    check("uint(-1) == 1", "out of range");
    check("args.mixed.all(x, x == 'a')", "compares a number with text");
    check("args.mixed.exists(x, x == 'q')", "compares a number with text");
    check("args.mixed.filter(x, x == 'a') == ['a']", "compares a number with text");
    check("args.path.exists(x, x == 'a')", "`args.path` is text");
    check("args.huge + args.huge * 100000000000 == 1", "cannot be calculated");
}

/// CEL's commutative logic: an error beside a deciding operand does not matter.
#[test]
fn errors_beside_a_deciding_operand_do_not_matter() {
    let facts = facts(args());
    let check = |source: &str, expect: Option<bool>| assert_eq!(run(source, &facts).ok(), expect, "{source}");
    check("false && args.missing == 1", Some(false));
    check("args.missing == 1 && false", Some(false));
    check("true || args.missing == 1", Some(true));
    check("args.missing == 1 || true", Some(true));
    check("true && args.missing == 1", None);
    check("args.missing == 1 && true", None);
    check("false || args.missing == 1", None);
    check("args.missing == 1 || false", None);
    check("args.mixed.exists(x, x == 'a')", Some(true));
    check("args.mixed.all(x, x == 'b')", Some(false));
    check("'a' in args.mixed", Some(true));
    check("args.n in ['a'] || args.n == 5", Some(true));
    check("has(args.missing) && args.missing == 1", Some(false));
    check("has(args.missing) ? args.missing == 1 : true", Some(true));
    check("args.missing == 1 ? true : true", None);
}

#[test]
fn absent_facts_equal_null_and_nothing_else() {
    let mut facts = facts(json!({"user": "alice"}));
    facts.user = None;
    facts.workflow = None;
    facts.agent.operator = None;
    let check = |source: &str, expect: Result<bool, &str>| match (run(source, &facts), expect) {
        (Ok(got), Ok(expect)) => assert_eq!(got, expect, "{source}"),
        (Err(got), Err(expect)) => assert!(got.contains(expect), "{source}: {got}"),
        (got, expect) => panic!("{source}: {got:?}, expected {expect:?}"),
    };
    check("user == null", Ok(true));
    check("user == 'alice'", Ok(false));
    check("user != 'alice'", Ok(true));
    check("user == agent.operator", Ok(true));
    check("user == args.user", Ok(false));
    check("user in ['alice', 'bob']", Ok(false));
    check("workflow == null && workflow != null", Ok(false));
    check("has(workflow.id) || has(workflow.owner) || has(agent.operator)", Ok(false));
    check("has(agent.role)", Ok(true));
    check("workflow.id == 'wf-1'", Err("`workflow.id` is missing, because the call has no workflow"));
    check("workflow.owner == null", Err("the call has no workflow"));
    check("user.startsWith('a')", Err("`user` is null, and text is needed there"));
    check("user < 'b'", Err("compares null with text"));
}

#[test]
fn what_is_wrong_is_found_at_load_with_its_place() {
    let mut wrong = Vec::new();
    let mut check = |source: &str, offset: usize, offending: &str, message: &str| {
        let error = Condition::compile(source).err().unwrap_or_else(|| panic!("{source} compiles"));
        let right = error.message.contains(message)
            && (error.offset, error.offending.as_str()) == (offset, offending)
            && !error.expected.is_empty();
        if !right {
            wrong.push(format!("{source}: {error:?}"));
        }
    };
    check("environment == 'x'", 0, "environment", "`environment` is not a fact");
    check("true && foo.bar == 1", 8, "foo", "`foo` is not a fact");
    check("'é' == env && foo", 14, "foo", "`foo` is not a fact");
    check("agent.name == 'x'", 0, "agent.name", "`agent` has no field `name`");
    check("has(tool.color)", 4, "tool.color", "`tool` has no field `color`");
    check("env.name == 'x'", 0, "env.name", "`env` is text and has no field `name`");
    check("agent == 'x'", 0, "agent", "`agent` stands without a field");
    check("env == 1", 0, "env == 1", "compares text with a number");
    check("cost.estimate_usd > '5'", 0, "cost.estimate_usd > '5'", "compares a number with text");
    check("tool.labels == 'write'", 0, "tool.labels == 'write'", "compares a list of text with text");
    check("'write' == (tool.labels)", 0, "'write' == (tool.labels)", "compares text with a list of text");
    check("1 in tool.labels", 0, "1 in tool.labels", "compares a number with text");
    check("now > '2026-01-01'", 0, "now > '2026-01-01'", "compares a timestamp with text");
    check("env == null", 0, "env == null", "`env` is never null");
    check("user == 5", 0, "user == 5", "compares text or null with a number");
    check("workflow == 'wf-1'", 0, "workflow == 'wf-1'", "compares the fields of workflow or null with text");
    check("tool.read_only == 'true'", 0, "tool.read_only == 'true'", "compares true or false with text");
    check("size(args)", 0, "size(args)", "gives a number");
    check("'x'", 0, "'x'", "gives text");
    check("env && true", 0, "env", "`env` is text");
    check("!env", 1, "env", "`env` is text");
    check("-env == 1", 1, "env", "which is text");
    check("env + 1 == 'x'", 0, "env + 1", "calculates with text and a number");
    check("frobnicate(env)", 0, "frobnicate", "`frobnicate` is not a function");
    check("env.frobnicate()", 4, "frobnicate", "`frobnicate` is not a function");
    check("glob(env)", 0, "glob(env)", "calls `glob` in another way");
    check("env.glob('x')", 0, "env.glob('x')", "calls `glob` in another way");
    check("glob(env, '***')", 10, "'***'", "is not a glob");
    check("env.startsWith(1)", 15, "1", "`1` is a number, and `startsWith` takes none");
    check("host(cost.tokens) == 'x'", 5, "cost.tokens", "`cost.tokens` is a number");
    check("env.matches('[')", 12, "'['", "is not a regular expression");
    check("env.matches('(a{1000}){1000}')", 12, "'(a{1000}){1000}'", "is not a regular expression");
    check("env.matches(args.p)", 12, "args.p", "is not a literal");
    check("timestamp('tomorrow') > now", 10, "'tomorrow'", "is not a timestamp");
    check("duration('1 day') > duration('1h')", 9, "'1 day'", "is not a duration");
    check("now.getHours('Europe/Paris') == 1", 13, "'Europe/Paris'", "no time zone data");
    check("now.getHours(args.zone) == 1", 13, "args.zone", "a time zone must be");
    check("now.getHours(env) == 1", 13, "env", "a time zone must be");
    check("['a', 1] == args.x", 6, "1", "`1` is a number in a list of text");
    check("args.x.all(a, args.y.all(b, a == b))", 14, "args.y", "stands inside another");
    check("args.x.all(env, env == 'x')", 11, "env", "already means something");
    check("args.x.all(x, x)  && x == 1", 21, "x", "`x` is not a fact");
    check("tool.labels.exists(l, l == 1)", 22, "l == 1", "compares text with a number");
    check("{'a': 1}.a == 1", 0, "{", "map literal");
    check("has(args)", 4, "args", "`has` asks for a field");
    check("true ? 1 : 'a'", 0, "true ? 1 : 'a'", "one side is a number, the other text");
    check("env == ", 4, "==", "ends too early");
    check(" ", 0, "", "is empty");
    check("env = 'x'", 4, "=", "");
    check("env == 'x", 7, "'x", "the quote `'` that opens here is not closed");
    check("env == 'x' && ü", 14, "ü", "");
    check("1e300 > args.x", 0, "1e300", "out of range");
    check(&"(".repeat(200), 199, "(", "that opens here is not closed");
    check(&format!("{}true{}", "(!".repeat(100), ")".repeat(100)), 0, &"(!".repeat(40), "nested too deeply");
    check(
        &format!("1{} == 1", " + 1".repeat(100)),
        0,
        "1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + ",
        "nested too deeply",
    );
    check(
        &format!("env == '{}'", "x".repeat(3000)),
        0,
        "env == 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "bytes long",
    );
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn cost_is_bounded() {
    let big = "a".repeat(1_000_000);
    let items: Vec<u32> = (0..20_000).collect();
    let facts = facts(json!({"big": big, "items": items, "some": items[..9_000].to_vec()}));
    let check = |source: &str, expect: &str| {
        let told = run(source, &facts).unwrap_err();
        assert!(told.contains(expect), "{source}: {told}");
    };
    check("args.items.all(i, i >= 0)", "more than 10000 elements");
    check("args.some.map(i, args.big + 'x') == []", "too many steps");
    check("args.some.all(i, glob(args.big, '*a*a*a*b') == false)", "too many steps");
    check("args.some.all(i, args.some == args.some)", "too many steps");
    check("args.some.all(i, !args.big.matches('(a+)+b'))", "too many steps");
    assert_eq!(run("args.some.all(i, i >= 0)", &facts), Ok(true));
    assert_eq!(run("!args.big.matches('^(a+)+b$')", &facts), Ok(true));
}

/// What is not looked at is not weighed either: the heavier side of a comparison, again and again.
#[test]
fn weighing_takes_no_longer_than_the_steps_it_costs() {
    let heavy: Vec<u32> = (0..400_000).collect();
    let names: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
    let key = "k".repeat(1_000_000);
    let (mut long, mut other) = (serde_json::Map::new(), serde_json::Map::new());
    long.insert(key.clone(), json!(1));
    other.insert(key.clone(), json!(1));
    let facts = facts(json!({"heavy": heavy, "names": names, "long": long, "other": other, "key": key}));
    assert_eq!(run("args.names.all(n, [n] != args.heavy)", &facts), Ok(true));
    assert_eq!(run("args.names.all(n, !(args.heavy in [[n]]))", &facts), Ok(true));
    let check = |source: &str| {
        let told = run(source, &facts).unwrap_err();
        assert!(told.contains("too many steps"), "{source}: {told}");
    };
    check("args.names.all(n, args.long == args.other)");
    check("args.names.all(n, args.key in args.long)");
    check("args.names.all(n, args.long[args.key] == 1)");
}

#[test]
fn errors_hold_no_value_of_the_call() {
    let secret = "hunter2-secret";
    let facts = facts(json!({"a": secret, "k": secret, "o": {"x": secret}}));
    for source in [
        "args.a == 1",
        "args[args.k] == 1",
        "args.o[args.k] == 'x'",
        "int(args.a) == 1",
        "timestamp(args.a) > now",
        "host(args.a) == 'x'",
        "args.a + 1 == 2",
        "glob('x', args.a + '***')",
        "args.a",
    ] {
        let told = run(source, &facts).unwrap_err();
        assert!(!told.contains("hunter2"), "{source}: {told}");
    }
}

#[test]
fn phrases_read_like_sentences() {
    let check = |source: &str, expect: &str| {
        assert_eq!(Condition::compile(source).unwrap().phrase(), expect, "{source}");
    };
    check("env == 'production'", "env is production");
    check("env != 'staging' && agent.role == 'ops'", "env is not staging and agent.role is ops");
    check("tool.destructive && !tool.pinned", "tool.destructive is true and tool.pinned is false");
    check("cost.estimate_usd > 10.0", "`cost.estimate_usd > 10.0`");
    check("env == 'x' && (args.n > 1 ||  args.n < 0)", "env is x and `args.n > 1 || args.n < 0`");
}

/// One item of an agent's, thousands of times over, is not made of a few bytes.
#[test]
fn lists_that_are_tried_stay_small() {
    let condition = Condition::compile("size(args.rows) > 3000").unwrap();
    let tried = |row: &str| {
        let made = condition.variations(&json!({"rows": [row]}));
        made.iter().map(|made| made.value.as_ref().and_then(Value::as_array).map_or(0, Vec::len)).max()
    };
    assert_eq!(tried("a"), Some(3001));
    assert_eq!(tried(&"a".repeat(15_000)), None);
}

/// What orders levels by their letters, or a level by what is none, is told where it stands.
#[test]
fn only_levels_are_ordered_as_levels() {
    let check = |source: &str, offending: &str, expected: &str| {
        let error = Condition::compile(source).unwrap_err();
        assert!(error.message.contains(offending), "{source}: {}", error.message);
        assert!(error.expected.contains(expected), "{source}: {}", error.expected);
    };
    check(
        "data.level >= 'secret'",
        "`'secret'` is none",
        "'public', 'internal', 'confidential', 'restricted'",
    );
    check("data.level > agent.role", "`agent.role` is none", "data.level");
    check("2 < data.level", "`2` is none", "data.level");
    check("session.labels.exists(l, l >= 'confidential')", "by their letters", "in session.labels");
    check("agent.role < 'internal'", "by their letters", "data.level");
    let facts = facts(args());
    assert_eq!(run("data.level >= args.path", &facts).map_err(|e| e.contains("a level")), Err(true));
    // Other texts are ordered as ever.
    assert_eq!(run("agent.role < 'x'", &facts), Ok(true));
}
