//! Symbols of kernels, laid out as `scripts/kallsyms.c` of Linux writes them.

use std::collections::BTreeMap;

use crate::random::Random;

/// Which Linux it is: they differ in where tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 6.1 to 6.3: offsets, names, markers, the sequence, tokens.
    Before,
    /// 6.4 and later: names, markers, tokens, offsets, the sequence.
    Behind,
}

/// A symbol: how far behind the one before it is, and the letter of its kind and its name.
pub type Symbol = (u32, String);

/// So many symbols with names of few words.
#[must_use]
pub fn symbols(count: usize, seed: u64) -> Vec<Symbol> {
    const WORDS: [&str; 12] =
        ["get", "set", "net", "_init", "__", "dev", "read", "write", "lock", "0", "12", "queue"];
    let mut random = Random::new(seed);
    let mut symbol = |index: usize| {
        let words: String = (0..2 + random.index(5)).map(|_| WORDS[random.index(12)]).collect();
        let len = 16 * random.below(64);
        (u32::try_from(len).expect("it is small"), format!("t{words}{:x}", index % 4001))
    };
    let mut symbols: Vec<Symbol> = (0..count).map(&mut symbol).collect();
    // More than one byte tells the length of this one.
    symbols[3].1 = "Tq8Z".repeat(120);
    symbols
}

/// The tables, in kernels whose addresses have so many bytes.
#[must_use]
pub fn tables(symbols: &[Symbol], layout: Layout, word: usize) -> Vec<u8> {
    let tokens = tokens(symbols);
    let (mut names, mut markers, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    let mut place = 0_u32;
    for (index, (len, name)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.extend(u32::try_from(names.len()).expect("it is small").to_le_bytes());
        }
        let codes = packed(name, &tokens);
        if let Ok(len @ ..0x80) = u8::try_from(codes.len()) {
            names.push(len);
        } else {
            let [low, high] = u16::try_from(codes.len()).expect("names are short").to_le_bytes();
            names.extend([low | 0x80, high << 1 | low >> 7]);
        }
        names.extend(codes);
        place += len;
        // Below the base, as on x86-64.
        offsets.extend((!place).to_le_bytes());
    }
    let mut order: Vec<usize> = (0..symbols.len()).collect();
    order.sort_by(|a, b| symbols[*a].1[1..].cmp(&symbols[*b].1[1..]));
    let sequence: Vec<u8> = order.iter().flat_map(|at| at.to_be_bytes()[5..].to_vec()).collect();
    let (mut table, mut index) = (Vec::new(), Vec::new());
    for token in &tokens {
        index.extend(u16::try_from(table.len()).expect("it is small").to_le_bytes());
        table.extend(token.as_bytes());
        table.push(0);
    }
    let base = vec![0x81; word];
    let count = u32::try_from(symbols.len()).expect("they are few").to_le_bytes().to_vec();
    let parts = match layout {
        Layout::Before => vec![offsets, base, count, names, markers, sequence, table, index],
        Layout::Behind => vec![count, names, markers, table, index, offsets, base, sequence],
    };
    let mut bytes = Vec::new();
    for part in parts {
        bytes.resize(bytes.len().next_multiple_of(word), 0);
        bytes.extend(part);
    }
    bytes
}

/// The characters that are used stand for themselves; other bytes for pairs that are frequent.
fn tokens(symbols: &[Symbol]) -> Vec<String> {
    let (mut used, mut pairs) = ([false; 256], BTreeMap::<&str, u32>::new());
    for (_, name) in symbols {
        name.bytes().for_each(|byte| used[usize::from(byte)] = true);
        (1..name.len()).for_each(|at| *pairs.entry(&name[at - 1..=at]).or_default() += 1);
    }
    // All digits are, in any kernel.
    used[usize::from(b'0')..=usize::from(b'9')].fill(true);
    // A name more does not change which these are, or in what order.
    pairs.retain(|_, count| *count as usize > symbols.len() / 16);
    let mut pairs = pairs.into_keys();
    let token = |byte: u8| match used[usize::from(byte)] {
        true => char::from(byte).to_string(),
        false => pairs.next().unwrap_or("unused").to_string(),
    };
    (0..=255).map(token).collect()
}

/// A name in tokens: pairs first.
fn packed(name: &str, tokens: &[String]) -> Vec<u8> {
    let (mut codes, mut rest) = (Vec::new(), name);
    while !rest.is_empty() {
        let starts = |len: usize| {
            let is_it = |token: &String| token.len() == len && rest.starts_with(token.as_str());
            tokens.iter().position(is_it)
        };
        let code = starts(2).or_else(|| starts(1)).expect("each character has a token");
        codes.push(u8::try_from(code).expect("there are 256"));
        rest = &rest[tokens[code].len()..];
    }
    codes
}
