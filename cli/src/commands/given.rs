//! Flags in the words of a configuration: each is read as its key in YAML would be.

use crate::args::{Conditions, Resources};
use crate::failure::{Failure, Outcome};
use dstack_domain::spec::{Profile, ProfileParams, ResourcesSpec};
use serde_json::{Value, json};

/// The conditions that were given; nothing for those that were not.
pub fn profile(given: &Conditions) -> Outcome<ProfileParams> {
    let list = |names: &[String]| (!names.is_empty()).then(|| json!(names));
    let text = |word: &Option<String>| word.as_ref().map(|word| json!(word));
    let policy = [
        (given.spot, "spot"),
        (given.on_demand, "on-demand"),
        (given.spot_auto, "auto"),
    ];
    let policy = policy
        .iter()
        .find(|(given, _)| *given)
        .map(|(_, word)| json!(word));
    let idle = given.dont_destroy.then(|| json!("off"));
    let retry = match (given.retry, given.no_retry, &given.retry_duration) {
        (true, ..) => Some(json!(true)),
        (_, true, _) => Some(json!(false)),
        (.., Some(duration)) => Some(json!({ "duration": duration })),
        _ => None,
    };
    let keys = [
        ("--max-price", "max_price", given.max_price.map(Value::from)),
        ("--max-duration", "max_duration", text(&given.max_duration)),
        ("--backend", "backends", list(&given.backends)),
        ("--region", "regions", list(&given.regions)),
        (
            "--instance-type",
            "instance_types",
            list(&given.instance_types),
        ),
        ("--fleet", "fleets", list(&given.fleets)),
        (
            "--reuse",
            "creation_policy",
            given.reuse.then(|| json!("reuse")),
        ),
        (
            "--idle-duration",
            "idle_duration",
            idle.or_else(|| text(&given.idle_duration)),
        ),
        (
            "--spot-policy",
            "spot_policy",
            policy.or_else(|| text(&given.spot_policy)),
        ),
        ("--retry-duration", "retry", retry),
    ];
    let mut all = ProfileParams::default();
    for (flag, key, value) in keys {
        let Some(value) = value else { continue };
        let profile: Profile = read(flag, json!({ "name": "given", key: value }))?;
        all = all.or(&profile.params);
    }
    Ok(all)
}

/// Puts the resources that were given over those of a configuration.
pub fn resources(given: &Resources, over: &mut ResourcesSpec) -> Outcome {
    let one = |flag: &str, key: &str, text: &String| -> Outcome<ResourcesSpec> {
        read(flag, json!({ key: text }))
    };
    if let Some(text) = &given.cpu {
        over.cpu = one("--cpu", "cpu", text)?.cpu;
    }
    if let Some(text) = &given.memory {
        over.memory = one("--memory", "memory", text)?.memory;
    }
    if let Some(text) = &given.gpu {
        over.gpu = one("--gpu", "gpu", text)?.gpu;
    }
    if let Some(text) = &given.disk {
        over.disk = one("--disk", "disk", text)?.disk;
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(flag: &str, value: Value) -> Outcome<T> {
    serde_json::from_value(value).map_err(|error| Failure::refused(format!("{flag}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        conditions: Conditions,
        #[command(flatten)]
        resources: Resources,
    }

    fn typed(words: &[&str]) -> Only {
        Only::parse_from([&["x"], words].concat())
    }

    /// What the same words mean in a configuration.
    fn written(yaml: Value) -> ProfileParams {
        let mut profile = yaml;
        profile["name"] = json!("given");
        serde_json::from_value::<Profile>(profile).unwrap().params
    }

    #[test]
    fn flags_mean_what_their_keys_mean() {
        let cases: [(&[&str], Value); 8] = [
            (&[], json!({})),
            (
                &["--max-price", "2.5", "--spot-auto"],
                json!({"max_price": 2.5, "spot_policy": "auto"}),
            ),
            (
                &["-b", "remote", "-r", "eu", "-r", "us"],
                json!({"backends": ["remote"], "regions": ["eu", "us"]}),
            ),
            (
                &["--fleet", "lab", "--fleet", "other/lab"],
                json!({"fleets": ["lab", "other/lab"]}),
            ),
            (
                &["-R", "--no-retry"],
                json!({"creation_policy": "reuse", "retry": false}),
            ),
            (
                &["--dont-destroy", "--retry"],
                json!({"idle_duration": "off", "retry": true}),
            ),
            (
                &["--retry-duration", "1h", "--max-duration", "off"],
                json!({"retry": {"duration": "1h"}, "max_duration": "off"}),
            ),
            (
                &["--on-demand", "--idle-duration", "5m"],
                json!({"spot_policy": "on-demand", "idle_duration": "5m"}),
            ),
        ];
        for (words, yaml) in cases {
            let given = profile(&typed(words).conditions).unwrap();
            assert_eq!(given, written(yaml), "{words:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_names_its_flag() {
        for (words, flag) in [
            (["--max-duration", "soon"], "--max-duration: "),
            (["--spot-policy", "maybe"], "--spot-policy: "),
            (["--max-price", "-1"], "--max-price: "),
        ] {
            let words = [format!("{}={}", words[0], words[1])];
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let failure = profile(&typed(&words).conditions).unwrap_err();
            assert!(failure.to_string().starts_with(flag), "{failure}");
        }
    }

    #[test]
    fn a_given_resource_replaces_its_key_and_no_other() {
        let mut spec: ResourcesSpec =
            serde_json::from_value(json!({"cpu": "4", "gpu": "A100:2", "disk": "50GB"})).unwrap();
        let given = typed(&["--gpu", "H100:80GB:8", "--memory", "64GB.."]).resources;
        resources(&given, &mut spec).unwrap();
        let expected: ResourcesSpec = serde_json::from_value(
            json!({"cpu": "4", "gpu": "H100:80GB:8", "disk": "50GB", "memory": "64GB.."}),
        )
        .unwrap();
        assert_eq!(spec, expected);
        let bad = typed(&["--memory", "much"]).resources;
        assert!(
            resources(&bad, &mut spec)
                .unwrap_err()
                .to_string()
                .contains("--memory")
        );
    }
}
