//! The payload of a receipt: a CBOR map with numbers for keys, in order (`docs/receipts.md`).

use coset::cbor::{self, Value};
use jiff::Timestamp;

use super::{Carrier, Digest, Outcome, Receipt, ReceiptError};
use crate::time::Source;

/// The form that is written, and the only one that is read.
const VERSION: u64 = 1;

/// Fields by key. Keys are never used again.
///
/// | key | field | type |
/// |----:|-------|------|
/// | 0 | `form` | unsigned, 1 |
/// | 1 | `device` | text, not empty |
/// | 2 | `sequence` | unsigned, from 1 |
/// | 3 | `previous` | 32 bytes; null where `sequence` is 1 |
/// | 4 | `hardware` | text |
/// | 5 | `product` | text |
/// | 6 | `version` | text |
/// | 7 | `from` | 32 bytes or null |
/// | 8 | `to` | 32 bytes or null |
/// | 9 | `read_back` | 32 bytes or null |
/// | 10 | `outcome` | unsigned: 0 inventory, 1 committed, 2 rolled back, 3 refused, 4 failed |
/// | 11 | `exit` | unsigned, at most 255 |
/// | 12 | `detail` | text |
/// | 13 | `at` | integer, seconds since 1970 |
/// | 14 | `at_source` | unsigned: 0 clock, 1 clock of an earlier run, 2 signed, 3 build |
/// | 15 | `stale_s` | unsigned, seconds |
/// | 16 | `timestamp_version` | unsigned |
/// | 17 | `carrier` | unsigned: 0 file, 1 wan, 2 lan, 3 stick |
/// | 18 | `carrier_id` | text |
/// | 19 | `approvals` | array of at most 8 texts |
const NAMES: [&str; 20] = [
    "form",
    "device",
    "sequence",
    "previous",
    "hardware",
    "product",
    "version",
    "from",
    "to",
    "read_back",
    "outcome",
    "exit",
    "detail",
    "at",
    "at_source",
    "stale_s",
    "timestamp_version",
    "carrier",
    "carrier_id",
    "approvals",
];

/// The name of the first field that cannot be written.
pub(super) fn out_of_bounds(receipt: &Receipt) -> Option<&'static str> {
    let bytes = encode(receipt);
    match decode(&bytes) {
        Ok(back) if back == *receipt => None,
        // Parts of a second are not kept.
        Ok(_) => Some(NAMES[13]),
        Err(ReceiptError::Field { name }) => Some(name),
        Err(_) => Some(NAMES[0]),
    }
}

pub(super) fn encode(receipt: &Receipt) -> Vec<u8> {
    let digest = |digest: Option<Digest>| digest.map_or(Value::Null, |d| Value::Bytes(d.into()));
    let text = |text: &String| Value::Text(text.clone());
    let values = [
        VERSION.into(),
        text(&receipt.device),
        receipt.sequence.into(),
        digest(receipt.previous),
        text(&receipt.hardware),
        text(&receipt.product),
        text(&receipt.version),
        digest(receipt.from),
        digest(receipt.to),
        digest(receipt.read_back),
        (receipt.outcome as u8).into(),
        receipt.exit.into(),
        text(&receipt.detail),
        receipt.at.as_second().into(),
        source_number(receipt.at_source).into(),
        receipt.stale_s.into(),
        receipt.timestamp_version.into(),
        (receipt.carrier as u8).into(),
        text(&receipt.carrier_id),
        Value::Array(receipt.approvals.iter().map(text).collect()),
    ];
    let pairs = (0_u64..).map(Value::from).zip(values).collect();
    let mut bytes = Vec::new();
    cbor::into_writer(&Value::Map(pairs), &mut bytes).expect("memory takes what is written");
    bytes
}

