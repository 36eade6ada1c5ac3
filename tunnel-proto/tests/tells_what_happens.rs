//! Metrics and spans under their stable names. One test: a recorder is for a whole process.

#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test of small numbers")]

mod harness;

use std::{collections::HashMap, time::Duration};

use harness::{Edge, collect, connect, credentials, full, tunnel_id};
use http::{Request, Response};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::time::sleep;
use tunnel_proto::{Credentials, TunnelSecret, limits, telemetry};

/// All metrics as `name{label=value,..}`; a histogram is how many values it has seen.
struct Metrics {
    snapshotter: Snapshotter,
    seen: HashMap<String, f64>,
}

impl Metrics {
    fn look(&mut self) -> &HashMap<String, f64> {
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let (name, labels) = key.key().clone().into_parts();
            let mut labels: Vec<_> =
                labels.iter().map(|label| format!("{}={}", label.key(), label.value())).collect();
            labels.sort();
            let value_so_far =
                self.seen.entry(format!("{}{{{}}}", name.as_str(), labels.join(","))).or_default();
            match value {
                // A snapshot takes counters and histograms back to nothing.
                DebugValue::Counter(count) => *value_so_far += count as f64,
                DebugValue::Histogram(values) => *value_so_far += values.len() as f64,
                DebugValue::Gauge(level) => *value_so_far = level.into_inner(),
            }
        }
        &self.seen
    }

    /// Looks until a metric has a value.
    async fn wait_for(&mut self, name: &str, expected: f64) {
        for _ in 0..2_000 {
            if self.look().get(name) == Some(&expected) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} is {:?} and not {expected}", self.seen.get(name));
    }
}

#[tokio::test]
async fn streams_bytes_errors_and_connections_are_counted_on_both_sides() {
    let recorder = DebuggingRecorder::new();
    let mut metrics = Metrics { snapshotter: recorder.snapshotter(), seen: HashMap::new() };
    recorder.install().unwrap();
    telemetry::describe();

    let edge = Edge::start();
    let handler = |request: Request<tunnel_proto::connector::Incoming>| async move {
        let body = collect(request.into_body()).await.unwrap();
        Response::new(full(body.repeat(2)))
    };
    let mut running = connect(&edge, credentials(), 2, handler);
    let tunnel = edge.wait_for(2).await;
    let id = tunnel_id();
    for _ in 0..3 {
        let request = Request::post("https://app.example.com/").body(full("12345")).unwrap();
        let response = tunnel.send(request).await.unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap().len(), 10);
    }
    let without_host = Request::get("/").body(full("")).unwrap();
    assert!(tunnel.send(without_host).await.unwrap_err().is_caller_fault());

    let seen = metrics.look().clone();
    for side in ["edge", "connector"] {
        for (name, expected) in [
            (format!("{}{{kind=http,side={side},tunnel={id}}}", telemetry::STREAMS), 3.0),
            (format!("{}{{side={side},tunnel={id}}}", telemetry::FIRST_BYTE), 3.0),
            (format!("{}{{direction=to_origin,side={side},tunnel={id}}}", telemetry::BYTES), 15.0),
            (format!("{}{{direction=to_visitor,side={side},tunnel={id}}}", telemetry::BYTES), 30.0),
            (format!("{}{{side={side},tunnel={id}}}", telemetry::CONNECTIONS), 2.0),
            (
                format!(
                    "{}{{outcome=registered,side={side},tunnel={id}}}",
                    telemetry::REGISTRATIONS
                ),
                2.0,
            ),
        ] {
            assert_eq!(seen.get(&name), Some(&expected), "{name}");
        }
        let open = format!("{}{{side={side},tunnel={id}}}", telemetry::OPEN_STREAMS);
        metrics.wait_for(&open, 0.0).await;
    }
    let faults = format!("{}{{reason=caller,side=edge,tunnel={id}}}", telemetry::ERRORS);
    assert_eq!(seen.get(&faults), Some(&1.0));

    let wrong = Credentials::new("account", tunnel_id(), TunnelSecret::new([8; 32]));
    let refused = connect(&edge, wrong, 1, |_| async { Response::new(full("")) });
    assert!(refused.task.await.unwrap().unwrap_err().refusal().is_some());
    for side in ["edge", "connector"] {
        let name =
            format!("{}{{outcome=refused,side={side},tunnel=unknown}}", telemetry::REGISTRATIONS);
        metrics.wait_for(&name, 1.0).await;
    }

    running.shut_down();
    running.task.await.unwrap().unwrap();
    for side in ["edge", "connector"] {
        let name = format!("{}{{side={side},tunnel={id}}}", telemetry::CONNECTIONS);
        metrics.wait_for(&name, 0.0).await;
    }
    edge.wait_for(0).await;
    let get = || Request::get("https://app.example.com/").body(full("")).unwrap();
    assert!(tunnel.send(get()).await.unwrap_err().is_offline());
    let offline = format!("{}{{reason=offline,side=edge,tunnel={id}}}", telemetry::ERRORS);
    assert_eq!(metrics.look().get(&offline), Some(&1.0));

    let _stalled = connect(&edge, credentials(), 1, |_| std::future::pending());
    let tunnel = edge.wait_for(1).await;
    // As many again as run may wait.
    let (streams, waiters) = (limits::CONCURRENT_STREAMS as usize, limits::STREAM_WAITERS);
    let mut waiting = Vec::new();
    for _ in 0..streams + waiters {
        let tunnel = std::sync::Arc::clone(&tunnel);
        waiting.push(tokio::spawn(async move { tunnel.send(get()).await.map(drop) }));
    }
    // One stream is the control stream's, so one request finds no room to wait.
    let at = loop {
        match waiting.iter().position(tokio::task::JoinHandle::is_finished) {
            Some(at) => break at,
            None => sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(waiting.swap_remove(at).await.unwrap().unwrap_err().is_busy());
    let busy = format!("{}{{reason=busy,side=edge,tunnel={id}}}", telemetry::ERRORS);
    assert!(metrics.look().get(&busy).is_some_and(|count| *count >= 1.0));
    drop(waiting);
}
