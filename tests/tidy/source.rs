//! Reads Rust text without parsing it: what is code, what is test, where functions begin and end.
//!
//! Good enough to count and to search, and no more. What a finding means is left to `rules.rs`.

use std::ops::Range;

/// One Rust file, with the views the rules need. All views keep the line breaks of `text`.
pub(crate) struct Source {
    /// Path from the repository root, with `/`.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
    /// `text` with comments and literals replaced by spaces, byte for byte.
    pub(crate) code: String,
    /// `code` with `#[cfg(test)] mod … { }` replaced by spaces as well.
    pub(crate) shipped: String,
    /// Lines of the file that are not in a `#[cfg(test)] mod … { }`.
    pub(crate) shipped_lines: usize,
}

/// A function with a body.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    /// Line of the word `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from `fn` to the closing brace, both counted.
    pub(crate) lines: usize,
    /// Whether `#[test]` stands before it, or tokio's.
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let mut shipped = code.clone();
        let mut test_lines = 0;
        for range in test_modules(&code) {
            test_lines += line_at(&code, range.end) - line_at(&code, range.start) + 1;
            shipped = overwrite(&shipped, range);
        }
        let shipped_lines = text.lines().count() - test_lines;
        Self { path: path.into(), text: text.into(), code, shipped, shipped_lines }
    }

    /// Every function with a body, nested ones too.
    pub(crate) fn functions(&self) -> Vec<Function<'_>> {
        let code = &self.code;
        let mut functions = Vec::new();
        for (at, _) in words(code).filter(|(_, word)| *word == "fn") {
            let Some((name_at, name)) = next_word(code, at + 2) else { continue };
            let Some(open) = body_open(code, name_at) else { continue };
            let line = line_at(code, at);
            let lines = line_at(code, close_of(code, open)) - line + 1;
            let before = &code[statement_start(code, at)..at];
            let is_test = ["#[test]", "#[tokio::test"].iter().any(|mark| before.contains(mark));
            functions.push(Function { name, line, lines, is_test });
        }
        functions
    }

    /// The first paragraph of the file's `//!` comment, on one line; empty if there is none.
    pub(crate) fn opening(&self) -> String {
        let lines = self.text.lines().map_while(|line| line.strip_prefix("//!"));
        let paragraph: Vec<_> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
        paragraph.join(" ")
    }

    /// All of the file's `//!` comment.
    pub(crate) fn module_doc(&self) -> String {
        let lines = self.text.lines().map_while(|line| line.strip_prefix("//!"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Line of the byte at `at`, from 1.
pub(crate) fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Words (identifiers, keywords, numbers) with their offsets.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += code[at..].find(is_word)?;
        let start = at;
        at += code[at..].find(|c| !is_word(c)).unwrap_or(code.len() - at);
        Some((start, &code[start..at]))
    })
}

/// The word that follows `at` after nothing but white space.
pub(crate) fn next_word(code: &str, at: usize) -> Option<(usize, &str)> {
    let start = at + code[at..].find(|c: char| !c.is_whitespace())?;
    words(&code[start..]).next().filter(|(skip, _)| *skip == 0).map(|(_, word)| (start, word))
}

/// Offset just behind the last `{`, `}` or `;` before `at`.
pub(crate) fn statement_start(code: &str, at: usize) -> usize {
    code[..at].rfind(['{', '}', ';']).map_or(0, |end| end + 1)
}

/// Offset of the brace that closes the one at `open`; the end of `code` if none does.
pub(crate) fn close_of(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Offset of the `{` of the body whose signature goes on at `at`; `None` for a bare declaration.
fn body_open(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Byte ranges from `#[cfg(test)]` to the closing brace of the module under it.
fn test_modules(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (start, _) in code.match_indices(MARK) {
        if ranges.last().is_some_and(|range| range.contains(&start)) {
            continue;
        }
        let Some(open) = body_open(code, start + MARK.len()) else { continue };
        if words(&code[start + MARK.len()..open]).any(|(_, word)| word == "mod") {
            ranges.push(start..close_of(code, open));
        }
    }
    ranges
}

/// `text` with comments and literals replaced by spaces, byte for byte; line breaks stay.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let literal = literal_len(rest, code.chars().next_back().is_some_and(is_word));
        let (taken, left) = rest.split_at(if literal > 0 { literal } else { c.len_utf8() });
        if literal > 0 {
            code.push_str(&spaces(taken));
        } else {
            code.push_str(taken);
        }
        rest = left;
    }
    code
}

/// Length of the comment or literal that `rest` starts with; 0 where it starts with neither.
fn literal_len(rest: &str, after_word: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_len(rest);
    }
    if rest.starts_with('"') {
        return quoted_len(rest, b'"');
    }
    if rest.starts_with('\'') {
        return char_len(rest);
    }
    if after_word { 0 } else { raw_string_len(rest) }
}

fn block_comment_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn quoted_len(rest: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        if !escaped && byte == quote {
            return at + 1;
        }
        escaped = !escaped && byte == b'\\';
    }
    rest.len()
}

/// A quote opens a character if an escape follows, or one character and a quote; else a lifetime.
fn char_len(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted_len(rest, b'\''),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

fn raw_string_len(rest: &str) -> usize {
    let Some(body) = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix)) else {
        return 0;
    };
    let hashes = body.len() - body.trim_start_matches('#').len();
    if !body[hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len() + hashes + 1;
    rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
}

fn spaces(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

fn overwrite(code: &str, range: Range<usize>) -> String {
    [&code[..range.start], &spaces(&code[range.clone()]), &code[range.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank_and_lifetimes_are_not() {
        let text =
            "a /* b /* c */ d */ \"e\\\" {\" 'f' '\\'' &'g h // i\nr#\"j \" {\"# r#k b'l' 'é' m";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "&'g", "h", "r#k", "b", "m"]);
    }

    #[test]
    fn function_lines_reach_from_fn_to_the_closing_brace() {
        let text = "fn a(\n  x: [u8; 2],\n) {\n  if x { '}' }\n}\ntrait T { fn b(); fn c() {} }\n";
        let source = Source::new("a.rs", text);
        let found: Vec<_> =
            source.functions().iter().map(|function| (function.name, function.lines)).collect();
        assert_eq!(found, [("a", 5), ("c", 1)]);
    }

    #[test]
    fn modules_of_tests_are_not_counted() {
        let text = "//! A.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        let source = Source::new("a.rs", text);
        assert_eq!(source.shipped_lines, 4);
        assert!(source.shipped.contains("fn c"));
        assert!(!source.shipped.contains("fn b"));
    }

    #[test]
    fn opening_is_the_first_paragraph() {
        assert_eq!(
            Source::new("a.rs", "//! One\n//! two.\n//!\n//! Three.\n").opening(),
            "One two."
        );
    }
}
