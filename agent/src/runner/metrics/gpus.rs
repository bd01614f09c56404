//! GPUs of the job, asked of the tool that comes with their driver.

use std::process::Stdio;
use std::time::Duration;

use dstack_api::agent_job::GpuSelection;
use dstack_api::agent_metrics::GpuSample;
use serde_json::Value;
use tokio::process::Command;

/// A driver in trouble makes its tool hang; the sample then goes without GPUs.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Nvidia,
    Amd,
}

pub struct Gpus {
    /// Only these, by UUID; all that can be seen when absent.
    only: Option<Vec<String>>,
    /// Tools that may still turn out to be here.
    tools: Vec<Tool>,
}

impl Gpus {
    pub fn new(selection: &GpuSelection) -> Self {
        let (only, tools) = match selection {
            GpuSelection::None => (None, Vec::new()),
            GpuSelection::All => (None, vec![Tool::Nvidia, Tool::Amd]),
            GpuSelection::Some(uuids) => (Some(uuids.clone()), vec![Tool::Nvidia, Tool::Amd]),
        };
        Self { only, tools }
    }

    /// One entry per GPU, in the driver's order.
    pub async fn read(&mut self) -> Vec<GpuSample> {
        for tool in self.tools.clone() {
            match ask(tool).await {
                Answer::Said(text) => {
                    self.tools = vec![tool];
                    return match tool {
                        Tool::Nvidia => nvidia(&text, self.only.as_deref()),
                        Tool::Amd => amd(&text),
                    };
                }
                Answer::NotThere => self.tools.retain(|other| *other != tool),
                Answer::Failed => {}
            }
        }
        Vec::new()
    }
}

enum Answer {
    Said(String),
    NotThere,
    Failed,
}

async fn ask(tool: Tool) -> Answer {
    let mut command = match tool {
        Tool::Nvidia => {
            let mut command = Command::new("nvidia-smi");
            command.args([
                "--query-gpu=uuid,memory.used,utilization.gpu",
                "--format=csv,noheader,nounits",
            ]);
            command
        }
        Tool::Amd => {
            let mut command = Command::new("amd-smi");
            command.args(["metric", "--usage", "--mem-usage", "--json"]);
            command
        }
    };
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(out)) if out.status.success() => {
            Answer::Said(String::from_utf8_lossy(&out.stdout).into_owned())
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Answer::NotThere,
        _ => Answer::Failed,
    }
}

fn nvidia(text: &str, only: Option<&[String]>) -> Vec<GpuSample> {
    let mut samples = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [uuid, memory_mib, percent] = fields.as_slice() else {
            continue;
        };
        if only.is_none_or(|only| only.iter().any(|wanted| wanted == uuid)) {
            let memory: u64 = memory_mib.parse().unwrap_or_default();
            samples.push(GpuSample {
                memory: memory << 20,
                percent: percent.parse().unwrap_or_default(),
            });
        }
    }
    samples
}

fn amd(text: &str) -> Vec<GpuSample> {
    let all: Value = serde_json::from_str(text).unwrap_or_default();
    // Newer versions wrap the array.
    let cards = all.get("gpu_data").unwrap_or(&all);
    let value = |card: &Value, path: &str| {
        let at = card.pointer(path);
        at.and_then(|at| at.get("value").unwrap_or(at).as_u64())
            .unwrap_or_default()
    };
    cards
        .as_array()
        .into_iter()
        .flatten()
        .map(|card| GpuSample {
            memory: value(card, "/mem_usage/used_vram") << 20,
            percent: u32::try_from(value(card, "/usage/gfx_activity")).unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvidia_says_one_line_per_gpu() {
        let text = "GPU-a, 1024, 97\nGPU-b, [N/A], [N/A]\n";
        let all = nvidia(text, None);
        let busy = GpuSample {
            memory: 1 << 30,
            percent: 97,
        };
        assert_eq!(all, [busy, GpuSample::default()]);
        assert_eq!(nvidia(text, Some(&["GPU-a".to_owned()])), [busy]);
    }

    #[test]
    fn amd_says_json_in_two_shapes() {
        let card = r#"{"gpu": 0, "usage": {"gfx_activity": {"value": 40, "unit": "%"}},
            "mem_usage": {"used_vram": {"value": 2, "unit": "MB"}}}"#;
        let wanted = [GpuSample {
            memory: 2 << 20,
            percent: 40,
        }];
        assert_eq!(amd(&format!("[{card}]")), wanted);
        assert_eq!(amd(&format!("{{\"gpu_data\": [{card}]}}")), wanted);
    }
}
