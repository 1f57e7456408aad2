//! Amounts of resources, in units of 1/10,000: exact, so that fractions add up to wholes again.

use std::collections::BTreeMap;

use crate::ipc::message::Amounts;

/// One whole CPU, GPU or custom resource.
pub const UNIT: u64 = 10_000;

/// What a machine has, and what of it is free. Free amounts may go below zero while a task that gave its CPU back resumes.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    total: BTreeMap<String, i64>,
    free: BTreeMap<String, i64>,
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

impl Resources {
    /// Everything is free.
    pub fn new(total: &Amounts) -> Self {
        let total: BTreeMap<_, _> = total
            .iter()
            .map(|(name, amount)| (name.clone(), signed(*amount)))
            .collect();
        Self {
            free: total.clone(),
            total,
        }
    }

    /// Whether the amounts are free now.
    pub fn fits(&self, amounts: &Amounts) -> bool {
        amounts
            .iter()
            .all(|(name, amount)| *amount == 0 || self.free.get(name).is_some_and(|free| *free >= signed(*amount)))
    }

    /// Whether the amounts could ever be free.
    pub fn feasible(&self, amounts: &Amounts) -> bool {
        amounts
            .iter()
            .all(|(name, amount)| *amount == 0 || self.total.get(name).is_some_and(|total| *total >= signed(*amount)))
    }

    /// Takes the amounts, whether or not they are free.
    pub fn take(&mut self, amounts: &Amounts) {
        for (name, amount) in amounts {
            if let Some(free) = self.free.get_mut(name) {
                *free -= signed(*amount);
            }
        }
    }

    /// Gives the amounts back.
    pub fn give(&mut self, amounts: &Amounts) {
        for (name, amount) in amounts {
            if let Some(free) = self.free.get_mut(name) {
                *free += signed(*amount);
            }
        }
    }

    /// Whole units of a resource that the machine has.
    pub fn whole(&self, name: &str) -> usize {
        self.total
            .get(name)
            .and_then(|total| usize::try_from(total / signed(UNIT)).ok())
            .unwrap_or(0)
    }

    /// How much of the scarcer of CPU and memory is in use, in units of 1/10,000.
    pub fn load(&self) -> i64 {
        let used = |name: &str| {
            let total = *self.total.get(name)?;
            let free = *self.free.get(name)?;
            (total > 0).then(|| {
                i64::try_from(i128::from(total - free) * i128::from(UNIT) / i128::from(total)).unwrap_or(i64::MAX)
            })
        };
        used("CPU").max(used("memory")).unwrap_or(0)
    }

    /// How much is free of a resource, in units of 1/10,000.
    pub fn free(&self, name: &str) -> i64 {
        self.free.get(name).copied().unwrap_or(0)
    }

    /// Adds what is free of `other`, which was taken from here.
    pub fn absorb(&mut self, other: &Self) {
        for (name, amount) in &other.free {
            if let Some(free) = self.free.get_mut(name) {
                *free += amount;
            }
        }
    }

    /// Total and free amounts by name, in units of 1/10,000.
    pub fn balance(&self) -> Vec<(String, i64, i64)> {
        let row = |(name, total): (&String, &i64)| (name.clone(), *total, self.free.get(name).copied().unwrap_or(0));
        self.total.iter().map(row).collect()
    }

    /// Total and free amounts by name, in whole units.
    pub fn table(&self) -> Vec<(String, f64, f64)> {
        let whole = |amount: i64| {
            #[allow(clippy::cast_precision_loss, reason = "shown to people; amounts are far below 2^53")]
            let amount = amount as f64;
            amount / 10_000.0
        };
        self.total
            .iter()
            .map(|(name, total)| {
                (
                    name.clone(),
                    whole(*total),
                    whole(self.free.get(name).copied().unwrap_or(0)),
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(pairs: &[(&str, u64)]) -> Amounts {
        pairs
            .iter()
            .map(|(name, amount)| ((*name).to_owned(), *amount))
            .collect()
    }

    #[test]
    fn fractions_add_up_exactly() {
        let mut resources = Resources::new(&amounts(&[("CPU", UNIT)]));
        let third = amounts(&[("CPU", UNIT / 3)]);
        for _ in 0..3 {
            assert!(resources.fits(&third));
            resources.take(&third);
        }
        assert!(!resources.fits(&third) && resources.fits(&amounts(&[("CPU", 1)])));
        for _ in 0..3 {
            resources.give(&third);
        }
        assert!(resources.fits(&amounts(&[("CPU", UNIT)])));
    }

    #[test]
    fn what_is_not_there_is_never_feasible() {
        let resources = Resources::new(&amounts(&[("CPU", 2 * UNIT)]));
        assert!(!resources.feasible(&amounts(&[("GPU", 1)])) && !resources.feasible(&amounts(&[("CPU", 3 * UNIT)])));
        assert!(resources.feasible(&amounts(&[("GPU", 0), ("CPU", UNIT)])));
    }
}
