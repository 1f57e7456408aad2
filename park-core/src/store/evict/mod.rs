//! Which objects leave memory when it is full. One policy a file; `clock` is the one there is.

pub(super) mod clock;

pub(super) use clock::Clock;
