//! A real Prometheus that scrapes the service and answers queries.

use crate::world::service::free;
use crate::world::{Http, World};
use reqwest::Method;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    directory: TempDir,
    base: String,
    http: Http,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            eprintln!("--- Prometheus printed:\n{}", log.unwrap_or_default());
        }
    }
}

/// Returns the path of Prometheus; installs it if it is missing.
fn program(root: &Path) -> String {
    let output = Command::new(root.join("scripts/test-tools.sh"))
        .arg("prometheus")
        .stdin(Stdio::null())
        .output()
        .expect("the script runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "Prometheus is missing:\n{told}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Prometheus {
    /// Starts it with the chart's rules and the labels that a cluster's scraper adds.
    pub fn start(world: &World) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n- job_name: reconciler\n  static_configs:\n  - targets: ['{}']\n    \
             labels: {{namespace: pay, pod: reconciler-0}}\n",
            root.join("helm/alerts/reconciler.rules.yaml").display(),
            world.addresses().ops
        );
        let path = directory.path().join("prometheus.yml");
        std::fs::write(&path, config).expect("a file");
        let log = std::fs::File::create(directory.path().join("log")).expect("a file");
        let address = free().local_addr().expect("its address");
        let child = Command::new(program(root))
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("Prometheus starts");
        Self {
            child,
            directory,
            base: format!("http://{address}/api/v1"),
            http: Http::default(),
        }
    }

    /// Sends a query. Returns `None` while Prometheus is not ready or has no data.
    async fn ask(&self, path: &str) -> Option<Value> {
        let url = format!("{}{path}", self.base);
        let answer = self
            .http
            .try_send(Method::GET, &url, &[], Vec::new())
            .await?;
        if answer.status == 400 || answer.status == 422 {
            panic!("{path}: {}", answer.text);
        }
        (answer.status == 200).then(|| answer.json["data"].clone())
    }

    /// Returns the series of an expression with their values.
    pub async fn series(&self, expression: &str) -> Vec<(Value, f64)> {
        let encoded: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let data = self.ask(&format!("/query?query={encoded}")).await;
        let rows = data.unwrap_or_default()["result"].as_array().cloned();
        rows.unwrap_or_default()
            .into_iter()
            .filter_map(|row| {
                let value = row["value"][1].as_str()?.parse().ok()?;
                Some((row["metric"].clone(), value))
            })
            .collect()
    }

    /// Returns the rules with the results of their evaluation.
    pub async fn rules(&self) -> Vec<Value> {
        let data = self.ask("/rules").await.unwrap_or_default();
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// Returns the values of a label.
    pub async fn label_values(&self, label: &str, metric: &str) -> Vec<Value> {
        let encoded: String = url::form_urlencoded::byte_serialize(metric.as_bytes()).collect();
        let path = format!("/label/{label}/values?match[]={encoded}");
        let data = self.ask(&path).await.unwrap_or_default();
        data.as_array().cloned().unwrap_or_default()
    }
}
