//! The build runner in a cluster: a Deployment (a Job or CronJob where that is wanted), its ServiceAccount, cache
//! volume and NetworkPolicy, under the Pod Security Standard "restricted".
//!
//! A Deployment is the default: builds run in it by `kubectl exec`, and GitOps tools see nothing change.
use super::{Enrolment, Error, check_name, header, labels, restricted_container, restricted_pod};
use crate::yaml::emit;
use serde_json::{Value, json};

/// A runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// The name of all its resources.
    pub name: String,
    /// The namespace, which is not made here.
    pub namespace: String,
    /// The image of this program.
    pub image: String,
    /// What runs.
    pub workload: Workload,
    /// The Secret of type `kubernetes.io/dockerconfigjson` with registry credentials.
    pub registry_secret: Option<String>,
    /// The Secret whose keys become environment variables (tokens).
    pub environment_secret: Option<String>,
    /// The ConfigMap with `images.yaml`, mounted at `/etc/cooperage`.
    pub config_map: Option<String>,
    /// What is in that ConfigMap, which is then written, too.
    pub enrolment: Option<Enrolment>,
    /// The cache volume's size, `20Gi`; without one the cache lives as long as the pod.
    pub cache: Option<String>,
    /// CPU request.
    pub cpu: String,
    /// CPU limit; none lets builds use what the node has to spare.
    pub cpu_limit: Option<String>,
    /// Memory request and limit.
    pub memory: String,
    /// TCP ports that the runner may reach besides DNS; 443 and 80 are usual, a registry's own may come to it.
    pub egress_ports: Vec<u16>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// A process that stays, with the port of its HTTP probe `/healthz` where it has one; else this program is asked
    /// for its version.
    Deployment {
        /// The arguments of the process.
        arguments: Vec<String>,
        /// The port of `/healthz`.
        port: Option<u16>,
    },
    /// One run.
    Job {
        /// The arguments.
        arguments: Vec<String>,
    },
    /// Runs by the clock.
    CronJob {
        /// In cron's form.
        schedule: String,
        /// What runs before, in a container of its own; nothing where it is empty.
        before: Vec<String>,
        /// The arguments.
        arguments: Vec<String>,
    },
}

/// All resources as one YAML stream.
///
/// # Errors
/// [`Error::Name`], [`Error::Field`].
pub fn synth(runner: &Runner) -> Result<String, Error> {
    Ok(emit::stream(&header("factory synth kubernetes"), &resources(runner)?))
}

/// All resources as values.
///
/// # Errors
/// As [`synth`].
pub fn resources(runner: &Runner) -> Result<Vec<Value>, Error> {
    check(runner)?;
    let metadata = || json!({ "name": runner.name, "namespace": runner.namespace, "labels": labels(&runner.name) });
    let mut all = vec![json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(), "automountServiceAccountToken": false,
    })];
    if let (Some(name), Some(enrolment)) = (&runner.config_map, &runner.enrolment) {
        check_name(name, "ConfigMap", 253)?;
        let metadata = json!({ "name": name, "namespace": runner.namespace, "labels": labels(&runner.name) });
        all.push(enrolment.config_map(metadata)?);
    }
    if let Some(size) = &runner.cache {
        let spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } });
        all.push(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(), "spec": spec }));
    }
    all.push(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(), "spec": network(runner),
    }));
    let job = |before: &[String], arguments: &[String]| {
        let template = pod(runner, before, arguments, None);
        json!({ "backoffLimit": 1, "ttlSecondsAfterFinished": 86400, "template": template })
    };
    let (group, kind, spec) = match &runner.workload {
        Workload::Deployment { arguments, port } => {
            let spec = json!({
                "replicas": 1,
                // The cache volume belongs to one pod at a time.
                "strategy": { "type": "Recreate" },
                "selector": { "matchLabels": { "app.kubernetes.io/name": runner.name } },
                "template": pod(runner, &[], arguments, Some(*port)),
            });
            ("apps/v1", "Deployment", spec)
        }
        Workload::Job { arguments } => ("batch/v1", "Job", job(&[], arguments)),
        Workload::CronJob { schedule, before, arguments } => {
            let spec = json!({
                "schedule": schedule, "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 3, "jobTemplate": { "spec": job(before, arguments) },
            });
            ("batch/v1", "CronJob", spec)
        }
    };
    all.push(json!({ "apiVersion": group, "kind": kind, "metadata": metadata(), "spec": spec }));
    Ok(all)
}

/// Nothing comes in but the probe's port; DNS and the given ports go out.
fn network(runner: &Runner) -> Value {
    let mut ports = runner.egress_ports.clone();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<Value> = ports.into_iter().map(|port| json!({ "protocol": "TCP", "port": port })).collect();
    let dns = json!({ "ports": [{ "protocol": "UDP", "port": 53 }, { "protocol": "TCP", "port": 53 }] });
    let ingress = match &runner.workload {
        Workload::Deployment { port: Some(port), .. } => json!([{ "ports": [{ "protocol": "TCP", "port": port }] }]),
        _ => json!([]),
    };
    let egress = if ports.is_empty() { json!([dns]) } else { json!([dns, { "ports": ports }]) };
    json!({
        "podSelector": { "matchLabels": { "app.kubernetes.io/name": runner.name } },
        "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress,
    })
}

