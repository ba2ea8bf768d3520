//! What fits, what does not, and what it costs to find out.

use super::*;
use serde_json::json;

fn compiled(schema: Value) -> ArgumentSchema {
    ArgumentSchema::compile(&schema, false).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn whole(value: &Value) -> Budget {
    Budget::whole(value.to_string().len() as u64)
}

impl ArgumentSchema {
    fn fits(&self, value: &Value) -> Result<(), Misfit> {
        let budget = whole(value);
        let (found, steps) = self.measured(value, budget);
        assert!(steps <= budget.most_steps(), "{steps} steps");
        found
    }
}

#[test]
fn a_violation_names_path_and_rule_and_no_value() {
    let schema = compiled(json!({"type": "object", "required": ["path"], "additionalProperties": false,
        "properties": {"path": {"type": "string", "maxLength": 3}, "n": {"type": "integer", "maximum": 5},
            "list": {"items": {"pattern": "^[a-z]+$"}, "uniqueItems": true}}}));
    assert!(schema.fits(&json!({"path": "abc", "n": 5, "list": ["a", "b"]})).is_ok());
    let check = |arguments: Value, path: &str, rule: &str| {
        let Err(Misfit::Breaks(violations)) = schema.fits(&arguments) else { panic!("{arguments}") };
        assert!(violations.iter().any(|v| v.path == path && v.rule == rule), "{violations:?}");
        assert!(!format!("{violations:?}").contains("hunter2"), "{violations:?}");
    };
    check(json!({}), "", "required");
    check(json!({"path": "hunter2"}), "/path", "maxLength");
    check(json!({"path": ["hunter2"]}), "/path", "type");
    check(json!({"path": "a", "n": 6}), "/n", "maximum");
    check(json!({"path": "a", "x": "hunter2"}), "", "additionalProperties");
    check(json!({"path": "a", "list": ["a", "hunter2"]}), "/list/1", "pattern");
    check(json!({"path": "a", "list": ["a", "a"]}), "/list", "uniqueItems");
}

/// R100: what is wrong with a schema, or more than can be checked, costs the keyword and is told.
#[test]
fn a_keyword_that_cannot_be_checked_costs_itself() {
    let check = |schema: Value, at: &str, why: &str| {
        let whole = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "number"}, "v": schema}});
        let compiled = compiled(whole);
        let told = compiled.unchecked();
        let at = format!("/properties/v{at}");
        assert!(told.iter().any(|one| one.at == at && one.why.contains(why)), "{at} {why}: {told:?}");
        // The tool can be called, and the rest counts.
        for value in [json!(null), json!("x"), json!({"a": [1]})] {
            assert_eq!(compiled.fits(&json!({"n": 1, "v": value})), Ok(()), "{at} {value}");
        }
        assert!(compiled.fits(&json!({"n": "1"})).is_err());
    };
    check(json!({"$ref": "http://169.254.169.254/latest"}), "/$ref", "never fetched");
    check(json!({"$ref": "file:///etc/passwd"}), "/$ref", "never fetched");
    check(json!({"$ref": "#/$defs/missing"}), "/$ref", "names nothing");
    check(json!({"$ref": 7}), "/$ref", "is a text");
    check(json!({"type": "any"}), "/type", "is not a type");
    check(json!({"type": ["object", "file"]}), "/type", "is not a type");
    check(json!({"type": []}), "/type", "is not a type");
    check(json!({"required": true}), "/required", "list of names");
    check(json!({"enum": "a"}), "/enum", "list of values");
    check(json!({"minimum": "5", "maximum": 9}), "/minimum", "not a value of it");
    check(json!({"exclusiveMinimum": true}), "/exclusiveMinimum", "not a value of it");
    check(json!({"properties": []}), "/properties", "an object");
    check(json!({"properties": {"a": "text"}}), "/properties/a", "object or a boolean");
    check(json!({"additionalProperties": "no"}), "/additionalProperties", "object or a boolean");
    check(json!({"anyOf": {"type": "null"}}), "/anyOf", "list of subschemas");
    check(json!({"pattern": "(?<n>"}), "/pattern", "cannot be checked");
    check(json!({"pattern": false}), "/pattern", "is a text");
    check(json!({"pattern": "a".repeat(5_000)}), "/pattern", "4096 bytes");
    check(json!({"pattern": "((x{1,900}y){1,900}z){1,900}"}), "/pattern", "too many");
    check(
        json!({"patternProperties": {"[": false}, "additionalProperties": false}),
        "/patternProperties",
        "not closed",
    );
    // What would refuse because something fits.
    check(json!({"not": {"pattern": "["}}), "/not/pattern", "not closed");
    check(json!({"oneOf": [{"pattern": "["}, {"not": {"type": "array"}}]}), "/oneOf/0/pattern", "not closed");
    check(json!({"if": {"type": "any"}, "then": false}), "/if/type", "is not a type");
    check(
        json!({"allOf": [{"$ref": "#/$defs/x"}], "unevaluatedProperties": false}),
        "/allOf/0/$ref",
        "names nothing",
    );
    // What would never end.
    check(json!({"$ref": "#/properties/v"}), "", "without end");
    check(
        json!({"$anchor": "me", "allOf": [{"anyOf": [{"$ref": "#me"}]}]}),
        "/allOf/0/anyOf/0",
        "without end",
    );
    check(json!({"$anchor": "me", "not": {"$ref": "#me"}}), "/not", "without end");
    check(json!({"$anchor": "me", "if": {"$ref": "#me"}, "else": false}), "/if", "without end");
}

