//! One setting of the C library's allocator.
//!
//! glibc takes large buffers from the kernel one by one and gives each back when it is freed, until
//! one was freed: then it keeps buffers of that size, and where several threads pack blocks of many
//! MiB, each keeps some. An apply that needs 50 MiB at once so comes to hold 90.

/// Buffers from this length on, in bytes, are the kernel's again when they are freed.
const LARGE_LEN: i32 = 1 << 20;

/// From now on, what is freed of large buffers is given back. Does nothing with C libraries other
/// than glibc, which do so anyway (musl) or are not known to us.
pub fn give_large_buffers_back() {
    #[cfg(target_env = "gnu")]
    set(libc::M_MMAP_THRESHOLD, LARGE_LEN);
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a call of the C library that takes two numbers")]
fn set(parameter: i32, value: i32) {
    // SAFETY: mallopt takes no pointers, locks the allocator by itself, and refuses what it does
    // not know; then all stays as it was (mallopt(3)).
    unsafe { libc::mallopt(parameter, value) };
}

#[cfg(all(test, target_env = "gnu", target_os = "linux"))]
mod tests {
    use super::*;

    /// Bytes of memory that this process holds.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
        let pages = statm.split_whitespace().nth(1).expect("statm has seven numbers");
        pages.parse::<usize>().expect("they are numbers") * 4096
    }

    #[test]
    fn large_buffer_is_given_back_though_one_was_freed_before() {
        const LEN: usize = 24 << 20;
        give_large_buffers_back();
        drop(vec![1_u8; LEN]);
        let before = resident();
        let (large, small) = (vec![1_u8; LEN], vec![1_u8; 1000]);
        assert!(resident() >= before + LEN);
        drop(large);
        // What was made later lies behind it on a heap, which then cannot shrink.
        assert!(resident() < before + LEN / 2);
        drop(small);
    }
}
