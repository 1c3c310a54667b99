//! Compares the tables of `docs/` with those in the doc comments they are repeated in.
//!
//! In a document, `<!-- table: path/to/file.rs TypeName -->` stands before each such table. The
//! n-th marker of a type belongs to the n-th table in its doc comment.

use crate::source::{Source, words};

/// Lines that may lie between a marker and its table: a heading, a sentence, blank lines.
const MARKER_DISTANCE_MAX: usize = 8;

/// A table, cell by cell, its rule of dashes left out.
pub(crate) type Table = Vec<Vec<String>>;

/// A table of a document that code repeats.
pub(crate) struct Marked {
    /// `path:line` of the marker.
    pub(crate) at: String,
    /// The Rust file, from the repository root.
    pub(crate) file: String,
    /// The type whose doc comment repeats the table.
    pub(crate) name: String,
    /// Empty where no table follows the marker.
    pub(crate) table: Table,
}

/// All marked tables of a document.
pub(crate) fn marked(path: &str, text: &str) -> Vec<Marked> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(mark) = line.trim().strip_prefix("<!-- table:") else { continue };
        let mut words = mark.trim_end_matches("-->").split_whitespace();
        let below = &lines[index + 1..lines.len().min(index + 1 + MARKER_DISTANCE_MAX)];
        let start = below.iter().take_while(|line| !line.trim().starts_with(['|', '<'])).count();
        let table = tables(lines[index + 1 + start..].iter().copied()).into_iter().next();
        let adjacent = below.get(start).is_some_and(|line| line.trim().starts_with('|'));
        found.push(Marked {
            at: format!("{path}:{}", index + 1),
            file: words.next().unwrap_or_default().into(),
            name: words.next().unwrap_or_default().into(),
            table: table.filter(|_| adjacent).unwrap_or_default(),
        });
    }
    found
}

/// Tables in the doc comment of a type (or constant, or function); `None` if there is no such item.
pub(crate) fn item_tables(source: &Source, name: &str) -> Option<Vec<Table>> {
    let code: Vec<_> = source.code.lines().collect();
    let index = code.iter().position(|line| declares(line, name))?;
    let above: Vec<_> = source.text.lines().take(index).map(str::trim).collect();
    let attached = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
    let count = above.iter().rev().take_while(attached).count();
    let doc = above[index - count..].iter().filter_map(|line| line.strip_prefix("///"));
    Some(tables(doc))
}

/// Complaints about marked tables that differ from the code, and byte tables only in the code.
pub(crate) fn differences(marked: &[Marked], sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, mark) in marked.iter().enumerate() {
        let same = |other: &&Marked| other.file == mark.file && other.name == mark.name;
        let place = marked[..index].iter().filter(same).count();
        let source = sources.iter().find(|source| source.path == mark.file);
        let Some(found) = source.and_then(|source| item_tables(source, &mark.name)) else {
            complaints.push(format!("{}: `{}` is not in {}", mark.at, mark.name, mark.file));
            continue;
        };
        let theirs = found.get(place).map_or(&[][..], Vec::as_slice);
        if mark.table.is_empty() || theirs.is_empty() {
            let side = if mark.table.is_empty() { "after the marker" } else { "in the code" };
            complaints.push(format!("{}: no table of `{}` {side}", mark.at, mark.name));
        } else if let Some(row) = first_difference(&mark.table, theirs) {
            complaints.push(format!("{}: `{}` in {}: {row}", mark.at, mark.name, mark.file));
        }
    }
    complaints
}

/// Byte tables (first column `at`) in shipped doc comments that no document has.
pub(crate) fn unmarked(marked: &[Marked], source: &Source) -> Vec<String> {
    let doc = source.text.lines().map(|line| line.trim().strip_prefix("///").unwrap_or_default());
    let bytes = |table: &&Table| table[0].first().is_some_and(|cell| cell == "at");
    let tables = tables(doc);
    let missing = tables.iter().filter(bytes).filter(|table| {
        !marked.iter().any(|mark| mark.file == source.path && mark.table == **table)
    });
    missing
        .map(|table| {
            let row = table.get(1).map(|row| row.join(" | ")).unwrap_or_default();
            format!("{}: the byte table that begins `{row}` is in no document", source.path)
        })
        .collect()
}

/// The numbers that a Rust file gives out: `= 5,`, `= 5;`, `=> 5`.
pub(crate) fn numbers(source: &Source) -> Vec<String> {
    let code = &source.shipped;
    let given = words(code).filter(|(at, word)| {
        let before = code[..*at].trim_end();
        let value = before.ends_with('=') || before.ends_with("=>");
        value && !before.ends_with("==") && word.chars().all(|c| c.is_ascii_digit())
    });
    given.map(|(_, word)| word.to_owned()).collect()
}

