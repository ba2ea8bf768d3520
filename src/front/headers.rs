//! The headers that mirror a stateless request's body: what they say must be what the body says.

use super::{
    answer::{Governed, name_member},
    modern::Refusal,
};
use crate::model::{CallKind, code};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Mirrors the version.
pub(crate) const VERSION: &str = "mcp-protocol-version";
/// Mirrors `method`.
pub(crate) const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const PARAM: &str = "mcp-param-";

fn mismatch(text: String) -> Refusal {
    Refusal::bad(code::HEADER_MISMATCH, text)
}

/// A header that may stand once, as text.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(mismatch(format!("header `{name}` stands more than once")));
    }
    value.to_str().map(Some).map_err(|_| mismatch(format!("header `{name}` has invalid characters")))
}

/// A value as it was before `=?base64?…?=`.
fn decode<'h>(name: &str, value: &'h str) -> Result<Cow<'h, str>, Refusal> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(encoded).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Cow::Owned).ok_or_else(|| mismatch(format!("header `{name}` is not Base64 of UTF-8")))
}

/// The version in the header against the one in the body.
pub(crate) fn check_version(headers: &HeaderMap, body: &str) -> Result<(), Refusal> {
    match single(headers, VERSION)? {
        Some(header) if header == body => Ok(()),
        Some(_) => Err(mismatch("header `MCP-Protocol-Version` does not match the body".to_owned())),
        None => Err(mismatch("header `MCP-Protocol-Version` is missing".to_owned())),
    }
}

/// `Mcp-Method` and `Mcp-Name`.
pub(crate) fn check_standard(
    headers: &HeaderMap,
    method: &str,
    params: &Map<String, Value>,
) -> Result<(), Refusal> {
    match single(headers, METHOD)? {
        Some(header) if header == method => {}
        Some(_) => return Err(mismatch("header `Mcp-Method` does not match the body".to_owned())),
        None => return Err(mismatch("header `Mcp-Method` is missing".to_owned())),
    }
    let member = match Governed::parse(method) {
        Some(Governed::Call(kind)) => name_member(kind),
        // The tasks extension, "Routing Headers".
        Some(Governed::Task(_)) => "taskId",
        Some(Governed::List(_) | Governed::Complete | Governed::Skill) | None => return Ok(()),
    };
    // A call without a name is refused for that, later.
    let Some(Value::String(name)) = params.get(member) else { return Ok(()) };
    match single(headers, NAME)? {
        Some(header) if decode("Mcp-Name", header)? == name.as_str() => Ok(()),
        Some(_) => Err(mismatch("header `Mcp-Name` does not match the body".to_owned())),
        None => Err(mismatch(format!("header `Mcp-Name` is missing, which `{method}` needs"))),
    }
}

/// The tool whose schema [`check_params`] needs.
pub(crate) fn called_tool<'p>(method: &str, params: &'p Map<String, Value>) -> Option<&'p str> {
    match Governed::parse(method) {
        Some(Governed::Call(CallKind::Tool)) => params.get("name").and_then(Value::as_str),
        Some(
            Governed::Call(CallKind::Resource | CallKind::Prompt)
            | Governed::List(_)
            | Governed::Complete
            | Governed::Skill
            | Governed::Task(_),
        )
        | None => None,
    }
}

/// `Mcp-Param-*` against the arguments, for each property that the schema marks with `x-mcp-header`.
pub(crate) fn check_params(
    headers: &HeaderMap,
    schema: &Value,
    arguments: Option<&Value>,
) -> Result<(), Refusal> {
    let Some(Value::Object(properties)) = schema.get("properties") else { return Ok(()) };
    for (key, property) in properties {
        let argument = arguments.and_then(|a| a.get(key));
        if let Some(Value::String(name)) = property.get("x-mcp-header")
            && http::HeaderName::from_bytes(name.as_bytes()).is_ok()
        {
            check_param(headers, name, argument)?;
        }
        // An annotation counts at the end of a chain of `properties` and nowhere else.
        check_params(headers, property, argument)?;
    }
    Ok(())
}

