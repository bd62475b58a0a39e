//! Running the tests in their tree, and reading what pytest says of each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{APART, OUTPUT, prepare};
use crate::bench::Who;
use crate::conform::clients;
use crate::conform::results::{Ending, Results};
use crate::workspace::write_file;

const FOLDER: &str = "tests/integration";
const TEST_LIMIT: Duration = Duration::from_secs(120);
const SUITE_LIMIT: Duration = Duration::from_secs(90 * 60);

/// Runs the tests that `filter` selects, all where it is empty.
///
/// # Errors
/// Fails when pytest cannot run them; failing tests are no error.
pub(super) fn run(who: Who, filter: &str) -> Result<Results> {
    clients::share()?;
    let script = format!(
        "cd /data/{} && exec python3 -m pytest --verbose -p no:cacheprovider --timeout {} {} -k \"$1\" {FOLDER}",
        prepare::SUITE,
        TEST_LIMIT.as_secs(),
        ignored(),
    );
    let done = clients::command(who)
        .args(["sh", "-c", &script, "sh", filter])
        .env("PYTHONPATH", "/site")
        .timeout(SUITE_LIMIT)
        .output()?;
    let (printed, errors) = (done.stdout_text(), done.stderr_text());
    write_file(
        &Path::new("/data").join(OUTPUT),
        format!("{printed}\n{errors}"),
    )?;
    // 0 says that all passed, 1 that some failed; beyond is no run.
    ensure!(done.code() < 2, "pytest: {}", errors.trim());
    let results = parse(&printed);
    ensure!(!results.is_empty(), "pytest ran no test");
    for (test, ending) in results
        .iter()
        .filter(|(_, ending)| **ending != Ending::Passed)
    {
        println!("{ending:?}: {test}");
    }
    Ok(results)
}

fn ignored() -> String {
    let options = APART.iter().map(|name| match name.contains("::") {
        true => format!("--deselect={FOLDER}/{name}"),
        false => format!("--ignore={FOLDER}/{name}"),
    });
    options.collect::<Vec<_>>().join(" ")
}

/// Reads lines such as `tests/integration/a_test.py::Class::test PASSED [ 1%]`. A
/// test whose clean-up fails has two, and the second counts.
fn parse(printed: &str) -> Results {
    printed.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, Ending)> {
    let rest = line.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let (name, rest) = rest.split_once(' ')?;
    let (_, test) = name.split_once("::")?;
    let word = rest.split(' ').next()?;
    let ending = match word {
        "PASSED" => Ending::Passed,
        "FAILED" | "ERROR" | "XFAIL" | "XPASS" => Ending::Failed,
        "SKIPPED" => Ending::Skipped {
            reason: reason(rest),
        },
        _ => return None,
    };
    (!test.is_empty()).then(|| (name.to_owned(), ending))
}

/// Returns what is in the parentheses.
fn reason(text: &str) -> String {
    let inner = text
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(')'));
    inner.map_or("", |(inner, _)| inner).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_test_counts() {
        let printed = "\
============ test session starts ============
tests/integration/a_test.py::A::test_one PASSED                    [ 10%]
tests/integration/a_test.py::A::test_two FAILED                    [ 20%]
tests/integration/a_test.py::A::test_three SKIPPED (needs (much))  [ 30%]
tests/integration/b_test.py::test_four PASSED                      [ 40%]
tests/integration/b_test.py::test_four ERROR                       [ 40%]
tests/integration/b_test.py:12: DeprecationWarning
SKIPPED [1] tests/integration/a_test.py:5: needs (much)
";
        let skipped = Ending::Skipped {
            reason: "needs (much)".to_owned(),
        };
        let expected = [
            ("a_test.py::A::test_one", Ending::Passed),
            ("a_test.py::A::test_three", skipped),
            ("a_test.py::A::test_two", Ending::Failed),
            ("b_test.py::test_four", Ending::Failed),
        ];
        let found = parse(printed);
        let found: Vec<_> = found
            .iter()
            .map(|(name, end)| (name.as_str(), end.clone()))
            .collect();
        assert_eq!(found, expected);
    }
}
