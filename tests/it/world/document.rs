//! Validates every response that a test reads against the API description: status, media type and
//! body.

use jsonschema::Validator;
use reconciler::api::openapi;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The API description, with response schemas by method, path and status.
pub struct Document {
    pub whole: Value,
    answers: HashMap<(String, String, String), Value>,
    validators: std::sync::Mutex<HashMap<String, std::sync::Arc<Validator>>>,
}

/// The API description.
pub static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let whole = openapi::document();
    let mut answers = HashMap::new();
    for (path, method, operation) in operations(&whole) {
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let response = resolved(&whole, response);
            answers.insert((method.clone(), path.clone(), status.clone()), response);
        }
    }
    Document {
        whole,
        answers,
        validators: Default::default(),
    }
});

fn operations(whole: &Value) -> Vec<(String, String, Value)> {
    let paths = whole["paths"].as_object().expect("paths");
    let methods =
        |item: &Value| -> Map<String, Value> { item.as_object().expect("an item").clone() };
    paths
        .iter()
        .flat_map(|(path, item)| {
            methods(item)
                .into_iter()
                .map(move |(method, operation)| (path.clone(), method.to_uppercase(), operation))
        })
        .collect()
}

fn resolved(whole: &Value, value: &Value) -> Value {
    match value["$ref"].as_str() {
        Some(place) => whole.pointer(&place[1..]).expect(place).clone(),
        None => value.clone(),
    }
}

impl Document {
    /// Returns the error of a response that violates the description.
    ///
    /// Returns `None` also for paths that do not exist and for methods that a path does not allow,
    /// which are not described.
    pub fn fault(
        &self,
        method: &str,
        path: &str,
        status: u16,
        kind: &str,
        body: &Value,
    ) -> Option<String> {
        let path = path.split('?').next().unwrap_or_default();
        let template = self.template(path)?;
        let known = |status: &str| {
            let key = (method.to_owned(), template.clone(), status.to_owned());
            self.answers.get(&key)
        };
        // The API has GET and POST only.
        self.answers
            .keys()
            .find(|(m, p, _)| m == method && *p == template)?;
        let Some(answer) = known(&status.to_string()) else {
            return Some(format!("{status} is not described"));
        };
        let content = answer["content"].as_object().cloned().unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let Some(content) = content.get(kind) else {
            let empty = content.is_empty() && body.is_null();
            return (!empty).then(|| format!("{status} as {kind:?} is not described"));
        };
        if !kind.ends_with("json") {
            return None;
        }
        let name = format!("{method} {template} {status}");
        self.judge(&name, &content["schema"], body)
    }

    /// Returns the error of a message to a subscriber that violates the description.
    pub fn message_fault(&self, body: &Value) -> Option<String> {
        let name = body["type"].as_str().unwrap_or_default();
        let place = format!("/webhooks/{name}/post/requestBody/content/application~1json/schema");
        let Some(schema) = self.whole.pointer(&place) else {
            return Some(format!("{name:?} is not described"));
        };
        self.judge(name, schema, body)
    }

    fn judge(&self, name: &str, schema: &Value, body: &Value) -> Option<String> {
        let validator = {
            let mut known = self.validators.lock().expect("a lock");
            let made = known.entry(name.to_owned()).or_insert_with(|| {
                let whole = json!({"allOf": [schema], "components": self.whole["components"]});
                jsonschema::validator_for(&whole).expect("a schema").into()
            });
            std::sync::Arc::clone(made)
        };
        let errors: Vec<String> = validator
            .iter_errors(body)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    /// Returns the described path that a request path matches.
    fn template(&self, path: &str) -> Option<String> {
        let given: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == given.len()
                && wanted.iter().zip(&given).all(|(wanted, given)| {
                    wanted == given || (wanted.starts_with('{') && !given.is_empty())
                })
        };
        let paths = self.whole["paths"].as_object().expect("paths");
        paths.keys().find(|template| fits(template)).cloned()
    }
}
