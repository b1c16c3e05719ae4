//! Faults of the gateway as a whole. A fault takes precedence over scripts, for a number of
//! requests, for a number of seconds, or until it is removed.

use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::behaviour::{Behaviour, ResponseAction};
use super::clock::{VirtualMillis, ms};
use super::request_log::RequestKind;

/// A fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayFault {
    /// Operation or group of operations that it affects; `*` is all.
    pub operation: String,
    /// Prefix of the tracking IDs that it affects; absent: all.
    pub tracking_id: Option<String>,
    /// Action instead of a normal response.
    pub act: ResponseAction,
    /// Whether the request still takes effect.
    pub effect: bool,
    /// Delay before the response, in seconds.
    pub latency: f64,
    /// Number of requests that it affects; absent: no limit.
    pub times: Option<u32>,
    /// Duration in virtual seconds; absent: no limit.
    pub seconds: Option<f64>,
    /// Share of requests that it affects, from 0 to 1.
    pub share: f64,
    /// Number of requests affected so far.
    #[serde(skip_deserializing)]
    pub struck: u32,
    #[serde(skip)]
    until: Option<VirtualMillis>,
}

impl Default for GatewayFault {
    fn default() -> Self {
        Self {
            operation: "*".into(),
            tracking_id: None,
            act: ResponseAction::Normal,
            effect: false,
            latency: 0.0,
            times: None,
            seconds: None,
            share: 1.0,
            struck: 0,
            until: None,
        }
    }
}

/// The faults in force. The first matching fault applies.
#[derive(Default)]
pub struct GatewayFaults {
    list: Vec<GatewayFault>,
}

impl GatewayFaults {
    /// Adds a fault that is in force from now on.
    pub fn add(&mut self, mut fault: GatewayFault, now: VirtualMillis) {
        fault.until = fault.seconds.map(|seconds| now.saturating_add(ms(seconds)));
        self.list.push(fault);
    }

    /// Removes all faults.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Returns the faults in force.
    pub fn list(&self) -> &[GatewayFault] {
        &self.list
    }

    /// Returns the fault that applies to this request, and counts it.
    pub fn matching_fault(
        &mut self,
        operation: RequestKind,
        tracking_id: Option<&str>,
        now: VirtualMillis,
        random: &mut StdRng,
    ) -> Option<Behaviour> {
        if self.list.is_empty() {
            return None;
        }
        self.list.retain(|fault| {
            fault.until.is_none_or(|until| now < until)
                && fault.times.is_none_or(|times| fault.struck < times)
        });
        let fault = self.list.iter_mut().find(|fault| {
            operation.matches(&fault.operation)
                && fault.tracking_id.as_deref().is_none_or(|start| {
                    tracking_id.is_some_and(|tracking_id| tracking_id.starts_with(start))
                })
                && (fault.share >= 1.0 || random.random::<f64>() < fault.share)
        })?;
        fault.struck += 1;
        let act = fault.act.clone();
        Some(Behaviour {
            act,
            effect: fault.effect,
            times: None,
            latency: fault.latency,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::generator;

    #[test]
    fn a_fault_expires_after_its_requests_or_seconds() {
        let mut random = generator(1, &[]);
        let mut faults = GatewayFaults::default();
        let hang = || GatewayFault {
            act: ResponseAction::Hang,
            ..GatewayFault::default()
        };
        faults.add(
            GatewayFault {
                times: Some(1),
                operation: "result".into(),
                ..hang()
            },
            0,
        );
        faults.add(
            GatewayFault {
                seconds: Some(1.0),
                ..hang()
            },
            0,
        );
        let mut strike = |operation, now| {
            faults
                .matching_fault(operation, None, now, &mut random)
                .is_some()
        };
        assert!(strike(RequestKind::TaskResult, 0));
        assert!(strike(RequestKind::Balance, 999));
        assert!(!strike(RequestKind::TaskResult, 1000));
    }
}
