//! The service itself dies.

use crate::chaos::Plan;
use rustix::process::Signal;
use std::time::Duration;

/// Some pause, so that each death meets another moment.
async fn some_time(longest: Duration) {
    let share = f64::from(rand::random_range(0..1000_u16)) / 1000.0;
    tokio::time::sleep(longest.mul_f64(share)).await;
}

#[test]
fn killed_again_and_again() {
    Plan::new("the service is killed (`kill -9`) again and again").run(async |case| {
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
    let mut plan = Plan::new("one of two replicas is killed, and comes back after the outage");
    plan.replicas = 2;
    plan.run(async |case| {
        case.processes[0].signal(Signal::KILL);
        case.processes[0].ended().await;
        case.outage().await;
        case.start_again(0);
    });
}

#[test]
fn told_to_stop() {
    Plan::new("the service is told to stop (SIGTERM) and started again").run(async |case| {
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