/// `probe` is for what stays: what ends by itself needs none.
fn pod(runner: &Runner, before: &[String], arguments: &[String], probe: Option<Option<u16>>) -> Value {
    let mut mounts = vec![
        json!({ "name": "cache", "mountPath": "/var/lib/cooperage" }),
        json!({ "name": "tmp", "mountPath": "/tmp" }),
    ];
    let cache = match &runner.cache {
        Some(_) => json!({ "name": "cache", "persistentVolumeClaim": { "claimName": runner.name } }),
        None => json!({ "name": "cache", "emptyDir": {} }),
    };
    let mut volumes = vec![cache, json!({ "name": "tmp", "emptyDir": {} })];
    let mut env = vec![
        json!({ "name": "COOPERAGE_ROOT", "value": "/var/lib/cooperage" }),
        json!({ "name": "COOPERAGE_STATE", "value": "/var/lib/cooperage/state" }),
        json!({ "name": "HOME", "value": "/tmp" }),
    ];
    if let Some(secret) = &runner.registry_secret {
        env.push(json!({ "name": "DOCKER_CONFIG", "value": "/etc/docker-config" }));
        mounts.push(json!({ "name": "registry", "mountPath": "/etc/docker-config", "readOnly": true }));
        let items = json!([{ "key": ".dockerconfigjson", "path": "config.json" }]);
        volumes.push(json!({ "name": "registry", "secret": { "secretName": secret, "items": items } }));
    }
    if let Some(config) = &runner.config_map {
        env.push(json!({ "name": "COOPERAGE_IMAGES", "value": "/etc/cooperage/images.yaml" }));
        mounts.push(json!({ "name": "config", "mountPath": "/etc/cooperage", "readOnly": true }));
        let volume = runner.enrolment.as_ref().map_or_else(|| json!({ "name": config }), |files| files.volume(config));
        volumes.push(json!({ "name": "config", "configMap": volume }));
    }
    let mut container = json!({
        "name": "cooperage", "image": runner.image, "args": arguments, "env": env, "workingDir": "/tmp",
        "resources": {
            "requests": { "cpu": runner.cpu, "memory": runner.memory },
            "limits": { "memory": runner.memory },
        },
        "securityContext": restricted_container(), "volumeMounts": mounts,
    });
    if let Some(cpu) = &runner.cpu_limit {
        container["resources"]["limits"]["cpu"] = json!(cpu);
    }
    if let Some(secret) = &runner.environment_secret {
        container["envFrom"] = json!([{ "secretRef": { "name": secret } }]);
    }
    let mut first = container.clone();
    if let Some(port) = probe {
        let action = |port: Option<u16>| match port {
            Some(port) => json!({ "httpGet": { "path": "/healthz", "port": port } }),
            None => json!({ "exec": { "command": ["cooperage", "--version"] } }),
        };
        let with = |delay: u32, period: u32| {
            let mut probe = action(port);
            probe["initialDelaySeconds"] = json!(delay);
            probe["periodSeconds"] = json!(period);
            probe["timeoutSeconds"] = json!(5);
            probe
        };
        // Fails with the reason where RUN steps cannot work in this pod.
        container["startupProbe"] = json!({
            "exec": { "command": ["cooperage", "doctor"] },
            "periodSeconds": 5, "timeoutSeconds": 20, "failureThreshold": 6,
        });
        container["readinessProbe"] = with(1, 10);
        container["livenessProbe"] = with(10, 30);
        if let Some(port) = port {
            container["ports"] = json!([{ "name": "http", "containerPort": port }]);
        }
    }
    let mut spec = json!({
        "serviceAccountName": runner.name, "automountServiceAccountToken": false, "securityContext": restricted_pod(),
        "containers": [container], "volumes": volumes,
    });
    if probe.is_none() {
        spec["restartPolicy"] = json!("Never");
    }
    if !before.is_empty() {
        first["name"] = json!("before");
        first["args"] = json!(before);
        spec["initContainers"] = json!([first]);
    }
    json!({ "metadata": { "labels": labels(&runner.name) }, "spec": spec })
}

fn check(runner: &Runner) -> Result<(), Error> {
    check_name(&runner.name, "Deployment", 63)?;
    check_name(&runner.namespace, "Namespace", 63)?;
    let field = |field, value: &str, problem| {
        Err(Error::Field { of: format!("runner {}", runner.name), field, value: value.into(), problem })
    };
    for (what, text) in [
        ("cpu", Some(&runner.cpu)),
        ("cpu limit", runner.cpu_limit.as_ref()),
        ("memory", Some(&runner.memory)),
        ("cache", runner.cache.as_ref()),
    ] {
        let quantity = |text: &str| {
            let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
            let unit = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&&text[digits..]);
            digits > 0 && unit && text[..digits].parse::<f64>().is_ok()
        };
        if let Some(text) = text.filter(|text| !quantity(text)) {
            return field(what, text, "is no quantity; write it like 500m, 2 or 20Gi");
        }
    }
    match &runner.workload {
        Workload::CronJob { schedule, .. }
            if schedule.split_whitespace().count() != 5 && !schedule.starts_with('@') =>
        {
            field("schedule", schedule, "is no time in cron's form; write five fields like 0 3 * * *")
        }
        _ => Ok(()),
    }
}
