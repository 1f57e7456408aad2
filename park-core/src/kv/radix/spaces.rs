//! Namespaces by number. A namespace is known as long as a node right below the root is in it.

use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Spaces {
    numbers: HashMap<Box<[u8]>, u32>,
    names: Vec<Box<[u8]>>,
    /// By number: how many nodes right below the root are in it; 0 for a number that is free.
    nodes: Vec<u32>,
    free: Vec<u32>,
}

impl Spaces {
    /// The number of a namespace that a node is in.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn name(&self, number: u32) -> &[u8] {
        &self.names[number as usize]
    }

    /// One more node right below the root; the namespace is made if this is its first.
    pub(super) fn enter(&mut self, name: &[u8]) -> u32 {
        if let Some(number) = self.find(name) {
            self.nodes[number as usize] += 1;
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.names.push(Box::default());
            self.nodes.push(0);
            self.names.len() as u32 - 1
        });
        self.names[number as usize] = name.into();
        self.nodes[number as usize] = 1;
        self.numbers.insert(name.into(), number);
        number
    }

    /// One node less right below the root.
    pub(super) fn leave(&mut self, number: u32) {
        let nodes = &mut self.nodes[number as usize];
        *nodes -= 1;
        if *nodes == 0 {
            let name = std::mem::take(&mut self.names[number as usize]);
            self.numbers.remove(&name);
            self.free.push(number);
        }
    }

    /// How many nodes right below the root are in any, for audits.
    pub(super) fn entered(&self) -> u32 {
        self.nodes.iter().sum()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
