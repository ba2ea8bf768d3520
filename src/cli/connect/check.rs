//! Whether the client's next start would work: the very entry is started or reached as the client would, and asked for its tools.

use crate::cli::{args::ClientKind, clients::KEY_VARIABLE, screen::note};
use crate::outbound::Outbound;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

/// How long all of it may take: a first start waits for its servers.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a gateway may take to leave.
const LEAVE: Duration = Duration::from_secs(10);
/// The most that one message may take.
const MOST: u64 = 64 << 20;
/// What is told of standard error.
const SAID: usize = 4_096;
/// More pages of a list than this no client reads.
const PAGES: usize = 100;

const ERA: &str = "2025-06-18";

/// The tools that the agent would see; the error says what the client would meet.
pub(super) async fn tools(client: ClientKind, entry: &Value, folder: &Path) -> Result<Vec<String>, String> {
    let asked = async {
        match entry.get("command").and_then(Value::as_str) {
            Some(program) => over_stdio(client, program, entry, folder).await,
            None => over_http(entry).await,
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(asked) => asked,
        Err(_) => Err(format!("it has not answered within {} s", PATIENCE.as_secs())),
    }
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn hello() -> Value {
    let client = json!({"name": "tollgate-connect", "version": env!("CARGO_PKG_VERSION")});
    request(0, "initialize", json!({"protocolVersion": ERA, "capabilities": {}, "clientInfo": client}))
}

fn listing(id: u64, cursor: Option<&str>) -> Value {
    request(id, "tools/list", cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor})))
}

/// What an answer says, or why it says nothing.
fn result(answer: &Value) -> Result<&Value, String> {
    match (answer.get("result"), answer.pointer("/error/message").and_then(Value::as_str)) {
        (Some(result), _) => Ok(result),
        (None, Some(message)) => Err(format!("it answers: {message}")),
        (None, None) => Err("what it answers is no message of MCP".to_owned()),
    }
}

fn take(page: &Value, tools: &mut Vec<String>) -> Option<String> {
    let listed = page.get("tools").and_then(Value::as_array).into_iter().flatten();
    tools.extend(listed.filter_map(|tool| tool.get("name")?.as_str().map(str::to_owned)));
    page.get("nextCursor").and_then(Value::as_str).map(str::to_owned)
}

