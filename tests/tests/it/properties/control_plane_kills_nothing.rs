//! Leaders die, outcomes get lost, wake-ups are dropped, hosts fall silent for less than the
//! declared limit: no healthy job is killed by any of it. A job that nobody stopped and whose host
//! lives ends by itself.

use dstack_domain::model::{JobReason, JobStatus};
use dstack_domain::spec::Blocks;
use dstack_tests::storm::control_plane_faults;
use dstack_tests::world::{End, Script, World};
use serde_json::json;

#[test]
fn healthy_jobs_end_by_themselves() {
    super::seeds(6, |seed| {
        let mut world = World::new(9000 + seed);
        world.ready_fleet("whole", 1..=4, Blocks::Count(1));
        world.faults = control_plane_faults();
        for number in 0..2 {
            let name = format!("long-{number}");
            for job in 0..2 {
                let script = Script {
                    run_ms: 400_000,
                    ..Script::default()
                };
                world.scripts.insert((name.clone(), job), script);
            }
            let reply = world.submit(&name, json!({"nodes": 2}));
            assert!(reply.is_ok());
            // Both find room: the storm has not yet made a host unreachable, or the run says so.
            world.run_for(2);
        }
        world.run_for(600);
        world.heal();
        world.run_for(200);
        for process in &world.processes {
            assert_ne!(process.end, Some(End::HostDied));
            let job = world
                .memory
                .state
                .submission(process.submission)
                .expect("a known job");
            assert_ne!(
                job.termination_reason,
                Some(JobReason::InstanceUnreachable),
                "{job:?}"
            );
            if job.status == JobStatus::Done {
                assert_eq!(process.end, Some(End::ByItself), "{job:?}");
            }
            assert!(
                matches!(process.end, Some(End::ByItself)),
                "a healthy job was killed: {job:?}, {process:?}"
            );
        }
        assert!(!world.processes.is_empty(), "something ran");
    });
}
