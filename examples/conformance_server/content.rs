//! What the suite asks for by name: tools, resources, prompts, and their fixed answers.

use rmcp::{
    ErrorData,
    model::{CallToolResult, GetPromptResult, Prompt, ReadResourceResult, Resource, ResourceTemplate, Tool},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// One red pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// An empty mono WAV.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

pub(crate) fn decoded<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|e| ErrorData::internal_error(e.to_string(), None))
}

/// A whole result. rmcp takes `resultType` out again for clients of the older revisions.
pub(crate) fn complete<T: DeserializeOwned>(mut result: Value) -> Result<T, ErrorData> {
    if let Some(members) = result.as_object_mut() {
        members.insert("resultType".to_owned(), json!("complete"));
    }
    decoded(result)
}

pub(crate) fn text(text: &str) -> Result<CallToolResult, ErrorData> {
    complete(json!({ "content": [{ "type": "text", "text": text }] }))
}

pub(crate) fn failure(text: &str) -> Result<CallToolResult, ErrorData> {
    complete(json!({ "content": [{ "type": "text", "text": text }], "isError": true }))
}

/// Tools whose answer never changes.
pub(crate) fn fixed(name: &str) -> Option<Value> {
    let image = json!({ "type": "image", "data": PNG, "mimeType": "image/png" });
    Some(match name {
        "test_simple_text" => {
            json!({ "content": [{ "type": "text", "text": "This is a simple text response for testing." }] })
        }
        "test_image_content" => json!({ "content": [image] }),
        "test_audio_content" => {
            json!({ "content": [{ "type": "audio", "data": WAV, "mimeType": "audio/wav" }] })
        }
        "test_embedded_resource" => json!({ "content": [{ "type": "resource", "resource": {
            "uri": "test://embedded-resource", "mimeType": "text/plain",
            "text": "This is an embedded resource content.",
        } }] }),
        "test_multiple_content_types" => json!({ "content": [
            { "type": "text", "text": "Multiple content types test:" },
            image,
            { "type": "resource", "resource": {
                "uri": "test://mixed-content-resource", "mimeType": "application/json",
                "text": "{\"test\":\"data\",\"value\":123}",
            } },
        ] }),
        "test_error_handling" => json!({ "isError": true, "content": [
            { "type": "text", "text": "This tool intentionally returns an error for testing" },
        ] }),
        "json_schema_2020_12_tool" | "test_custom_header" | "test_dynamic_tool" => {
            json!({ "content": [{ "type": "text", "text": "accepted" }] })
        }
        _ => return None,
    })
}

/// Every tool, in the order of the list; `dynamic` adds the one that comes and goes.
pub(crate) fn tools(dynamic: bool) -> Result<Vec<Tool>, ErrorData> {
    const PLAIN: &[(&str, &str)] = &[
        ("test_simple_text", "Returns text"),
        ("test_image_content", "Returns an image"),
        ("test_audio_content", "Returns audio"),
        ("test_embedded_resource", "Returns an embedded resource"),
        ("test_multiple_content_types", "Returns text, an image and a resource"),
        ("test_error_handling", "Always fails"),
        ("test_tool_with_logging", "Logs three times while it works"),
        ("test_logging_tool", "Logs where the request asks for it"),
        ("test_tool_with_progress", "Reports progress where the request asks for it"),
        ("test_reconnection", "Takes long enough for a client to reconnect"),
        ("test_missing_capability", "Needs a client that samples"),
        ("test_streaming_elicitation", "Asks for a name in its result"),
        ("test_trigger_tool_change", "Adds or takes away a tool"),
        ("test_trigger_prompt_change", "Adds or takes away a prompt"),
        ("test_elicitation_sep1034_defaults", "Asks with default values"),
        ("test_elicitation_sep1330_enums", "Asks with every kind of choice"),
        ("test_input_required_result_elicitation", "Asks for a name"),
        ("test_input_required_result_sampling", "Asks for a completion"),
        ("test_input_required_result_list_roots", "Asks for the roots"),
        ("test_input_required_result_request_state", "Asks, and wants its state back"),
        ("test_input_required_result_multiple_inputs", "Asks three things at once"),
        ("test_input_required_result_multi_round", "Asks twice"),
        ("test_input_required_result_tampered_state", "Asks, and checks its state"),
        ("test_input_required_result_capabilities", "Asks only what the client can answer"),
        ("failing_job", "A task that fails as a tool"),
        ("protocol_error_job", "A task that fails as a request"),
        ("multi_input", "A task that asks two things at once"),
        ("test_tool_with_task", "Asks for a name, then becomes a task"),
    ];
    let mut list = Vec::new();
    for (name, description) in PLAIN {
        list.push(tool(name, description, json!({ "type": "object", "properties": {} }))?);
    }
    list.push(tool("test_sampling", "Asks the client's model", strings(&["prompt"]))?);
    list.push(tool("test_elicitation", "Asks the client's user", strings(&["message"]))?);
    list.push(tool("greet", "Says hello", strings(&["name"]))?);
    list.push(tool("confirm_delete", "A task that asks before it ends", strings(&["filename"]))?);
    let seconds = json!({ "type": "object", "properties": {
        "seconds": { "type": "number", "minimum": 0 }, "label": { "type": "string" },
    }, "required": ["seconds"] });
    list.push(tool("slow_compute", "A task that takes a while", seconds)?);
    let region = json!({ "type": "object", "required": ["region"], "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
    } });
    list.push(tool("test_custom_header", "Takes an argument that a header repeats", region)?);
    list.push(tool("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", rich_schema())?);
    if dynamic {
        let nothing = json!({ "type": "object", "properties": {} });
        list.push(tool("test_dynamic_tool", "Is there after every odd change", nothing)?);
    }
    Ok(list)
}