/// Reads a payload: all fields in order and no others.
pub(super) fn decode(bytes: &[u8]) -> Result<Receipt, ReceiptError> {
    let Ok(Value::Map(pairs)) = cbor::from_reader(bytes) else {
        return Err(ReceiptError::NotCose);
    };
    let mut fields = Fields { pairs: pairs.into_iter(), at: 0 };
    let form = fields.number(u64::MAX)?;
    if form != VERSION {
        return Err(ReceiptError::Version { version: form });
    }
    let device = fields.text().and_then(|text| fields.when(text, |text| !text.is_empty()))?;
    let sequence = fields.number(u64::MAX).and_then(|n| fields.when(n, |n| *n > 0))?;
    let previous = fields.digest()?;
    let previous = fields.when(previous, |previous| previous.is_some() == (sequence > 1))?;
    let receipt = Receipt {
        device,
        sequence,
        previous,
        hardware: fields.text()?,
        product: fields.text()?,
        version: fields.text()?,
        from: fields.digest()?,
        to: fields.digest()?,
        read_back: fields.digest()?,
        outcome: match fields.number(4)? {
            0 => Outcome::Inventory,
            1 => Outcome::Committed,
            2 => Outcome::RolledBack,
            3 => Outcome::Refused,
            _ => Outcome::Failed,
        },
        exit: u8::try_from(fields.number(255)?).unwrap_or(u8::MAX),
        detail: fields.text()?,
        at: fields.time()?,
        at_source: match fields.number(3)? {
            0 => Source::Rtc,
            1 => Source::Kept,
            2 => Source::Signed,
            _ => Source::Build,
        },
        stale_s: fields.number(u64::MAX)?,
        timestamp_version: fields.number(u64::MAX)?,
        carrier: match fields.number(3)? {
            0 => Carrier::File,
            1 => Carrier::Wan,
            2 => Carrier::Lan,
            _ => Carrier::Stick,
        },
        carrier_id: fields.text()?,
        approvals: fields.texts()?,
    };
    match fields.pairs.next() {
        // Whoever signs twice signs the same bytes: numbers in their shortest form, nothing else.
        None if encode(&receipt) == bytes => Ok(receipt),
        _ => Err(ReceiptError::UnknownField),
    }
}

fn source_number(source: Source) -> u8 {
    match source {
        Source::Rtc => 0,
        Source::Kept => 1,
        Source::Signed => 2,
        Source::Build => 3,
    }
}

/// Takes the fields one after another.
struct Fields {
    pairs: std::vec::IntoIter<(Value, Value)>,
    /// Key of the next one.
    at: usize,
}

impl Fields {
    fn take(&mut self) -> Result<Value, ReceiptError> {
        let at = self.at;
        self.at += 1;
        match self.pairs.next() {
            Some((key, value)) if key == Value::from(at as u64) => Ok(value),
            Some(_) => Err(ReceiptError::UnknownField),
            None => Err(ReceiptError::Field { name: NAMES[at] }),
        }
    }

    /// The last field is out of bounds.
    fn refused(&self) -> ReceiptError {
        ReceiptError::Field { name: NAMES[self.at - 1] }
    }

    fn when<T>(&self, value: T, is_right: impl Fn(&T) -> bool) -> Result<T, ReceiptError> {
        if is_right(&value) { Ok(value) } else { Err(self.refused()) }
    }

    fn number(&mut self, max: u64) -> Result<u64, ReceiptError> {
        let number = self.take()?.as_integer().and_then(|number| u64::try_from(number).ok());
        number.filter(|number| *number <= max).ok_or_else(|| self.refused())
    }

    fn time(&mut self) -> Result<Timestamp, ReceiptError> {
        let seconds = self.take()?.as_integer().and_then(|number| i64::try_from(number).ok());
        let at = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        at.ok_or_else(|| self.refused())
    }

    fn text(&mut self) -> Result<String, ReceiptError> {
        let text = self.take()?.into_text().ok().filter(is_text);
        text.ok_or_else(|| self.refused())
    }

    fn texts(&mut self) -> Result<Vec<String>, ReceiptError> {
        let values = self.take()?.into_array().map_err(|_| self.refused())?;
        let values = self.when(values, |values| values.len() <= Receipt::APPROVALS_MAX)?;
        let texts = values.into_iter().map(|value| value.into_text().ok().filter(is_text));
        texts.collect::<Option<_>>().ok_or_else(|| self.refused())
    }

    fn digest(&mut self) -> Result<Option<Digest>, ReceiptError> {
        match self.take()? {
            Value::Null => Ok(None),
            Value::Bytes(bytes) => bytes.try_into().map(Some).map_err(|_| self.refused()),
            _ => Err(self.refused()),
        }
    }
}

/// Terminals show these texts, and tables have them in one cell.
#[expect(clippy::ptr_arg, reason = "a filter over strings")]
fn is_text(text: &String) -> bool {
    text.len() <= Receipt::TEXT_LEN_MAX && !text.chars().any(char::is_control)
}
