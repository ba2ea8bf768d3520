//! `tollgate webhooks …`: who is told of approvals and alerts, and whether it arrives. Nothing of it needs a gateway that runs.

use super::{
    args::WebhooksCommand,
    failure::CliError,
    screen::{Screen, note},
    setup::Setup,
};
use crate::{
    config::{Tells, WebhookConfig, webhook_named},
    gateway::try_webhook,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Runs one of them.
pub(super) async fn webhooks(setup: Setup, command: WebhooksCommand) -> Result<(), CliError> {
    match command {
        WebhooksCommand::List { json } => list(&setup, json.json),
        WebhooksCommand::Test { name, json } => test(&setup, name.as_deref(), json.json).await,
    }
}

fn words(tells: Tells) -> Vec<&'static str> {
    let all = [(tells.asks, "asks"), (tells.escalations, "escalations"), (tells.alerts, "alerts")];
    all.into_iter().filter(|(is_told, _)| *is_told).map(|(_, word)| word).collect()
}

fn list(setup: &Setup, as_json: bool) -> Result<(), CliError> {
    let audience = |webhook: &WebhookConfig| -> Vec<String> {
        webhook.audience.iter().map(|one| one.name().to_owned()).collect()
    };
    let all = &setup.loaded.config.webhooks;
    let mut screen = Screen::new();
    if as_json {
        let form = |webhook: &Arc<WebhookConfig>| {
            json!({
                "name": webhook.name, "format": webhook.target.format(), "tell": words(webhook.tells),
                "for": audience(webhook), "arguments": webhook.arguments,
            })
        };
        return screen.json(&json!({"webhooks": all.iter().map(form).collect::<Vec<Value>>()}));
    }
    let row = |webhook: &Arc<WebhookConfig>| {
        let audience = audience(webhook);
        let whom = if audience.is_empty() { "everybody".to_owned() } else { audience.join(", ") };
        vec![
            webhook.name.to_string(),
            webhook.target.format().to_owned(),
            words(webhook.tells).join(", "),
            whom,
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    screen.table(
        &["name", "format", "tells of", "for"],
        &rows,
        "no webhooks: nobody is told, and people look for themselves",
    )
}

async fn test(setup: &Setup, name: Option<&str>, as_json: bool) -> Result<(), CliError> {
    let config = &setup.loaded.config;
    let chosen: Vec<&Arc<WebhookConfig>> = match name {
        Some(name) => vec![webhook_named(&config.webhooks, name).map_err(CliError::Told)?],
        None => config.webhooks.iter().collect(),
    };
    if chosen.is_empty() {
        let why = "servers.toml has no webhook to try: [webhook] or [webhooks.NAME] make one (docs/chat.md)";
        return Err(CliError::Told(why.to_owned()));
    }
    let mut results = Vec::new();
    for webhook in chosen {
        if !as_json {
            note(&format!("{} ({}) …", webhook.name, webhook.target.format()));
        }
        let came = try_webhook(config, webhook, &*setup.system, &*setup.system).await;
        results.push((webhook, came));
    }
    let failed = results.iter().filter(|(_, came)| came.is_err()).count();
    let said = |came: &Result<String, String>| match came {
        Ok(said) | Err(said) => said.clone(),
    };
    let mut screen = Screen::new();
    if as_json {
        let form = |(webhook, came): &(&Arc<WebhookConfig>, Result<String, String>)| json!({"name": webhook.name, "format": webhook.target.format(), "told": came.is_ok(), "answer": said(came)});
        screen.json(&json!({"webhooks": results.iter().map(form).collect::<Vec<Value>>()}))?;
    } else {
        let row = |(webhook, came): &(&Arc<WebhookConfig>, Result<String, String>)| {
            let told = if came.is_ok() { "told" } else { "NOT told" };
            vec![webhook.name.to_string(), webhook.target.format().to_owned(), told.to_owned(), said(came)]
        };
        let rows: Vec<Vec<String>> = results.iter().map(row).collect();
        screen.table(&["name", "format", "", "what came back"], &rows, "")?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(CliError::Told(format!("{failed} of {} could not be told", results.len()))),
    }
}
