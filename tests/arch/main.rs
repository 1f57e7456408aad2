//! The rules of the house, kept by tests that read the sources.
//!
//! * [`abi`]: what programs compiled against park.h rely on changes on purpose only (`c_header` reads the header).
//! * [`c_docs`]: every function of the C ABI says ownership, thread rule and errors.
//! * [`dependencies`]: which crates a program links that uses park-core.
//! * [`imports`]: inside park-core, modules import downward only.
//! * [`facade`]: above `sync`, atomics and cells come from the facade that loom swaps.
//! * [`lengths`]: no source file is over 900 lines.
//! * [`manifests`]: the core depends on no language binding, framework or async runtime, under any feature.
//!
//! Each rule is a function from text to a list of complaints. It runs over the repository and also over a bad sample, so that a
//! rule which has stopped seeing anything fails too.

mod abi;
mod c_docs;
mod c_header;
mod dependencies;
mod facade;
mod imports;
mod lengths;
mod manifests;
mod walk;
