//! libFuzzer's way into the harness `fast_vs_reference`.
#![no_main]

neap_fuzz::fuzz!("fast_vs_reference");
