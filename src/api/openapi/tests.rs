//! What the document says must be what is served, and it must say it of everything.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
use super::*;
use crate::api::routes;
use crate::http::routes::{OPS, WEBHOOK};
use std::collections::BTreeSet;

fn operations() -> Vec<(String, String, Value)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap();
        methods
            .iter()
            .map(|(method, operation)| (method.to_uppercase(), path.clone(), operation.clone()))
    });
    all.collect()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let told: BTreeSet<(String, String)> = operations()
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    let served = routes::api()
        .into_iter()
        .map(|route| (route.method.to_string(), route.path));
    // The files of the page are no part of the API.
    let mut served: BTreeSet<_> = served.filter(|(_, path)| path != "/docs/{file}").collect();
    let others = OPS.map(|path| ("GET", path));
    let others = others.into_iter().chain([("POST", WEBHOOK)]);
    served.extend(others.map(|(method, path)| (method.to_owned(), path.to_owned())));
    assert_eq!(told, served);
}

#[test]
fn paths_of_other_listeners_name_their_server() {
    for (method, path, operation) in operations() {
        let elsewhere = operation["servers"][0]["variables"]["origin"]["default"].is_string();
        let api = routes::api()
            .iter()
            .any(|route| route.path == path && route.method.as_str() == method);
        assert!(elsewhere != api, "{method} {path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(all) => {
                found.extend(all.get("$ref").and_then(Value::as_str));
                all.values().for_each(|value| walk(value, found));
            }
            Value::Array(all) => all.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    walk(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_has_a_name_a_summary_and_an_example() {
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations() {
        assert!(
            names.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{path}"
        );
        assert!(operation["summary"].is_string(), "{method} {path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let json = &response["content"]["application/json"];
            let shown = json.is_null() || !json["example"].is_null() || path == "/openapi.json";
            assert!(shown, "{method} {path} {status}");
        }
        let body = &operation["requestBody"];
        assert!(
            body.is_null() || !body["content"]["application/json"]["example"].is_null(),
            "{method} {path}"
        );
    }
}

#[test]
fn every_example_follows_its_schema() {
    let document = document();
    let components = document["components"].clone();
    let mut judged = 0;
    let mut judge = |content: &Value, place: &str| {
        let (schema, example) = (&content["schema"], &content["example"]);
        if schema.is_null() || example.is_null() {
            return;
        }
        let whole = serde_json::json!({"allOf": [schema], "components": components});
        let schema = jsonschema::validator_for(&whole).unwrap();
        if let Err(error) = schema.validate(example) {
            panic!("{place}: {error} at {}", error.instance_path());
        }
        judged += 1;
    };
    for (method, path, operation) in operations() {
        let place = format!("{method} {path}");
        judge(
            &operation["requestBody"]["content"]["application/json"],
            &place,
        );
        for response in operation["responses"].as_object().unwrap().values() {
            judge(&response["content"]["application/json"], &place);
        }
    }
    for (name, item) in document["webhooks"].as_object().unwrap() {
        judge(
            &item["post"]["requestBody"]["content"]["application/json"],
            name,
        );
    }
    for (name, response) in components["responses"].as_object().unwrap() {
        judge(&response["content"]["application/problem+json"], name);
    }
    assert!(judged > 50, "{judged}");
}

#[test]
fn a_tracking_id_is_described_as_it_is_read() {
    use domain::TrackingId;
    let document = document();
    let schema = &document["components"]["schemas"]["PaymentRequest"]["properties"]["tracking_id"];
    let schema = jsonschema::validator_for(schema).unwrap();
    let mut texts: Vec<String> = (0_u8..=255).map(|b| char::from(b).to_string()).collect();
    texts.extend((0_u8..=255).map(|b| format!("a{}", char::from(b))));
    texts.extend(["..", "...", ".a", "~a", "a~", ""].map(str::to_owned));
    texts.extend([255, 256].map(|n| "a".repeat(n)));
    for text in texts {
        let told = schema.is_valid(&Value::from(text.as_str()));
        assert_eq!(told, TrackingId::parse(&text).is_ok(), "{text:?}");
    }
}
