//! A template's tree and a value to a text.

use serde_json::Value;

use super::TemplateError;
use super::parse::{Node, Operand, Pipeline, Range, Template};

/// The values a name stands for while a template is evaluated.
#[derive(Clone)]
struct Scope<'a> {
    root: &'a Value,
    dot: Value,
    variables: Vec<(String, Value)>,
}

type Evaluated<T> = Result<T, TemplateError>;

fn error<T>(message: impl Into<String>) -> Evaluated<T> {
    Err(TemplateError::Evaluate(message.into()))
}

pub(super) fn render(template: &Template, value: &Value) -> Evaluated<String> {
    let scope = Scope {
        root: value,
        dot: value.clone(),
        variables: Vec::new(),
    };
    let mut out = String::new();
    scope.nodes(&template.0, &mut out)?;
    Ok(out)
}

impl Scope<'_> {
    fn nodes(&self, nodes: &[Node], out: &mut String) -> Evaluated<()> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Print(pipeline) => out.push_str(&print(&self.pipeline(pipeline)?)),
                Node::If(condition, body, otherwise) => {
                    let holds = is_true(&self.pipeline(condition)?);
                    self.nodes(if holds { body } else { otherwise }, out)?;
                }
                Node::With(condition, body, otherwise) => {
                    let value = self.pipeline(condition)?;
                    match is_true(&value) {
                        true => self.with_dot(value).nodes(body, out)?,
                        false => self.nodes(otherwise, out)?,
                    }
                }
                Node::Range(range) => self.range(range, out)?,
            }
        }
        Ok(())
    }

    fn with_dot(&self, dot: Value) -> Self {
        Self {
            dot,
            ..self.clone()
        }
    }

    fn range(&self, range: &Range, out: &mut String) -> Evaluated<()> {
        let items: Vec<(Value, Value)> = match self.pipeline(&range.over)? {
            Value::Null => Vec::new(),
            Value::Array(list) => {
                let numbered = list.into_iter().enumerate();
                numbered
                    .map(|(index, value)| (index.into(), value))
                    .collect()
            }
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
            value => return error(format!("range can't iterate over {}", print(&value))),
        };
        if items.is_empty() {
            return self.nodes(&range.otherwise, out);
        }
        for (key, value) in items {
            let mut inner = self.with_dot(value.clone());
            match range.variables.as_slice() {
                [name] => inner.variables.push((name.clone(), value)),
                [first, second] => {
                    inner.variables.push((first.clone(), key));
                    inner.variables.push((second.clone(), value));
                }
                _ => {}
            }
            inner.nodes(&range.body, out)?;
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline) -> Evaluated<Value> {
        let mut passed = None;
        for call in &pipeline.0 {
            passed = Some(self.call(call, passed)?);
        }
        Ok(passed.unwrap_or(Value::Null))
    }

    fn call(&self, call: &[Operand], passed: Option<Value>) -> Evaluated<Value> {
        let (head, rest) = call.split_first().expect("the parser refuses empty calls");
        let mut arguments: Vec<Value> = rest
            .iter()
            .map(|operand| self.operand(operand))
            .collect::<Evaluated<_>>()?;
        arguments.extend(passed);
        match head {
            Operand::Function(name) => function(name, &arguments),
            Operand::Path(None, fields) if fields == &["Label"] => label(&self.dot, &arguments),
            head if arguments.is_empty() => self.operand(head),
            head => error(format!("can't give arguments to non-function {head:?}")),
        }
    }

    fn operand(&self, operand: &Operand) -> Evaluated<Value> {
        match operand {
            Operand::Function(name) => function(name, &[]),
            Operand::Path(variable, fields) => self.path(variable.as_deref(), fields),
            Operand::Text(text) => Ok(text.clone().into()),
            Operand::Number(number) => Ok((*number).into()),
            Operand::Bool(value) => Ok((*value).into()),
            Operand::Nil => Ok(Value::Null),
            Operand::Group(pipeline, fields) => {
                let value = self.pipeline(pipeline)?;
                walk(&value, fields).cloned()
            }
        }
    }

    fn path(&self, variable: Option<&str>, fields: &[String]) -> Evaluated<Value> {
        let value = match variable {
            None => &self.dot,
            Some("") => self.root,
            Some(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value,
                None => return error(format!("undefined variable \"${name}\"")),
            },
        };
        walk(value, fields).cloned()
    }
}

