//! The authority of a URI, and the host that every client takes a URL to.

use super::{
    Kind, UriError, Why,
    escape::{self, Part},
    split_scheme,
};

/// Letters that the two versions of IDNA resolve to different hosts.
const DEVIATIONS: [char; 5] = ['ß', 'ẞ', 'ς', '\u{200c}', '\u{200d}'];

/// A canonical authority.
pub(super) struct Authority {
    /// User information and its `@`; mostly empty.
    pub(super) user: String,
    /// Host and port.
    pub(super) text: String,
    pub(super) doubt: Option<Why>,
}

/// The authority of a URI in its canonical form.
pub(super) fn authority(raw: &str, kind: Kind) -> Result<Authority, Why> {
    let (user, place) = match raw.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, raw),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%".contains(&byte);
    if user.is_some_and(|user| !user.bytes().all(plain)) {
        return Err(Why::UserInfo);
    }
    let mut doubt = user.map(|_| Why::UserInfo);
    let (host, port) = split_port(place)?;
    let mut text = match kind {
        Kind::File => match host.to_ascii_lowercase().as_str() {
            // RFC 8089: the same as none.
            "" | "localhost" => String::new(),
            _ => return Err(Why::FileHost),
        },
        Kind::Network { .. } => network_host(host)?,
        Kind::Other => {
            let (text, rounds) = opaque_host(host)?;
            doubt = doubt.or((rounds > 1).then_some(Why::ManyTimes));
            text
        }
    };
    match (kind, port) {
        (Kind::File, Some(_)) => return Err(Why::FileHost),
        (Kind::Network { port: default }, Some(port)) if port == default => {}
        (_, Some(port)) => text.push_str(&format!(":{port}")),
        (_, None) => {}
    }
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    Ok(Authority { user, text, doubt })
}

/// Host and port; an empty port is none.
fn split_port(place: &str) -> Result<(&str, Option<u16>), Why> {
    let bracket = place.rfind(']').map_or(0, |at| at + 1);
    let (head, tail) = place.split_at_checked(bracket).ok_or(Why::Host)?;
    let (host, port) = match tail.split_once(':') {
        Some((host, port)) if head.is_empty() => (host, port),
        Some(("", port)) => (head, port),
        None if head.is_empty() => (tail, ""),
        None if tail.is_empty() => (head, ""),
        Some(_) | None => return Err(Why::Host),
    };
    if !port.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Why::Port);
    }
    match port {
        "" => Ok((host, None)),
        port => port.parse().map(|port| (host, Some(port))).map_err(|_| Why::Port),
    }
}

/// The host of a URL of the web: lower case, IDNA in ASCII, an IPv4 address in four numbers, without a dot at its end.
fn network_host(raw: &str) -> Result<String, Why> {
    if raw.is_empty() || raw.contains(['%', '\\']) || raw.contains(DEVIATIONS) {
        return Err(Why::Host);
    }
    let named = raw.strip_suffix('.').unwrap_or(raw);
    // One dot at the end is the root of the names; behind two, an address in another form is a name to some.
    if named.ends_with('.') {
        return Err(Why::Host);
    }
    match url::Host::parse(named).map_err(|_| Why::Host)? {
        url::Host::Domain(name) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if name.split('.').any(str::is_empty) || !name.bytes().all(plain) {
                return Err(Why::Host);
            }
            // What is more than a matter of case (full width, characters that vanish, other dots) not everybody maps.
            if !raw.is_ascii() && url::quirks::domain_to_unicode(&name) != named.to_lowercase() {
                return Err(Why::Host);
            }
            Ok(name)
        }
        // A number that begins with 0 is octal to some and decimal to others.
        url::Host::Ipv4(address) => {
            let octal = |number: &str| {
                number
                    .strip_prefix('0')
                    .is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
            };
            let clear = raw.is_ascii() && !named.split('.').any(octal);
            clear.then(|| address.to_string()).ok_or(Why::Host)
        }
        url::Host::Ipv6(address) => Ok(format!("[{address}]")),
    }
}

/// What stands in the place of the host where the scheme says what it is: `note://today`. Also how often it was encoded.
fn opaque_host(raw: &str) -> Result<(String, usize), Why> {
    if raw.starts_with('[') {
        return match url::Host::parse(raw) {
            Ok(url::Host::Ipv6(address)) => Ok((format!("[{address}]"), 0)),
            Ok(url::Host::Domain(_) | url::Host::Ipv4(_)) | Err(_) => Err(Why::Host),
        };
    }
    let (decoded, rounds) = escape::decode(raw)?;
    if decoded.contains(['/', '\\', '?', '#', '[', ']']) {
        return Err(Why::Host);
    }
    if matches!(decoded.as_str(), "." | "..") {
        return Err(Why::Climbs);
    }
    let mut text = String::with_capacity(raw.len());
    escape::encode(&mut text, Part::Authority, &decoded.to_ascii_lowercase());
    Ok((text, rounds))
}

/// The host that a URL leads to, as every parser reads it. What two of them read differently is an error, and so is a text
/// without a host, so that no rule about hosts passes over it.
pub fn host(url: &str) -> Result<String, UriError> {
    if url.chars().any(char::is_control) || url.trim() != url {
        return Err(Why::Control.into());
    }
    let (scheme, rest) = split_scheme(url).ok_or(Why::NoHost)?;
    let rest = rest.strip_prefix("//").ok_or(Why::NoHost)?;
    let body = rest.split(['?', '#']).next().unwrap_or_default();
    if body.contains('\\') {
        return Err(Why::Backslash.into());
    }
    let raw = body.split('/').next().unwrap_or_default();
    let kind = Kind::of(&scheme);
    let found = authority(raw, kind)?;
    // Clean user information leads nobody elsewhere; what is encoded may.
    if raw.contains('%') {
        return Err(Why::Host.into());
    }
    let (host, _) = split_port(&found.text)?;
    // Where the scheme is none of the network's, an address in another form is still one to who connects to it.
    let odd = match url::Host::parse(host) {
        Ok(url::Host::Ipv4(address)) => address.to_string() != host,
        Ok(url::Host::Domain(_) | url::Host::Ipv6(_)) => false,
        Err(_) => true,
    };
    if host.is_empty() {
        return Err(Why::NoHost.into());
    }
    // `mongodb://one,two/` leads to either.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[:]".contains(&byte);
    if odd || !host.bytes().all(plain) || host.ends_with('.') {
        return Err(Why::Host.into());
    }
    Ok(host.to_owned())
}