/// Runs of lines that begin with `|`.
fn tables<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut inside = false;
    for line in lines.map(str::trim) {
        let Some(row) = line.strip_prefix('|') else {
            inside = false;
            continue;
        };
        if !inside {
            tables.push(Vec::new());
        }
        inside = true;
        let cells = row.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let cells: Vec<_> = cells.collect();
        let rule = cells.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':'));
        if !(rule && line.contains('-')) {
            tables.last_mut().expect("a table was begun above").push(cells);
        }
    }
    tables.retain(|table| !table.is_empty());
    tables
}

/// Whether a line of code begins the item called `name`.
fn declares(line: &str, name: &str) -> bool {
    let found: Vec<_> = words(line).map(|(_, word)| word).collect();
    let kinds = ["struct", "enum", "const", "static", "type", "fn", "mod", "trait"];
    found.windows(2).any(|pair| kinds.contains(&pair[0]) && pair[1] == name)
}

fn first_difference(document: &Table, code: &[Vec<String>]) -> Option<String> {
    let empty = Vec::new();
    let rows = document.len().max(code.len());
    let row = |table: &[Vec<String>], index: usize| table.get(index).unwrap_or(&empty).join(" | ");
    let differs = (0..rows).find(|index| document.get(*index) != code.get(*index))?;
    let (here, there) = (row(document, differs), row(code, differs));
    Some(format!("row {differs} is `{here}` here and `{there}` in the code"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# A\n\n<!-- table: a.rs Copy -->\n### Copy\n\n\
        | at | size |\n|----|-----:|\n| 0  | 8    |\n| 8  | 4    |\n\nText.\n";
    const CODE: &str = "//! A.\n\n/// A copy.\n///\n\
        /// | at | size |\n/// |---|---|\n/// | 0 | 8 |\n/// | 8 | 4 |\n\
        #[derive(Debug)]\npub struct Copy { len: u32 }\n";

    fn complaints(document: &str, code: &str) -> Vec<String> {
        differences(&marked("d.md", document), &[Source::new("a.rs", code)])
    }

    #[test]
    fn equal_tables_differ_in_nothing_but_spaces() {
        assert_eq!(complaints(DOCUMENT, CODE), [""; 0]);
        assert_eq!(marked("d.md", DOCUMENT)[0].table.len(), 3);
    }

    #[test]
    fn changed_or_missing_row_is_flagged() {
        assert_eq!(complaints(&DOCUMENT.replace("| 4 ", "| 5 "), CODE).len(), 1);
        assert_eq!(complaints(DOCUMENT, &CODE.replace("/// | 8 | 4 |\n", "")).len(), 1);
        assert_eq!(complaints(&DOCUMENT.replace("| 8  | 4    |\n", ""), CODE).len(), 1);
    }

    #[test]
    fn marker_without_item_or_table_is_flagged() {
        assert_eq!(complaints(DOCUMENT, &CODE.replace("struct Copy", "struct Add")).len(), 1);
        assert_eq!(complaints(DOCUMENT, "pub struct Copy;\n").len(), 1);
        assert_eq!(complaints("<!-- table: a.rs Copy -->\n\nText.\n", CODE).len(), 1);
        assert_eq!(complaints("<!-- table: b.rs Copy -->\n", CODE).len(), 1);
    }

    #[test]
    fn second_marker_of_a_type_is_its_second_table() {
        let twice = format!("{DOCUMENT}{DOCUMENT}");
        assert_eq!(complaints(&twice, CODE).len(), 1);
    }

    #[test]
    fn byte_table_in_no_document_is_flagged() {
        let code = Source::new("a.rs", CODE);
        assert_eq!(unmarked(&marked("d.md", DOCUMENT), &code), [""; 0]);
        assert_eq!(unmarked(&[], &code).len(), 1);
        assert_eq!(
            unmarked(&[], &Source::new("a.rs", &CODE.replace("| at |", "| code |"))),
            [""; 0]
        );
    }

    #[test]
    fn numbers_are_those_given_out() {
        let code = "enum A { B = 0, C = 5 }\nconst D: u8 = 12;\nmatch a { B => 14, 7 => b == 9 }";
        assert_eq!(numbers(&Source::new("a.rs", code)), ["0", "5", "12", "14"]);
    }
}
