//! Upstreams that answer without end cost bounded memory, and only the call that they answer (I12). The real binary is measured,
//! and the upstreams are real.

use crate::harness::*;
use axum::{body::Body, response::IntoResponse as _};
use bytes::Bytes;
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The most that a gateway may take while an upstream sends it all that it can, in KiB: eight results of the largest size that is
/// allowed here, and what the process needs for itself meanwhile.
const MOST: u64 = 64 << 10;

/// What a process has taken at its peak since it was last asked to forget that, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// A body that never ends, and how much of it was taken.
fn endless(
    kind: &'static str,
    begin: String,
    piece: &'static str,
    sent: &Arc<AtomicU64>,
) -> axum::response::Response {
    let sent = sent.clone();
    let piece = Bytes::from(piece.repeat((64 << 10) / piece.len()));
    let stream = async_stream::stream! {
        yield Ok::<_, std::io::Error>(Bytes::from(begin));
        loop {
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            yield Ok(piece.clone());
        }
    };
    ([("content-type", kind)], Body::from_stream(stream)).into_response()
}

/// An MCP server over its standard streams whose tool `flood` answers with a line that never ends.
const CHILD: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9][0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"c","version":"1"}}}\n' "$id" ;;
    *'"tools/list"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"flood","inputSchema":{"type":"object"}},{"name":"calm","inputSchema":{"type":"object"}}]}}\n' "$id" ;;
    *'"flood"'*) printf '{"jsonrpc":"2.0","result":{"content":[{"type":"text","text":"'; yes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx | tr -d '\n' ;;
    *'"calm"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"calm"}]}}\n' "$id" ;;
    *'"id"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
  esac
done
"#;

/// I12: one result that never ends, as a body, as one event, as many events, and as a line of a child's output.
#[tokio::test]
async fn an_endless_answer_costs_bounded_memory_and_no_other_call() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("child.sh");
    std::fs::write(&script, CHILD).unwrap();
    let servers = format!(
        "[upstreams.child]\ncommand = [\"sh\", \"{}\"]\nmax_result_bytes = \"1MiB\"\ntimeout = \"5s\"\n",
        script.display()
    );
    let authority = "=== authority.yaml
capabilities:
  all: { tools: [\"*\"] }
agents:
  ada: { owner: tests, capabilities: [all], keys: [\"{ada}\"] }
  eve: { owner: tests, capabilities: [all], keys: [\"{eve}\"] }
people:
  alice: { keys: [\"{alice}\"], groups: [leads], roles: [approver] }
";
    let up = "timeout = \"5s\"\nmax_result_bytes = \"1MiB\"".to_owned();
    let files = Files::of(Setup { servers, up, files: authority.to_owned(), ..Setup::default() }).await;
    let process = files.serve().await;
    let pid = process.pid();
    let (ada, eve) = (files.client(&process, "ada"), files.client(&process, "eve"));
    assert_eq!(eve.call("child__calm", json!({})).await.text(), "calm");
    eve.call("up__echo", json!({"n": 0})).await.ok();
    let before = peak(pid);
    forget_peak(pid);

    let sent = Arc::new(AtomicU64::new(0));
    for kind in ["body", "event", "events", "fields"] {
        let taken = sent.clone();
        files.up.script(move |seen| {
            if seen.method() != "tools/call" || seen.arguments()["flood"] != true {
                return None;
            }
            let begin = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"", seen.body["id"]);
            let response = match kind {
                "body" => endless("application/json", begin, "x", &taken),
                "event" => endless("text/event-stream", format!("data: {begin}"), "x", &taken),
                "events" => {
                    let told = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"x\"}}\n\n";
                    endless("text/event-stream", String::new(), told, &taken)
                }
                _ => endless("text/event-stream", String::new(), "comment: x\n", &taken),
            };
            Some(answer(response))
        });
        let flooding = {
            let ada = ada.clone();
            tokio::spawn(async move { ada.call("up__echo", json!({"flood": true})).await })
        };
        // Another agent's calls go on meanwhile.
        for n in 0..5 {
            assert_eq!(eve.call("up__echo", json!({"n": n})).await.echoed()["n"], n, "{kind}");
        }
        let told = soon(flooding).await.unwrap();
        assert_eq!(told.body["result"]["isError"], true, "{kind}: {:#}", told.body);
        let text = told.text();
        let expected = match kind {
            "body" | "event" => "the result is larger than 1048576 bytes",
            _ => "no answer within 5s",
        };
        assert!(text.contains(expected), "{kind}: {text}");
    }
    // A line without end: the child is given up, and comes back.
    let told = ada.call("child__flood", json!({})).await;
    assert!(told.text().contains("a message that is larger than"), "{}", told.text());
    let calm = async {
        loop {
            let reply = eve.call("child__calm", json!({})).await;
            // Until it is listed again it is unknown.
            if reply.body["result"].is_object() && reply.body["result"]["isError"] != true {
                return reply;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(soon(calm).await.text(), "calm");
    let after = peak(pid);
    assert!(after <= before + MOST, "{before} KiB before, {after} KiB at most");
    // It was more than would have fitted: else nothing was shown.
    assert!(sent.load(Ordering::Relaxed) > 4 << 20, "{sent:?}");
}
