//! Pages of MCP Apps ask their host for origins to connect to and for permissions. What servers.toml does not grant their
//! upstream is taken out before a host sees it.

use super::entry::Catalog;
use crate::{config::AppsConfig, model::UpstreamName};
use serde_json::{Map, Value};

/// The members of a page's security policy: in `_meta.ui.csp`, in `_meta["openai/widgetCSP"]`, and what is granted of them.
type Granted = fn(&AppsConfig) -> &[String];
const ORIGINS: [(&str, &str, Granted); 4] = [
    ("connectDomains", "connect_domains", |apps| &apps.connect_domains),
    ("resourceDomains", "resource_domains", |apps| &apps.resource_domains),
    ("frameDomains", "frame_domains", |apps| &apps.frame_domains),
    ("baseUriDomains", "base_uri_domains", |apps| &apps.base_uri_domains),
];
/// As hosts of before the extension read it.
const OLDER: &str = "openai/widgetCSP";
const OLDER_DOMAIN: &str = "openai/widgetDomain";

/// Takes out of one item or content what its upstream's pages may not ask for. Each thing that went, in words.
pub(super) fn cap(item: &mut Value, granted: &AppsConfig) -> Vec<String> {
    let mut gone = Vec::new();
    let Some(Value::Object(meta)) = item.get_mut("_meta") else { return gone };
    if let Some(ui) = meta.get_mut("ui") {
        match ui {
            Value::Object(ui) => cap_ui(ui, granted, &mut gone),
            // Of no form that is known: a host may read something into it.
            _ => drop(meta.shift_remove("ui")),
        }
    }
    if meta.contains_key(OLDER) {
        cap_csp(meta, OLDER, granted, &mut gone);
    }
    if let Some(domain) = meta.get(OLDER_DOMAIN)
        && !domain.as_str().is_some_and(|domain| granted.domains.iter().any(|other| other == domain))
    {
        meta.shift_remove(OLDER_DOMAIN);
        gone.push("an origin of its own".to_owned());
    }
    gone
}

/// Takes out of a content that is a list of URLs, which older hosts show in a frame, those whose origin is not granted.
fn cap_frames(content: &mut Value, granted: &AppsConfig) {
    let member = |name: &str| content.get(name).and_then(Value::as_str).map(str::to_ascii_lowercase);
    let is_page = member("uri").is_some_and(|uri| uri.starts_with("ui:"));
    if !is_page || !member("mimeType").is_some_and(|kind| kind.starts_with("text/uri-list")) {
        return;
    }
    let Some(map) = content.as_object_mut() else { return };
    // As bytes it is looked at by nobody.
    map.shift_remove("blob");
    let Some(Value::String(text)) = map.get_mut("text") else { return };
    let keeps = |line: &&str| {
        let origin = url::Url::parse(line.trim()).ok().map(|url| url.origin().ascii_serialization());
        origin.is_some_and(|origin| granted.frame_domains.iter().any(|pattern| covers(pattern, &origin)))
    };
    *text = text.lines().filter(keeps).collect::<Vec<_>>().join("\n");
}

fn cap_ui(ui: &mut Map<String, Value>, granted: &AppsConfig, gone: &mut Vec<String>) {
    if ui.contains_key("csp") {
        cap_csp(ui, "csp", granted, gone);
    }
    match ui.get_mut("permissions") {
        None => {}
        Some(Value::Object(permissions)) => permissions.retain(|name, _| {
            let keeps = granted.permissions.iter().any(|other| other == name);
            if !keeps {
                gone.push(format!("the permission `{}`", short(name)));
            }
            keeps
        }),
        Some(_) => drop(ui.shift_remove("permissions")),
    }
    let is_granted = |domain: &Value| {
        domain.as_str().is_some_and(|domain| granted.domains.iter().any(|other| other == domain))
    };
    if ui.get("domain").is_some_and(|domain| !is_granted(domain)) {
        ui.shift_remove("domain");
        gone.push("an origin of its own".to_owned());
    }
}

