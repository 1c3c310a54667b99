//! Constants (9.3.4): jump tables, and pointers in files that are not moved.

use super::form::Form;
use super::region::Kind;
use super::scan::Scan;

/// Fewest entries of a jump table.
const ENTRIES_MIN: usize = 4;

/// Most bytes between what neighbours point to.
const STEP_MAX: u64 = 65536;

pub(super) fn scan(scan: &mut Scan<'_>) {
    if scan.region.is_fixed || scan.span.kind == Kind::Data {
        scan.multiples(scan.region.word_len()).for_each(|at| scan.pointer(at));
    }
    // Places of the run's entries, and what they point to.
    let mut run: Vec<(u64, u64)> = Vec::new();
    for at in scan.multiples(4) {
        let Some(word) = scan.u32(at) else { break };
        let target = |base: u64| {
            let address = Form::Base(base).read(word, at);
            (word != 0 && scan.region.is_code(address)).then_some(address)
        };
        if let (Some((base, _)), Some((_, before))) = (run.first(), run.last())
            && let Some(address) = target(*base).filter(|next| next.abs_diff(*before) <= STEP_MAX)
        {
            run.push((at, address));
            continue;
        }
        let next = target(at);
        end(scan, &mut run);
        run.extend(next.map(|address| (at, address)));
    }
    end(scan, &mut run);
}

/// Ends a run: if it is long enough its entries are fields.
fn end(scan: &mut Scan<'_>, run: &mut Vec<(u64, u64)>) {
    if run.len() >= ENTRIES_MIN {
        let base = run[0].0;
        run.iter().for_each(|(at, address)| scan.add(*at, Form::Base(base), *address));
    }
    run.clear();
}
