//! The figures to reach: each target of the project, computed from a record, met or missed.

use crate::record::{PairRecord, Record, Row, Timing};
use crate::stats::{float, geometric_mean, mebibytes, ratio, readable, seconds};
use crate::tools::{FULL, HDIFFPATCH, HPATCHZ, NEAP, NEAP_CM, ZUCCHINI, is_neap};

/// Whether a target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The measured figure is within the target.
    Met,
    /// It is not.
    Missed,
    /// Something it needs was not measured in this run.
    NotMeasured,
    /// There is no limit to it; the figure is told.
    Told,
}

/// One target and what became of it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What is measured.
    pub what: &'static str,
    /// The target, in words.
    pub target: &'static str,
    /// What was measured, and on which pair.
    pub measured: String,
    /// Whether that is enough.
    pub verdict: Verdict,
}

/// Largest peak memory of an apply: 24 MiB.
const APPLY_RSS_MAX: f64 = 24.0 * 1_048_576.0;

/// Largest peak memory of an apply where packed blocks are packed again, with any coder: 64 MiB.
const APPLY_ROOT_RSS_MAX: f64 = 64.0 * 1_048_576.0;

/// Largest peak memory of a diff with default options: 2 GiB.
const DIFF_RSS_MAX: f64 = 2_147_483_648.0;

/// Largest peak memory of an apply with the coder `cm`: 48 MiB.
const APPLY_CM_RSS_MAX: f64 = 48.0 * 1_048_576.0;

/// Every figure, in the order of the project's tables.
#[must_use]
pub fn of(record: &Record) -> Vec<Figure> {
    let executables = || of_kind(record, |kind| kind.starts_with("executable"));
    let plain_roots = || of_kind(record, |kind| ["rootfs-ext4", "rootfs-erofs"].contains(&kind));
    let ext4 = || of_kind(record, |kind| kind == "rootfs-ext4");
    let all = || of_kind(record, |_| true);

    let mut figures = vec![
        mean_of(
            ("patch size, executables, geometric mean", "≤ 0.95 × bsdiff", 0.95),
            &each(executables(), |pair| size_ratio(pair, NEAP, "bsdiff")),
        ),
        worst_of(
            ("patch size, executables, every pair", "≤ 1.05 × bsdiff", 1.05),
            &each(executables(), |pair| size_ratio(pair, NEAP, "bsdiff")),
        ),
        worst_of(
            ("patch size, ext4 and erofs roots", "≤ 0.58 × xdelta3 -9", 0.58),
            &each(plain_roots(), |pair| size_ratio(pair, NEAP, "xdelta3 -9")),
        ),
        worst_of(
            ("patch size, ext4 and erofs roots", "≤ 1.0 × HDiffPatch in memory", 1.0),
            &each(plain_roots(), |pair| size_ratio(pair, NEAP, hdiffpatch(pair)?)),
        ),
        worst_of(
            ("patch size, any pair", "≤ 1.001 × full image, zstd -19", 1.001),
            &each(all(), |pair| size_ratio(pair, NEAP, FULL)),
        ),
        worst_of(
            ("diff time, ext4 root", "≤ 1.0 × HDiffPatch in memory", 1.0),
            &each(ext4(), |pair| time_ratio(pair, hdiffpatch(pair)?, diff, diff)),
        ),
        worst_of(
            ("diff time, ext4 root", "≤ 0.2 × bsdiff (5 × faster)", 0.2),
            &each(ext4(), |pair| time_ratio(pair, "bsdiff", diff, diff)),
        ),
        largest_memory("diff peak memory, ext4 root", "≤ 2 GiB", DIFF_RSS_MAX, ext4(), diff),
    ];
    figures.extend(scaling(record));
    for (target, tools, limit) in [
        ("≤ 1.0 × the time of hpatchz, its faster coder", &HPATCHZ[..], 1.0),
        ("≤ 0.333 × the time of xdelta3", &["xdelta3 -9"], 1.0 / 3.0),
        ("≤ 0.333 × the time of zstd --patch-from", &["zstd --patch-from"], 1.0 / 3.0),
    ] {
        let to_fastest = |pair: &PairRecord| {
            let ratios = tools.iter().filter_map(|tool| time_ratio(pair, tool, unchecked, apply));
            ratios.max_by(f64::total_cmp)
        };
        figures.push(worst_of(
            ("apply, no source check, no read-back, ext4 root", target, limit),
            &each(ext4(), to_fastest),
        ));
    }
    figures.push(overhead(ext4()));
    figures.push(largest_memory(
        "apply peak memory, every pair",
        "≤ 24 MiB",
        APPLY_RSS_MAX,
        all(),
        apply,
    ));
    figures.push(Figure {
        what: "lost work on resume",
        target: "less than one restart interval",
        measured: "measured by the crash simulator in `tests/`, not here".to_owned(),
        verdict: Verdict::NotMeasured,
    });
    figures.extend(delta(record));
    figures.extend(root_memory(record));
    figures
}

