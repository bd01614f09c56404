//! Names of sources of machines. The released client crashes on any other, so the list is closed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! backend_types {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum BackendType {
            $(#[serde(rename = $text)] $variant),+
        }

        impl BackendType {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|backend| backend.as_str() == text)
            }
        }
    };
}

backend_types!(
    Amddevcloud = "amddevcloud",
    Aws = "aws",
    Azure = "azure",
    Cloudrift = "cloudrift",
    Crusoe = "crusoe",
    Cudo = "cudo",
    Datacrunch = "datacrunch",
    Daytona = "daytona",
    Digitalocean = "digitalocean",
    Dstack = "dstack",
    Gcp = "gcp",
    Hotaisle = "hotaisle",
    Jarvislabs = "jarvislabs",
    Kubernetes = "kubernetes",
    Lambda = "lambda",
    Lium = "lium",
    Remote = "remote",
    Nebius = "nebius",
    Oci = "oci",
    Runpod = "runpod",
    Seeweb = "seeweb",
    Tensordock = "tensordock",
    Vastai = "vastai",
    Verda = "verda",
    Vultr = "vultr",
    Slurm = "slurm",
);

impl fmt::Display for BackendType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
