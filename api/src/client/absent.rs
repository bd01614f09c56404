//! The endpoints of a project about things that this server may not have: volumes, gateways, exports, imports. Answers
//! are values without a type of their own, because nothing here looks into them but tables.

use serde_json::{Value, json};

use super::error::ApiError;
use super::project::ProjectClient;
use crate::http::gateways::{DeleteGateways, GetGateway, ListGateways};
use crate::http::volumes::{DeleteVolumes, GetVolume};

impl ProjectClient {
    pub async fn list_volumes(&self) -> Result<Vec<Value>, ApiError> {
        self.send(self.ask("volumes/list", &json!({}))).await
    }

    pub async fn get_volume(&self, name: &str) -> Result<Value, ApiError> {
        let name = name.to_owned();
        self.send(self.ask("volumes/get", &GetVolume { name }))
            .await
    }

    pub async fn delete_volumes(&self, names: Vec<String>) -> Result<(), ApiError> {
        let call = self.change("volumes/delete", &DeleteVolumes { names });
        self.client().call_void(call).await
    }

    pub async fn list_gateways(&self) -> Result<Vec<Value>, ApiError> {
        let request = ListGateways {
            include_imported: true,
        };
        self.send(self.ask("gateways/list", &request)).await
    }

    pub async fn get_gateway(&self, name: &str) -> Result<Value, ApiError> {
        let name = name.to_owned();
        self.send(self.ask("gateways/get", &GetGateway { name }))
            .await
    }

    pub async fn delete_gateways(&self, names: Vec<String>) -> Result<(), ApiError> {
        let call = self.change("gateways/delete", &DeleteGateways { names });
        self.client().call_void(call).await
    }

    pub async fn set_default_gateway(&self, name: &str) -> Result<(), ApiError> {
        let call = self.change("gateways/set_default", &json!({ "name": name }));
        self.client().call_void(call).await
    }

    pub async fn set_gateway_domain(&self, name: &str, domain: &str) -> Result<Value, ApiError> {
        let request = json!({ "name": name, "wildcard_domain": domain });
        self.send(self.change("gateways/set_wildcard_domain", &request))
            .await
    }

    /// `list`, `create`, `update` or `delete` of `exports`; what it says depends on the verb.
    pub async fn exports(&self, verb: &str, request: &Value) -> Result<Value, ApiError> {
        self.send(self.change(&format!("exports/{verb}"), request))
            .await
    }

    /// `list` or `delete` of `imports`.
    pub async fn imports(&self, verb: &str, request: &Value) -> Result<Value, ApiError> {
        self.send(self.change(&format!("imports/{verb}"), request))
            .await
    }
}
