//! Labels of nodes, and whether a node passes a selector.

use std::collections::BTreeMap;

use crate::ipc::placement::{LabelTest, Selector};

/// The label that is a node's own name; work that asks for it asks for that node and no other.
pub const NODE: &str = "ray.io/node-id";

/// A node's labels.
pub type Labels = BTreeMap<String, String>;

/// Whether a node with these labels passes every test.
pub fn passes(labels: &Labels, selector: &Selector) -> bool {
    selector.iter().all(|(key, test)| {
        let value = labels.get(key);
        match test {
            LabelTest::In(values) => value.is_some_and(|value| values.contains(value)),
            LabelTest::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            LabelTest::Exists => value.is_some(),
            LabelTest::Missing => value.is_none(),
        }
    })
}

/// Whether only nodes that are named pass: no node that is added later ever will.
pub fn names_nodes(selector: &Selector) -> bool {
    selector
        .iter()
        .any(|(key, test)| key == NODE && matches!(test, LabelTest::In(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_looks_at_its_own_label() {
        let labels = Labels::from([("zone".to_owned(), "a".to_owned())]);
        let one = |key: &str, test| vec![(key.to_owned(), test)];
        let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        assert!(passes(&labels, &vec![]));
        assert!(passes(&labels, &one("zone", LabelTest::In(values(&["b", "a"])))));
        assert!(!passes(&labels, &one("zone", LabelTest::In(values(&["b"])))));
        assert!(!passes(&labels, &one("kind", LabelTest::In(values(&["a"])))));
        assert!(passes(&labels, &one("kind", LabelTest::NotIn(values(&["a"])))));
        assert!(!passes(&labels, &one("zone", LabelTest::NotIn(values(&["a"])))));
        assert!(passes(&labels, &one("zone", LabelTest::Exists)) && !passes(&labels, &one("kind", LabelTest::Exists)));
        assert!(
            passes(&labels, &one("kind", LabelTest::Missing)) && !passes(&labels, &one("zone", LabelTest::Missing))
        );
        assert!(names_nodes(&one(NODE, LabelTest::In(values(&["x"])))) && !names_nodes(&one(NODE, LabelTest::Exists)));
    }
}
