//! libFuzzer's way into the harness `swarm`.
#![no_main]

neap_fuzz::fuzz!("swarm");
