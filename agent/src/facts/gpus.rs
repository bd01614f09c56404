//! GPUs, asked of `nvidia-smi` or `amd-smi`.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dstack_api::agent::Gpu;
use serde_json::Value;

/// A driver in trouble makes its tool hang.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default, PartialEq)]
pub struct Gpus {
    pub list: Vec<Gpu>,
    pub driver: String,
}

pub fn gather() -> Gpus {
    nvidia().or_else(amd).unwrap_or_default()
}

fn nvidia() -> Option<Gpus> {
    let query = "--query-gpu=index,uuid,name,memory.total,driver_version";
    let output = run("nvidia-smi", &[query, "--format=csv,noheader,nounits"])?;
    Some(parse_nvidia(&output))
}

fn amd() -> Option<Gpus> {
    let details = run(
        "amd-smi",
        &["static", "--asic", "--vram", "--driver", "--json"],
    )?;
    let list = run("amd-smi", &["list", "--json"]).unwrap_or_default();
    Some(parse_amd(&details, &list))
}

/// The tool's output; `None` when there is no such tool or it fails.
fn run(tool: &str, args: &[&str]) -> Option<String> {
    let mut child = Command::new(tool)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let since = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if since.elapsed() > PATIENCE {
            tracing::warn!(tool, "does not answer; the host is shown without its GPUs");
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let Output { status, stdout, .. } = child.wait_with_output().ok()?;
    status
        .success()
        .then(|| String::from_utf8_lossy(&stdout).into_owned())
}

fn parse_nvidia(text: &str) -> Gpus {
    let mut gpus = Gpus::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [index, uuid, name, memory, driver] = fields.as_slice() else {
            continue;
        };
        let Ok(index) = index.parse() else { continue };
        gpus.list.push(Gpu {
            vendor: "nvidia".into(),
            name: name.strip_prefix("NVIDIA ").unwrap_or(name).to_owned(),
            // Unified memory: "[N/A]".
            memory_mib: memory.parse().unwrap_or_default(),
            uuid: (*uuid).to_owned(),
            index,
        });
        gpus.driver = (*driver).to_owned();
    }
    gpus
}

fn parse_amd(details: &str, list: &str) -> Gpus {
    let details: Value = serde_json::from_str(details).unwrap_or_default();
    let list: Value = serde_json::from_str(list).unwrap_or_default();
    // Newer versions wrap the array.
    let cards = details.get("gpu_data").unwrap_or(&details);
    let ids = list.get("gpu_data").unwrap_or(&list);
    let mut gpus = Gpus::default();
    for card in cards.as_array().into_iter().flatten() {
        let Some(index) = card
            .get("gpu")
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
        else {
            continue;
        };
        let uuid = ids
            .as_array()
            .into_iter()
            .flatten()
            .find(|id| id.get("gpu") == card.get("gpu"));
        gpus.list.push(Gpu {
            vendor: "amd".into(),
            name: text(card, &["asic", "market_name"]),
            memory_mib: card
                .pointer("/vram/size/value")
                .or(card.pointer("/vram/size"))
                .map_or(0, mebibytes),
            uuid: uuid.map(|id| text(id, &["uuid"])).unwrap_or_default(),
            index,
        });
        gpus.driver = text(card, &["driver", "version"]);
    }
    gpus
}

fn text(value: &Value, path: &[&str]) -> String {
    path.iter()
        .try_fold(value, |at, key| at.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn mebibytes(size: &Value) -> u64 {
    match size {
        Value::Number(number) => number.as_u64().unwrap_or_default(),
        Value::String(text) => text
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvidia_lines() {
        let text = "0, GPU-aaaa, NVIDIA H100 80GB HBM3, 81559, 550.54.15\n1, GPU-bbbb, NVIDIA GB10, [N/A], 550.54.15\n\nnoise\n";
        let gpus = parse_nvidia(text);
        assert_eq!(gpus.driver, "550.54.15");
        assert_eq!(gpus.list.len(), 2);
        assert_eq!(
            (gpus.list[0].name.as_str(), gpus.list[0].memory_mib),
            ("H100 80GB HBM3", 81559)
        );
        assert_eq!(
            (gpus.list[1].uuid.as_str(), gpus.list[1].memory_mib),
            ("GPU-bbbb", 0)
        );
        assert_eq!(parse_nvidia("No devices were found"), Gpus::default());
    }

    #[test]
    fn amd_arrays_bare_and_wrapped() {
        let card = r#"{"gpu":0,"asic":{"market_name":"AMD Instinct MI300X"},"vram":{"size":{"value":196592,"unit":"MB"}},"driver":{"name":"amdgpu","version":"6.7.0"}}"#;
        let ids = r#"[{"gpu":0,"bdf":"0000:05:00.0","uuid":"u-0"}]"#;
        for details in [format!("[{card}]"), format!(r#"{{"gpu_data":[{card}]}}"#)] {
            let gpus = parse_amd(&details, ids);
            assert_eq!(gpus.driver, "6.7.0");
            assert_eq!(
                (gpus.list[0].name.as_str(), gpus.list[0].memory_mib),
                ("AMD Instinct MI300X", 196_592)
            );
            assert_eq!(gpus.list[0].uuid, "u-0");
        }
        assert_eq!(parse_amd("not json", ""), Gpus::default());
    }
}
