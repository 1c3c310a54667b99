//! `neap estimate`: what a patch costs to send, and what others would have, for who pays for it.

use neap_engine::format::Header;
use neap_engine::io::drive;
use serde_json::{Value, json};

use crate::apply::open_patch;
use crate::args::Estimate;
use crate::failure::Failure;
use crate::inspect::of_reading;
use crate::outcome::Outcome;
use crate::size::exact;
use crate::tariff::{MB, Overhead, duration, money};

/// How far most estimates are off, in percent (docs/design.md).
const ERROR_PERCENT: u64 = 15;

pub(crate) fn run(args: &Estimate) -> Result<Outcome, Failure> {
    let read = drive::read_header(&mut open_patch(&args.patch)?);
    let header = read.map_err(|error| of_reading(error, &args.patch))?;
    let ways = ways(args, &header);
    Ok(Outcome { text: text(args, &header, &ways), json: json(args, &header, &ways) })
}

/// One way of sending the target, and its cost.
struct Way {
    /// What programs call it.
    name: &'static str,
    /// What people read.
    shown: &'static str,
    size: u64,
    /// With what the protocol adds.
    sent: u64,
    seconds: Option<u64>,
    cents: Option<u64>,
}

fn ways(args: &Estimate, header: &Header) -> Vec<Way> {
    let way = |name, shown, size| {
        let sent = args.overhead.sent(size);
        Way {
            name,
            shown,
            size,
            sent,
            seconds: args.link.map(|link| link.seconds(sent)),
            cents: args.price.as_ref().map(|price| price.cents(sent)),
        }
    };
    let mut ways = vec![way("patch", "this patch", header.patch_size)];
    if let Some(others) = header.estimates {
        ways.push(way("xdelta3_class", "delta of the xdelta3 class", others.delta));
        ways.push(way("block_reuse", "changed blocks of 4 KiB", others.blocks));
        ways.push(way("full", "whole image, compressed", others.full));
    }
    ways
}

fn text(args: &Estimate, header: &Header, ways: &[Way]) -> String {
    let name = args.patch.display();
    let name = if name.to_string() == "-" { "standard input".into() } else { name.to_string() };
    let mut text = format!("{name}: an update to an image of {}\n", megabytes(header.target_size));
    let link = args.link.map(|link| format!("over a link of {link}"));
    let price = args.price.as_ref().map(|price| format!("at {price}"));
    let conditions: Vec<_> = link.into_iter().chain(price).collect();
    text += &format!("{}\n\n", conditions.join(", "));
    let row = |way: &Way| {
        let seconds = way.seconds.map(duration);
        let cents = way.cents.map(|cents| money(cents, currency(args)));
        [Some(way.shown.to_owned()), Some(megabytes(way.sent)), seconds, cents]
    };
    let head = [
        Some("to send".to_owned()),
        Some("size".to_owned()),
        args.link.map(|_| "time".to_owned()),
        args.price.as_ref().map(|_| "cost".to_owned()),
    ];
    text += &table(std::iter::once(head).chain(ways.iter().map(row)).collect());
    text += &format!("\n{}", saved(args, ways));
    text += &format!("MB is {} bytes. ", exact(MB));
    text += &match args.overhead {
        Overhead::NONE => "What the protocol adds is not included: see --overhead.\n".to_owned(),
        overhead => format!("{overhead} were added for what the protocol adds.\n"),
    };
    text += &match header.estimates {
        Some(_) => format!(
            "All but the patch are estimates, made with it; most are within {ERROR_PERCENT} %.\n"
        ),
        None => "The patch does not say what other ways would have sent.\n".to_owned(),
    };
    text
}

/// What the patch saves against the whole image, in a sentence.
fn saved(args: &Estimate, ways: &[Way]) -> String {
    let (Some(patch), Some(full)) = (ways.first(), ways.iter().find(|way| way.name == "full"))
    else {
        return String::new();
    };
    let less =
        |ours: Option<u64>, theirs: Option<u64>| theirs?.checked_sub(ours?).filter(|s| *s > 0);
    let time = less(patch.seconds, full.seconds).map(duration);
    let cost = less(patch.cents, full.cents).map(|cents| money(cents, currency(args)));
    let gains: Vec<_> = time.into_iter().chain(cost).collect();
    match gains.is_empty() {
        true => "The patch saves nothing against the whole image.\n".to_owned(),
        false => format!("Against the whole image the patch saves {}.\n", gains.join(" and ")),
    }
}

fn currency(args: &Estimate) -> Option<&str> {
    args.price.as_ref()?.currency()
}

/// Two decimals, rounded up: `15.37 MB`.
fn megabytes(size: u64) -> String {
    let hundredths = size.div_ceil(MB / 100);
    format!("{}.{:02} MB", exact(hundredths / 100), hundredths % 100)
}

/// Rows of cells, the first cell to the left and the others to the right. A cell that is not there
/// is there in no row.
fn table(rows: Vec<[Option<String>; 4]>) -> String {
    let len = |cell: &Option<String>| cell.as_ref().map_or(0, |cell| cell.chars().count());
    let widths: [usize; 4] =
        std::array::from_fn(|i| rows.iter().map(|row| len(&row[i])).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.into_iter().zip(widths).enumerate() {
            let Some(cell) = cell else { continue };
            line += &match index {
                0 => format!("{cell:<width$}"),
                _ => format!("   {cell:>width$}"),
            };
        }
        text += &format!("  {}\n", line.trim_end());
    }
    text
}

fn json(args: &Estimate, header: &Header, ways: &[Way]) -> Value {
    let amount = |cents: u64| money(cents, None).replace(',', "");
    let ways: Vec<_> = ways
        .iter()
        .map(|way| {
            json!({
                "way": way.name,
                "is_estimate": way.name != "patch",
                "size": way.size,
                "sent": way.sent,
                "seconds": way.seconds,
                "cost": way.cents.map(amount),
            })
        })
        .collect();
    json!({
        "schema": "neap.estimate.v1",
        "patch_id": header.id.to_string(),
        "target_size": header.target_size,
        "link_bits_per_s": args.link.map(|link| link.bits_per_s()),
        "price_per_mb": args.price.as_ref().map(|price| amount(price.cents(MB))),
        "currency": currency(args),
        "ways": ways,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_those_without_cells_left_out() {
        let cell = |text: &str| Some(text.to_owned());
        let rows = vec![
            [cell("to send"), cell("size"), None, cell("cost")],
            [cell("this"), cell("1.00 MB"), None, cell("€ 5.00")],
        ];
        let expected = "  to send      size     cost\n  this      1.00 MB   € 5.00\n";
        assert_eq!(table(rows), expected);
    }

    #[test]
    fn sizes_are_megabytes_of_a_price_list() {
        assert_eq!(megabytes(0), "0.00 MB");
        assert_eq!(megabytes(1), "0.01 MB");
        assert_eq!(megabytes(15_366_353), "15.37 MB");
        assert_eq!(megabytes(1_234_000_000), "1,234.00 MB");
    }
}