#[test]
fn schemas_beyond_all_bounds_are_bounded() {
    let deep = (0..100).fold(json!({}), |inner, _| json!({"not": inner}));
    assert_eq!(ArgumentSchema::compile(&deep, false).unwrap_err(), SchemaError::TooLarge);
    let told = |schema: Value, why: &str| {
        let compiled = compiled(schema);
        let told = compiled.unchecked();
        assert!(told.iter().any(|one| one.why.contains(why)), "{why}: {told:?}");
        assert!(told.len() <= 21 && compiled.weight() < 16 << 20, "{} {}", told.len(), compiled.weight());
    };
    // A long way takes stack.
    let links: serde_json::Map<String, Value> =
        (0..4_000).map(|n| (format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)}))).collect();
    let mut links = Value::Object(links);
    links["d4000"] = json!({"type": "string"});
    told(json!({"$ref": "#/$defs/d0", "$defs": links}), "refer to each other");
    let many: Vec<Value> = (0..1_500).map(|n| json!({"pattern": format!("^v{n}$")})).collect();
    told(json!({"anyOf": many}), "patterns");
    let large: Vec<Value> = (0..120).map(|n| json!({"pattern": format!("^v{n}(ab|c){{1,900}}$")})).collect();
    told(json!({"anyOf": large}), "states");
    let around: Vec<Value> =
        (0..900).map(|n| json!({"pattern": format!("^(?=v{n})(?!(?:ab){{1,200}}x)")})).collect();
    told(json!({"anyOf": around}), "states");
    let wrong: serde_json::Map<String, Value> =
        (0..900).map(|n| (format!("p{n}"), json!({"type": n}))).collect();
    told(json!({"properties": wrong}), "and more keywords");
}