fn tool(name: &str, description: &str, schema: Value) -> Result<Tool, ErrorData> {
    decoded(json!({ "name": name, "description": description, "inputSchema": schema }))
}

fn strings(names: &[&str]) -> Value {
    let properties: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
    json!({ "type": "object", "properties": properties, "required": names })
}

/// One keyword of each kind that a server or a gateway on the way may lose.
fn rich_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": { "$anchor": "addressDef", "type": "object", "properties": {
            "street": { "type": "string" }, "city": { "type": "string" },
        } } },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}

pub(crate) fn resources() -> Result<Vec<Resource>, ErrorData> {
    decoded(json!([
        { "uri": "test://static-text", "name": "static-text", "description": "Text", "mimeType": "text/plain" },
        { "uri": "test://static-binary", "name": "static-binary", "description": "Image", "mimeType": "image/png" },
        { "uri": "test://watched-resource", "name": "watched-resource", "description": "Can be subscribed to",
          "mimeType": "text/plain" },
    ]))
}

pub(crate) fn templates() -> Result<Vec<ResourceTemplate>, ErrorData> {
    decoded(json!([
        { "uriTemplate": "test://template/{id}/data", "name": "template", "description": "Data by id",
          "mimeType": "application/json" },
    ]))
}

pub(crate) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let contents = match uri {
        "test://static-text" => json!({ "uri": uri, "mimeType": "text/plain",
            "text": "This is the content of the static text resource." }),
        "test://static-binary" => json!({ "uri": uri, "mimeType": "image/png", "blob": PNG }),
        "test://watched-resource" => {
            json!({ "uri": uri, "mimeType": "text/plain", "text": "Watched resource content." })
        }
        _ => {
            let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
            let id = id.filter(|id| !id.is_empty() && !id.contains('/')).ok_or_else(|| {
                ErrorData::resource_not_found("Resource not found", Some(json!({ "uri": uri })))
            })?;
            let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
            json!({ "uri": uri, "mimeType": "application/json", "text": data.to_string() })
        }
    };
    complete(json!({ "contents": [contents] }))
}

pub(crate) fn prompts(dynamic: bool) -> Result<Vec<Prompt>, ErrorData> {
    let mut list: Vec<Prompt> = decoded(json!([
        { "name": "test_simple_prompt", "description": "A prompt without arguments" },
        { "name": "test_prompt_with_arguments", "description": "A prompt with two arguments", "arguments": [
            { "name": "arg1", "description": "First test argument", "required": true },
            { "name": "arg2", "description": "Second test argument", "required": true },
        ] },
        { "name": "test_prompt_with_embedded_resource", "description": "A prompt with a resource", "arguments": [
            { "name": "resourceUri", "description": "URI of the resource to embed", "required": true },
        ] },
        { "name": "test_prompt_with_image", "description": "A prompt with an image" },
        { "name": "test_input_required_result_prompt", "description": "A prompt that asks first" },
    ]))?;
    if dynamic {
        list.push(decoded(json!({ "name": "test_dynamic_prompt", "description": "Comes and goes" }))?);
    }
    Ok(list)
}

pub(crate) fn prompt(name: &str, arguments: &Map<String, Value>) -> Result<GetPromptResult, ErrorData> {
    let argument = |name: &str| {
        arguments
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| ErrorData::invalid_params(format!("missing argument `{name}`"), None))
    };
    let user = |content: Value| json!({ "role": "user", "content": content });
    let says = |text: &str| user(json!({ "type": "text", "text": text }));
    let messages = match name {
        "test_simple_prompt" | "test_dynamic_prompt" => vec![says("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => vec![says(&format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1")?,
            argument("arg2")?
        ))],
        "test_prompt_with_embedded_resource" => vec![
            user(json!({ "type": "resource", "resource": {
                "uri": argument("resourceUri")?, "mimeType": "text/plain",
                "text": "Embedded resource content for testing.",
            } })),
            says("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![
            user(json!({ "type": "image", "data": PNG, "mimeType": "image/png" })),
            says("Please analyze the image above."),
        ],
        _ => return Err(ErrorData::invalid_params(format!("unknown prompt `{name}`"), None)),
    };
    complete(json!({ "messages": messages }))
}
