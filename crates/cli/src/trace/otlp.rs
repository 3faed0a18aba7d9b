//! OpenTelemetry: the spans of a build, sent to a collector as OTLP over HTTP with JSON.
//!
//! One trace: a span for the build (a child of `TRACEPARENT`, where a CI sets it), one for each step, and one for each
//! thing that a step did. Variables mean what the OpenTelemetry specification says; without an endpoint nothing is
//! sent. A collector that does not answer costs a warning, never the build.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use build::event::Outcome;
use build::source::http::HttpClient;
use serde_json::{Value, json};

use super::{beginning, end, of, spans};
use crate::env::Env;
use crate::progress::State;

/// Spans in one request.
const BATCH: usize = 2000;

/// Where to send, and as what.
#[derive(Debug)]
pub(crate) struct Exporter {
    url: String,
    headers: Vec<(String, String)>,
    resource: Vec<(String, String)>,
    timeout: Duration,
    parent: Option<Parent>,
}

/// `TRACEPARENT`: version, trace, span, flags.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parent {
    trace: String,
    span: String,
    sampled: bool,
}

impl Exporter {
    /// What the environment asks for; nothing where it names no endpoint or says no.
    ///
    /// # Errors
    /// Where it asks for what is not there; one line.
    pub(crate) fn of(env: &Env) -> Result<Option<Self>, String> {
        let either = |name: &str| {
            env.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| env.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        if env.get("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
            || env.get("OTEL_TRACES_EXPORTER") == Some("none")
        {
            return Ok(None);
        }
        let url = match (env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), env.get("OTEL_EXPORTER_OTLP_ENDPOINT")) {
            (Some(url), _) => url.to_owned(),
            (None, Some(base)) => format!("{}/v1/traces", base.trim_end_matches('/')),
            (None, None) => return Ok(None),
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(format!("OTEL_EXPORTER_OTLP_ENDPOINT {url}: expected http:// or https://"));
        }
        if either("PROTOCOL") == Some("grpc") {
            return Err("OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported: name the HTTP port of the collector \
                        (4318) and set it to http/json"
                .to_owned());
        }
        let parent = env.get("TRACEPARENT").and_then(parent);
        if parent.as_ref().is_some_and(|parent| !parent.sampled) {
            return Ok(None);
        }
        let timeout = either("TIMEOUT").and_then(|text| text.parse().ok()).unwrap_or(10_000);
        let mut resource = pairs(env.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        let service = env.get("OTEL_SERVICE_NAME").map(str::to_owned);
        let known = resource.iter().any(|(key, _)| key == "service.name");
        if let Some(service) = service.or_else(|| (!known).then(|| "cooperage".to_owned())) {
            resource.retain(|(key, _)| key != "service.name");
            resource.insert(0, ("service.name".to_owned(), service));
        }
        let mut headers = pairs(either("HEADERS").unwrap_or_default());
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        Ok(Some(Self { url, headers, resource, timeout: Duration::from_millis(timeout), parent }))
    }

    /// Sends the spans of a build.
    ///
    /// # Errors
    /// Where the collector does not take them; one line.
    pub(crate) fn send(&self, client: &HttpClient, state: &State, now: SystemTime) -> Result<(), String> {
        for batch in self.spans(state, now).chunks(BATCH) {
            let document = json!({ "resourceSpans": [{
                "resource": { "attributes": attributes(&self.resource) },
                "scopeSpans": [{
                    "scope": { "name": "cooperage", "version": env!("CARGO_PKG_VERSION") },
                    "spans": batch,
                }],
            }] });
            let body = document.to_string().into_bytes();
            client.post(&self.url, &self.headers, body, self.timeout).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn spans(&self, state: &State, now: SystemTime) -> Vec<Value> {
        let spans = spans(state, now);
        let mut ids = Ids::new();
        let trace = self.parent.as_ref().map_or_else(|| ids.next(16), |parent| parent.trace.clone());
        let root = ids.next(8);
        let mut out = Vec::new();
        let mut add = |id: &str, parent: Option<&str>, name: &str, times: (SystemTime, SystemTime), more: Value| {
            let mut span = json!({
                "traceId": trace, "spanId": id, "name": name, "kind": 1,
                "startTimeUnixNano": nanoseconds(times.0), "endTimeUnixNano": nanoseconds(times.1.max(times.0)),
            });
            if let Some(parent) = parent {
                span["parentSpanId"] = parent.into();
            }
            if let Value::Object(more) = more {
                for (key, value) in more {
                    span[key] = value;
                }
            }
            out.push(span);
        };
        let whole = (beginning(state, &spans).unwrap_or(now), end(state, &spans).unwrap_or(now));
        let failed = state.vertices.iter().find_map(|vertex| match &vertex.outcome {
            Some(Outcome::Failed(why)) => Some(why.as_str()),
            _ => None,
        });
        let above = self.parent.as_ref().map(|parent| parent.span.as_str());
        add(&root, above, "cooperage build", whole, json!({ "status": status(failed) }));
        for vertex in &state.vertices {
            let mut parent = root.clone();
            if let Some(started) = vertex.started {
                parent = ids.next(8);
                let (word, failed) = match &vertex.outcome {
                    Some(Outcome::Done) => ("done", None),
                    Some(Outcome::Cached) => ("cached", None),
                    Some(Outcome::Failed(why)) => ("failed", Some(why.as_str())),
                    Some(Outcome::Canceled) | None => ("canceled", None),
                };
                let mut list = vec![("cooperage.outcome".to_owned(), word.to_owned())];
                list.extend(vertex.stage.iter().map(|stage| ("cooperage.stage".to_owned(), stage.clone())));
                list.extend(vertex.miss.iter().map(|c| ("cooperage.cache_miss".to_owned(), c.summary.clone())));
                let more = json!({ "attributes": attributes(&list), "status": status(failed) });
                add(&parent, Some(&root), &vertex.name, (started, vertex.completed.unwrap_or(now)), more);
            }
            for span in of(&spans, Some(vertex.id)) {
                let more = json!({ "attributes": attributes(&[("cooperage.of".to_owned(), span.detail.clone())]) });
                add(&ids.next(8), Some(&parent), span.phase.name(), (span.started, span.ended), more);
            }
        }
        for span in of(&spans, None) {
            let more = json!({ "attributes": attributes(&[("cooperage.of".to_owned(), span.detail.clone())]) });
            add(&ids.next(8), Some(&root), span.phase.name(), (span.started, span.ended), more);
        }
        out
    }
}

fn parent(text: &str) -> Option<Parent> {
    let parts: Vec<&str> = text.trim().split('-').collect();
    let [version, trace, span, flags, ..] = parts.as_slice() else { return None };
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit()) && text.bytes().any(|b| b != b'0')
    };
    if *version == "ff" || version.len() != 2 || !hex(trace, 32) || !hex(span, 16) {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    Some(Parent { trace: trace.to_lowercase(), span: span.to_lowercase(), sampled })
}

/// `key=value,key=value`, percent-encoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let (bytes, mut out, mut at) = (text.trim().as_bytes(), Vec::new(), 0);
        while let Some(byte) = bytes.get(at) {
            let digits = bytes.get(at + 1..at + 3).and_then(|d| std::str::from_utf8(d).ok());
            let value = digits.filter(|_| *byte == b'%').and_then(|d| u8::from_str_radix(d, 16).ok());
            out.push(value.unwrap_or(*byte));
            at += if value.is_some() { 3 } else { 1 };
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decoded(k), decoded(v))).collect()
}

fn attributes(list: &[(String, String)]) -> Value {
    list.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

fn status(failed: Option<&str>) -> Value {
    failed.map_or_else(|| json!({}), |why| json!({ "code": 2, "message": why }))
}

/// As a text: the number is too large for JSON's.
fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

/// Random numbers in hex, from one seed of the system.
struct Ids {
    seed: [u8; 16],
    count: u64,
}

impl Ids {
    fn new() -> Self {
        let mut seed = [0_u8; 16];
        if rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).is_err() {
            seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_le_bytes();
        }
        Self { seed, count: 0 }
    }

    fn next(&mut self, bytes: usize) -> String {
        self.count += 1;
        let mut input = self.seed.to_vec();
        input.extend(self.count.to_le_bytes());
        oci::Digest::sha256(&input).hex()[..2 * bytes].to_owned()
    }
}

#[cfg(test)]
mod tests;
