//! Checks values against JSON schemas and the schemas of custom resource definitions, as strictly as a server with
//! strict field validation: unknown fields are errors. Only the words that those schemas use are known; an unknown
//! word is a failure of the test.
use gitops::yaml::tree::{Kind, Node, parse};
use regex::Regex;
use serde_json::{Map, Value};
use std::io::Read as _;
use std::path::Path;

/// A compressed file of `tests/crds`.
pub(crate) fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crds").join(format!("{name}.gz"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
    if name.ends_with(".json") { serde_json::from_str(&text).expect("JSON") } else { read(&text).remove(0) }
}

/// The schema of a custom resource.
pub(crate) fn crd(name: &str) -> Value {
    load(&format!("{name}.yaml"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
}

/// YAML documents as JSON values.
pub(crate) fn read(text: &str) -> Vec<Value> {
    parse(text).expect("YAML").documents.iter().map(value).collect()
}

fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Mapping { entries, .. } => {
            let entry = |(key, item): &(Node, Node)| (key.scalar().expect("a text as key").to_owned(), value(item));
            Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
        Kind::Sequence { items, .. } => items.iter().map(value).collect(),
        Kind::Scalar { .. } if node.is_null() => Value::Null,
        Kind::Scalar { value: text, style } if format!("{style:?}") == "Plain" => serde_json::from_str(text)
            .ok()
            .filter(|value: &Value| !value.is_string())
            .unwrap_or_else(|| text.clone().into()),
        Kind::Scalar { value: text, .. } => text.clone().into(),
        Kind::Alias { line, .. } => panic!("an alias in line {line}"),
    }
}

/// What is wrong with `value`, a line each.
pub(crate) fn check(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    walk(schema, schema, value, path, &mut problems);
    problems
}

fn walk(root: &Value, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    let Some(words) = schema.as_object() else { return };
    let open = words.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    for (word, rule) in words {
        let mut wrong = |text: String| problems.push(format!("{path}: {text}"));
        match word.as_str() {
            "type" if words.contains_key("x-kubernetes-int-or-string") => {}
            "type" => {
                let right = match rule.as_str().expect("one type") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    other => panic!("type {other}"),
                };
                if !right {
                    wrong(format!("{value} is no {rule}"));
                }
            }
            "required" => {
                for key in rule.as_array().expect("a list").iter().filter_map(Value::as_str) {
                    if value.is_object() && value.get(key).is_none() {
                        wrong(format!("`{key}` is missing"));
                    }
                }
            }
            "enum" if !rule.as_array().expect("a list").contains(value) => wrong(format!("{value} is none of {rule}")),
            "pattern" => {
                let pattern = Regex::new(rule.as_str().expect("a text")).expect("a pattern");
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    wrong(format!("{value} does not match {rule}"));
                }
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minimum"
            | "maximum" => {
                let size = match value {
                    Value::String(text) if word.ends_with("Length") => text.chars().count() as f64,
                    Value::Array(items) if word.ends_with("Items") => items.len() as f64,
                    Value::Object(map) if word.ends_with("Properties") => map.len() as f64,
                    Value::Number(number) if word.ends_with("imum") => number.as_f64().expect("a number"),
                    _ => continue,
                };
                let limit = rule.as_f64().expect("a number");
                if (word.starts_with("min") && size < limit) || (word.starts_with("max") && size > limit) {
                    wrong(format!("{value}: {word} {limit}"));
                }
            }
            "properties" => {
                let free = words.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false));
                for (key, item) in value.as_object().into_iter().flatten() {
                    // What Kubernetes itself knows of every object.
                    let meta = path.matches('.').count() == 0 && key == "metadata";
                    match rule.get(key) {
                        Some(_) if meta => {}
                        Some(schema) => walk(root, schema, item, &format!("{path}.{key}"), problems),
                        None if open || free || words.contains_key("x-kubernetes-embedded-resource") => {}
                        None => problems.push(format!("{path}: `{key}` is unknown")),
                    }
                }
            }
            "additionalProperties" => {
                for (key, item) in value.as_object().into_iter().flatten() {
                    if rule.is_object() && words.get("properties").is_none_or(|known| known.get(key).is_none()) {
                        walk(root, rule, item, &format!("{path}.{key}"), problems);
                    }
                }
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    walk(root, rule, item, &format!("{path}[{number}]"), problems);
                }
            }
            "oneOf" | "anyOf" => {
                let fits = |schema: &&Value| {
                    let mut problems = Vec::new();
                    alternative(root, schema, value, path, &mut problems);
                    problems.is_empty()
                };
                let count = rule.as_array().expect("a list").iter().filter(fits).count();
                if count == 0 || (word == "oneOf" && count > 1) {
                    wrong(format!("{count} of {word} fit"));
                }
            }
            "$ref" => {
                let pointer = rule.as_str().expect("a text").strip_prefix('#').expect("a reference in the same file");
                walk(root, root.pointer(pointer).expect("it is there"), value, path, problems);
            }
            // Words that say nothing of the value, and rules in CEL, which are not worked out here.
            "$schema" | "title" | "description" | "default" | "definitions" | "format" | "enum" | "nullable" => {}
            word if word.starts_with("x-kubernetes-") => {}
            other => panic!("{path}: the word {other} is unknown"),
        }
    }
}

/// A part of `oneOf`: it speaks of some properties only, so others are free.
fn alternative(root: &Value, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() {
            problems.push(format!("{path}: `{key}` is missing"));
        }
    }
    for (key, rule) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(item) = value.get(key) {
            walk(root, rule, item, path, problems);
        }
    }
    if schema.get("properties").is_none() {
        walk(root, schema, value, path, problems);
    }
}
