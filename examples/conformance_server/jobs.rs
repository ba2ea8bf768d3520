//! The tools that become tasks (the `io.modelcontextprotocol/tasks` extension).

use crate::content::{decoded, failure, text};
use rmcp::{
    ErrorData,
    model::{CallToolResponse, ClientCapabilities, CreateTaskResult, InputRequest},
    task_manager::{TaskContext, TaskExit, TaskFuture, TaskManager, TaskOptions},
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Starts `name` as a task, or runs it at once where the client knows no tasks and the tool allows that;
/// `None`: not one of the tools that become tasks.
pub(crate) async fn start(
    tasks: &TaskManager,
    name: &str,
    arguments: &Map<String, Value>,
    capabilities: &ClientCapabilities,
) -> Option<Result<CallToolResponse, ErrorData>> {
    let tasked = capabilities.supports_tasks();
    let operation: Box<dyn FnOnce(TaskContext) -> TaskFuture + Send> = match name {
        "slow_compute" => {
            let seconds =
                arguments.get("seconds").and_then(Value::as_f64).unwrap_or_default().clamp(0.0, 60.0);
            let wait = Duration::from_secs_f64(seconds);
            let said = format!("computed for {seconds} s");
            if !tasked {
                tokio::time::sleep(wait).await;
                return Some(text(&said).map(Into::into));
            }
            Box::new(move |context| {
                Box::pin(async move {
                    tokio::select! {
                        () = context.cancelled() => Err(TaskExit::Cancelled),
                        () = tokio::time::sleep(wait) => Ok(text(&said)?),
                    }
                })
            })
        }
        "failing_job" => Box::new(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(failure("the job failed")?)
            })
        }),
        "protocol_error_job" => Box::new(|_| {
            Box::pin(async { Err(TaskExit::Error(ErrorData::internal_error("the job broke", None))) })
        }),
        "confirm_delete" => Box::new(|context| {
            Box::pin(async move {
                let answer = context.request_input("confirm", confirmation("Delete the file?")?).await?;
                Ok(text(&format!("answered: {answer}"))?)
            })
        }),
        "multi_input" => Box::new(|context| {
            Box::pin(async move {
                let (first, second) = tokio::try_join!(
                    context.request_input("first", confirmation("First?")?),
                    context.request_input("second", confirmation("Second?")?),
                )?;
                Ok(text(&format!("answered: {first}, {second}"))?)
            })
        }),
        _ => return None,
    };
    if !tasked {
        return Some(Err(required()));
    }
    Some(Ok(CreateTaskResult::new(tasks.spawn(options(), operation)).into()))
}

/// The last round of the tool that asks first and becomes a task then.
pub(crate) fn greeting(
    tasks: &TaskManager,
    name: String,
    tasked: bool,
) -> Result<CallToolResponse, ErrorData> {
    if !tasked {
        return Err(required());
    }
    let operation = move |_: TaskContext| -> TaskFuture {
        Box::pin(async move { Ok(text(&format!("Hello from a task, {name}!"))?) })
    };
    Ok(CreateTaskResult::new(tasks.spawn(options(), operation)).into())
}

fn options() -> TaskOptions {
    TaskOptions::new().with_poll_interval_ms(100)
}

fn required() -> ErrorData {
    ErrorData::missing_required_client_capability(ClientCapabilities::builder().enable_tasks().build())
}

fn confirmation(message: &str) -> Result<InputRequest, ErrorData> {
    decoded(json!({ "method": "elicitation/create", "params": {
        "mode": "form", "message": message,
        "requestedSchema": { "type": "object", "properties": { "confirm": { "type": "boolean" } } },
    } }))
}
