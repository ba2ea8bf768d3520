//! One request being answered: what comes before the answer, then the answer, in that order and polled in one place,
//! so that dropping it cancels the request.

use super::{
    answer::{Caller, Core},
    client::{Client, Outbox},
    conversation::Conversation,
    message::{self, Malformed, Message, Request},
    modern::ClientResponse,
};
use futures::{future::BoxFuture, stream::StreamExt as _};
use serde_json::{Map, Value};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What an exchange brings next.
#[derive(Debug)]
pub(crate) enum Event {
    /// A notification or a question.
    Message(Vec<u8>),
    /// The answer; none where the request was cancelled. Nothing comes after it.
    End(Option<ClientResponse>),
}

/// A request, its answer and what stands before it.
pub(crate) struct Exchange {
    outbox: Arc<Outbox>,
    work: State,
}

enum State {
    Working(BoxFuture<'static, Option<ClientResponse>>),
    /// The answer is there, and messages that stand before it may be left.
    Answered(Option<ClientResponse>),
}

impl Exchange {
    /// Begins when it is polled.
    pub(crate) fn new(outbox: Arc<Outbox>, work: BoxFuture<'static, Option<ClientResponse>>) -> Self {
        Self { outbox, work: State::Working(work) }
    }

    /// What comes before the answer.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// The next event. Not to be polled after the end.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(message) = self.outbox.take() {
            return Poll::Ready(Event::Message(message));
        }
        if let State::Working(work) = &mut self.work
            && let Poll::Ready(answer) = work.as_mut().poll(cx)
        {
            self.work = State::Answered(answer);
        }
        match &mut self.work {
            State::Working(_) => self.outbox.poll_take(cx).map(Event::Message),
            State::Answered(answer) => match self.outbox.take() {
                // A cancelled request is told nothing more.
                Some(message) if answer.is_some() => Poll::Ready(Event::Message(message)),
                Some(_) | None => Poll::Ready(Event::End(answer.take())),
            },
        }
    }
}

/// Where only so many requests are worked on at a time: those that wait for their turn can be cancelled like any other.
pub(crate) type Turns = Option<Arc<Semaphore>>;

/// Waits for a turn, where one is needed.
pub(crate) async fn turn(turns: Turns) -> Option<OwnedSemaphorePermit> {
    turns?.acquire_owned().await.ok()
}

/// Answers one request of a legacy conversation; none where it was cancelled.
pub(crate) async fn legacy(
    core: Arc<Core>,
    conversation: Arc<Conversation>,
    caller: Caller,
    outbox: Arc<Outbox>,
    turns: Turns,
    request: Request,
) -> Option<Vec<u8>> {
    let client = Client::legacy(Arc::clone(&conversation), &request.params, outbox);
    let _flying = match conversation.in_flight.enter(&request.id, client.clone()) {
        Ok(flying) => flying,
        Err(error) => return Some(message::failure(Some(&request.id), &error)),
    };
    let work = async {
        let _turn = turn(turns).await;
        core.legacy(&conversation, caller, Arc::clone(&client), request).await
    };
    tokio::select! {
        biased;
        () = client.until_cancelled() => None,
        body = work => Some(body),
    }
}

/// Requests of one batch that are answered at a time.
const BATCH_WIDTH: usize = 8;

/// What a legacy client tells. Anything but a cancellation changes nothing here.
pub(crate) fn notified(conversation: &Conversation, method: &str, params: Map<String, Value>) {
    if method == "notifications/cancelled" {
        conversation.in_flight.cancel(params);
    }
}

/// Answers a batch of 2025-03-26 in its order; none where nothing in it wants an answer.
pub(crate) fn batch(
    core: &Arc<Core>,
    conversation: &Arc<Conversation>,
    caller: &Caller,
    outbox: &Arc<Outbox>,
    turns: &Turns,
    messages: Vec<Result<Message, Malformed>>,
) -> Option<BoxFuture<'static, Option<ClientResponse>>> {
    let mut answers: Vec<BoxFuture<'static, Option<Vec<u8>>>> = Vec::new();
    for message in messages {
        match message {
            Ok(Message::Request(request)) => {
                let (core, conversation) = (Arc::clone(core), Arc::clone(conversation));
                let answer =
                    legacy(core, conversation, caller.clone(), Arc::clone(outbox), turns.clone(), request);
                answers.push(Box::pin(answer));
            }
            Ok(Message::Notification(told)) => notified(conversation, &told.method, told.params),
            Ok(Message::Response(response)) => conversation.answered(response),
            Err(malformed) => {
                let body = message::failure(malformed.id.as_ref(), &malformed.error);
                answers.push(Box::pin(std::future::ready(Some(body))));
            }
        }
    }
    if answers.is_empty() {
        return None;
    }
    Some(Box::pin(async move {
        let mut answers = futures::stream::iter(answers).buffered(BATCH_WIDTH);
        let mut body = Vec::new();
        while let Some(answer) = answers.next().await {
            if let Some(answer) = answer {
                body.push(if body.is_empty() { b'[' } else { b',' });
                body.extend_from_slice(&answer);
            }
        }
        // All of them cancelled: nothing to say.
        if body.is_empty() {
            return None;
        }
        body.push(b']');
        Some(ClientResponse::ok(body))
    }))
}
