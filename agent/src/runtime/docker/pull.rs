//! Images: when they are pulled, and how far a pull is.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use dstack_api::agent::PullProgress;
use futures::StreamExt;

use super::message;
use crate::runtime::{Credentials, Progress, StartError};

const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Makes sure the image is here. `latest` is asked for again each time, others only when absent.
/// Returns what the user should know.
pub async fn pull(
    docker: &Docker,
    image: &str,
    credentials: Option<&Credentials>,
    progress: &Progress,
) -> Result<Option<String>, StartError> {
    let present = docker.inspect_image(image).await.is_ok();
    if present && !image.ends_with(":latest") {
        return Ok(None);
    }
    let error =
        match tokio::time::timeout(LIMIT, stream(docker, image, credentials, progress)).await {
            Ok(Ok(())) => return Ok(None),
            Ok(Err(error)) => error,
            Err(_) => format!("not finished after {} minutes", LIMIT.as_secs() / 60),
        };
    if present {
        // Sites without a way out load their images by hand.
        return Ok(Some(format!(
            "image {image} could not be pulled ({error}); the copy on this host is used"
        )));
    }
    Err(StartError::creating(format!(
        "cannot pull image {image}: {error}"
    )))
}

async fn stream(
    docker: &Docker,
    image: &str,
    credentials: Option<&Credentials>,
    progress: &Progress,
) -> Result<(), String> {
    let options = CreateImageOptionsBuilder::default()
        .from_image(image)
        .build();
    let credentials = credentials.map(|credentials| DockerCredentials {
        username: Some(credentials.username.clone()),
        password: Some(credentials.password.clone()),
        serveraddress: registry(image).map(str::to_owned),
        ..DockerCredentials::default()
    });
    let mut layers = Layers::default();
    let mut steps = docker.create_image(Some(options), None, credentials);
    while let Some(step) = steps.next().await {
        let step = step.map_err(|error| message(&error))?;
        if layers.take(&step) {
            progress.send_replace(Some(layers.progress()));
        }
    }
    Ok(())
}

/// Without a tag Docker would pull them all.
pub fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains(':') || name.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

/// The registry an image names, if it names one.
fn registry(image: &str) -> Option<&str> {
    let (first, _) = image.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

/// Bytes by layer.
#[derive(Debug, Default)]
struct Layers {
    layers: HashMap<String, Layer>,
}

#[derive(Debug, Default)]
struct Layer {
    downloaded: u64,
    extracted: u64,
    total: Option<u64>,
}

impl Layers {
    /// Whether the step said something about a layer.
    fn take(&mut self, step: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&step.id, &step.status) else {
            return false;
        };
        let detail = step.progress_detail.clone().unwrap_or_default();
        let current = detail
            .current
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or_default();
        let total = detail
            .total
            .and_then(|n| u64::try_from(n).ok())
            .filter(|n| *n > 0);
        match status.as_str() {
            "Already exists" => {
                self.layers.insert(
                    id.clone(),
                    Layer {
                        total: Some(0),
                        ..Layer::default()
                    },
                );
                return true;
            }
            "Pulling fs layer" | "Waiting" | "Downloading" | "Verifying Checksum"
            | "Download complete" | "Extracting" | "Pull complete" => {}
            _ => return false,
        }
        let layer = self.layers.entry(id.clone()).or_default();
        layer.total = total.or(layer.total);
        let whole = layer.total.unwrap_or_default();
        match status.as_str() {
            "Downloading" => layer.downloaded = current,
            "Download complete" => layer.downloaded = whole,
            "Extracting" => {
                layer.downloaded = whole;
                layer.extracted = current;
            }
            "Pull complete" => {
                layer.downloaded = whole;
                layer.extracted = whole;
            }
            _ => {}
        }
        true
    }

    fn progress(&self) -> PullProgress {
        let sum = |of: fn(&Layer) -> u64| self.layers.values().map(of).sum();
        PullProgress {
            downloaded: sum(|layer| layer.downloaded),
            extracted: sum(|layer| layer.extracted),
            total: sum(|layer| layer.total.unwrap_or_default()),
            total_final: self.layers.values().all(|layer| layer.total.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn a_tag_is_added_only_where_there_is_none() {
        for (given, expected) in [
            ("ubuntu", "ubuntu:latest"),
            ("ubuntu:22.04", "ubuntu:22.04"),
            ("reg:5000/a/b", "reg:5000/a/b:latest"),
            ("reg:5000/a/b:1", "reg:5000/a/b:1"),
            ("a/b@sha256:00", "a/b@sha256:00"),
        ] {
            assert_eq!(with_tag(given), expected);
        }
        assert_eq!(registry("ghcr.io/a/b"), Some("ghcr.io"));
        assert_eq!(registry("a/b"), None);
    }

    fn step(id: &str, status: &str, numbers: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: numbers.map(|(current, total)| ProgressDetail {
                current: Some(current),
                total: Some(total),
            }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn progress_adds_layers_and_says_when_the_total_is_known() {
        let mut layers = Layers::default();
        assert!(!layers.take(&step("1.0", "Pulling from library/x", None)));
        layers.take(&step("a", "Pulling fs layer", None));
        layers.take(&step("b", "Already exists", None));
        layers.take(&step("c", "Downloading", Some((10, 100))));
        let progress = layers.progress();
        assert_eq!(
            (progress.downloaded, progress.total, progress.total_final),
            (10, 100, false)
        );
        layers.take(&step("a", "Downloading", Some((5, 50))));
        layers.take(&step("c", "Extracting", Some((40, 100))));
        layers.take(&step("a", "Pull complete", None));
        let progress = layers.progress();
        assert_eq!(
            (
                progress.downloaded,
                progress.extracted,
                progress.total,
                progress.total_final
            ),
            (150, 90, 150, true)
        );
    }
}
