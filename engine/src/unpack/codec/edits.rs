//! Edits: what an encoder chose, told by where it differs from what another one would choose.
//!
//! All encoders here say a plain text as *tokens*: some literal bytes, then a match. Two releases
//! of one encoder choose nearly the same tokens. The list of edits is counts of predicted tokens
//! that are right, each followed by one token as it is; behind that one, the prediction goes on
//! with the first match that starts no earlier.
//!
//! | field      | coding | meaning                                              |
//! |------------|--------|------------------------------------------------------|
//! | `right`    | varint | predicted tokens that are right                      |
//! | `literals` | varint | the token behind them: plain bytes before the match  |
//! | `len`      | varint | length of the match in bytes; 0 ends the text        |
//! | `offset`   | varint | what the codec says of where the match is            |
//!
//! repeated; where the list ends, all that is predicted is right.

use crate::error::FormatError;
use crate::varint;

/// Literal bytes and the match behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Bytes that are written as they are.
    pub literals: u32,
    /// Length of the match, in bytes; 0 in the last token of a text, and only there.
    pub len: u32,
    /// Where the match is, as the codec says it.
    pub offset: u32,
}

/// The length of the edits between tokens of the first `plain_len` bytes of two texts.
pub(super) fn distance(
    actual: impl Iterator<Item = Token>,
    predicted: impl Iterator<Item = Token>,
    plain_len: u64,
) -> usize {
    encode(within(actual, plain_len), within(predicted, plain_len)).len()
}

/// The tokens that end before byte `plain_len` of their text.
fn within(tokens: impl Iterator<Item = Token>, plain_len: u64) -> impl Iterator<Item = Token> {
    let mut at = 0;
    tokens.take_while(move |token| {
        at += u64::from(token.literals) + u64::from(token.len);
        at < plain_len
    })
}

/// What tells the tokens `actual` to someone who has `predicted`. Both say texts of one length.
pub(super) fn encode(
    actual: impl Iterator<Item = Token>,
    predicted: impl Iterator<Item = Token>,
) -> Vec<u8> {
    let mut cursor = Cursor::new(predicted);
    let mut edits = Vec::new();
    let mut right = 0;
    for token in actual {
        if cursor.here() == Some(token) {
            right += 1;
        } else {
            varint::put(&mut edits, right);
            for field in [token.literals, token.len, token.offset] {
                varint::put(&mut edits, u64::from(field));
            }
            right = 0;
        }
        cursor.advance(token);
    }
    edits
}

/// The tokens that edits make of predicted ones, for a text of known length.
///
/// Ends behind the first error. Makes no token that passes the end of the text, and none that says
/// nothing but the last.
pub(super) struct Edited<'a, I: Iterator<Item = Token>> {
    edits: &'a [u8],
    /// Predicted tokens that are right before the next edit; none behind the last.
    right: Option<u64>,
    cursor: Cursor<I>,
    left: u64,
    is_done: bool,
}

impl<'a, I: Iterator<Item = Token>> Edited<'a, I> {
    /// Reads edits; `plain_len` is the length of the text in bytes.
    pub(super) fn new(
        edits: &'a [u8],
        predicted: I,
        plain_len: usize,
    ) -> Result<Self, FormatError> {
        let mut edited = Self {
            edits,
            right: None,
            cursor: Cursor::new(predicted),
            left: plain_len as u64,
            is_done: false,
        };
        edited.right = edited.read_right()?;
        Ok(edited)
    }

    fn read(&mut self) -> Result<u64, FormatError> {
        let mut at = 0;
        let value = varint::take(self.edits, &mut at)?;
        self.edits = &self.edits[at..];
        Ok(value)
    }

    fn read_right(&mut self) -> Result<Option<u64>, FormatError> {
        if self.edits.is_empty() { Ok(None) } else { self.read().map(Some) }
    }

    fn read_token(&mut self) -> Result<Token, FormatError> {
        let mut fields = [0; 3];
        for field in &mut fields {
            *field = u32::try_from(self.read()?).map_err(|_| UNDECODABLE)?;
        }
        let [literals, len, offset] = fields;
        self.right = self.read_right()?;
        Ok(Token { literals, len, offset })
    }

