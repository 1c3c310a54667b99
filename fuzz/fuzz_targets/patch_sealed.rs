//! libFuzzer's way into the harness `patch_sealed`.
#![no_main]

neap_fuzz::fuzz!("patch_sealed");