/// R100: what people write beside the letter of the specification.
#[test]
fn schemas_are_read_as_people_write_them() {
    let check = |schema: Value, fits: &[Value], not: &[Value], told: &[&str]| {
        let compiled = compiled(schema.clone());
        let at: Vec<&str> = compiled.unchecked().iter().map(|one| &*one.at).collect();
        assert_eq!(at, told, "{schema}");
        for value in fits {
            assert_eq!(compiled.fits(value), Ok(()), "{schema} {value}");
        }
        for value in not {
            assert!(matches!(compiled.fits(value), Err(Misfit::Breaks(_))), "{schema} {value}");
        }
    };
    // References in data are data.
    check(
        json!({"properties": {"a": {"default": {"$ref": "https://no.example/x"}, "examples": [{"$ref": "#/none", "$schema": "x", "$id": "y"}],
            "example": {"$id": "y", "$schema": "z"}, "enum": [{"$ref": "#/nowhere"}, {"$id": "%"}]},
            "b": {"const": {"$ref": "file:///b"}}}}),
        &[json!({"a": {"$ref": "#/nowhere"}, "b": {"$ref": "file:///b"}})],
        &[json!({"a": {"$ref": "#/none"}}), json!({"b": {}})],
        &[],
    );
    // Names like keywords are names.
    check(
        json!({"$id": "https://tools.example/s/", "properties": {"default": {"$ref": "#/$defs/n"}, "$ref": {"type": "string"}, "const": {"$anchor": "c", "type": "null"},
            "x": {"$ref": "#c"}}, "$defs": {"n": {"type": "integer"}}}),
        &[json!({"default": 1, "$ref": "#", "x": null})],
        &[json!({"default": "1"}), json!({"$ref": 1}), json!({"x": 1})],
        &[],
    );
    // The schema's own identifier, in each way it is written.
    for (id, to) in [
        ("https://tools.example/find.json", "https://tools.example/find.json#/definitions/n"),
        ("https://tools.example/find.json#", "https://tools.example/find.json#/definitions/n"),
        ("urn:example:find", "urn:example:find#/definitions/n"),
        ("find.json", "find.json#/definitions/n"),
    ] {
        for dialect in
            ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"]
        {
            check(
                json!({"$schema": dialect, "$id": id, "properties": {"n": {"$ref": to}}, "definitions": {"n": {"type": "integer"}}}),
                &[json!({"n": 3})],
                &[json!({"n": "3"})],
                &[],
            );
            check(
                json!({"$schema": dialect, "$id": id, "$ref": to.replace("/n", "/all"), "definitions": {"all": {"properties": {"n": {"$ref": to}}}, "n": {"type": "integer"}}}),
                &[json!({"n": 3})],
                &[json!({"n": "3"})],
                &[],
            );
        }
    }
    // An identifier inside, by its whole address, and copies of one.
    check(
        json!({"$id": "https://tools.example/a", "properties": {"p": {"$ref": "https://tools.example/part#in"}},
            "$defs": {"p": {"$id": "/part", "$defs": {"i": {"$anchor": "in", "type": "boolean"}}},
                "q": {"$id": "/part", "$defs": {"i": {"$anchor": "in", "type": "boolean"}}}}}),
        &[json!({"p": true})],
        &[json!({"p": 1})],
        &[],
    );
    // Dialects by all their names, and unknown ones.
    for name in ["https://json-schema.org/draft-07/schema", "http://json-schema.org/draft-07/schema"] {
        let items = json!({"$schema": name, "items": [{"type": "string"}], "additionalItems": false});
        check(items, &[json!(["a"])], &[json!(["a", 1])], &[]);
    }
    for name in
        [json!("https://spec.example/dialect"), json!("http://json-schema.org/draft-03/schema#"), json!(7)]
    {
        check(json!({"$schema": name, "maxItems": 1}), &[json!([1])], &[json!([1, 2])], &["/$schema"]);
    }
    // A part of another dialect is of that.
    check(
        json!({"properties": {"old": {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": true},
            "new": {"exclusiveMinimum": 3}}}),
        &[json!({"old": 4, "new": 4})],
        &[json!({"old": 3}), json!({"new": 3})],
        &[],
    );
    // OpenAPI's words, and items as a list.
    check(
        json!({"properties": {"s": {"type": "string", "nullable": true, "example": 5}, "n": {"type": "integer", "nullable": true}, "t": {"type": ["string", "null"]}}}),
        &[json!({"s": null, "n": null, "t": null}), json!({"s": "a", "n": 1})],
        &[json!({"s": 1}), json!({"n": 1.5}), json!({"t": 2})],
        &[],
    );
    check(
        json!({"items": [{"type": "string"}, {"type": "integer"}], "additionalItems": {"type": "null"}}),
        &[json!(["a", 1, null])],
        &[json!([1]), json!(["a", 1, 2])],
        &[],
    );
    check(json!({"properties": {"a": true, "b": false}}), &[json!({"a": 1})], &[json!({"b": 1})], &[]);
    check(json!(null), &[json!({"a": 1})], &[], &[""]);
    assert!(compiled(json!(false)).fits_nothing() && !compiled(json!(true)).fits_nothing());
}

/// R100: a format says what is meant in every dialect, and refuses only where the setting says so.
#[test]
fn formats_annotate_unless_they_are_to_be_asserted() {
    for dialect in ["draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12"] {
        let schema = json!({"$schema": format!("https://json-schema.org/{dialect}/schema"), "properties": {
            "u": {"format": "uri"}, "d": {"format": "date"}, "k": {"format": "of-our-own"}, "c": {"contentEncoding": "base64"}}});
        let annotated = ArgumentSchema::compile(&schema, false).unwrap();
        let asserted = ArgumentSchema::compile(&schema, true).unwrap();
        for wrong in [json!({"u": "https://fr.wikipedia.org/wiki/Orléans"}), json!({"d": "soon"})] {
            assert_eq!(annotated.fits(&wrong), Ok(()), "{dialect} {wrong}");
            assert!(matches!(asserted.fits(&wrong), Err(Misfit::Breaks(_))), "{dialect} {wrong}");
        }
        assert_eq!(annotated.fits(&json!({"c": "?"})), Ok(()));
        assert_eq!(asserted.fits(&json!({"u": "https://a.example/b", "d": "2026-02-28", "k": 1})), Ok(()));
        assert_eq!(asserted.unchecked(), [], "{dialect}");
    }
}

/// Patterns whose matching takes exponential, quadratic or much linear time elsewhere.
#[test]
fn patterns_cost_what_is_charged() {
    let slow = compiled(json!({"type": "string", "pattern": "^(?:(?=b)b+)+$"}));
    assert_eq!(slow.fits(&json!("bbbb")), Ok(()));
    assert_eq!(slow.fits(&json!(format!("{}?", "b".repeat(4_000)))), Err(Misfit::Exceeded));
    let linear = compiled(json!({"pattern": "^(b+)+$"}));
    assert!(matches!(linear.fits(&json!(format!("{}?", "b".repeat(4_000)))), Err(Misfit::Breaks(_))));
    // Thousands of states times a megabyte.
    let wide = compiled(json!({"pattern": "(x[ -~]{1,900})+z$"}));
    assert_eq!(wide.fits(&json!("x".repeat(1 << 20))), Err(Misfit::Exceeded));
    // Honest ones on long texts.
    let base64 =
        compiled(json!({"pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}));
    assert_eq!(base64.fits(&json!("QUJD".repeat(1 << 20))), Ok(()));
    let password = compiled(json!({"pattern": "^(?=.*[A-Z])(?=.*[0-9]).{8,64}$"}));
    assert_eq!(password.fits(&json!("correctHorse1")), Ok(()));
    assert!(matches!(password.fits(&json!("correcthorse")), Err(Misfit::Breaks(_))));
    let names = compiled(json!({"patternProperties": {"^(?!x-)": {"type": "string"}}}));
    assert_eq!(names.fits(&json!({"a": "b", "x-c": 1})), Ok(()));
    assert!(names.fits(&json!({"a": 1})).is_err());
    // Escapes as ECMA-262 has them.
    let escaped = compiled(json!({"pattern": r"^\d{2}\/\d{2}$"}));
    assert_eq!(escaped.fits(&json!("07/24")), Ok(()));
    assert!(escaped.fits(&json!("٠٧/٢٤")).is_err());
}

fn lists_of_lists(word: &str) -> Value {
    json!({"$ref": "#/$defs/part", "$defs": {"part": {word: [
        {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 1},
        {"type": "array", "items": {"$ref": "#/$defs/part"}, "maxItems": 9},
        {"type": "array", "items": {"$ref": "#/$defs/part"}},
        {"const": "end"},
    ]}}})
}

fn nested(depth: usize, innermost: Value) -> Value {
    (0..depth).fold(innermost, |inner, _| json!([inner]))
}

/// Recursive alternatives: what was said of a value is not found out again.
#[test]
fn recursive_alternatives_take_time_in_proportion() {
    for word in ["anyOf", "oneOf"] {
        let schema = compiled(lists_of_lists(word));
        let steps = |depth: usize| {
            let value = nested(depth, json!(0));
            let (found, steps) = schema.measured(&value, whole(&value));
            assert!(matches!(found, Err(Misfit::Breaks(_))), "{word} {depth}: {found:?}");
            steps
        };
        assert!(steps(80) < 4 * steps(20) + 20_000, "{word}: {} and {}", steps(20), steps(80));
    }
    let schema = compiled(lists_of_lists("anyOf"));
    assert_eq!(schema.fits(&nested(80, json!("end"))), Ok(()));
}

/// No reference and no container: alternatives over one value that double with each level.
#[test]
fn alternatives_that_share_their_parts_are_looked_at_once() {
    for (word, leaf) in [("allOf", json!(true)), ("anyOf", json!(false)), ("oneOf", json!({"type": "null"}))]
    {
        let mut parts = serde_json::Map::new();
        for n in 0..60 {
            let next = json!({"$ref": format!("#/$defs/p{}", n + 1)});
            parts.insert(format!("p{n}"), json!({word: [next.clone(), next]}));
        }
        parts.insert("p60".to_owned(), leaf);
        let schema = compiled(json!({"$ref": "#/$defs/p0", "$defs": parts}));
        let (found, steps) = schema.measured(&json!("x"), whole(&json!("x")));
        assert_ne!(found, Err(Misfit::Exceeded), "{word}");
        assert!(steps < 50_000, "{word}: {steps}");
    }
    // `unevaluatedProperties` looks again at what its neighbours have looked at.
    let mut schema = json!({"properties": {"z": true}});
    for n in 0..25 {
        schema =
            json!({"anyOf": [schema], "properties": {format!("p{n}"): true}, "unevaluatedProperties": false});
    }
    let (found, steps) = compiled(schema).measured(&json!({"y": 1}), whole(&json!({})));
    assert!(matches!(found, Err(Misfit::Breaks(_))), "{found:?}");
    assert!(steps < 100_000, "{steps}");
}

/// Blocks of six kinds, as document tools have them.
fn blocks() -> Value {
    let kinds = ["section", "list", "quote", "table", "column", "callout"];
    let kind = |kind: &str| {
        json!({"type": "object", "required": ["kind"], "additionalProperties": false, "properties": {
            "children": {"type": "array", "items": {"$ref": "#/$defs/block"}},
            "kind": {"const": kind}, "title": {"type": "string"}, "level": {"type": "integer", "minimum": 1}}})
    };
    json!({"type": "object", "properties": {"block": {"$ref": "#/$defs/block"}}, "required": ["block"],
        "$defs": {"block": {"oneOf": kinds.map(kind)}}})
}

#[test]
fn an_honest_tree_is_told_where_it_is_wrong() {
    let schema = compiled(blocks());
    let tree = |leaf: Value| {
        let kinds = ["list", "section", "quote", "table"];
        let block = (0..20).fold(leaf, |inner, n| json!({"kind": kinds[n % 4], "children": [inner]}));
        json!({"block": block})
    };
    assert_eq!(schema.fits(&tree(json!({"kind": "quote", "level": 2}))), Ok(()));
    let Err(Misfit::Breaks(violations)) = schema.fits(&tree(json!({"kind": "quote", "level": "two"}))) else {
        panic!("a wrong leaf");
    };
    let path = format!("/block{}/level", "/children/0".repeat(20));
    assert_eq!(
        (violations[0].path.as_str(), violations[0].rule.as_str()),
        (&*path, "type"),
        "{violations:?}"
    );
}

/// The budget holds where nothing can be remembered, and says so.
#[test]
fn what_is_beyond_the_budget_is_neither_right_nor_wrong() {
    // Patterns times members.
    let patterns: serde_json::Map<String, Value> =
        (0..900).map(|n| (format!("^[a-f]{{3}}{n}"), json!({"type": "string"}))).collect();
    let schema = compiled(json!({"patternProperties": patterns}));
    let members: serde_json::Map<String, Value> = (0..20_000).map(|n| (format!("m{n}"), json!(n))).collect();
    let value = Value::Object(members);
    let budget = whole(&value);
    let (found, steps) = schema.measured(&value, budget);
    assert_eq!(found, Err(Misfit::Exceeded));
    assert!(steps <= budget.most_steps(), "{steps}");
    // Deeper than the stack allows.
    let links: serde_json::Map<String, Value> =
        (0..100).map(|n| (format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)}))).collect();
    let mut links = Value::Object(links);
    links["d100"] = json!({"items": {"$ref": "#/$defs/d0"}});
    let schema = compiled(json!({"$ref": "#/$defs/d0", "$defs": links}));
    assert_eq!(schema.fits(&nested(2, json!([]))), Ok(()));
    assert_eq!(schema.fits(&nested(90, json!([]))), Err(Misfit::Exceeded));
    // The small budget is part of the whole one.
    let honest = compiled(json!({"items": {"type": "integer"}}));
    let numbers: Value = (0..50_000).collect();
    assert_eq!(honest.check(&numbers, Budget::SMALL), Err(Misfit::Exceeded));
    assert_eq!(honest.fits(&numbers), Ok(()));
}

#[test]
fn large_honest_arguments_pass() {
    let schema = compiled(json!({"type": "object", "properties": {
        "text": {"type": "string", "maxLength": 10_000_000},
        "rows": {"type": "array", "uniqueItems": true, "items": {"type": "array", "items": {"type": "number"}}},
        "records": {"type": "array", "items": {"$ref": "#/$defs/record"}}},
        "$defs": {"record": {"type": "object", "required": ["id"], "additionalProperties": false, "properties": {
            "id": {"type": "integer"}, "name": {"type": "string", "pattern": "^[^\\u0000]*$"},
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}}}}}}));
    assert_eq!(schema.fits(&json!({"text": "word ".repeat(800_000)})), Ok(()));
    let rows: Vec<Value> = (0..200_000).map(|n| json!([n, 1])).collect();
    assert_eq!(schema.fits(&json!({"rows": rows})), Ok(()));
    let records: Vec<Value> =
        (0..60_000).map(|n| json!({"id": n, "name": format!("name {n}"), "tags": ["a", "c"]})).collect();
    assert_eq!(schema.fits(&json!({"records": records})), Ok(()));
}

