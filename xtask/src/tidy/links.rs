//! Relative links in Markdown files lead somewhere.
//!
//! Looks at inline links outside code; anchors and other hosts are not followed.

use std::path::{Component, Path, PathBuf};

use super::Violation;

/// Returns the links whose target does not exist, by `exists` on paths relative to the root.
pub(crate) fn check(file: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut fenced = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in targets(line) {
            if resolve(folder, target).is_none_or(|path| !exists(&path)) {
                found.push(Violation {
                    file: file.to_owned(),
                    line: index + 1,
                    rule: "dead-link",
                    item: target.to_owned(),
                    message: format!("`{target}` leads nowhere"),
                });
            }
        }
    }
    found
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    let outside_code = line.split('`').step_by(2);
    outside_code.flat_map(|part| {
        part.match_indices("](").filter_map(move |(at, opening)| {
            let rest = &part[at + opening.len()..];
            let target = rest[..rest.find(')')?].split(['#', ' ']).next()?;
            let relative =
                !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            relative.then_some(target)
        })
    })
}

/// Returns the target as a path from the root, or `None` when it leaves the root.
fn resolve(folder: &Path, target: &str) -> Option<String> {
    let mut path = PathBuf::new();
    for component in folder.join(target).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(text: &str) -> Vec<String> {
        let exists = |path: &str| ["README.md", "docs/formats/events.md"].contains(&path);
        check("docs/A.md", text, exists)
            .into_iter()
            .map(|violation| violation.item)
            .collect()
    }

    #[test]
    fn links_are_resolved_from_the_file_that_has_them() {
        assert_eq!(
            dead("[a](../README.md) [b](formats/events.md#tail) [c](README.md)"),
            ["README.md"]
        );
    }

    #[test]
    fn other_hosts_anchors_and_code_are_left_alone() {
        assert_eq!(
            dead("[a](https://x.example/y) [b](#c) `[d](e)`\n```\n[f](g)\n```"),
            [""; 0]
        );
    }

    #[test]
    fn a_link_out_of_the_checkout_is_dead() {
        assert_eq!(dead("[a](../../x)"), ["../../x"]);
    }
}
