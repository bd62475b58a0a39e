//! No file names the machine it was written on.
//!
//! The banned words are the checkout's own path, and its parent where that is
//! not a folder that every machine has.

use std::path::Path;

use super::Violation;

/// Parents that say nothing about a machine.
const COMMON_FOLDERS: &[&str] = &[
    "/", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr/src", "/var/tmp",
];
/// Written in two parts, so that this file does not contain it.
const JOB_FOLDER: &str = concat!("bash", "_jobs");

/// Returns the lines that name a path of this machine.
pub(crate) fn check(file: &str, text: &str, root: &Path) -> Vec<Violation> {
    let banned = banned_paths(root);
    let names_machine = |line: &str| {
        line.contains(JOB_FOLDER) || banned.iter().any(|path| contains_path(line, path))
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| names_machine(line))
        .map(|(index, line)| Violation {
            file: file.to_owned(),
            line: index + 1,
            rule: "machine-path",
            item: line.trim().to_owned(),
            message: "names a path of the machine it was written on".to_owned(),
        })
        .collect()
}

fn banned_paths(root: &Path) -> Vec<String> {
    let parent = root
        .parent()
        .filter(|parent| !COMMON_FOLDERS.iter().any(|c| *parent == Path::new(c)));
    [Some(root), parent]
        .into_iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect()
}

/// Returns whether the path stands in the line as a path of its own, with something below it.
fn contains_path(line: &str, path: &str) -> bool {
    let needle = format!("{path}/");
    line.match_indices(&needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || "\"'`(=:[<".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, root: &str) -> Vec<usize> {
        check("f", text, Path::new(root))
            .into_iter()
            .map(|violation| violation.line)
            .collect()
    }

    #[test]
    fn the_checkout_and_its_parent_are_found() {
        let text = "ok\nsee /place/main/base\n`/place/other`\n";
        assert_eq!(lines(text, "/place/main"), [2, 3]);
    }

    #[test]
    fn a_folder_of_the_same_name_below_another_is_fine() {
        let text = "containers/<id>/place/x\n{dir}/place/x\n/placement/x";
        assert_eq!(lines(text, "/place/main"), [0; 0]);
    }

    #[test]
    fn a_common_parent_is_not_banned() {
        assert_eq!(lines("/tmp/x\n/tmp/checkout/base", "/tmp/checkout"), [2]);
    }
}
