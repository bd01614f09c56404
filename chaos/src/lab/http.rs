//! The lab's HTTP client.

/// A client for plain HTTP on loopback. The TLS provider must be named although none is used.
pub fn http() -> reqwest::Client {
    // A second installation is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}
