//! The first governed call, made as an agent makes it: over `tollgate stdio`, with a tool that only reads and needs no
//! arguments, or a resource.

use crate::{
    clock::{IdSource as _, System},
    model::json,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// The longest message that is read.
const LONGEST: u64 = 16 << 20;
/// Pages of a list, and messages before an answer.
const MOST: usize = 200;

/// What was called, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct FirstCall {
    /// The tool as agents see it, or the resource.
    pub(super) what: String,
    /// `allow`, or what was decided.
    pub(super) decision: String,
    /// Why it did not come to a result.
    pub(super) reason: Option<String>,
    pub(super) trace_id: String,
}

/// Makes it. `Ok(None)`: nothing can be called without arguments.
pub(super) async fn make(
    servers_toml: &Path,
    agent: &str,
    reads: &BTreeSet<String>,
) -> Result<Option<FirstCall>, String> {
    let talk = async {
        let mut session = Session::start(servers_toml, agent).await?;
        let called = session.first(reads).await;
        session.end().await;
        called
    };
    tokio::time::timeout(PATIENCE, talk).await.map_err(|_| "it took too long".to_owned())?
}

struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    id: u64,
}

impl Session {
    async fn start(servers_toml: &Path, agent: &str) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(servers_toml)
            .args(["stdio", "--agent", agent])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`tollgate stdio` does not start: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("`tollgate stdio` does not start".to_owned());
        };
        let mut session = Self { child, input, output: BufReader::new(output), id: 0 };
        let hello = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "tollgate init", "version": env!("CARGO_PKG_VERSION")},
        });
        session.ask("initialize", hello).await?;
        session.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        Ok(session)
    }

    async fn send(&mut self, message: &Value) -> Result<(), String> {
        let sent = self.input.write_all(format!("{message}\n").as_bytes()).await;
        sent.map_err(|error| format!("`tollgate stdio` takes nothing: {error}"))
    }

    /// The whole answer to a request.
    async fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.id += 1;
        let id = self.id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await?;
        for _ in 0..MOST {
            let mut line = Vec::new();
            let read = (&mut self.output).take(LONGEST).read_until(b'\n', &mut line).await;
            if read.map_err(|error| error.to_string())? == 0 {
                return Err("`tollgate stdio` ended: start it yourself to see why".to_owned());
            }
            let message = json::parse(&line).map_err(|error| error.to_string())?;
            if message.get("id") == Some(&json!(id)) {
                return Ok(message);
            }
        }
        Err("`tollgate stdio` does not answer".to_owned())
    }

    /// All items of a list.
    async fn list(&mut self, method: &str, member: &str) -> Result<Vec<Value>, String> {
        let (mut all, mut cursor) = (Vec::new(), None::<Value>);
        for _ in 0..MOST {
            let params = cursor.take().map_or(json!({}), |cursor| json!({ "cursor": cursor }));
            let answer = self.ask(method, params).await?;
            let Some(result) = answer.get("result") else { break };
            all.extend(result.get(member).and_then(Value::as_array).into_iter().flatten().cloned());
            cursor = result.get("nextCursor").filter(|cursor| cursor.is_string()).cloned();
            if cursor.is_none() {
                break;
            }
        }
        Ok(all)
    }

    async fn first(&mut self, reads: &BTreeSet<String>) -> Result<Option<FirstCall>, String> {
        let tools = self.list("tools/list", "tools").await?;
        let fits = |tool: &Value| {
            let name = tool.get("name")?.as_str().filter(|name| reads.contains(*name))?;
            Some((name.to_owned(), arguments(tool.get("inputSchema")?)?))
        };
        if let Some((name, arguments)) = tools.iter().find_map(fits) {
            let params = json!({"name": name, "arguments": arguments});
            return self.call("tools/call", name, params).await.map(Some);
        }
        let resources = self.list("resources/list", "resources").await?;
        let uri = resources.iter().find_map(|one| one.get("uri")?.as_str()).map(str::to_owned);
        match uri {
            Some(uri) => self.call("resources/read", uri.clone(), json!({ "uri": uri })).await.map(Some),
            None => Ok(None),
        }
    }

    async fn call(&mut self, method: &str, what: String, mut params: Value) -> Result<FirstCall, String> {
        let random = hex::encode(System::default().random());
        let (trace_id, rest) = random.split_at(32);
        let span = rest.get(..16).unwrap_or_default();
        if let Some(params) = params.as_object_mut() {
            let meta = json!({"traceparent": format!("00-{trace_id}-{span}-01")});
            params.insert("_meta".to_owned(), meta);
        }
        let answer = self.ask(method, params).await?;
        let refused = ["/result/_meta/tollgate~1decision", "/error/data/tollgate~1decision"];
        let refused = refused.iter().find_map(|place| answer.pointer(place));
        let text = |value: &Value, member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
        let failed = answer.get("error").is_some()
            || answer.pointer("/result/isError").is_some_and(|flag| *flag == Value::Bool(true));
        let reason = match refused {
            Some(refused) => text(refused, "reason"),
            None => failed.then(|| "the server answered with an error".to_owned()),
        };
        let decision =
            refused.and_then(|refused| text(refused, "decision")).unwrap_or_else(|| "allow".to_owned());
        Ok(FirstCall { what, decision, reason, trace_id: trace_id.to_owned() })
    }

    /// Lets it write its record.
    async fn end(self) {
        let Self { mut child, input, output, id: _ } = self;
        drop((input, output));
        child.wait().await.ok();
    }
}

/// Arguments that a schema itself gives; none where a person would have to.
fn arguments(schema: &Value) -> Option<Value> {
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let given = |name: &Value| {
        let name = name.as_str()?;
        let property = schema.get("properties")?.get(name)?;
        let first = |member: &str| property.get(member).and_then(|all| all.get(0));
        let value =
            property.get("default").or(property.get("const")).or(first("enum")).or(first("examples"))?;
        Some((name.to_owned(), value.clone()))
    };
    let given: Option<serde_json::Map<String, Value>> = required.iter().map(given).collect();
    given.map(Value::Object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_schema_gives_itself_is_called() {
        let check = |schema: Value, expect: Option<Value>| assert_eq!(arguments(&schema), expect, "{schema}");
        check(json!({"type": "object"}), Some(json!({})));
        check(json!({"properties": {"a": {}}}), Some(json!({})));
        check(json!({"properties": {"a": {"default": 1}}, "required": ["a"]}), Some(json!({"a": 1})));
        check(json!({"properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}), Some(json!({"a": "x"})));
        check(json!({"properties": {"a": {"type": "string"}}, "required": ["a"]}), None);
    }
}
