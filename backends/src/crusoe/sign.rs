//! Request signatures: HMAC-SHA256 over path, canonical query, method and timestamp. The body is not signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use std::fmt;

/// The key pair of an account.
#[derive(Clone)]
pub struct AccessKey {
    id: String,
    secret: hmac::Key,
}

/// The secret is not what Crusoe gives out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret key is not URL-safe base64 without padding; copy it again from the console")]
pub struct BadKey;

impl AccessKey {
    /// The secret as it is shown: its bytes are encoded.
    pub fn new(id: impl Into<String>, secret: &str) -> Result<Self, BadKey> {
        let bytes = URL_SAFE_NO_PAD.decode(secret.trim()).map_err(|_| BadKey)?;
        if bytes.is_empty() {
            return Err(BadKey);
        }
        Ok(Self {
            id: id.into(),
            secret: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
        })
    }

    /// The `Authorization` header. `path` is decoded and has the version in front; `timestamp` is the exact text of
    /// `X-Crusoe-Timestamp`.
    pub fn authorization(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        timestamp: &str,
    ) -> String {
        let text = format!("{path}\n{}\n{method}\n{timestamp}\n", canonical(query));
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.secret, text.as_bytes()));
        format!("Bearer 1.0:{}:{signature}", self.id)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKey({}, <secret>)", self.id)
    }
}

/// Sorted by key, values of one key in their order, everything escaped as Go's `QueryEscape` does. It is what is
/// sent, too, so that both sides see one text.
pub fn canonical(query: &[(&str, &str)]) -> String {
    let mut sorted = query.to_vec();
    sorted.sort_by_key(|(key, _)| *key);
    let pairs: Vec<String> = sorted
        .iter()
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect();
    pairs.join("&")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c2VjcmV0LWtleS1mb3ItdGVzdHMtMzItYnl0ZXMhISE";

    #[test]
    fn recorded_vectors() {
        let key = AccessKey::new("id", SECRET).unwrap();
        let instances = "/v1alpha5/projects/p1/compute/vms/instances";
        let filter = [("states", "STATE_RUNNING"), ("names", "a b")];
        for (method, path, query, timestamp, signature) in [
            (
                "GET",
                "/v1alpha5/locations",
                &[][..],
                "2026-08-21T12:00:00Z",
                "L3LE1r9XP_DPAK_K8eXbqcNGt00HxFMmGC5Vdgl53tc",
            ),
            (
                "GET",
                instances,
                &filter,
                "2026-08-21T12:00:00Z",
                "rQ0LMr2_rchgYzNXdopR_uclsv-xUddnar8Z_yKAXLs",
            ),
            (
                "POST",
                instances,
                &[],
                "2026-08-21T12:00:00+00:00",
                "vS9pfAffvBnQByUyYVNrZ_FD5MqE-WkCKx-PVY35unc",
            ),
        ] {
            let header = key.authorization(method, path, query, timestamp);
            assert_eq!(header, format!("Bearer 1.0:id:{signature}"));
        }
    }

    #[test]
    fn the_query_is_sorted_by_key_and_escaped() {
        let query = [("b", "2"), ("a", "x,y/z:"), ("b", "1"), ("a", "ä b")];
        assert_eq!(canonical(&query), "a=x%2Cy%2Fz%3A&a=%C3%A4+b&b=2&b=1");
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_never_shown() {
        for bad in ["", "not base64!", "c2VjcmV0=="] {
            assert_eq!(AccessKey::new("id", bad).unwrap_err(), BadKey);
        }
        let shown = format!("{:?}", AccessKey::new("id", SECRET).unwrap());
        assert_eq!(shown, "AccessKey(id, <secret>)");
    }
}
