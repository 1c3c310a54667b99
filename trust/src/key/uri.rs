//! URIs of keys on tokens, after RFC 7512: `pkcs11:token=release;object=alice?module-path=…`.
//!
//! Of the RFC these are understood: `token`, `serial`, `object`, `id`, `type` in the path;
//! `module-path`, `pin-source` in the query. A PIN in the URI is refused: command lines are seen.

use std::path::PathBuf;

use super::KeyError;

/// The scheme that all of them begin with.
pub const SCHEME: &str = "pkcs11:";

/// Which key on which token, and how to reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenUri {
    /// Label of the token.
    pub token: Option<String>,
    /// Serial number of the token.
    pub serial: Option<String>,
    /// Label of the key.
    pub object: Option<String>,
    /// Id of the key, any bytes.
    pub id: Option<Vec<u8>>,
    /// The token's own library.
    pub module_path: Option<PathBuf>,
    /// The file that holds the PIN.
    pub pin_source: Option<PathBuf>,
}

impl TokenUri {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// If it is no such URI, names an attribute twice or one that is not understood.
    pub fn parse(uri: &str) -> Result<Self, KeyError> {
        let wrong = |why: String| KeyError::Uri(why);
        let rest = uri.strip_prefix(SCHEME).ok_or_else(|| wrong(format!("no `{SCHEME}`")))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parsed = Self::default();
        let path = path.split(';').map(|part| (part, false));
        let parts = path.chain(query.split('&').map(|part| (part, true)));
        for (part, is_query) in parts.filter(|(part, _)| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| wrong(format!("`{part}` has no value")))?;
            let bytes = decoded(value)
                .ok_or_else(|| wrong(format!("`{name}` is not percent-encoded as it must be")))?;
            parsed.set(name, is_query, bytes)?;
        }
        if parsed.object.is_none() && parsed.id.is_none() {
            return Err(wrong("it names no key: add `object=` or `id=`".into()));
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, is_query: bool, bytes: Vec<u8>) -> Result<(), KeyError> {
        let wrong = |why: String| Err(KeyError::Uri(why));
        if (name, is_query) == ("id", false) {
            return match self.id.replace(bytes) {
                None => Ok(()),
                Some(_) => wrong("`id` is given twice".into()),
            };
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return wrong(format!("`{name}` is not UTF-8"));
        };
        let file = |text: &str| PathBuf::from(text.strip_prefix("file:").unwrap_or(text));
        let is_second = match (name, is_query) {
            ("token", false) => self.token.replace(text).is_some(),
            ("serial", false) => self.serial.replace(text).is_some(),
            ("object", false) => self.object.replace(text).is_some(),
            ("type", false) if text == "private" => false,
            ("module-path", true) => self.module_path.replace(file(&text)).is_some(),
            ("pin-source", true) => self.pin_source.replace(file(&text)).is_some(),
            ("pin-value", true) => {
                return wrong("a PIN on a command line is seen by others: use `pin-source`".into());
            }
            _ => return wrong(format!("`{name}` is not understood")),
        };
        if is_second { wrong(format!("`{name}` is given twice")) } else { Ok(()) }
    }
}

/// The bytes of a percent-encoded value (RFC 3986, 2.1).
fn decoded(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let digits = after.get(..2)?;
            let mut one = [0];
            hex::decode_to_slice(digits, &mut one).ok()?;
            bytes.push(one[0]);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        let uri = "pkcs11:token=The%20token;serial=DECC0401648;object=ed;id=%01%ff;type=private\
                   ?module-path=/usr/lib/p11.so&pin-source=file:/etc/pin";
        let expected = TokenUri {
            token: Some("The token".into()),
            serial: Some("DECC0401648".into()),
            object: Some("ed".into()),
            id: Some(vec![1, 0xff]),
            module_path: Some("/usr/lib/p11.so".into()),
            pin_source: Some("/etc/pin".into()),
        };
        assert_eq!(TokenUri::parse(uri).expect("a URI"), expected);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for uri in [
            "token=a;object=b",
            "pkcs11:",
            "pkcs11:token=a",
            "pkcs11:object",
            "pkcs11:object=a;object=b",
            "pkcs11:id=%1",
            "pkcs11:id=%zz",
            "pkcs11:object=%ff",
            "pkcs11:object=a;module-path=/x",
            "pkcs11:object=a;type=public",
            "pkcs11:object=a;slot-id=3",
            "pkcs11:object=a?pin-value=1234",
        ] {
            assert!(matches!(TokenUri::parse(uri), Err(KeyError::Uri(_))), "{uri}");
        }
    }
}
