//! The service itself is killed or stopped.

use crate::chaos::CaseParameters;
use rustix::process::Signal;
use std::time::Duration;

/// Waits for a random time, so that each kill occurs at a different moment.
async fn some_time(longest: Duration) {
    let share = f64::from(rand::random_range(0..1000_u16)) / 1000.0;
    tokio::time::sleep(longest.mul_f64(share)).await;
}

#[test]
fn service_is_killed_repeatedly() {
    CaseParameters::new("the service is killed (`kill -9`) repeatedly").run(async |case| {
        for _ in 0..case.scale.rounds {
            some_time(Duration::from_millis(1_500)).await;
            case.processes[0].signal(Signal::KILL);
            case.processes[0].ended().await;
            case.start_again(0);
        }
    });
}

#[test]
fn one_of_two_replicas_is_killed() {
    let mut plan =
        CaseParameters::new("one of two replicas is killed, and returns after the outage");
    plan.replicas = 2;
    plan.run(async |case| {
        case.processes[0].signal(Signal::KILL);
        case.processes[0].ended().await;
        case.outage().await;
        case.start_again(0);
    });
}

#[test]
fn service_is_stopped_and_started() {
    CaseParameters::new("the service is stopped (SIGTERM) and started again").run(async |case| {
        for _ in 0..case.scale.rounds.div_ceil(2) {
            some_time(Duration::from_millis(1_000)).await;
            case.merchants[0].until_ready().await;
            case.processes[0].signal(Signal::TERM);
            let status = case.processes[0].ended().await;
            assert!(status.success(), "{}", case.processes[0].log());
            case.start_again(0);
        }
    });
}