/// The figures of the address-aware deltas and of the coder `cm`.
fn delta(record: &Record) -> Vec<Figure> {
    let of = |kinds: &'static [&'static str]| of_kind(record, |kind| kinds.contains(&kind));
    let executables = || of(&["executable-x86_64", "executable-aarch64"]);
    let detools = |pair: &PairRecord| best(pair, |tool| HDIFF_FAMILY.contains(&tool));
    let others = |pair: &PairRecord| best(pair, |tool| tool != FULL);
    let to = |tool: &'static str| move |pair: &PairRecord| size_ratio(pair, NEAP_CM, tool);
    let to_best = |best: fn(&PairRecord) -> Option<u64>| {
        move |pair: &PairRecord| ratio(float(pair.patch_size(NEAP_CM)?), float(best(pair)?))
    };
    let kernels = || of(&["kernel"]).into_iter().filter(|pair| is_plain(pair)).collect();
    let cm = "patch size, `cm`, executables x86-64 and aarch64, geometric mean";
    vec![
        mean_of((cm, "≤ 0.40 × bsdiff", 0.40), &each(executables(), to("bsdiff"))),
        mean_of(
            (cm, "≤ 0.48 × the best of HDiffPatch and detools", 0.48),
            &each(executables(), to_best(detools)),
        ),
        mean_of((cm, "≤ 0.70 × Zucchini", 0.70), &each(executables(), to(ZUCCHINI))),
        mean_of(
            ("patch size, `cm`, executables armv7, geometric mean", "≤ 0.55 × bsdiff", 0.55),
            &each(of(&["executable-armv7"]), to("bsdiff")),
        ),
        mean_of(
            (
                "patch size, default coder, executables x86-64 and aarch64, geometric mean",
                "≤ 0.60 × bsdiff",
                0.60,
            ),
            &each(executables(), |pair| size_ratio(pair, NEAP, "bsdiff")),
        ),
        mean_of(
            (
                "patch size, `cm`, ext4 and erofs roots, geometric mean",
                "≤ 0.60 × the best other tool",
                0.60,
            ),
            &each(of(&["rootfs-ext4", "rootfs-erofs"]), to_best(others)),
        ),
        mean_of(
            (
                "patch size, `cm`, module trees, geometric mean",
                "≤ 0.50 × the best other tool",
                0.50,
            ),
            &each(of(&["modules"]), to_best(others)),
        ),
        mean_of(
            (
                "patch size, `cm`, uncompressed kernels, geometric mean",
                "≤ 0.60 × the best other tool",
                0.60,
            ),
            &each(kernels(), to_best(others)),
        ),
        largest_memory_of(
            NEAP_CM,
            ("apply peak memory, `cm`, every pair", "≤ 48 MiB", APPLY_CM_RSS_MAX),
            of_kind(record, |_| true),
            apply,
        ),
    ]
}

/// The memory of file system images, in which most is packed, with each coder.
fn root_memory(record: &Record) -> [Figure; 2] {
    let roots = || of_kind(record, |kind| kind.starts_with("rootfs"));
    [
        (NEAP, "apply peak memory, root file systems"),
        (NEAP_CM, "apply peak memory, `cm`, root file systems"),
    ]
    .map(|(neap, what)| {
        largest_memory_of(neap, (what, "≤ 64 MiB", APPLY_ROOT_RSS_MAX), roots(), apply)
    })
}

/// The rows of HDiffPatch and detools.
const HDIFF_FAMILY: [&str; 5] =
    [HDIFFPATCH[0], HPATCHZ[1], HDIFFPATCH[1], HDIFFPATCH[2], "detools match-blocks"];

/// The smallest patch of these tools, neap apart.
fn best(pair: &PairRecord, of: impl Fn(&str) -> bool) -> Option<u64> {
    let rows = pair.rows.iter().filter(|row| !is_neap(&row.tool) && of(&row.tool));
    rows.filter_map(|row| pair.patch_size(&row.tool)).min()
}