#[test]
fn dialects_are_understood() {
    let check = |schema: Value, fits: &[Value], not: &[Value]| {
        let compiled = compiled(schema.clone());
        for value in fits {
            assert_eq!(compiled.fits(value), Ok(()), "{schema} {value}");
        }
        for value in not {
            assert!(matches!(compiled.fits(value), Err(Misfit::Breaks(_))), "{schema} {value}");
        }
    };
    let seven = "http://json-schema.org/draft-07/schema#";
    check(
        json!({"$schema": seven, "type": "array", "items": [{"type": "string"}], "additionalItems": false}),
        &[json!(["a"]), json!([])],
        &[json!([1]), json!(["a", 1])],
    );
    // Nothing beside `$ref` counts there.
    check(
        json!({"$schema": seven, "definitions": {"s": {"type": "string"}}, "properties": {"a": {"$ref": "#/definitions/s", "maxLength": 1}}}),
        &[json!({"a": "long"})],
        &[json!({"a": 1})],
    );
    check(
        json!({"$defs": {"s": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/s", "maxLength": 1}}}),
        &[json!({"a": "s"})],
        &[json!({"a": "long"}), json!({"a": 1})],
    );
    check(
        json!({"$id": "https://example.com/root", "properties": {"a": {"$ref": "part"}, "b": {"$ref": "#named"}},
            "$defs": {"p": {"$id": "part", "$ref": "#/$defs/inner", "$defs": {"inner": {"type": "integer"}}},
                "n": {"$anchor": "named", "type": "boolean"}}}),
        &[json!({"a": 1, "b": true})],
        &[json!({"a": "1"}), json!({"b": 1})],
    );
    check(
        json!({"$dynamicAnchor": "node", "type": "object", "properties": {"next": {"$dynamicRef": "#node"}}}),
        &[json!({"next": {"next": {}}})],
        &[json!({"next": {"next": 1}})],
    );
    check(
        json!({"properties": {"schema": {"$ref": "http://json-schema.org/draft-07/schema#"}}}),
        &[json!({"schema": {"type": "string"}})],
        &[json!({"schema": {"type": 1}})],
    );
    // What stands beside a reference counts there, too.
    check(
        json!({"properties": {"schema": {"$ref": "https://json-schema.org/draft/2020-12/schema",
            "type": ["object", "integer"], "maxProperties": 1}}}),
        &[json!({"schema": {"type": "string"}})],
        &[
            json!({"schema": {"type": 1}}),
            json!({"schema": {"type": "string", "title": "t"}}),
            json!({"schema": true}),
        ],
    );
}

/// The library that checks single keywords knows whole schemas, too: both say the same.
#[test]
fn the_library_agrees() {
    let schemas = [
        json!({"properties": {"a": {"type": "integer"}}, "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": {"type": "boolean"}}),
        json!({"properties": {"a": true}, "additionalProperties": false, "minProperties": 1}),
        json!({"propertyNames": {"maxLength": 1}, "required": ["a"]}),
        json!({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {"type": "boolean"}}),
        json!({"prefixItems": [true], "unevaluatedItems": false}),
        json!({"contains": {"type": "integer"}, "minContains": 2, "maxContains": 2}),
        json!({"contains": {"type": "integer"}, "minContains": 0}),
        json!({"contains": {"type": "integer"}, "unevaluatedItems": {"type": "string"}}),
        json!({"if": {"type": "object"}, "then": {"required": ["a"]}, "else": {"type": "array"}}),
        json!({"if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "then": {"properties": {"x1": true}}, "unevaluatedProperties": false}),
        json!({"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"x1": {"properties": {"b": {"type": "null"}}}}}),
        json!({"dependencies": {"a": ["b"], "b": {"required": ["a"]}}}),
        json!({"allOf": [{"properties": {"a": true}}, {"properties": {"b": true}}], "unevaluatedProperties": false}),
        json!({"anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": true}, "required": ["b"]}], "unevaluatedProperties": {"type": "boolean"}}),
        json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}),
        json!({"not": {"anyOf": [{"type": "object", "required": ["a"]}, {"type": "array", "minItems": 2}]}}),
        json!({"uniqueItems": true, "maxItems": 3}),
        json!({"enum": [1, "a", [1], {"a": 1}, null, 2.0]}),
        json!({"const": {"a": 1}}),
        json!({"type": ["integer", "null", "array"]}),
        json!({"type": ["string", "object"], "maxLength": 1}),
        json!({"$defs": {"n": {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"type": "integer"}}}}, "$ref": "#/$defs/n", "unevaluatedProperties": false}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}], "additionalItems": {"type": "string"}, "format": "email"}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 1, "exclusiveMinimum": true}),
        json!({"$schema": "http://json-schema.org/draft-06/schema#", "contains": {"const": 1}, "propertyNames": {"pattern": "^[ab]$"}}),
        json!({"$schema": "https://json-schema.org/draft/2019-09/schema", "items": [{"type": "integer"}], "unevaluatedItems": false, "contains": {"type": "integer"}}),
        json!({"$schema": "https://json-schema.org/draft/2019-09/schema", "properties": {"a": {"$recursiveRef": "#"}}, "additionalProperties": false}),
        json!({"multipleOf": 0.01}),
        json!(true),
        json!(false),
        json!({}),
    ];
    let values = [
        "null",
        "true",
        "0",
        "1",
        "1.0",
        "2",
        "2.5",
        "1e400",
        "0.07",
        "-1",
        "12345678901234567890123",
        "\"\"",
        "\"a\"",
        "\"ab\"",
        "\"a@b.example\"",
        "[]",
        "[1]",
        "[1,2]",
        "[1,\"a\"]",
        "[1,1.0]",
        "[\"a\",1]",
        "[1,\"a\",true]",
        "[1,\"a\",2]",
        "[[],[]]",
        "[{},[]]",
        "[null,null]",
        "{}",
        "{\"a\":1}",
        "{\"a\":\"x\"}",
        "{\"b\":1}",
        "{\"a\":1,\"b\":2}",
        "{\"a\":1,\"b\":true}",
        "{\"a\":2,\"x1\":\"s\"}",
        "{\"a\":1,\"x1\":\"s\"}",
        "{\"x1\":1}",
        "{\"a\":{\"a\":{}}}",
        "{\"a\":{\"b\":1}}",
        "{\"a\":{\"c\":1}}",
        "{\"ab\":1,\"a\":true}",
        "{\"x1\":1,\"b\":null}",
    ];
    let mut fit = 0;
    for schema in &schemas {
        let own = compiled(schema.clone());
        let library = jsonschema::options().offline().should_validate_formats(false).build(schema).unwrap();
        for value in values {
            let value: Value = serde_json::from_str(value).unwrap();
            let fits = own.fits(&value).is_ok();
            assert_eq!(fits, library.is_valid(&value), "{schema} {value}");
            fit += usize::from(fits);
        }
    }
    let all = schemas.len() * values.len();
    assert!((all / 5..all * 4 / 5).contains(&fit), "{fit} of {all} fit");
}

