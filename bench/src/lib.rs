//! Compares neap with the tools people use today: same pairs, same run, same machine.
//!
//! ```
//! use neap_bench::stats::geometric_mean;
//! // Half the size on one pair and twice the size on the other is no gain.
//! assert_eq!(geometric_mean(&[0.5, 2.0]), Some(1.0));
//! ```
//!
//! Modules, in reading order: [`pairs`] (what is compared), [`tools`] (the table of tools and their
//! command lines), [`process`] (one child, its time and its peak memory), [`measure`] (one tool on
//! one pair), [`scaling`] (twice the image), [`ablation`] and [`ablation_table`] (what each part of
//! neap's diff is worth), [`estimates`] (how far those in patches are off), [`record`] (what was
//! measured), [`figures`] (the targets, met or missed), [`report`] and [`svg`] (how it is shown).
//! [`blocks`], [`chunks`] and [`copy_limit`] are the few measurements that no tool makes by itself;
//! [`machine`] says where it all ran; [`stats`] is the arithmetic. [`site`] measures peers on the
//! testbed that the crate of tests has, and [`timeline`] draws what happened there.
//!
//! Guarantees: every rebuilt target is compared byte for byte; a tool that fails, refuses or is
//! missing keeps its row and says why; a row where neap loses says so.

pub mod ablation;
pub mod ablation_table;
pub mod blocks;
pub mod chunks;
pub mod copy_limit;
pub mod estimates;
pub mod figures;
pub mod machine;
pub mod measure;
pub mod pairs;
pub mod process;
pub mod record;
pub mod report;
pub mod scaling;
pub mod site;
pub mod stats;
pub mod svg;
pub mod timeline;
pub mod tools;
