//! What is set of the C library's allocator, so that a process holds little more than it uses.
//!
//! glibc takes large buffers from the kernel one by one and gives each back when it is freed, until
//! one was freed: then it keeps buffers of that size. And it keeps what is freed of smaller ones,
//! for each thread apart. An apply that needs 50 MiB at once so comes to hold 90.

/// Buffers from this length on, in bytes, are the kernel's again when they are freed. With 128 KiB,
/// which glibc begins with, the kernel took a quarter of the time of an apply that packs lz4.
const LARGE_LEN: i32 = 512 << 10;

/// From now on, what is freed of large buffers is given back, and what is freed of others can be
/// had by all threads. To be called before there are others. Does nothing with C libraries other
/// than glibc, which do so anyway (musl) or are not known to us.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    {
        set(libc::M_MMAP_THRESHOLD, LARGE_LEN);
        set(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the kernel what was freed and is still kept, in whole pages. It takes a millisecond. Does
/// nothing with other C libraries.
pub fn give_free_memory_back() {
    #[cfg(target_env = "gnu")]
    trim();
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a call of the C library that takes two numbers")]
fn set(parameter: i32, value: i32) {
    // SAFETY: mallopt takes no pointers, locks the allocator by itself, and refuses what it does
    // not know; then all stays as it was (mallopt(3)).
    unsafe { libc::mallopt(parameter, value) };
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a call of the C library that takes a number")]
fn trim() {
    // SAFETY: malloc_trim takes no pointers, locks the allocator by itself, and touches only memory
    // that is free (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
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

    /// One test, since what it looks at is the whole process.
    #[test]
    fn what_is_freed_is_given_back() {
        const LEN: usize = 24 << 20;
        keep_little();
        drop(vec![1_u8; LEN]);
        let before = resident();
        let (large, small) = (vec![1_u8; LEN], vec![1_u8; 1000]);
        assert!(resident() >= before + LEN);
        drop(large);
        // What was made later lies behind it on a heap, which then cannot shrink.
        assert!(resident() < before + LEN / 2);
        drop(small);

        let (many, behind): (Vec<_>, Vec<_>) =
            (0..LEN >> 16).map(|_| (vec![1_u8; 1 << 16], vec![1_u8; 1000])).unzip();
        drop(many);
        assert!(resident() > before + LEN / 2);
        give_free_memory_back();
        assert!(resident() < before + LEN / 2);
        drop(behind);
    }
}