    fn step(&mut self) -> Result<Token, FormatError> {
        let token = match &mut self.right {
            Some(0) => self.read_token()?,
            Some(right) => {
                *right -= 1;
                self.cursor.here().ok_or(UNDECODABLE)?
            }
            None => self.cursor.here().ok_or(UNDECODABLE)?,
        };
        let len = u64::from(token.literals) + u64::from(token.len);
        self.left = self.left.checked_sub(len).ok_or(UNDECODABLE)?;
        if token.len == 0 {
            self.is_done = true;
            if self.left > 0 || self.right.is_some() {
                return Err(UNDECODABLE);
            }
        }
        self.cursor.advance(token);
        Ok(token)
    }
}

impl<I: Iterator<Item = Token>> Iterator for Edited<'_, I> {
    type Item = Result<Token, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let token = self.step();
        self.is_done |= token.is_err();
        Some(token)
    }
}

/// Where predicted tokens go on, as seen from a place in the text.
struct Cursor<I> {
    predicted: I,
    token: Option<Token>,
    /// Where the predicted token starts, and where in the text we are, in bytes.
    start: u64,
    at: u64,
}

impl<I: Iterator<Item = Token>> Cursor<I> {
    fn new(mut predicted: I) -> Self {
        let token = predicted.next();
        Self { predicted, token, start: 0, at: 0 }
    }

    /// The predicted token, with the literals that are left of it: the first whose match starts no
    /// earlier than we are.
    fn here(&mut self) -> Option<Token> {
        loop {
            let token = self.token?;
            let match_start = self.start + u64::from(token.literals);
            if let Some(literals) = match_start.checked_sub(self.at) {
                return Some(Token { literals: u32::try_from(literals).ok()?, ..token });
            }
            self.start = match_start + u64::from(token.len);
            self.token = self.predicted.next();
        }
    }

    fn advance(&mut self, token: Token) {
        self.at += u64::from(token.literals) + u64::from(token.len);
    }
}

const UNDECODABLE: FormatError = FormatError::Undecodable("correction");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens() -> impl Strategy<Value = Vec<Token>> {
        let token = (0_u32..4, 3_u32..9, 1_u32..3).prop_map(|(literals, len, offset)| Token {
            literals,
            len,
            offset,
        });
        prop::collection::vec(token, 0..40)
    }

    /// Cuts tokens so that they say a text of `len` bytes.
    fn fit(mut tokens: Vec<Token>, len: u32) -> Vec<Token> {
        let mut left = len;
        tokens.retain(|token| {
            let fits = token.literals + token.len <= left;
            left -= if fits { token.literals + token.len } else { 0 };
            fits
        });
        tokens.push(Token { literals: left, len: 0, offset: 0 });
        tokens
    }

    proptest! {
        #[test]
        fn edits_make_the_actual_tokens_of_the_predicted_ones(
            actual in tokens(), predicted in tokens(), len in 0_u32..200,
        ) {
            let (actual, predicted) = (fit(actual, len), fit(predicted, len));
            let edits = encode(actual.iter().copied(), predicted.iter().copied());
            let edited = Edited::new(&edits, predicted.into_iter(), len as usize).expect("edits");
            let made: Result<Vec<_>, _> = edited.collect();
            prop_assert_eq!(made, Ok(actual));
        }

        #[test]
        fn any_edits_end(edits: Vec<u8>, predicted in tokens(), len in 0_u32..200) {
            let predicted = fit(predicted, len);
            if let Ok(edited) = Edited::new(&edits, predicted.into_iter(), len as usize) {
                prop_assert!(edited.count() <= len as usize + 1);
            }
        }
    }

    #[test]
    fn equal_tokens_need_no_edits() {
        let tokens = fit(vec![Token { literals: 1, len: 4, offset: 1 }; 9], 100);
        assert_eq!(encode(tokens.iter().copied(), tokens.iter().copied()), []);
    }
}
