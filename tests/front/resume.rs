//! Streams of the sessions' era can be taken up again (`Last-Event-ID`).

use crate::wire::{Events, Http, Server, rpc};
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::{
    clock::Fake,
    front::http::{Limits, Replay},
};

fn call(id: i64, tool: &str) -> Value {
    rpc(id, "tools/call", json!({ "name": tool, "arguments": {}, "_meta": { "progressToken": "t" } }))
}

async fn session(server: &Server, agent: &str) -> Http {
    let mut http = server.as_agent(agent);
    http.initialize("2025-11-25").await;
    http
}

fn progress(message: Option<Value>) -> i64 {
    message.unwrap()["params"]["progress"].as_i64().unwrap()
}

async fn text(events: &mut Events) -> String {
    events.next().await.unwrap()["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

/// What came while the connection was broken comes with the next one, as often as it is asked for, and the call is made
/// once.
#[tokio::test]
async fn a_broken_stream_is_taken_up_again() {
    let server = Server::start().await;
    for version in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        server.script.release.send_replace(false);
        let mut http = server.as_agent("a");
        http.initialize(version).await;
        let before = server.script.entered.get();
        let mut events = http.open(http.request(call(1, "steps").to_string())).await;
        assert_eq!(progress(events.next().await), 1);
        let first = events.last.clone();
        server.script.entered.reaches(before + 1).await;
        drop(events);
        // Taken up, broken and taken up again.
        drop(http.open(http.after(&first)).await);
        server.script.release.send_replace(true);
        let mut events = http.open(http.after(&first)).await;
        assert_eq!(progress(events.next().await), 2);
        assert_eq!(text(&mut events).await, "stepped");
        let last = events.last.clone();
        assert!(events.next().await.is_none(), "the stream ends with its answer");
        // What was not received is sent again; nothing comes after the end.
        let mut again = http.open(http.after(&first)).await;
        assert_eq!((progress(again.next().await), text(&mut again).await), (2, "stepped".to_owned()));
        assert!(http.open(http.after(&last)).await.next().await.is_none());
        assert_eq!((server.script.entered.get(), server.script.dropped.get()), (before + 1, 0));
    }
}

/// SEP-1699: a client of 2025-11-25 has an id before there is anything to say; earlier ones know no event without a
/// message, and streams of 2026-07-28 cannot be taken up.
#[tokio::test]
async fn a_stream_begins_with_an_id() {
    let server = Server::start().await;
    let http = session(&server, "a").await;
    let mut events = http.open(http.streamed(&rpc(1, "tools/list", json!({})))).await;
    let primed = events.primed().await;
    assert!(events.next().await.unwrap()["result"]["tools"].is_array());
    assert!(http.open(http.after(&primed)).await.next().await.unwrap()["result"]["tools"].is_array());
    let mut http = server.as_agent("a");
    http.initialize("2025-06-18").await;
    let reply = http.send(http.streamed(&rpc(1, "tools/list", json!({})))).await;
    assert!(reply.text.starts_with("retry: 1000\n\nid: "), "{}", reply.text);
    assert!(!reply.text.contains("data:\n"), "{}", reply.text);
    // Without a wish for it, what says nothing before its answer is one JSON object.
    assert!(!http.post(rpc(1, "tools/list", json!({}))).await.is_events());
    let http = server.as_agent("a");
    let mut request = http.modern_request(1, "tools/list", json!({}), json!({})).build().unwrap();
    request.headers_mut().insert("accept", "text/event-stream, application/json".parse().unwrap());
    let reply = http.client.execute(request).await.unwrap().text().await.unwrap();
    assert!(reply.starts_with("event: message\ndata: "), "{reply}");
}

/// I8: an event's id counts in its own session, and a session belongs to its principal.
#[tokio::test]
async fn an_event_belongs_to_its_session() {
    let server = Server::start().await;
    let http = session(&server, "a").await;
    let mut events = http.open(http.streamed(&rpc(1, "ping", json!({})))).await;
    let id = events.primed().await;
    let status = async |http: &Http, id: &str| http.send(http.after(id)).await.status;
    assert_eq!(status(&http, &id).await, 200);
    let other = session(&server, "a").await;
    assert_eq!(status(&other, &id).await, 400);
    let mut thief = session(&server, "b").await;
    assert_eq!(status(&thief, &id).await, 400);
    thief.session.clone_from(&http.session);
    assert_eq!(status(&thief, &id).await, 404);
    let (stream, _) = id.rsplit_once('-').unwrap();
    let beyond = format!("{stream}-99");
    for wrong in ["", "1", "1-1", "x-1-1", &beyond, &format!("{id}0x"), &format!("-{id}")] {
        assert_eq!(status(&http, wrong).await, 400, "{wrong}");
    }
    assert_eq!(http.send(http.after(&id).header("last-event-id", &id)).await.status, 400);
    let modern = http.send(http.after(&id).header("mcp-protocol-version", "2026-07-28")).await;
    assert_eq!(modern.status, 405);
    // With the session its streams are gone.
    let delete = http.client.delete(&http.url).bearer_auth(&http.key);
    http.send(delete.header("mcp-session-id", http.session.clone().unwrap())).await;
    assert_eq!(status(&http, &id).await, 404);
}

/// A question is put again to a client that comes back; an answer that was given meanwhile counts from then on (I3).
#[tokio::test]
async fn a_question_outlives_its_connection() {
    let server = Server::start().await;
    let http = session(&server, "a").await;
    let answer = |id: &Value| json!({ "jsonrpc": "2.0", "id": id, "result": { "action": "accept" } });
    let mut events = http.open(http.streamed(&call(1, "ask"))).await;
    let primed = events.primed().await;
    let question = events.next().await.unwrap();
    drop(events);
    let mut events = http.open(http.after(&primed)).await;
    assert_eq!(events.next().await.unwrap(), question);
    assert_eq!(http.post(answer(&question["id"])).await.status, 202);
    assert!(text(&mut events).await.contains("accept"));
    // Taken up after the question, whose answer is on its way.
    let mut events = http.open(http.streamed(&call(2, "ask"))).await;
    let question = events.next().await.unwrap();
    let last = events.last.clone();
    drop(events);
    assert_eq!(http.post(answer(&question["id"])).await.status, 202);
    assert!(text(&mut http.open(http.after(&last)).await).await.contains("accept"));
    assert_eq!(server.script.asked.get(), 2);
}

/// One connection reads a stream: the newest. A cancellation and the session's end reach a call that nobody reads.
#[tokio::test]
async fn a_stream_has_one_reader() {
    let server = Server::start().await;
    let http = session(&server, "a").await;
    let mut first = http.open(http.streamed(&call(1, "steps"))).await;
    let primed = first.primed().await;
    assert_eq!(progress(first.next().await), 1);
    let mut second = http.open(http.after(&primed)).await;
    assert_eq!(progress(second.next().await), 1);
    assert!(first.next().await.is_none(), "the first connection ends");
    let mut third = http.open(http.after(&primed)).await;
    assert!(second.next().await.is_none());
    assert_eq!(progress(third.next().await), 1);
    drop(third);
    http.post(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }))
        .await;
    server.script.dropped.reaches(1).await;
    assert!(http.open(http.after(&primed)).await.next().await.is_some(), "what was told is there");
    let mut open = http.open(http.streamed(&call(2, "steps"))).await;
    let primed = open.primed().await;
    assert_eq!(progress(open.next().await), 1);
    drop(open);
    let mut taken = http.open(http.after(&primed)).await;
    assert_eq!(progress(taken.next().await), 1);
    let delete = http.client.delete(&http.url).bearer_auth(&http.key);
    http.send(delete.header("mcp-session-id", http.session.clone().unwrap())).await;
    server.script.dropped.reaches(2).await;
    assert!(taken.next().await.is_none());
}

