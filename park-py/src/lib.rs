//! The native module `park._park`.
