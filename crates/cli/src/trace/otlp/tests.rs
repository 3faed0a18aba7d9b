use super::*;
use crate::env::testing::env;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;

fn exporter(vars: &[(&str, &str)]) -> Result<Option<Exporter>, String> {
    Exporter::of(&env(Path::new("/"), vars))
}

/// A stand-in for a collector: takes one request, answers with this status line, and gives head and body.
fn collector(answer: &'static str) -> (String, std::thread::JoinHandle<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let (mut head, mut line) = (String::new(), String::new());
        while stream.read_line(&mut line).unwrap() > 2 {
            head.push_str(&line.to_lowercase());
            line.clear();
        }
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().trim().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        write!(stream.get_mut(), "HTTP/1.1 {answer}\r\ncontent-length: 2\r\n\r\n{{}}").unwrap();
        (head, serde_json::from_slice(&body).unwrap())
    });
    (url, thread)
}

fn client() -> HttpClient {
    HttpClient::new(&registry::TrustStore::default(), &registry::ProxyVariables::default(), "test").unwrap()
}

#[test]
fn a_collector_gets_one_tree_of_spans() {
    let (url, thread) = collector("200 OK");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let exporter = exporter(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("{url}/otlp/")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b,x-other=c"),
        ("OTEL_SERVICE_NAME", "ci"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,team=web"),
        ("TRACEPARENT", &format!("00-{trace}-b7ad6b7169203331-01")),
    ]);
    let state = crate::trace::tests::state();
    exporter.unwrap().unwrap().send(&client(), &state, crate::trace::tests::at(3000)).unwrap();
    let (head, document) = thread.join().unwrap();
    assert!(head.starts_with("post /otlp/v1/traces http/1.1"), "{head}");
    for line in ["content-type: application/json", "x-token: a b", "x-other: c"] {
        assert!(head.contains(line), "{head}");
    }
    let resource = &document["resourceSpans"][0]["resource"]["attributes"];
    assert_eq!(resource[0]["value"]["stringValue"], "ci");
    assert_eq!(resource[1]["key"], "team");
    let spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let by_id: HashMap<&str, &Value> = spans.iter().map(|s| (s["spanId"].as_str().unwrap(), s)).collect();
    assert_eq!(by_id.len(), spans.len(), "span IDs are unique");
    let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
    for span in spans {
        assert_eq!(span["traceId"], trace);
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"));
        if span["name"] == "cooperage build" {
            assert_eq!(span["parentSpanId"], "b7ad6b7169203331");
            assert_eq!(span["status"]["code"], 2);
        } else {
            assert!(by_id.contains_key(span["parentSpanId"].as_str().unwrap()), "{span}");
        }
    }
    let named = |name: &str| spans.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(named("run")["parentSpanId"], named("[3/3] RUN make")["spanId"]);
    assert_eq!(named("[3/3] RUN make")["status"]["message"], "exit code: 2");
}

#[test]
fn a_collector_that_refuses_is_named() {
    let (url, thread) = collector("403 Forbidden");
    let exporter = exporter(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{url}/here"))]).unwrap().unwrap();
    let error = exporter.send(&client(), &State::default(), SystemTime::now()).unwrap_err();
    assert_eq!(error, format!("{url}/here answered 403 Forbidden"));
    let (head, _) = thread.join().unwrap();
    assert!(head.starts_with("post /here "), "{head}");
}

#[test]
fn variables_mean_what_the_specification_says() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    assert!(exporter(&[]).unwrap().is_none());
    assert_eq!(exporter(&[endpoint]).unwrap().unwrap().url, "http://collector:4318/v1/traces");
    assert!(exporter(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
    assert!(exporter(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
    assert!(exporter(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err().contains("4318"));
    assert!(exporter(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]).unwrap_err().contains("expected http://"));
    let unsampled = ("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    assert!(exporter(&[endpoint, unsampled]).unwrap().is_none());
    for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "ff-a-b-c", "x"] {
        assert_eq!(parent(bad), None, "{bad}");
    }
}
