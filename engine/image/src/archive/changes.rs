//! Dockerfile instructions that only change how an image is run, as `docker
//! import --change` and `docker commit --change` take them.

use serde_json::{Map, Value, json};

/// Says why a change is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError {
    /// An instruction that would have to build something, or none at all.
    #[error("{0} is not a valid change command")]
    Instruction(String),
    /// The instruction's arguments are wrong.
    #[error("invalid arguments of change {0:?}")]
    Arguments(String),
}

/// Applies `changes` in order to the `config` of an image configuration.
pub(super) fn apply_changes(
    config: &mut Map<String, Value>,
    changes: &[String],
) -> Result<(), ChangeError> {
    changes
        .iter()
        .try_for_each(|change| apply(config, change.trim()))
}

fn apply(config: &mut Map<String, Value>, change: &str) -> Result<(), ChangeError> {
    let wrong = || ChangeError::Arguments(change.to_owned());
    let (instruction, rest) = change
        .split_once(char::is_whitespace)
        .unwrap_or((change, ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => drop(config.insert("Cmd".to_owned(), command(rest))),
        "ENTRYPOINT" => {
            config.insert("Entrypoint".to_owned(), command(rest));
            // A command of the image below would become an argument.
            config.remove("Cmd");
        }
        "ENV" => {
            for (key, value) in pairs(rest).ok_or_else(wrong)? {
                set_env(config, &key, &value);
            }
        }
        "LABEL" => {
            let labels = table(config, "Labels");
            for (key, value) in pairs(rest).ok_or_else(wrong)? {
                labels.insert(key, Value::String(value));
            }
        }
        "EXPOSE" => expose(config, rest).ok_or_else(wrong)?,
        "VOLUME" => {
            let volumes = exec_form(rest).unwrap_or_else(|| words(rest).unwrap_or_default());
            let table = table(config, "Volumes");
            table.extend(volumes.into_iter().map(|volume| (volume, json!({}))));
        }
        "USER" => drop(config.insert("User".to_owned(), json!(rest))),
        "WORKDIR" => drop(config.insert("WorkingDir".to_owned(), json!(work_dir(config, rest)))),
        "STOPSIGNAL" => drop(config.insert("StopSignal".to_owned(), json!(rest))),
        "ONBUILD" => {
            let list = config.entry("OnBuild").or_insert_with(|| json!([]));
            list.as_array_mut().ok_or_else(wrong)?.push(json!(rest));
        }
        other => return Err(ChangeError::Instruction(other.to_owned())),
    }
    Ok(())
}

/// `["a", "b"]` as it is, anything else through a shell.
fn command(rest: &str) -> Value {
    match exec_form(rest) {
        Some(words) => json!(words),
        None => json!(["/bin/sh", "-c", rest]),
    }
}

fn exec_form(rest: &str) -> Option<Vec<String>> {
    serde_json::from_str(rest).ok()
}

fn table<'a>(config: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = config.entry(key).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    entry.as_object_mut().expect("made an object above")
}

fn set_env(config: &mut Map<String, Value>, key: &str, value: &str) {
    let entry = config.entry("Env").or_insert_with(|| json!([]));
    let Some(list) = entry.as_array_mut() else {
        return;
    };
    let prefix = format!("{key}=");
    list.retain(|item| !item.as_str().is_some_and(|item| item.starts_with(&prefix)));
    list.push(json!(format!("{prefix}{value}")));
}

fn expose(config: &mut Map<String, Value>, rest: &str) -> Option<()> {
    for word in words(rest)? {
        let (range, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") || first == 0 || first > last {
            return None;
        }
        let ports = table(config, "ExposedPorts");
        ports.extend((first..=last).map(|port| (format!("{port}/{protocol}"), json!({}))));
    }
    Some(())
}

fn work_dir(config: &Map<String, Value>, rest: &str) -> String {
    let before = config
        .get("WorkingDir")
        .and_then(Value::as_str)
        .unwrap_or("/");
    let joined = std::path::Path::new("/").join(before).join(rest);
    joined.to_string_lossy().into_owned()
}

/// Returns `k=v` pairs, or the one pair of the old form `k v…`.
fn pairs(rest: &str) -> Option<Vec<(String, String)>> {
    let first = rest.split_whitespace().next()?;
    if !first.contains('=') {
        let (key, value) = rest.split_once(char::is_whitespace)?;
        return Some(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let split = |word: String| {
        let (key, value) = word.split_once('=')?;
        (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
    };
    words(rest)?.into_iter().map(split).collect()
}

/// Splits at blanks, except within quotes; `None` if a quote stays open.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().push(characters.next()?),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<Value, ChangeError> {
        let mut config = Map::new();
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        apply_changes(&mut config, &changes).map(|()| Value::Object(config))
    }

    #[test]
    fn instructions_change_the_configuration() {
        let config = changed(&[
            r#"ENTRYPOINT ["/init"]"#,
            "cmd echo hi",
            r#"ENV A=1 B="two words" C=a\ b"#,
            "ENV A 2",
            "EXPOSE 80 53/udp 1000-1001/tcp",
            r#"VOLUME ["/a b"]"#,
            "VOLUME /c /d",
            "USER 1:2",
            "WORKDIR /srv",
            "WORKDIR www",
            "LABEL k='v w'",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
        ]);
        let expected = json!({
            "Entrypoint": ["/init"], "Cmd": ["/bin/sh", "-c", "echo hi"],
            "Env": ["B=two words", "C=a b", "A=2"],
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "1000/tcp": {}, "1001/tcp": {}},
            "Volumes": {"/a b": {}, "/c": {}, "/d": {}}, "User": "1:2", "WorkingDir": "/srv/www",
            "Labels": {"k": "v w"}, "StopSignal": "SIGINT", "OnBuild": ["RUN x"],
        });
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for bad in [
            "RUN x",
            "FROM y",
            "",
            "CMD",
            "EXPOSE x",
            "EXPOSE 0",
            "EXPOSE 9-1",
            "ENV",
            "ENV =x",
            "LABEL a='b",
        ] {
            assert!(changed(&[bad]).is_err(), "{bad:?}");
        }
    }
}
