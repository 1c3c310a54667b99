//! libFuzzer's way into the harness `patch_apply`.
#![no_main]

neap_fuzz::fuzz!("patch_apply");
