//! Which library a program was compiled for, and which one it runs with.

use std::ffi::c_char;

/// Major version of the header.
pub const PARK_VERSION_MAJOR: u32 = 0;
/// Minor version of the header.
pub const PARK_VERSION_MINOR: u32 = 1;
/// Patch version of the header.
pub const PARK_VERSION_PATCH: u32 = 0;
/// Version of the binary interface of the header. It changes when a program compiled for the old one cannot run with the new one.
pub const PARK_ABI_VERSION: u32 = 1;

/// The PARK_ABI_VERSION of the library that is loaded. Compare it with the header's before the first other call.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn park_abi_version() -> u32 {
    PARK_ABI_VERSION
}

/// The version of the library that is loaded, such as "0.1.0". Static: never freed.
/// Ownership: the text is static and never freed. Threads: shared. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn park_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_packages_version() {
        let constants = format!("{PARK_VERSION_MAJOR}.{PARK_VERSION_MINOR}.{PARK_VERSION_PATCH}");
        assert_eq!(constants, env!("CARGO_PKG_VERSION"));
    }
}