async fn over_stdio(
    client: ClientKind,
    program: &str,
    entry: &Value,
    folder: &Path,
) -> Result<Vec<String>, String> {
    let args = entry.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).kill_on_drop(true);
    if let Some(passed) = client.passes() {
        command.env_clear();
        command.envs(passed.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    }
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let (Some(mut input), Some(output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("it has no standard streams".to_owned());
    };
    let said = tokio::spawn(last_lines(errors));
    let mut output = BufReader::new(output);
    let asked = async {
        let mut ask = async |message: Value| {
            let line = format!("{message}\n");
            input.write_all(line.as_bytes()).await.map_err(|_| "it has ended".to_owned())?;
            match message.get("id") {
                Some(id) => answer_to(&mut output, id).await,
                None => Ok(Value::Null),
            }
        };
        result(&ask(hello()).await?)?;
        ask(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        let (mut tools, mut cursor) = (Vec::new(), None);
        for id in 1..=PAGES {
            let id = u64::try_from(id).unwrap_or(u64::MAX);
            cursor = take(result(&ask(listing(id, cursor.as_deref())).await?)?, &mut tools);
            if cursor.is_none() {
                break;
            }
        }
        Ok(tools)
    };
    let tools: Result<Vec<String>, String> = asked.await;
    drop(input);
    if tokio::time::timeout(LEAVE, child.wait()).await.is_err() {
        note("the gateway that was started to try it did not leave by itself, and was ended");
        child.kill().await.ok();
    }
    let said = said.await.unwrap_or_default();
    tools.map_err(|why| match said.trim() {
        "" => why,
        said => format!("{why}; it said:\n{said}"),
    })
}

/// The answer to one request; what is said beside it is passed over.
async fn answer_to(output: &mut (impl AsyncBufRead + Unpin), id: &Value) -> Result<Value, String> {
    loop {
        let mut line = Vec::new();
        let read = output.take(MOST).read_until(b'\n', &mut line).await;
        if read.map_err(|error| error.to_string())? == 0 {
            return Err("it ended before it answered".to_owned());
        }
        let message: Value = serde_json::from_slice(&line)
            .map_err(|_| "on its standard output stands what is no message".to_owned())?;
        if message.get("id") == Some(id) && message.get("method").is_none() {
            return Ok(message);
        }
    }
}

async fn last_lines(mut errors: impl tokio::io::AsyncRead + Unpin) -> String {
    let (mut kept, mut piece) = (Vec::new(), [0_u8; 4_096]);
    while let Ok(read @ 1..) = errors.read(&mut piece).await {
        kept.extend_from_slice(piece.get(..read).unwrap_or_default());
        let surplus = kept.len().saturating_sub(SAID);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

async fn over_http(entry: &Value) -> Result<Vec<String>, String> {
    let url = ["url", "httpUrl", "serverUrl"].iter().find_map(|name| entry.get(*name)?.as_str());
    let url = url.ok_or("it has no address")?;
    let header = entry.pointer("/headers/Authorization").and_then(Value::as_str);
    let named = entry.get("bearer_token_env_var").is_some()
        || header.is_none_or(|header| header.contains(KEY_VARIABLE) || header.contains("${input:"));
    let key = match named {
        true => std::env::var(KEY_VARIABLE).map_err(|_| {
            format!("set {KEY_VARIABLE} to the agent's key here, so that it can be tried (and where the client runs)")
        })?,
        false => header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default().to_owned(),
    };
    let outbound = Outbound::default();
    let mut session = None;
    let mut post = async |message: Value| {
        let mut request = http::Request::post(url)
            .header("authorization", format!("Bearer {}", key.trim()))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if let Some(session) = &session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", ERA);
        }
        let request =
            request.body(Full::new(Bytes::from(message.to_string()))).map_err(|error| error.to_string())?;
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let reply = outbound
            .send(request, most, PATIENCE)
            .await
            .map_err(|error| unreached(url, &error.to_string()))?;
        if let Some(named) = reply.headers.get("mcp-session-id") {
            session = Some(named.clone());
        }
        match reply.status.as_u16() {
            200..=299 => Ok(of_stream(&reply.body)),
            401 => Err(format!("{url} does not take the key: {KEY_VARIABLE} must be the agent's")),
            status => Err(format!("{url} answers with status {status}")),
        }
    };
    result(&post(hello()).await?)?;
    post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
    let (mut tools, mut cursor) = (Vec::new(), None);
    for id in 1..=PAGES {
        let id = u64::try_from(id).unwrap_or(u64::MAX);
        cursor = take(result(&post(listing(id, cursor.as_deref())).await?)?, &mut tools);
        if cursor.is_none() {
            break;
        }
    }
    Ok(tools)
}

/// Why an address was not reached. Nobody trusts a private authority's certificate unless it is configured to.
fn unreached(url: &str, why: &str) -> String {
    let advice = match why.contains("invalid peer certificate") {
        true => {
            ". Where its certificate is of an authority of your own: SSL_CERT_FILE names the file of that here, and the client has to \
             trust it as well (Node's: NODE_EXTRA_CA_CERTS)"
        }
        false => "",
    };
    format!("{url}: {why}{advice}")
}

/// The message of an answer: plain, or the last of a stream.
fn of_stream(body: &[u8]) -> Value {
    if let Ok(plain) = serde_json::from_slice(body) {
        return plain;
    }
    let text = String::from_utf8_lossy(body);
    let mut data = text
        .lines()
        .rev()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter_map(|data| serde_json::from_str::<Value>(data.trim_start()).ok());
    data.find(|message| message.get("result").is_some() || message.get("error").is_some())
        .unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_nobody_known_is_told_with_what_to_do() {
        let told = unreached("https://gate.example/mcp", "invalid peer certificate: UnknownIssuer");
        assert!(told.contains("UnknownIssuer. Where") && told.contains("SSL_CERT_FILE"), "{told}");
        assert_eq!(unreached("https://gate.example/mcp", "refused"), "https://gate.example/mcp: refused");
    }
}
