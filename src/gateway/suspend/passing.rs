//! Questions that go to the client in the result of its call, with our seal, which says that the upstream asked.

use crate::gateway::{
    api::{CallReply, StateSeal},
    ending::Ending,
    labelled::AllPassed,
    relay::Relay,
    request_state::{Continuing, Opened, UPSTREAM_STATE_TTL},
};
use crate::{
    model::{Outcome, RpcError, code},
    redaction::display_text,
    upstream::Era,
};
use serde_json::{Map, Value, json};

/// How much of an upstream's message a refusal repeats, in characters.
const LONGEST_MESSAGE: usize = 500;

/// An upstream's `InputRequiredResult` on its way to a modern client: labelled, with our seal, which holds the upstream's
/// state, where it has one.
pub(in crate::gateway) async fn pass_question(
    seal: &dyn StateSeal,
    mut result: Value,
    relay: &Relay,
    bound: &[u8],
) -> Ending {
    let passed = relay.pass_all(&mut result).await;
    let state = match result.get_mut("requestState").map(Value::take) {
        Some(Value::String(state)) => Some(state),
        Some(_) | None => None,
    };
    let reply = passed.and_then(|asked| sealed(seal, result, Continuing { state, asked }, bound));
    Ending {
        reply,
        outcome: Outcome::Succeeded,
        sent: true,
        reason: Some("the upstream asks for input".into()),
        ours: None,
        lack: None,
    }
}

/// An upstream's error -32042: it wants pages opened before it does anything. They are questions like any other: a client
/// of the initialize-based versions gets them in the error, one of 2026-07-28 in a result, after which it makes the
/// call again (`can_retry`). Who cannot be asked gets a plain error.
pub(in crate::gateway) async fn pass_pages(
    seal: &dyn StateSeal,
    error: &RpcError,
    relay: &Relay,
    era: Era,
    can_retry: bool,
    bound: &[u8],
) -> CallReply {
    let message = format!("[{}] {}", relay.upstream(), display_text(&error.message, LONGEST_MESSAGE));
    let plain = |why: &str| {
        let text = format!("{message} (it wants a page opened first, and {why})");
        Err(RpcError::new(code::INTERNAL_ERROR, text))
    };
    if era == Era::Modern && !can_retry {
        return plain("nobody can be asked that here");
    }
    match (relay.pages(error).await, era) {
        (Err(refused), _) => plain(&refused.message),
        (Ok((_, pages)), Era::Legacy) => {
            let data = json!({"elicitations": pages});
            Err(RpcError::new(code::URL_ELICITATION_REQUIRED, message).with_data(data))
        }
        (Ok((requests, _)), Era::Modern) => {
            let result = json!({"resultType": "input_required", "inputRequests": requests});
            // The upstream knows of no answer: the call is made again.
            sealed(seal, result, Continuing { state: None, asked: AllPassed::new() }, bound)
        }
    }
}

fn sealed(seal: &dyn StateSeal, mut result: Value, continuing: Continuing, bound: &[u8]) -> CallReply {
    let sealed = Opened::Upstream(continuing).seal(seal, bound, UPSTREAM_STATE_TTL);
    let sealed =
        sealed.map_err(|_| RpcError::new(code::INTERNAL_ERROR, "the question could not be sealed"))?;
    let map: &mut Map<String, Value> = result
        .as_object_mut()
        .ok_or_else(|| RpcError::new(code::INTERNAL_ERROR, "the upstream's question is not an object"))?;
    map.insert("requestState".to_owned(), Value::String(sealed));
    Ok(result)
}