fn walk<'v>(value: &'v Value, fields: &[String]) -> Evaluated<&'v Value> {
    let mut value = value;
    for field in fields {
        value = match value {
            Value::Object(map) => match map.get(field) {
                Some(value) => value,
                None => return error(format!("map has no entry for key {field:?}")),
            },
            _ => return error(format!("can't evaluate field {field} in {}", print(value))),
        };
    }
    Ok(value)
}

fn function(name: &str, arguments: &[Value]) -> Evaluated<Value> {
    let text = |value: &Value| print(value);
    let bad = || error(format!("wrong arguments for {name}"));
    Ok(match (name, arguments) {
        ("json", [value]) => value.to_string().into(),
        ("len", [Value::Array(list)]) => list.len().into(),
        ("len", [Value::Object(map)]) => map.len().into(),
        ("len", [Value::String(text)]) => text.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("upper", [value]) => text(value).to_uppercase().into(),
        ("lower", [value]) => text(value).to_lowercase().into(),
        ("title", [value]) => title(&text(value)).into(),
        ("split", [Value::String(text), Value::String(by)]) => {
            text.split(by.as_str()).collect::<Vec<_>>().into()
        }
        ("join", [Value::Null, _]) => "".into(),
        ("join", [Value::Array(list), Value::String(by)]) => {
            list.iter().map(print).collect::<Vec<_>>().join(by).into()
        }
        ("index", [value, keys @ ..]) if !keys.is_empty() => index(value, keys)?,
        ("println", values) => format!("{}\n", joined(values)).into(),
        ("print", values) => joined(values).into(),
        ("eq", [first, others @ ..]) if !others.is_empty() => others.contains(first).into(),
        ("ne", [first, second]) => (first != second).into(),
        ("not", [value]) => (!is_true(value)).into(),
        ("and", [.., last]) => arguments
            .iter()
            .find(|v| !is_true(v))
            .unwrap_or(last)
            .clone(),
        ("or", [.., last]) => arguments
            .iter()
            .find(|v| is_true(v))
            .unwrap_or(last)
            .clone(),
        ("json" | "len" | "upper" | "lower" | "title" | "split" | "join" | "index", _) => {
            return bad();
        }
        ("eq" | "ne" | "not" | "and" | "or", _) => return bad(),
        _ => return error(format!("function {name:?} not defined")),
    })
}

fn index(value: &Value, keys: &[Value]) -> Evaluated<Value> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            // A map has an empty value for what is not in it.
            (Value::Object(map), Value::String(key)) => {
                map.get(key).cloned().unwrap_or_else(|| "".into())
            }
            (Value::Array(list), Value::Number(number)) => {
                let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
                match at.and_then(|at| list.get(at)) {
                    Some(value) => value.clone(),
                    None => return error(format!("index out of range: {number}")),
                }
            }
            (Value::Null, _) => "".into(),
            (value, key) => {
                return error(format!("can't index {} with {}", print(value), print(key)));
            }
        };
    }
    Ok(value)
}

/// `.Label "name"` of a row whose labels are one text, `a=1,b=2`.
fn label(row: &Value, arguments: &[Value]) -> Evaluated<Value> {
    let (Some(Value::String(labels)), [Value::String(name)]) = (row.get("Labels"), arguments)
    else {
        return error("wrong arguments for .Label");
    };
    let mut labels = labels.split(',').filter_map(|label| label.split_once('='));
    let found = labels.find(|(key, _)| key == name);
    Ok(found.map_or("", |(_, value)| value).into())
}

fn title(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn joined(values: &[Value]) -> String {
    values.iter().map(print).collect::<Vec<_>>().join(" ")
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Returns a value as Go prints it.
fn print(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("[{}]", joined(list)),
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", print(value)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
    }
}