/// Numbers that are the same at each run (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 7 } else { 11 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 | 3 => json!(self.below(4)),
            4 => json!(1.5),
            5 | 6 => json!(["a", "b", "ab", ""][self.below(4)]),
            7 | 8 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object((0..self.below(4)).map(|_| (self.name(), self.value(depth - 1))).collect()),
        }
    }

    fn name(&mut self) -> String {
        ["a", "b", "c", "ab"][self.below(4)].to_owned()
    }

    fn schemas(&mut self, depth: usize) -> Value {
        (0..=self.below(3)).map(|_| self.schema(depth)).collect()
    }

    fn members(&mut self, depth: usize) -> Value {
        Value::Object((0..=self.below(3)).map(|_| (self.name(), self.schema(depth))).collect())
    }

    fn schema(&mut self, depth: usize) -> Value {
        if self.below(9) == 0 {
            return json!(self.below(3) > 0);
        }
        let mut schema = json!({});
        for _ in 0..=self.below(3) {
            let (word, value) = match self.below(if depth == 0 { 12 } else { 29 }) {
                0 | 1 => {
                    let types = ["null", "boolean", "integer", "number", "string", "array", "object"];
                    ("type", json!(types[self.below(7)]))
                }
                2 => ("type", json!(["object", "integer"])),
                3 => ("const", self.value(1)),
                4 => ("enum", json!([self.value(1), 1, "a"])),
                5 => ("minimum", json!(self.below(4))),
                6 => ("maxLength", json!(self.below(3))),
                7 => ("minItems", json!(self.below(3))),
                8 => ("maxProperties", json!(self.below(3))),
                9 => ("required", json!([self.name()])),
                10 => ("uniqueItems", json!(true)),
                11 => ("pattern", json!(["^a", "b$", "^(?!a)"][self.below(3)])),
                12 | 13 => ("properties", self.members(depth - 1)),
                14 => ("patternProperties", json!({"^a": self.schema(depth - 1)})),
                15 => ("additionalProperties", self.schema(depth - 1)),
                16 => ("propertyNames", self.schema(0)),
                17 => ("prefixItems", self.schemas(depth - 1)),
                18 => ("items", self.schema(depth - 1)),
                19 => ("contains", self.schema(depth - 1)),
                20 => ("allOf", self.schemas(depth - 1)),
                21 => ("anyOf", self.schemas(depth - 1)),
                22 => ("oneOf", self.schemas(depth - 1)),
                23 => ("not", self.schema(depth - 1)),
                24 => {
                    schema["then"] = self.schema(depth - 1);
                    schema["else"] = self.schema(depth - 1);
                    ("if", self.schema(depth - 1))
                }
                25 => ("dependentSchemas", self.members(depth - 1)),
                26 => ("unevaluatedProperties", self.schema(depth - 1)),
                27 => ("unevaluatedItems", self.schema(depth - 1)),
                _ => ("$ref", json!("#/$defs/d")),
            };
            schema[word] = value;
        }
        schema
    }
}

/// The same of schemas and values by chance.
#[test]
fn the_library_agrees_on_anything() {
    let mut chance = Chance(0x5851_f42d_4c95_7f2d);
    let (mut fit, mut all) = (0, 0);
    for _ in 0..1_500 {
        let mut schema = json!({"allOf": [chance.schema(3)]});
        schema["$defs"] = json!({"d": chance.schema(0)});
        let own = compiled(schema.clone());
        let library = jsonschema::options().offline().build(&schema).unwrap();
        for _ in 0..12 {
            let value = chance.value(3);
            let fits = own.fits(&value).is_ok();
            assert_eq!(fits, library.is_valid(&value), "{schema} {value}");
            fit += usize::from(fits);
            all += 1;
        }
    }
    assert!((all / 5..all * 4 / 5).contains(&fit), "{fit} of {all} fit");
}

#[test]
fn header_parameters_are_found_below_properties_only() {
    let schema = json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"},
        "a": {"type": "object", "properties": {"b/c": {"type": "integer", "x-mcp-header": "BC"}}},
        "list": {"items": {"x-mcp-header": "No"}}}});
    assert_eq!(
        param_headers(&schema),
        vec![("Region".into(), "/region".into()), ("BC".into(), "/a/b~1c".into())]
    );
}
