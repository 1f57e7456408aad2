//! A pool of resources that work draws from: a whole node, or a bundle that was cut out of one.

use crate::ipc::message::Amounts;

use super::device::{Devices, Share};
use super::resource::Resources;

/// The resource whose units are devices with numbers.
pub const GPU: &str = "GPU";

/// How much of a resource is asked for.
pub fn amount_of(amounts: &Amounts, name: &str) -> u64 {
    amounts
        .iter()
        .find(|(own, _)| own == name)
        .map_or(0, |(_, amount)| *amount)
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// Amounts by name.
    pub amounts: Resources,
    /// Which GPUs the amount of `GPU` is.
    pub devices: Devices,
}

impl Pool {
    /// A node's: its GPUs are numbered from 0.
    pub fn of_node(amounts: &Amounts) -> Self {
        Self {
            amounts: Resources::new(amounts),
            devices: Devices::numbered(amount_of(amounts, GPU)),
        }
    }

    /// A bundle's: these parts of its node's GPUs.
    pub fn of_bundle(amounts: &Amounts, devices: &[Share]) -> Self {
        Self {
            amounts: Resources::new(amounts),
            devices: Devices::of(devices),
        }
    }

    /// Whether the amounts are free now.
    pub fn fits(&self, amounts: &Amounts) -> bool {
        self.amounts.fits(amounts) && (self.devices.is_empty() || self.devices.fits(amount_of(amounts, GPU)))
    }

    /// Takes amounts that fit; returns which devices they are.
    pub fn take(&mut self, amounts: &Amounts) -> Vec<Share> {
        self.amounts.take(amounts);
        if self.devices.is_empty() {
            return Vec::new();
        }
        self.devices.take(amount_of(amounts, GPU)).unwrap_or_default()
    }

    /// Gives back what `take` took.
    pub fn give(&mut self, amounts: &Amounts, devices: &[Share]) {
        self.amounts.give(amounts);
        self.devices.give(devices);
    }

    /// Takes back what is free of a bundle that was cut out of here.
    pub fn absorb(&mut self, bundle: &Self) {
        self.amounts.absorb(&bundle.amounts);
        self.devices.give(&bundle.devices.free());
    }
}