fn check_param(headers: &HeaderMap, name: &str, argument: Option<&Value>) -> Result<(), Refusal> {
    let full = format!("{PARAM}{}", name.to_ascii_lowercase());
    let header = match single(headers, &full)? {
        Some(header) => Some(decode(&full, header)?),
        None => None,
    };
    let expected = match argument {
        Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
        Some(Value::Bool(true)) => Cow::Borrowed("true"),
        Some(Value::Bool(false)) => Cow::Borrowed("false"),
        Some(Value::Number(number)) => Cow::Borrowed(number.as_str()),
        // Other types cannot be mirrored; the schema refuses them where it is right.
        None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
            return match header {
                None => Ok(()),
                Some(_) => Err(mismatch(format!("header `{full}` mirrors nothing in the body"))),
            };
        }
    };
    match header {
        None => Err(mismatch(format!("header `{full}` is missing"))),
        Some(header) if header == expected => Ok(()),
        Some(header) if matches!(argument, Some(Value::Number(_))) && same_number(&header, &expected) => {
            Ok(())
        }
        Some(_) => Err(mismatch(format!("header `{full}` does not match the body"))),
    }
}

/// Whether two texts name the same integer, `42.0` and `42` included.
fn same_number(a: &str, b: &str) -> bool {
    let integer = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        fraction.bytes().all(|digit| digit == b'0').then(|| whole.parse::<i64>().ok()).flatten()
    };
    matches!((integer(a), integer(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn verdict(result: Result<(), Refusal>) -> bool {
        match result {
            Ok(()) => true,
            Err(refusal) => {
                assert_eq!(refusal.error.code, code::HEADER_MISMATCH);
                assert_eq!(refusal.status, 400);
                false
            }
        }
    }

    #[test]
    fn method_and_name_are_compared_with_the_body() {
        let check = |pairs: &[(&str, &str)], name: &str, expect: bool| {
            let params = json!({ "name": name });
            let got = check_standard(&headers(pairs), "tools/call", params.as_object().unwrap());
            assert_eq!(verdict(got), expect, "{pairs:?} {name}");
        };
        let method = ("Mcp-Method", "tools/call");
        check(&[method, ("Mcp-Name", "echo")], "echo", true);
        check(&[method, ("Mcp-Name", "Echo")], "echo", false);
        check(&[method], "echo", false);
        check(&[("Mcp-Name", "echo")], "echo", false);
        check(&[("Mcp-Method", "tools/list"), ("Mcp-Name", "echo")], "echo", false);
        check(&[method, ("Mcp-Name", "echo"), ("Mcp-Name", "echo")], "echo", false);
        check(&[method, ("Mcp-Name", "=?base64?SGVsbG8sIOS4lueVjA==?=")], "Hello, 世界", true);
        check(&[method, ("Mcp-Name", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=")], "=?base64?literal?=", true);
        check(&[method, ("Mcp-Name", "=?base64?!?=")], "!", false);
        check(&[method, ("Mcp-Name", "世")], "世", false);
    }

    #[test]
    fn parameters_are_compared_with_the_arguments() {
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "count": { "type": "integer", "x-mcp-header": "Count" },
            "deep": { "type": "object", "properties": { "flag": { "type": "boolean", "x-mcp-header": "Flag" } } },
            "list": { "type": "array", "items": { "type": "string", "x-mcp-header": "Item" } },
        } });
        let check = |pairs: &[(&str, &str)], arguments: Value, expect: bool| {
            let got = check_params(&headers(pairs), &schema, Some(&arguments));
            assert_eq!(verdict(got), expect, "{pairs:?} {arguments}");
        };
        check(&[], json!({}), true);
        check(&[("Mcp-Param-Region", "eu")], json!({ "region": "eu" }), true);
        check(&[("mcp-param-region", "eu")], json!({ "region": "eu" }), true);
        check(&[("Mcp-Param-Region", "us")], json!({ "region": "eu" }), false);
        check(&[], json!({ "region": "eu" }), false);
        check(&[], json!({ "region": null }), true);
        check(&[("Mcp-Param-Region", "eu")], json!({ "region": null }), false);
        check(&[("Mcp-Param-Region", "eu")], json!({}), false);
        check(&[("Mcp-Param-Region", "=?base64?IHBhZGRlZCA=?=")], json!({ "region": " padded " }), true);
        check(&[("Mcp-Param-Count", "42")], json!({ "count": 42 }), true);
        check(&[("Mcp-Param-Count", "42.0")], json!({ "count": 42 }), true);
        check(&[("Mcp-Param-Count", "43")], json!({ "count": 42 }), false);
        check(&[("Mcp-Param-Flag", "true")], json!({ "deep": { "flag": true } }), true);
        check(&[("Mcp-Param-Flag", "True")], json!({ "deep": { "flag": true } }), false);
        check(&[], json!({ "list": ["a"] }), true);
        check(&[("Mcp-Param-Other", "x")], json!({}), true);
    }
}
