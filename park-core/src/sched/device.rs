//! GPUs by number: an amount of GPU is always an amount of particular devices.
//!
//! Whole units are whole devices, and a fraction is a share of one device, so an amount may fit in sum and still not be there: two
//! devices with 0.6 free each do not have 0.8. A fraction goes to the device that has the least room for it, so that whole ones stay whole.

use super::resource::UNIT;

/// An amount of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The device's number on its node.
    pub device: u32,
    /// How much of it, in units of 1/10,000.
    pub amount: u64,
}

/// What is free of each device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    free: Vec<Share>,
}

impl Devices {
    /// So much GPU, as devices 0, 1, 2 and so on.
    pub fn numbered(amount: u64) -> Self {
        let count = u32::try_from(amount.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let free = (0..count).map(|device| Share {
            device,
            amount: UNIT.min(amount - u64::from(device) * UNIT),
        });
        Self { free: free.collect() }
    }

    /// These parts of devices, all free.
    pub fn of(shares: &[Share]) -> Self {
        Self { free: shares.to_vec() }
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// Whether so much is free.
    pub fn fits(&self, amount: u64) -> bool {
        self.choose(amount).is_some()
    }

    /// Takes so much, if it is free.
    pub fn take(&mut self, amount: u64) -> Option<Vec<Share>> {
        let taken = self.choose(amount)?;
        for share in &taken {
            self.change(share, |free| free - share.amount);
        }
        Some(taken)
    }

    /// Gives back what `take` gave.
    pub fn give(&mut self, shares: &[Share]) {
        for share in shares {
            self.change(share, |free| free + share.amount);
        }
    }

    /// What is free.
    pub fn free(&self) -> Vec<Share> {
        self.free.iter().copied().filter(|share| share.amount > 0).collect()
    }

    fn change(&mut self, share: &Share, to: impl FnOnce(u64) -> u64) {
        if let Some(own) = self.free.iter_mut().find(|own| own.device == share.device) {
            own.amount = to(own.amount);
        }
    }

    fn choose(&self, amount: u64) -> Option<Vec<Share>> {
        if amount == 0 {
            return Some(Vec::new());
        }
        let (count, part) = (usize::try_from(amount / UNIT).ok()?, amount % UNIT);
        let whole = self.free.iter().filter(|share| share.amount == UNIT).take(count);
        let mut chosen: Vec<Share> = whole.copied().collect();
        if chosen.len() < count {
            return None;
        }
        if part > 0 {
            let others = self.free.iter().filter(|share| share.amount >= part);
            let others = others.filter(|share| chosen.iter().all(|taken| taken.device != share.device));
            let least = others.min_by_key(|share| share.amount)?;
            chosen.push(Share {
                device: least.device,
                amount: part,
            });
        }
        Some(chosen)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fraction_is_a_share_of_one_device() {
        let mut devices = Devices::numbered(2 * UNIT);
        let first = devices.take(6_000).unwrap();
        assert_eq!(
            first,
            [Share {
                device: 0,
                amount: 6_000
            }]
        );
        assert_eq!(devices.take(6_000).unwrap()[0].device, 1);
        assert!(!devices.fits(8_000) && devices.fits(4_000) && !devices.fits(UNIT));
        devices.give(&first);
        assert!(devices.fits(UNIT) && !devices.fits(2 * UNIT));
    }

    #[test]
    fn fractions_share_a_device_before_they_break_a_whole_one() {
        let mut devices = Devices::numbered(3 * UNIT);
        assert_eq!(devices.take(2_500).unwrap()[0].device, 0);
        assert_eq!(devices.take(7_500).unwrap()[0].device, 0);
        assert_eq!(
            devices
                .take(2 * UNIT)
                .unwrap()
                .iter()
                .map(|share| share.device)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        assert!(!devices.fits(1));
    }

    proptest! {
        /// Whatever is taken and given back, no device is ever promised beyond what it is, and in the end all is free again.
        #[test]
        fn never_more_than_there_is(count in 1_u64..5, asks in prop::collection::vec((1_u64..30_000, any::<bool>()), 1..40)) {
            let mut devices = Devices::numbered(count * UNIT);
            let mut out: Vec<Vec<Share>> = Vec::new();
            for (ask, give) in asks {
                match devices.take(ask) {
                    Some(shares) => {
                        prop_assert_eq!(shares.iter().map(|share| share.amount).sum::<u64>(), ask);
                        out.push(shares);
                    }
                    None => prop_assert!(!devices.fits(ask)),
                }
                if give && !out.is_empty() {
                    devices.give(&out.swap_remove(0));
                }
                for device in 0..u32::try_from(count).unwrap() {
                    let used: u64 = out.iter().flatten().filter(|share| share.device == device).map(|share| share.amount).sum();
                    prop_assert!(used <= UNIT);
                }
            }
            out.iter().for_each(|shares| devices.give(shares));
            prop_assert_eq!(devices, Devices::numbered(count * UNIT));
        }
    }
}
