//! Whatever can be written is read back the same.

use dstack_domain::spec::{
    AnyConfiguration, CpuSpec, DiskSpec, Duration, GpuSpec, Memory, PortMapping, Range, RunSpec,
    effective_run, expand_jobs,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let written = serde_json::to_string(value).unwrap();
    serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}\n{written}"))
}

fn number_range() -> impl Strategy<Value = String> {
    (0..64u32, 0..64u32).prop_flat_map(|(a, b)| {
        let (low, high) = (a.min(b), a.max(b));
        prop_oneof![
            Just(format!("{low}")),
            Just(format!("{low}..")),
            Just(format!("..{high}")),
            Just(format!("{low}..{high}"))
        ]
    })
}

fn memory() -> impl Strategy<Value = String> {
    (
        1..4096u32,
        prop_oneof![Just("MB"), Just("GB"), Just("TB"), Just(" gb")],
    )
        .prop_map(|(number, unit)| format!("{number}{unit}"))
}

fn memory_range() -> impl Strategy<Value = String> {
    prop_oneof![
        memory(),
        memory().prop_map(|low| format!("{low}..")),
        memory().prop_map(|high| format!("..{high}"))
    ]
}

fn gpu() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("H100"),
        Just("A100,H200"),
        Just("v5litepod-8"),
        Just("Strange1")
    ]
    .prop_map(str::to_owned);
    let vendor = prop_oneof![Just("nvidia"), Just("AMD"), Just("tt")].prop_map(str::to_owned);
    let maybe = |strategy: BoxedStrategy<String>| proptest::option::of(strategy);
    (
        maybe(vendor.boxed()),
        maybe(name.boxed()),
        maybe(memory_range().boxed()),
        number_range(),
    )
        .prop_map(|(vendor, name, memory, count)| {
            [vendor, name, memory, Some(count)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(|tokens| tokens.join(":"))
}

fn offable() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!("off")),
        Just(json!(false)),
        Just(json!(true)),
        (0..100_000u32).prop_map(|seconds| json!(seconds)),
        (
            0..1000u32,
            prop_oneof![Just("s"), Just("m"), Just("h"), Just("d"), Just("w")]
        )
            .prop_map(|(n, unit)| json!(format!("{n}{unit}"))),
    ]
}

fn task() -> impl Strategy<Value = Value> {
    let resources = (number_range(), memory_range(), gpu(), proptest::option::of(memory_range()))
        .prop_map(|(cpu, memory, gpu, disk)| json!({"cpu": cpu, "memory": memory, "gpu": gpu, "disk": disk}));
    let ports = proptest::collection::vec(
        prop_oneof![
            (1..65535u16).prop_map(|port| json!(port)),
            (1..65535u16).prop_map(|port| json!(format!("*:{port}")))
        ],
        0..4,
    );
    let env = proptest::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", ".{0,12}", 0..4);
    let retry = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!({"on_events": ["error"], "duration": "2h"}))
    ];
    (resources, ports, env, retry, offable(), offable(), proptest::option::of(1..9u32), proptest::option::of(0..=100u8)).prop_map(
        |(resources, ports, env, retry, max_duration, idle_duration, nodes, priority)| {
            json!({
                "type": "task", "commands": ["a"], "resources": resources, "ports": ports, "env": env, "retry": retry,
                "max_duration": max_duration, "idle_duration": idle_duration, "nodes": nodes, "priority": priority,
                "fleets": ["lab", "other/lab"], "volumes": ["data:/data", "/srv:/srv"], "files": ["a:/b"], "repos": ["."],
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_task_is_read_back_the_same(task in task()) {
        let read: AnyConfiguration = serde_json::from_value(task.clone()).unwrap_or_else(|error| panic!("{error}\n{task}"));
        prop_assert_eq!(&again(&read), &read);
        // The normal form is a fixed point.
        prop_assert_eq!(serde_json::to_value(again(&read)).unwrap(), serde_json::to_value(&read).unwrap());
        let AnyConfiguration::Run(run) = read else { unreachable!() };
        let spec = RunSpec::new(run);
        prop_assert_eq!(&again(&spec), &spec);
        let effective = effective_run(&spec, Some("key"));
        prop_assert_eq!(effective_run(&effective, Some("other")), effective.clone());
        for job in expand_jobs("run", &effective) {
            prop_assert_eq!(&again(&job), &job);
        }
    }

    #[test]
    fn what_is_shown_can_be_typed(range in number_range(), memory in memory(), memory_range in memory_range(), gpu in gpu(), seconds in 0..10_000_000u64, local in proptest::option::of(1..65535u16), container in 1..65535u16) {
        let range = Range::<u32>::parse(&range).unwrap();
        prop_assert_eq!(Range::parse(&range.to_string()), Ok(range));
        let memory = Memory::parse(&memory).unwrap();
        prop_assert_eq!(Memory::parse(&memory.to_string()), Ok(memory));
        let memory_range = Range::<Memory>::parse(&memory_range).unwrap();
        prop_assert_eq!(Range::parse(&memory_range.to_string()), Ok(memory_range));
        let gpu: GpuSpec = serde_json::from_value(json!(gpu)).unwrap();
        prop_assert_eq!(serde_json::from_value::<GpuSpec>(json!(gpu.to_string())).unwrap(), gpu);
        let duration = Duration::from_secs(seconds);
        prop_assert_eq!(Duration::parse(&duration.to_string()), Ok(duration));
        let port = PortMapping { local_port: local, container_port: container };
        prop_assert_eq!(serde_json::from_value::<PortMapping>(json!(port.to_string())).unwrap(), port);
    }

    #[test]
    fn nothing_typed_into_a_small_language_panics(text in ".{0,16}") {
        let value = json!(text);
        let _ = serde_json::from_value::<GpuSpec>(value.clone());
        let _ = serde_json::from_value::<CpuSpec>(value.clone());
        let _ = serde_json::from_value::<DiskSpec>(value.clone());
        let _ = serde_json::from_value::<PortMapping>(value.clone());
        let _ = serde_json::from_value::<dstack_domain::spec::MountPoint>(value.clone());
        let _ = serde_json::from_value::<dstack_domain::spec::FilePathMapping>(value.clone());
        let _ = serde_json::from_value::<dstack_domain::spec::RepoSpec>(value.clone());
        let _ = serde_json::from_value::<dstack_domain::spec::Env>(json!([text]));
        let _ = serde_json::from_value::<dstack_domain::spec::Schedule>(json!({"cron": text}));
        let _ = dstack_domain::spec::UnixUser::parse(&text);
        let _ = dstack_domain::spec::parse_yaml("any.yml", &format!("type: task\ncommands: {text}\n"));
        let _ = dstack_domain::spec::interpolate::references(&text);
    }
}