/// Whether an image is not compressed itself: zstd leaves less than two thirds of it.
fn is_plain(pair: &PairRecord) -> bool {
    pair.patch_size(FULL).is_some_and(|full| full / 2 < pair.pair.target_size / 3)
}

/// The nearest thing to HDiffPatch's own in-memory mode that ran on this pair.
#[must_use]
pub fn hdiffpatch(pair: &PairRecord) -> Option<&'static str> {
    HDIFFPATCH.into_iter().find(|tool| pair.good_row(tool).is_some())
}

/// The patch size of one of neap's rows over a tool's. `None` where one of them did not rebuild
/// the target.
#[must_use]
pub fn size_ratio(pair: &PairRecord, neap: &str, tool: &str) -> Option<f64> {
    ratio(float(pair.patch_size(neap)?), float(pair.patch_size(tool)?))
}

/// A value and the pair it was measured on.
type Named = (String, f64);

fn of_kind(record: &Record, is: impl Fn(&str) -> bool) -> Vec<&PairRecord> {
    record.pairs.iter().filter(|pair| is(&pair.pair.kind)).collect()
}

fn each(pairs: Vec<&PairRecord>, value: impl Fn(&PairRecord) -> Option<f64>) -> Vec<Named> {
    pairs.into_iter().filter_map(|pair| Some((pair.pair.name.clone(), value(pair)?))).collect()
}

fn diff(row: &Row) -> Option<&Timing> {
    row.diff.as_ref()
}

fn apply(row: &Row) -> Option<&Timing> {
    row.apply.as_ref()
}

fn unchecked(row: &Row) -> Option<&Timing> {
    row.apply_unchecked.as_ref()
}

type Part = fn(&Row) -> Option<&Timing>;

fn time_ratio(pair: &PairRecord, tool: &str, ours: Part, theirs: Part) -> Option<f64> {
    let ours = ours(pair.good_row(NEAP)?)?.wall_s;
    ratio(ours, theirs(pair.good_row(tool)?)?.wall_s)
}

/// What a figure is called, its target in words, and its target.
type Aim = (&'static str, &'static str, f64);

fn judged(aim: Aim, value: Option<(f64, String)>) -> Figure {
    let (what, target, limit) = aim;
    let Some((value, measured)) = value else {
        let measured = "no pair of this run tells".to_owned();
        return Figure { what, target, measured, verdict: Verdict::NotMeasured };
    };
    let verdict = if value <= limit { Verdict::Met } else { Verdict::Missed };
    Figure { what, target, measured, verdict }
}

fn mean_of(aim: Aim, values: &[Named]) -> Figure {
    let numbers: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    let mean = geometric_mean(&numbers);
    judged(aim, mean.map(|mean| (mean, format!("{mean:.3} over {} pairs", numbers.len()))))
}

fn worst_of(aim: Aim, values: &[Named]) -> Figure {
    let worst = values.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let said = worst.map(|(name, value)| {
        (*value, format!("{value:.4} on {name}, the worst of {}", values.len()))
    });
    judged(aim, said)
}

fn largest_memory(
    what: &'static str,
    target: &'static str,
    limit: f64,
    pairs: Vec<&PairRecord>,
    part: Part,
) -> Figure {
    largest_memory_of(NEAP, (what, target, limit), pairs, part)
}

fn largest_memory_of(neap: &str, aim: Aim, pairs: Vec<&PairRecord>, part: Part) -> Figure {
    let peak = |pair: &PairRecord| Some(float(part(pair.good_row(neap)?)?.peak_rss?));
    let peaks = each(pairs, peak);
    let largest = peaks.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let said = largest.map(|(name, peak)| {
        (*peak, format!("{:.1} MiB on {name}, the largest of {}", peak / 1_048_576.0, peaks.len()))
    });
    judged(aim, said)
}

fn scaling(record: &Record) -> Vec<Figure> {
    let both = |part: Part| {
        let scaling = record.scaling.first()?;
        Some((&scaling.pair.name, part(&scaling.once)?, part(&scaling.twice)?))
    };
    let time = both(diff).and_then(|(name, once, twice)| {
        let value = ratio(twice.wall_s, once.wall_s)?;
        let (once, twice) = (seconds(once.wall_s), seconds(twice.wall_s));
        Some((value, format!("{value:.2}: {once} s, twice the image {twice} s, on {name}")))
    });
    let memory = both(diff).and_then(|(name, once, twice)| {
        let (once, twice) = (once.peak_rss?, twice.peak_rss?);
        let (before, after) = (mebibytes(once), mebibytes(twice));
        Some((float(twice), format!("{before} MiB, twice the image {after} MiB, on {name}")))
    });
    vec![
        judged(("diff time, twice the image", "≤ 2.2 × the time", 2.2), time),
        judged(
            ("diff peak memory, twice the image", "≤ 2 GiB, the default limit", DIFF_RSS_MAX),
            memory,
        ),
    ]
}