/// Whoever stays away for too long has gone: the call is cancelled.
#[tokio::test]
async fn nobody_waits_for_ever() {
    let replay = Replay { time: Duration::from_millis(20), ..Replay::default() };
    let server = Server::with(Limits { replay, ..Limits::default() }).await;
    let http = session(&server, "a").await;
    let mut events = http.open(http.streamed(&call(1, "steps"))).await;
    assert_eq!(progress(events.next().await), 1);
    drop(events);
    server.script.dropped.reaches(1).await;
}

/// What is kept is bounded: an answer that is too large is told of, the oldest streams go first, and in time all do.
#[tokio::test]
async fn what_is_kept_is_bounded() {
    let clock = Fake::at("2026-11-01T10:00:00Z".parse().unwrap());
    let replay = Replay { stream_bytes: 64 << 10, ended_streams: 2, ..Replay::default() };
    let server = Server::at(Limits { replay: replay.clone(), ..Limits::default() }, clock.clone()).await;
    let http = session(&server, "a").await;
    let done = async |http: &Http, id: i64, tool: &str| {
        let mut events = http.open(http.streamed(&call(id, tool))).await;
        let primed = events.primed().await;
        while let Some(message) = events.next().await {
            assert!(message.get("error").is_none(), "{message}");
        }
        primed
    };
    let status = async |http: &Http, id: &str| http.send(http.after(id)).await.status;
    let large = done(&http, 7, "large").await;
    let told = http.open(http.after(&large)).await.next().await.unwrap();
    assert_eq!((&told["id"], &told["error"]["code"]), (&json!(7), &json!(-32603)));
    assert!(told["error"]["message"].as_str().unwrap().contains("too large"), "{told}");
    // News gives way to the answer.
    let chatter = done(&http, 8, "chatter").await;
    let kept = http.send(http.after(&chatter)).await.messages();
    assert_eq!(kept.last().unwrap()["result"]["content"][0]["text"], "done");
    assert!(kept.len() <= replay.stream_events, "{}", kept.len());
    let third = done(&http, 9, "echo").await;
    assert_eq!(status(&http, &large).await, 400);
    assert_eq!((status(&http, &chatter).await, status(&http, &third).await), (200, 200));
    // Another principal's streams take no room from them.
    let other = session(&server, "b").await;
    for id in 0..5 {
        done(&other, id, "chatter").await;
    }
    assert_eq!(status(&http, &third).await, 200);
    clock.advance(replay.time);
    let fourth = done(&http, 10, "echo").await;
    assert_eq!((status(&http, &third).await, status(&http, &fourth).await), (400, 200));
}

