//! Finds the tests that a threat table names: the last cell of each row, in backquotes.

use crate::source::Source;

/// A row of a threat table.
pub(crate) struct Row {
    /// `path:line`.
    at: String,
    /// The test that it names; empty where it names none.
    test: String,
}

/// Rows of all tables whose last column is called `test`.
pub(crate) fn rows(path: &str, text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut is_threats = false;
    for (index, line) in text.lines().enumerate() {
        let Some(cells) = line.trim().strip_prefix('|') else {
            is_threats = false;
            continue;
        };
        let last = cells.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
        if last == "test" {
            is_threats = true;
        } else if is_threats && !last.chars().all(|c| "-: ".contains(c)) {
            let quoted = last.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            let test = quoted.unwrap_or_default().to_owned();
            rows.push(Row { at: format!("{path}:{}", index + 1), test });
        }
    }
    rows
}

/// Complaints about rows that name no test, or one that is not there.
pub(crate) fn without_test(rows: &[Row], sources: &[Source]) -> Vec<String> {
    let functions = sources.iter().flat_map(Source::functions);
    let tests: Vec<_> = functions.filter(|f| f.is_test).map(|f| f.name).collect();
    let missing = rows.iter().filter(|row| !tests.contains(&row.test.as_str()));
    missing.map(|row| format!("{}: there is no test `{}`", row.at, row.test)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_test_are_told() {
        let text = "| a | test |\n|---|---|\n| x | `there` |\n| y | none |\n| z | `gone` |\n\n\
            | a | other |\n|---|---|\n| x | `gone` |\n";
        let rows = rows("doc.md", text);
        let source = Source::new("a.rs", "//! A.\n#[test]\nfn there() {}\nfn gone() {}\n");
        let told = without_test(&rows, &[source]);
        let expected = ["doc.md:4: there is no test ``", "doc.md:5: there is no test `gone`"];
        assert_eq!(told, expected);
    }
}
