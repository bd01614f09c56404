//! The cluster's own certificate authority, and the identity of one replica under it.
//!
//! A replica's certificate carries `dstack://<cluster>/<node-name>` as its subject alternative URI,
//! and the node name as DNS name. The second lets rustls itself bind a connection to the name that
//! was dialled; the first tells the accepting side who is calling.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const SCHEME: &str = "dstack://";
const CA_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 1825;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(
        "{name:?} cannot name a replica or a cluster: use 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'"
    )]
    Name { name: String },
    #[error("{what} cannot be used: {reason}")]
    Unusable { what: &'static str, reason: String },
    #[error("cannot {action} {path}", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} exists; a certificate authority is never overwritten, move it away first", path = path.display())]
    Exists { path: PathBuf },
}

fn unusable(what: &'static str) -> impl Fn(rcgen::Error) -> TlsError {
    move |e| TlsError::Unusable {
        what,
        reason: e.to_string(),
    }
}

/// Names end up in certificates and host names, so they keep to what both allow.
pub fn check_name(name: &str) -> Result<(), TlsError> {
    let inner = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let good =
        inner && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-');
    if good {
        Ok(())
    } else {
        Err(TlsError::Name {
            name: name.to_owned(),
        })
    }
}

/// A certificate authority with its private key. Keep it off the replicas once they are set up.
#[derive(Clone)]
pub struct Ca {
    cluster: String,
    cert_pem: String,
    key_pem: String,
}

impl Ca {
    /// A new authority for a cluster of this name.
    pub fn create(cluster: &str) -> Result<Self, TlsError> {
        check_name(cluster)?;
        let key = KeyPair::generate().map_err(unusable("the authority's key"))?;
        let cert = ca_params(cluster)?
            .self_signed(&key)
            .map_err(unusable("the authority's certificate"))?;
        Ok(Ca {
            cluster: cluster.to_owned(),
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// A certificate for one replica. `extra` are further host names or IP addresses it is reached at.
    pub fn issue(&self, node_name: &str, extra: &[String]) -> Result<Identity, TlsError> {
        check_name(node_name)?;
        let what = "the replica's certificate";
        let ca_key = KeyPair::from_pem(&self.key_pem).map_err(unusable("the authority's key"))?;
        let issuer = Issuer::new(ca_params(&self.cluster)?, ca_key);
        let mut names = vec![node_name.to_owned()];
        names.extend(extra.iter().cloned());
        let mut params = CertificateParams::new(names).map_err(unusable(what))?;
        let uri = format!("{SCHEME}{}/{node_name}", self.cluster);
        params
            .subject_alt_names
            .push(SanType::URI(uri.try_into().map_err(unusable(what))?));
        params.distinguished_name = subject(node_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, LEAF_DAYS);
        let key = KeyPair::generate().map_err(unusable("the replica's key"))?;
        let cert = params.signed_by(&key, &issuer).map_err(unusable(what))?;
        Ok(Identity {
            ca_pem: self.cert_pem.clone(),
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Writes `ca.pem` and `ca.key`; an authority that is there already is left alone.
    pub fn save(&self, dir: &Path) -> Result<(), TlsError> {
        let path = dir.join("ca.key");
        if path.exists() {
            return Err(TlsError::Exists { path });
        }
        write_private(dir, "ca.key", &self.key_pem)?;
        write_private(dir, "ca.pem", &self.cert_pem)
    }

    pub fn load(dir: &Path) -> Result<Self, TlsError> {
        let cert_pem = read(dir, "ca.pem")?;
        let key_pem = read(dir, "ca.key")?;
        let uri = uri_of(&parse_cert(&cert_pem, "ca.pem")?, "ca.pem")?;
        let cluster = uri.trim_end_matches('/').to_owned();
        check_name(&cluster)?;
        Ok(Ca {
            cluster,
            cert_pem,
            key_pem,
        })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

fn subject(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::OrganizationName, "dstack");
    dn.push(DnType::CommonName, name);
    dn
}

/// The same parameters when the authority is made and whenever it signs: the issuer's name is all
/// that a signature takes from them.
fn ca_params(cluster: &str) -> Result<CertificateParams, TlsError> {
    let what = "the authority's certificate";
    let mut params = CertificateParams::default();
    let uri = format!("{SCHEME}{cluster}");
    params
        .subject_alt_names
        .push(SanType::URI(uri.try_into().map_err(unusable(what))?));
    params.distinguished_name = subject(&format!("{cluster} replicas"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, CA_DAYS);
    Ok(params)
}

fn valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    // Clocks of machines that are being set up may be a little apart.
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(days);
}

/// What one replica shows to the others.
#[derive(Clone)]
pub struct Identity {
    pub ca_pem: String,
    pub cert_pem: String,
    pub key_pem: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads `ca.pem`, `node.pem` and `node.key`.
    pub fn load(dir: &Path) -> Result<Self, TlsError> {
        Ok(Identity {
            ca_pem: read(dir, "ca.pem")?,
            cert_pem: read(dir, "node.pem")?,
            key_pem: read(dir, "node.key")?,
        })
    }

    /// Writes `ca.pem`, `node.pem` and `node.key`, readable by their owner only.
    pub fn save(&self, dir: &Path) -> Result<(), TlsError> {
        write_private(dir, "node.key", &self.key_pem)?;
        write_private(dir, "node.pem", &self.cert_pem)?;
        write_private(dir, "ca.pem", &self.ca_pem)
    }

    /// Who the certificate says it is for.
    pub fn subject(&self) -> Result<Subject, TlsError> {
        Subject::of(&parse_cert(&self.cert_pem, "node.pem")?)
    }

    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| bad("the TLS versions", &e))?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain()?, self.key()?)
            .map_err(|e| bad("node.pem with node.key", &e))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider())
                .build()
                .map_err(|e| bad("ca.pem", &e))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| bad("the TLS versions", &e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain()?, self.key()?)
            .map_err(|e| bad("node.pem with node.key", &e))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        // Several may stand in the file while an authority is being replaced.
        for cert in CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()) {
            roots
                .add(cert.map_err(|e| bad("ca.pem", &e))?)
                .map_err(|e| bad("ca.pem", &e))?;
        }
        Ok(roots)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| bad("node.pem", &e))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        // The error is not shown: it could quote the key.
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|_| TlsError::Unusable {
            what: "node.key",
            reason: "it is not a private key in PEM".to_owned(),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn bad(what: &'static str, e: &dyn fmt::Display) -> TlsError {
    TlsError::Unusable {
        what,
        reason: e.to_string(),
    }
}

/// The cluster and node name in a replica's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub cluster: String,
    pub node_name: String,
}

impl Subject {
    pub(crate) fn of(cert: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let what = "the certificate";
        let uri = uri_of(cert, what)?;
        let Some((cluster, node_name)) = uri.split_once('/') else {
            return Err(TlsError::Unusable {
                what,
                reason: format!("{SCHEME}{uri} names no replica"),
            });
        };
        check_name(cluster)?;
        check_name(node_name)?;
        Ok(Subject {
            cluster: cluster.to_owned(),
            node_name: node_name.to_owned(),
        })
    }
}

fn parse_cert(pem: &str, what: &'static str) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| bad(what, &e))
}

/// What follows `dstack://` in the certificate's alternative names.
fn uri_of(cert: &CertificateDer<'_>, what: &'static str) -> Result<String, TlsError> {
    let (_, parsed) = X509Certificate::from_der(cert).map_err(|e| bad(what, &e))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|e| bad(what, &e))?;
    let uri = names
        .iter()
        .flat_map(|ext| &ext.value.general_names)
        .find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(SCHEME),
            _ => None,
        });
    uri.map(str::to_owned).ok_or_else(|| TlsError::Unusable {
        what,
        reason: format!("it carries no {SCHEME} name"),
    })
}