/// The same for what a session, a principal and everybody may keep.
#[tokio::test]
async fn room_is_shared_fairly() {
    // Two of the streams below, and not three.
    let room = 160 << 10;
    for replay in [
        Replay { session_bytes: room, ..Replay::default() },
        Replay { principal_bytes: room, ..Replay::default() },
        Replay { total_bytes: room, ..Replay::default() },
    ] {
        let server = Server::with(Limits { replay, ..Limits::default() }).await;
        let (small, greedy) = (session(&server, "b").await, session(&server, "a").await);
        let mut ids = Vec::new();
        for (http, tool) in
            [(&small, "echo"), (&greedy, "chatter"), (&greedy, "chatter"), (&greedy, "chatter")]
        {
            let events = http.send(http.streamed(&call(1, tool))).await;
            let id = events.text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
            ids.push((http, id.to_owned()));
        }
        let mut seen = Vec::new();
        for (http, id) in &ids {
            seen.push(http.send(http.after(id)).await.status);
        }
        assert_eq!((seen[0], seen[1], seen[3]), (200, 400, 200), "{seen:?}");
    }
}

/// A session's own stream: what was told on a connection that broke is told again.
#[tokio::test]
async fn the_sessions_own_stream_is_taken_up_too() {
    let server = Server::start().await;
    let http = session(&server, "a").await;
    let mut events = http.get_stream().await;
    events.stands().await;
    server.script.tools_changed();
    assert_eq!(events.next().await.unwrap()["method"], "notifications/tools/list_changed");
    let first = events.last.clone();
    server.script.tools_changed();
    events.next().await.unwrap();
    let second = events.last.clone();
    assert_ne!(first, second);
    drop(events);
    server.script.tools_changed();
    let mut events = http.open(http.after(&first)).await;
    events.next().await.unwrap();
    assert_eq!(events.last, second, "what was told already, with its id");
    events.next().await.unwrap();
    assert_ne!(events.last, second, "and what is new");
}

/// Clients that join paths write a slash behind it.
#[tokio::test]
async fn a_slash_behind_the_path_changes_nothing() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.url.push('/');
    http.initialize("2025-11-25").await;
    assert_eq!(http.post(rpc(1, "ping", json!({}))).await.result(), json!({}));
    http.get_stream().await.stands().await;
    assert_eq!(http.modern("tools/list", json!({})).await.status, 200);
    let delete = http.client.delete(&http.url).bearer_auth(&http.key);
    let ended = http.send(delete.header("mcp-session-id", http.session.clone().unwrap())).await;
    assert_eq!(ended.status, 204);
    http.url.push('/');
    assert_eq!(http.send(http.request(rpc(1, "ping", json!({})).to_string())).await.status, 404);
}
