//! Element types of tensors: the one table that Rust, C and Python take codes, widths and names from.
//!
//! A type is named by DLPack's code and the bits of one element, so that numpy, torch, jax, C and C++ agree on it without a table
//! of their own. Names are numpy's and torch's. DLPack's types of fewer than eight bits are not here: their elements have no address.

use std::fmt;

use crate::error::{Result, bail};

/// An element type: DLPack's code and the bits of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DType {
    /// DLPack's `DLDataTypeCode`.
    pub code: u8,
    /// Bits of one element.
    pub bits: u8,
}

const fn row(code: u8, bits: u8, name: &'static str) -> (DType, &'static str) {
    (DType { code, bits }, name)
}

impl DType {
    /// Every type there is, in the order of codes and widths, and its name.
    pub const ALL: &'static [(Self, &'static str)] = &[
        row(0, 8, "int8"),
        row(0, 16, "int16"),
        row(0, 32, "int32"),
        row(0, 64, "int64"),
        row(1, 8, "uint8"),
        row(1, 16, "uint16"),
        row(1, 32, "uint32"),
        row(1, 64, "uint64"),
        row(2, 16, "float16"),
        row(2, 32, "float32"),
        row(2, 64, "float64"),
        row(4, 16, "bfloat16"),
        row(5, 64, "complex64"),
        row(5, 128, "complex128"),
        row(6, 8, "bool"),
        row(7, 8, "float8_e3m4"),
        row(8, 8, "float8_e4m3"),
        row(9, 8, "float8_e4m3b11fnuz"),
        row(10, 8, "float8_e4m3fn"),
        row(11, 8, "float8_e4m3fnuz"),
        row(12, 8, "float8_e5m2"),
        row(13, 8, "float8_e5m2fnuz"),
        row(14, 8, "float8_e8m0fnu"),
    ];

    /// Checks a code and a width that came from outside.
    pub fn new(code: u8, bits: u8) -> Result<Self> {
        let dtype = Self { code, bits };
        if dtype.known_name().is_none() {
            bail!(InvalidArgument, "no dtype has DLPack code {code} with {bits} bits");
        }
        Ok(dtype)
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Result<Self> {
        match Self::ALL.iter().find(|(_, known)| *known == name) {
            Some((dtype, _)) => Ok(*dtype),
            None => bail!(InvalidArgument, "there is no dtype {name:?}"),
        }
    }

    fn known_name(self) -> Option<&'static str> {
        Self::ALL
            .iter()
            .find(|(dtype, _)| *dtype == self)
            .map(|(_, name)| *name)
    }

    /// The type's name; "unknown" for a value that `new` would refuse.
    pub fn name(self) -> &'static str {
        self.known_name().unwrap_or("unknown")
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        u64::from(self.bits) / 8
    }

    /// What a processor wants an element's address to be a multiple of: its size, for complex numbers that of a part.
    pub fn alignment(self) -> u64 {
        self.bytes().min(8)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_are_unique() {
        let keys: Vec<_> = DType::ALL.iter().map(|(dtype, _)| (dtype.code, dtype.bits)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        for (dtype, name) in DType::ALL {
            assert_eq!(DType::from_name(name).unwrap(), *dtype);
            assert_eq!(DType::new(dtype.code, dtype.bits).unwrap().to_string(), *name);
            assert!(dtype.bytes() >= 1 && dtype.bytes().is_power_of_two() && dtype.alignment() <= dtype.bytes());
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        for (code, bits) in [(2, 8), (3, 64), (5, 32), (7, 16), (15, 6), (17, 4), (255, 8), (0, 0)] {
            assert!(DType::new(code, bits).is_err(), "{code} {bits}");
        }
        assert!(DType::from_name("float8").is_err() && DType::from_name("unknown").is_err());
    }
}
