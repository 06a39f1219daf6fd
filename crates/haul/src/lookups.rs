//! How a program that has the C library in it finds hosts and users. The system's `nsswitch.conf` names modules that
//! belong to the system's own C library: loading them into another one can end the program. Only files and the domain
//! name system need none.

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[expect(unsafe_code, reason = "the C library has no other way to say it")]
pub(crate) fn need_no_modules() {
    use std::ffi::{c_char, c_int};
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, line: *const c_char) -> c_int;
    }
    for (database, services) in [(c"hosts", c"files dns"), (c"passwd", c"files"), (c"group", c"files")] {
        // SAFETY: called before there is another thread; both strings end in a zero and live as long as the program.
        // If it fails, the system's own configuration stays in force.
        let _ = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    }
}

#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub(crate) fn need_no_modules() {}