fn cap_csp(of: &mut Map<String, Value>, key: &str, granted: &AppsConfig, gone: &mut Vec<String>) {
    let Some(Value::Object(csp)) = of.get_mut(key) else {
        of.shift_remove(key);
        return;
    };
    // What is not known opens something that nobody granted.
    csp.retain(|member, origins| {
        let known = ORIGINS.iter().find(|(name, older, _)| member == name || member == older);
        match (known, origins) {
            (Some((_, _, list)), Value::Array(origins)) => {
                origins.retain(|origin| {
                    let origin = origin.as_str().unwrap_or_default();
                    let keeps = list(granted).iter().any(|pattern| covers(pattern, origin));
                    if !keeps {
                        gone.push(format!("`{}` in `{member}`", short(origin)));
                    }
                    keeps
                });
                true
            }
            (Some(_) | None, _) => {
                gone.push(format!("`{}`", short(member)));
                false
            }
        }
    });
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Whether what is granted includes an origin, itself perhaps with a wildcard in front of its host. What is no plain origin
/// is never included: it could hold another directive.
pub(super) fn covers(pattern: &str, asked: &str) -> bool {
    let Some((scheme, wild, host, port)) = origin(asked) else { return false };
    if pattern == "*" {
        return true;
    }
    let Some((of_scheme, of_wild, of_host, of_port)) = origin(pattern) else { return false };
    let same_host = match of_wild {
        // A wildcard stands for one name or more in front.
        true => {
            host.strip_suffix(&*of_host).is_some_and(|front| front.ends_with('.'))
                || (wild && host == of_host)
        }
        false => !wild && host == of_host,
    };
    scheme == of_scheme && same_host && port == of_port
}

/// Scheme, whether a wildcard stands in front, host and port of `https://*.example.com:8443`.
pub(crate) fn origin(text: &str) -> Option<(&str, bool, String, Option<u16>)> {
    let (scheme, rest) = text.split_once("://")?;
    if !matches!(scheme, "https" | "wss" | "http" | "ws") {
        return None;
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (rest, None),
    };
    let (wild, host) = match host.strip_prefix("*.") {
        Some(host) => (true, host),
        None => (false, host),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let good = host.len() <= 253 && host.split('.').all(label) && (!wild || host.contains('.'));
    good.then(|| (scheme, wild, host.to_ascii_lowercase(), port))
}

/// One block of a result, and the resource in it.
fn cap_block(block: &mut Value, granted: &AppsConfig) {
    cap(block, granted);
    cap_frames(block, granted);
    if let Some(resource) = block.get_mut("resource") {
        cap(resource, granted);
        cap_frames(resource, granted);
    }
}

/// Whether a tool is for pages alone: a host must not hand it to a model.
pub fn is_for_pages_only(tool: &Value) -> bool {
    let visibility = tool.pointer("/_meta/ui/visibility").and_then(Value::as_array);
    visibility.is_some_and(|words| !words.iter().any(|word| word == "model"))
}

impl Catalog {
    /// Takes out of a result what pages of its upstream may not ask for.
    pub fn cap_pages(&self, upstream: &UpstreamName, result: &mut Value) {
        let none = AppsConfig::default();
        let granted = self.apps.get(upstream).map_or(&none, |granted| granted);
        cap(result, granted);
        for member in ["contents", "content"] {
            for block in result.get_mut(member).and_then(Value::as_array_mut).into_iter().flatten() {
                cap_block(block, granted);
            }
        }
        for message in result.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
            let blocks: &mut [Value] = match message.get_mut("content") {
                Some(Value::Array(blocks)) => blocks,
                Some(one) => std::slice::from_mut(one),
                None => continue,
            };
            for block in blocks {
                cap_block(block, granted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_origin_is_granted_as_it_is_or_by_a_wildcard() {
        let check = |pattern: &str, asked: &str, expect: bool| {
            assert_eq!(covers(pattern, asked), expect, "{pattern} {asked}");
        };
        check("https://api.example.com", "https://api.example.com", true);
        check("https://api.example.com", "https://API.example.com/", true);
        check("https://api.example.com", "https://other.example.com", false);
        check("https://api.example.com", "wss://api.example.com", false);
        check("https://api.example.com", "https://api.example.com:8443", false);
        check("https://*.example.com", "https://a.b.example.com", true);
        check("https://*.example.com", "https://*.example.com", true);
        check("https://*.example.com", "https://*.b.example.com", true);
        check("https://*.example.com", "https://example.com", false);
        check("https://*.example.com", "https://badexample.com", false);
        check("https://a.example.com", "https://*.example.com", false);
        check("*", "https://a.example.com", true);
        for odd in [
            "https://a.com; script-src *",
            "https://a.com https://b.com",
            "https://a.com/path",
            "https://user@a.com",
            "*",
            "data:",
            "'unsafe-eval'",
            "https://*",
            "https://*.com",
            "javascript:alert(1)",
            "",
        ] {
            check("*", odd, false);
        }
    }

    #[test]
    fn a_page_asks_for_no_more_than_is_granted() {
        let page = || {
            json!({"uri": "ui://a/b", "_meta": {"own": 1, "ui": {
                "prefersBorder": true,
                "domain": "x.host.example",
                "csp": {"connectDomains": ["https://api.example.com", "https://evil.example"],
                    "resourceDomains": ["https://cdn.example.com"], "scriptDomains": ["https://evil.example"]},
                "permissions": {"camera": {}, "clipboardWrite": {}}},
                "openai/widgetCSP": {"connect_domains": ["https://evil.example"], "redirect_domains": ["https://x"]},
                "openai/widgetDomain": "https://evil.example"}})
        };
        let mut nothing = page();
        let gone = cap(&mut nothing, &AppsConfig::default());
        assert_eq!(
            nothing["_meta"],
            json!({"own": 1, "ui": {"prefersBorder": true,
                "csp": {"connectDomains": [], "resourceDomains": []}, "permissions": {}},
                "openai/widgetCSP": {"connect_domains": []}})
        );
        assert!(
            gone.iter().any(|told| told.contains("evil.example"))
                && gone.iter().any(|told| told.contains("camera"))
        );
        let granted = AppsConfig {
            connect_domains: vec!["https://api.example.com".into()],
            resource_domains: vec!["https://*.example.com".into()],
            permissions: vec!["clipboardWrite".into()],
            domains: vec!["x.host.example".into()],
            ..AppsConfig::default()
        };
        let mut some = page();
        cap(&mut some, &granted);
        assert_eq!(
            some["_meta"]["ui"],
            json!({"prefersBorder": true, "domain": "x.host.example",
                "csp": {"connectDomains": ["https://api.example.com"], "resourceDomains": ["https://cdn.example.com"]},
                "permissions": {"clipboardWrite": {}}})
        );
        for odd in [
            json!({"ui": "x"}),
            json!({"ui": {"csp": "*"}}),
            json!({"ui": {"permissions": ["camera"]}}),
            json!({"ui": {"csp": {"connectDomains": "*"}}}),
        ] {
            let mut item = json!({"_meta": odd});
            cap(&mut item, &granted);
            let left = item.to_string();
            assert!(!left.contains('*') && !left.contains("camera") && !left.contains("\"x\""), "{left}");
        }
    }

    #[test]
    fn a_page_that_is_a_url_is_shown_where_its_origin_is_granted() {
        let granted =
            AppsConfig { frame_domains: vec!["https://ok.example".into()], ..AppsConfig::default() };
        let check = |mut content: Value, expect: Value| {
            cap_block(&mut content, &granted);
            assert_eq!(content, expect);
        };
        let page = |text: &str| json!({"uri": "ui://a", "mimeType": "text/uri-list", "text": text});
        check(page("https://ok.example/x?y"), page("https://ok.example/x?y"));
        check(page("https://evil.example/\nhttps://ok.example/"), page("https://ok.example/"));
        check(page("https://ok.example@evil.example/"), page(""));
        check(
            json!({"uri": "ui://a", "mimeType": "text/uri-list", "blob": "eA=="}),
            json!({"uri": "ui://a", "mimeType": "text/uri-list"}),
        );
        let other = json!({"resource": {"uri": "file:///a", "mimeType": "text/uri-list", "text": "https://evil.example"}});
        check(other.clone(), other);
    }

    #[test]
    fn tools_of_pages_are_known() {
        let tool = |visibility: Value| json!({"_meta": {"ui": {"visibility": visibility}}});
        assert!(is_for_pages_only(&tool(json!(["app"]))));
        assert!(!is_for_pages_only(&tool(json!(["model", "app"]))));
        assert!(!is_for_pages_only(&tool(json!("app"))) && !is_for_pages_only(&json!({})));
    }
}