fn read(dir: &Path, name: &str) -> Result<String, TlsError> {
    let path = dir.join(name);
    fs::read_to_string(&path).map_err(|source| TlsError::File {
        action: "read",
        path,
        source,
    })
}

fn write_private(dir: &Path, name: &str, text: &str) -> Result<(), TlsError> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        // Made anew each time, so that the mode is ours from the first byte.
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| TlsError::File {
        action: "write",
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_identity_names_its_replica_and_is_private_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        Ca::create("lab").unwrap().save(dir.path()).unwrap();
        let ca = Ca::load(dir.path()).unwrap();
        assert!(matches!(ca.save(dir.path()), Err(TlsError::Exists { .. })));
        let identity = ca.issue("a", &["127.0.0.1".to_owned()]).unwrap();
        identity.save(dir.path()).unwrap();
        let loaded = Identity::load(dir.path()).unwrap();
        assert_eq!(
            loaded.subject().unwrap(),
            Subject {
                cluster: "lab".into(),
                node_name: "a".into()
            }
        );
        for file in ["ca.key", "node.key", "node.pem", "ca.pem"] {
            let mode = fs::metadata(dir.path().join(file))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        loaded.client_config().unwrap();
        loaded.server_config().unwrap();
        assert!(!format!("{loaded:?}").contains("PRIVATE"));
    }

    #[test]
    fn names_that_cannot_be_host_names_are_refused() {
        for bad in ["", "A", "a_b", "-a", "a-", "a/b", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        check_name("node-1").unwrap();
    }
}