/// How near the apply is to a hashed copy, and what checking the source and reading back add.
fn overhead(pairs: Vec<&PairRecord>) -> Figure {
    let (what, target) = ("apply against a copy with BLAKE3, ext4 root", "told, no limit");
    let told = pairs.into_iter().rev().find_map(|pair| {
        let row = pair.good_row(NEAP)?;
        let (limit, phases) = (pair.copy_limit?, row.phases?);
        let bare = unchecked(row)?.wall_s;
        let speed = ratio(float(pair.pair.target_size), bare)?;
        // Below 2^53 and not negative: the conversion back to bytes loses nothing that is shown.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let speed = readable(speed as u64);
        Some(format!(
            "{}: {} s bare, {speed}/s, {:.2} × the hashed copy's {} s (copy {} s, BLAKE3 {} s); \
             source check adds {} s, read-back {} s",
            pair.pair.name,
            seconds(bare),
            bare / limit.copy_hash_s.max(1e-9),
            seconds(limit.copy_hash_s),
            seconds(limit.copy_s),
            seconds(limit.hash_s),
            seconds(phases.source_check_s),
            seconds(phases.read_back_s),
        ))
    });
    let verdict = if told.is_some() { Verdict::Told } else { Verdict::NotMeasured };
    let measured = told.unwrap_or_else(|| "no pair of this run tells".to_owned());
    Figure { what, target, measured, verdict }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::pairs::Pair;
    use crate::process::Cost;
    use crate::record::Outcome;

    /// A row of a tool that rebuilt the target: its patch size, and seconds and MiB of both parts.
    pub(crate) fn row(tool: &str, patch_size: u64, wall_s: f64, memory_mib: u64) -> Row {
        let mut row = Row::empty(tool, Outcome::Identical, String::new());
        let timing = Timing::of(&[Cost { wall_s, peak_rss: Some(memory_mib << 20) }]);
        row.patch_size = Some(patch_size);
        (row.diff, row.apply, row.apply_unchecked) = (timing.clone(), timing.clone(), timing);
        row
    }

    /// A record of one pair per entry: name, kind, rows.
    pub(crate) fn record(pairs: Vec<(&str, &str, Vec<Row>)>) -> Record {
        let pair = |(name, kind, rows): (&str, &str, Vec<Row>)| PairRecord {
            pair: Pair {
                name: name.into(),
                kind: kind.into(),
                source_size: 1000,
                target_size: 1000,
                source_version: "1".into(),
                target_version: "2".into(),
                sets: Vec::new(),
                source: "s".into(),
                target: "t".into(),
            },
            memory_backed: true,
            load_before: 0.0,
            copy_limit: None,
            rows,
        };
        let pairs = pairs.into_iter().map(pair).collect();
        let (machine, scaling) = (Machine::default(), Vec::new());
        Record { machine, run_count: 1, time_limit_s: 900, pairs, scaling }
    }

    fn find<'a>(figures: &'a [Figure], what: &str, target: &str) -> &'a Figure {
        let fits = |figure: &&Figure| figure.what == what && figure.target.contains(target);
        figures.iter().find(fits).expect("the figure exists")
    }

    #[test]
    fn a_mean_can_be_met_while_one_pair_is_too_large() {
        let figures = of(&record(vec![
            ("good", "executable-x86_64", vec![row(NEAP, 50, 1.0, 1), row("bsdiff", 100, 1.0, 1)]),
            ("bad", "executable-armv7", vec![row(NEAP, 110, 1.0, 1), row("bsdiff", 100, 1.0, 1)]),
        ]));
        let mean = find(&figures, "patch size, executables, geometric mean", "0.95");
        let worst = find(&figures, "patch size, executables, every pair", "1.05");
        assert_eq!((mean.verdict, worst.verdict), (Verdict::Met, Verdict::Missed));
        assert!(worst.measured.contains("1.1000 on bad"), "{}", worst.measured);
    }

    #[test]
    fn what_no_pair_tells_is_neither_met_nor_missed() {
        let mut failed = row("bsdiff", 10, 1.0, 1);
        failed.outcome = Outcome::Differs;
        let rows = vec![row(NEAP, 50, 1.0, 1), failed];
        for figure in of(&record(vec![("a", "model", vec![]), ("b", "executable-x", rows)])) {
            if figure.target.contains("bsdiff") {
                assert_eq!(figure.verdict, Verdict::NotMeasured, "{}", figure.what);
            }
        }
    }

    #[test]
    fn the_best_other_tool_is_neither_neap_nor_the_full_image() {
        let rows = vec![
            row(NEAP, 10, 1.0, 1),
            row(NEAP_CM, 59, 1.0, 49),
            row("bsdiff", 150, 1.0, 1),
            row(HDIFFPATCH[2], 120, 1.0, 1),
            row(ZUCCHINI, 100, 1.0, 1),
            row(FULL, 50, 1.0, 1),
        ];
        let pairs = vec![
            ("root", "rootfs-ext4", rows.clone()),
            ("exe", "executable-aarch64", rows.clone()),
            // Of 1000 bytes zstd leaves 50: the kernel is not compressed.
            ("kernel", "kernel", rows),
        ];
        let figures = of(&record(pairs));
        let said = |what: &str, target: &str| {
            let figure = find(&figures, what, target);
            (figure.measured.clone(), figure.verdict)
        };
        let one = |ratio: &str| format!("{ratio} over 1 pairs");
        let roots = "patch size, `cm`, ext4 and erofs roots, geometric mean";
        assert_eq!(said(roots, "best"), (one("0.590"), Verdict::Met));
        let kernels = "patch size, `cm`, uncompressed kernels, geometric mean";
        assert_eq!(said(kernels, "best"), (one("0.590"), Verdict::Met));
        let executables = "patch size, `cm`, executables x86-64 and aarch64, geometric mean";
        assert_eq!(said(executables, "detools"), (one("0.492"), Verdict::Missed));
        assert_eq!(said(executables, "Zucchini"), (one("0.590"), Verdict::Met));
        assert_eq!(said("apply peak memory, `cm`, every pair", "48").1, Verdict::Missed);
    }

    #[test]
    fn memory_of_each_coder_is_judged_on_all_root_file_systems() {
        let rows = vec![row(NEAP, 1, 1.0, 64), row(NEAP_CM, 1, 1.0, 65)];
        let figures = of(&record(vec![
            ("ext4", "rootfs-ext4", vec![row(NEAP, 1, 1.0, 1), row(NEAP_CM, 1, 1.0, 1)]),
            ("squashfs", "rootfs-squashfs-xz", rows),
            ("kernel", "kernel", vec![row(NEAP, 1, 1.0, 500), row(NEAP_CM, 1, 1.0, 500)]),
        ]));
        let verdict = |what| find(&figures, what, "64 MiB").verdict;
        assert_eq!(verdict("apply peak memory, root file systems"), Verdict::Met);
        assert_eq!(verdict("apply peak memory, `cm`, root file systems"), Verdict::Missed);
    }

    #[test]
    fn a_kernel_that_is_compressed_does_not_count_as_plain() {
        let rows =
            vec![row(NEAP_CM, 5, 1.0, 1), row("bsdiff", 100, 1.0, 1), row(FULL, 990, 1.0, 1)];
        let figures = of(&record(vec![("kernel", "kernel", rows)]));
        let kernels = "patch size, `cm`, uncompressed kernels, geometric mean";
        assert_eq!(find(&figures, kernels, "best").verdict, Verdict::NotMeasured);
    }

    #[test]
    fn the_limits_on_memory_and_speed_are_judged_on_the_ext4_root() {
        let rows = vec![
            row(NEAP, 10, 1.0, 25),
            row(HPATCHZ[0], 10, 1.5, 1),
            row(HPATCHZ[1], 11, 0.9, 1),
            row("xdelta3 -9", 20, 3.5, 1),
        ];
        let figures = of(&record(vec![("root", "rootfs-ext4", rows)]));
        let verdict = |what, target| find(&figures, what, target).verdict;
        let bare = "apply, no source check, no read-back, ext4 root";
        assert_eq!(verdict("apply peak memory, every pair", "24 MiB"), Verdict::Missed);
        assert_eq!(verdict("diff peak memory, ext4 root", "2 GiB"), Verdict::Met);
        assert_eq!(verdict(bare, "hpatchz"), Verdict::Missed);
        assert_eq!(verdict(bare, "xdelta3"), Verdict::Met);
        assert_eq!(verdict("patch size, ext4 and erofs roots", "HDiffPatch"), Verdict::Met);
    }
}
