//! libFuzzer's way into the harness `cm`.
#![no_main]

neap_fuzz::fuzz!("cm");
