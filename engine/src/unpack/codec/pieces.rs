//! Tokens, given to what writes them block by block.

use super::edits::Token;
use crate::error::FormatError;

/// Part of a block: literal bytes and the match behind them, if there is one.
pub(super) struct Piece<'a> {
    pub(super) literals: &'a [u8],
    /// Length in bytes, and offset as the codec says it.
    pub(super) then: Option<(u32, u32)>,
}

/// Gives tokens by blocks, which may end inside of literals.
pub(super) struct Source<'a, I> {
    tokens: I,
    /// Plain bytes that were not given.
    plain: &'a [u8],
    /// Literals left of the token that was begun, and its match.
    run: usize,
    then: Option<(u32, u32)>,
}

impl<'a, I: Iterator<Item = Result<Token, FormatError>>> Source<'a, I> {
    pub(super) fn new(tokens: I, plain: &'a [u8]) -> Self {
        Self { tokens, plain, run: 0, then: None }
    }

    /// The next part of a block that has `len` bytes left.
    pub(super) fn next_piece(&mut self, len: usize) -> Result<Piece<'a>, FormatError> {
        while self.run == 0 && self.then.is_none() {
            let token = self.tokens.next().ok_or(UNDECODABLE)??;
            self.run = token.literals as usize;
            self.then = (token.len > 0).then_some((token.len, token.offset));
            if token.literals == 0 && token.len == 0 {
                return Err(UNDECODABLE);
            }
        }
        let count = self.run.min(len);
        let literals = self.take_bytes(count)?;
        self.run -= count;
        let then = if self.run == 0 && len > count { self.then.take() } else { None };
        if let Some((match_len, _)) = then {
            let match_len = match_len as usize;
            if match_len > len - count {
                return Err(UNDECODABLE);
            }
            self.take_bytes(match_len)?;
        }
        Ok(Piece { literals, then })
    }

    fn take_bytes(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (bytes, rest) = self.plain.split_at_checked(count).ok_or(UNDECODABLE)?;
        self.plain = rest;
        Ok(bytes)
    }

    /// All parts of a block, unless they are more than `count_max`.
    pub(super) fn take_block(
        &mut self,
        mut len: usize,
        count_max: usize,
    ) -> Result<Vec<Piece<'a>>, FormatError> {
        let mut pieces = Vec::new();
        while len > 0 {
            let piece = self.next_piece(len)?;
            len -= piece.len();
            pieces.push(piece);
            if pieces.len() > count_max {
                return Err(UNDECODABLE);
            }
        }
        Ok(pieces)
    }

    /// The bytes of a stored block, in which there are only literals.
    pub(super) fn take_plain(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let all = self.plain;
        let mut left = len;
        while left > 0 {
            let piece = self.next_piece(left)?;
            if piece.then.is_some() {
                return Err(UNDECODABLE);
            }
            left -= piece.len();
        }
        Ok(&all[..len])
    }

    /// All of the text must have been given, and there must be no token left but an empty end.
    pub(super) fn close(mut self) -> Result<(), FormatError> {
        if !self.plain.is_empty() || self.run > 0 || self.then.is_some() {
            return Err(UNDECODABLE);
        }
        match self.tokens.next() {
            None => Ok(()),
            Some(Ok(Token { literals: 0, len: 0, .. })) => Ok(()),
            Some(Ok(_)) => Err(UNDECODABLE),
            Some(Err(error)) => Err(error),
        }
    }
}

impl Piece<'_> {
    /// Plain bytes in it.
    pub(super) fn len(&self) -> usize {
        self.literals.len() + self.then.map_or(0, |(len, _)| len as usize)
    }
}

const UNDECODABLE: FormatError = FormatError::Undecodable("correction");
