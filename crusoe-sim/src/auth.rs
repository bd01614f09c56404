//! The other side of a signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::hmac;

/// Who may call.
#[derive(Debug, Clone)]
pub struct Account {
    pub key_id: String,
    /// As the console shows it: URL-safe base64 without padding.
    pub secret: String,
    /// How far a clock may be off. The cloud's own limit is not documented.
    pub tolerance: SignedDuration,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            key_id: "sim-key".into(),
            secret: URL_SAFE_NO_PAD.encode("a secret for the simulator"),
            tolerance: SignedDuration::from_mins(5),
        }
    }
}

/// What a request says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    pub method: &'a str,
    /// Decoded, with the version in front.
    pub path: &'a str,
    pub query: &'a str,
    pub timestamp: Option<&'a str>,
    pub authorization: Option<&'a str>,
}

impl Account {
    /// Why the request is not let in, in the cloud's words.
    pub fn check(&self, request: Signed<'_>, now: Timestamp) -> Result<(), &'static str> {
        let timestamp = request.timestamp.ok_or("missing timestamp")?;
        let at: Timestamp = timestamp.parse().map_err(|_| "malformed timestamp")?;
        if at.duration_since(now).abs() > self.tolerance {
            return Err("timestamp out of range");
        }
        let token = request
            .authorization
            .and_then(|header| header.strip_prefix("Bearer 1.0:"))
            .ok_or("missing credentials")?;
        let (id, signature) = token.rsplit_once(':').ok_or("malformed credentials")?;
        if id != self.key_id {
            return Err("unknown access key");
        }
        let given = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| "invalid signature")?;
        let query = canonical(request.query).ok_or("invalid semicolon separator in query")?;
        let text = format!(
            "{}\n{query}\n{}\n{timestamp}\n",
            request.path, request.method
        );
        let secret = URL_SAFE_NO_PAD
            .decode(&self.secret)
            .map_err(|_| "unknown access key")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        hmac::verify(&key, text.as_bytes(), &given).map_err(|_| "invalid signature")
    }
}

/// Decoded, sorted by key with the values of each in their order, and encoded again. None with a semicolon in it.
fn canonical(query: &str) -> Option<String> {
    if query.contains(';') {
        return None;
    }
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let encoded = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)));
    Some(encoded.collect::<Vec<_>>().join("&"))
}

/// The pairs of a query, decoded.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                let hex = std::str::from_utf8(&hex).unwrap_or_default();
                bytes.push(u8::from_str_radix(hex, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encode(text: &str) -> String {
    let one = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-08-21T12:00:00Z";

    fn account() -> Account {
        Account {
            key_id: "id".into(),
            secret: "c2VjcmV0LWtleS1mb3ItdGVzdHMtMzItYnl0ZXMhISE".into(),
            ..Account::default()
        }
    }

    fn check(request: Signed<'_>, now: &str) -> Result<(), &'static str> {
        account().check(request, now.parse().unwrap())
    }

    fn signed<'a>(query: &'a str, authorization: &'a str) -> Signed<'a> {
        Signed {
            method: "GET",
            path: "/v1alpha5/projects/p1/compute/vms/instances",
            query,
            timestamp: Some(NOW),
            authorization: Some(authorization),
        }
    }

    /// A recorded vector; its query came in another order and encoding than it is signed in.
    const HEADER: &str = "Bearer 1.0:id:rQ0LMr2_rchgYzNXdopR_uclsv-xUddnar8Z_yKAXLs";

    #[test]
    fn the_recorded_vector_is_let_in_however_its_query_is_written() {
        for query in [
            "states=STATE_RUNNING&names=a+b",
            "names=a%20b&states=STATE%5FRUNNING",
        ] {
            assert_eq!(check(signed(query, HEADER), NOW), Ok(()), "{query}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let query = "states=STATE_RUNNING&names=a+b";
        for (request, now, why) in [
            (signed("names=a+b", HEADER), NOW, "invalid signature"),
            (
                signed("names=a;b", HEADER),
                NOW,
                "invalid semicolon separator in query",
            ),
            (
                signed(query, "Bearer 1.0:other:x"),
                NOW,
                "unknown access key",
            ),
            (signed(query, "Basic x"), NOW, "missing credentials"),
            (
                signed(query, HEADER),
                "2026-08-21T12:05:01Z",
                "timestamp out of range",
            ),
            (
                signed(query, HEADER),
                "2026-08-21T11:54:59Z",
                "timestamp out of range",
            ),
            (
                Signed {
                    timestamp: None,
                    ..signed(query, HEADER)
                },
                NOW,
                "missing timestamp",
            ),
            (
                Signed {
                    timestamp: Some("now"),
                    ..signed(query, HEADER)
                },
                NOW,
                "malformed timestamp",
            ),
        ] {
            assert_eq!(check(request, now), Err(why));
        }
        assert_eq!(
            check(signed(query, HEADER), "2026-08-21T12:05:00Z"),
            Ok(()),
            "at the edge"
        );
    }
}
