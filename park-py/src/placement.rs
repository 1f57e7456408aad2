//! Nodes and placement groups: where work may run, and what there is.

use park_core::GroupId;
use park_core::ipc::message::Amounts;
use park_core::ipc::placement::{
    Balance, Environment, GroupReport, GroupSpec, GroupState, LabelTest, Layout, NodeReport, NodeSpec, Patience,
    Selector, Target, Where,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::gate::{self, OrRaise, block};
use crate::object::ObjectRef;
use crate::session::amount;
use crate::task::Resources;

/// Tests of labels, as Python writes them: the label, "in", "not in", "exists" or "missing", and values.
type Tests = Vec<(String, String, Vec<String>)>;

/// An environment, as Python writes it.
type Interpreter = (String, Vec<String>, Vec<(String, String)>, String, u32, String);

fn selector(tests: Tests) -> PyResult<Selector> {
    let test = |(key, operator, values): (String, String, Vec<String>)| {
        let test = match operator.as_str() {
            "in" => LabelTest::In(values),
            "not in" => LabelTest::NotIn(values),
            "exists" => LabelTest::Exists,
            "missing" => LabelTest::Missing,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "no test of labels is named {operator:?}"
                )));
            }
        };
        Ok((key, test))
    };
    tests.into_iter().map(test).collect()
}

/// Where work may run.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Placement {
    pub(crate) place: Box<Where>,
}

#[pymethods]
impl Placement {
    /// In a bundle of a placement group (in any of them without `index`), or on nodes that pass one of the selectors, best first.
    /// `patience` is "room" (the first with room), "feasible" (the first that could ever have room) or "none" (now or never).
    /// `environment` is another interpreter: its name for people, its command, variables and folder, the seconds it may take to be
    /// ready, and what it is told.
    #[new]
    #[pyo3(signature = (
        *, group=None, index=None, capture=false, spread=false, selectors=Vec::new(), patience="room", environment=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "named ones, for Python")]
    fn new(
        group: Option<u64>,
        index: Option<u32>,
        capture: bool,
        spread: bool,
        selectors: Vec<Tests>,
        patience: &str,
        environment: Option<Interpreter>,
    ) -> PyResult<Self> {
        let target = match group {
            Some(group) => Target::Bundle {
                group: GroupId(group),
                index,
            },
            None if spread => Target::Spread,
            None => Target::Pack,
        };
        let patience = match patience {
            "room" => Patience::FirstWithRoom,
            "feasible" => Patience::FirstFeasible,
            "none" => Patience::None,
            _ => return Err(PyValueError::new_err(format!("no patience is named {patience:?}"))),
        };
        Ok(Self {
            place: Box::new(Where {
                target,
                selectors: selectors.into_iter().map(selector).collect::<PyResult<_>>()?,
                patience,
                capture,
                environment: environment.map(|(name, command, variables, folder, patience, text)| Environment {
                    name,
                    command,
                    variables,
                    folder,
                    patience,
                    text,
                }),
            }),
        })
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.place)
    }
}

/// A node as Python describes it.
pub(crate) fn node(
    name: String,
    labels: std::collections::HashMap<String, String>,
    resources: std::collections::HashMap<String, f64>,
) -> PyResult<NodeSpec> {
    let amounts = resources
        .into_iter()
        .map(|(name, value)| Ok((name, amount(value)?)))
        .collect::<PyResult<_>>()?;
    Ok(NodeSpec {
        name,
        labels: labels.into_iter().collect(),
        amounts,
    })
}

/// Adds a node to the session that this process opened.
#[pyfunction]
pub(crate) fn add_node(
    py: Python<'_>,
    name: String,
    labels: std::collections::HashMap<String, String>,
    resources: std::collections::HashMap<String, f64>,
) -> PyResult<()> {
    let session = gate::session(py)?;
    let node = node(name, labels, resources)?;
    py.detach(|| session.add_node(node)).or_raise(py)
}

/// Removes a node from the session that this process opened, and kills what runs there.
#[pyfunction]
pub(crate) fn remove_node(py: Python<'_>, name: &str) -> PyResult<()> {
    let session = gate::session(py)?;
    py.detach(|| session.remove_node(name)).or_raise(py)
}

/// Makes a placement group; returns its number. `layout` is one of Ray's strategies.
#[allow(clippy::too_many_arguments, reason = "keywords, each of which has a default")]
#[pyfunction]
#[pyo3(signature = (bundles, layout, *, selectors=Vec::new(), name=None, target=None, domain=None, detached=false))]
pub(crate) fn create_group(
    py: Python<'_>,
    bundles: Vec<PyRef<'_, Resources>>,
    layout: &str,
    selectors: Vec<Tests>,
    name: Option<(String, String)>,
    target: Option<String>,
    domain: Option<String>,
    detached: bool,
) -> PyResult<u64> {
    let session = gate::session(py)?;
    let spec = GroupSpec {
        name,
        bundles: bundles.iter().map(|bundle| bundle.amounts.clone()).collect(),
        selectors: selectors.into_iter().map(selector).collect::<PyResult<_>>()?,
        layout: match layout {
            "PACK" => Layout::Pack,
            "SPREAD" => Layout::Spread,
            "STRICT_PACK" => Layout::StrictPack,
            "STRICT_SPREAD" => Layout::StrictSpread,
            _ => return Err(PyValueError::new_err(format!("no layout is named {layout:?}"))),
        },
        target,
        domain,
        detached,
    };
    block(py, |interrupt| session.create_group(spec, interrupt)).map(|id| id.0)
}

/// Removes a placement group and ends what runs in it.
#[pyfunction]
pub(crate) fn remove_group(py: Python<'_>, group: u64) -> PyResult<()> {
    let session = gate::session(py)?;
    block(py, |interrupt| session.remove_group(GroupId(group), interrupt))
}

/// A reference whose object is what `value` is, once the group is placed.
#[pyfunction]
pub(crate) fn await_group(py: Python<'_>, group: u64, value: &Bound<'_, ObjectRef>) -> PyResult<ObjectRef> {
    let session = gate::session(py)?;
    let value = value.get().object().or_raise(py)?;
    let inner = py.detach(|| session.await_group(GroupId(group), value)).or_raise(py)?;
    Ok(inner.into())
}

/// The nodes and the placement groups of the session; or one group and no nodes.
#[pyfunction]
#[pyo3(signature = (only=None))]
pub(crate) fn placement_report(py: Python<'_>, only: Option<u64>) -> PyResult<Bound<'_, PyDict>> {
    let session = gate::session(py)?;
    let report = block(py, |interrupt| session.placement_report(only.map(GroupId), interrupt))?;
    let dict = PyDict::new(py);
    let nodes = report.nodes.into_iter().map(|node| node_row(py, node));
    dict.set_item("nodes", nodes.collect::<PyResult<Vec<_>>>()?)?;
    let groups = report.groups.into_iter().map(|group| group_row(py, group));
    dict.set_item("groups", groups.collect::<PyResult<Vec<_>>>()?)?;
    Ok(dict)
}

/// Units of 1/10,000 as a number of wholes.
#[allow(clippy::cast_precision_loss, reason = "amounts are far below 2^53")]
pub(crate) fn wholes(amount: i64) -> f64 {
    amount as f64 / 10_000.0
}

fn rows(balance: Balance) -> Vec<(String, f64, f64)> {
    let row = |(name, total, free)| (name, wholes(total), wholes(free));
    balance.into_iter().map(row).collect()
}

/// Amounts by name, in wholes.
pub(crate) fn in_wholes<'a>(amounts: &'a Amounts) -> std::collections::HashMap<&'a str, f64> {
    let one = |(name, amount): &'a (String, u64)| (name.as_str(), wholes(i64::try_from(*amount).unwrap_or(i64::MAX)));
    amounts.iter().map(one).collect()
}

fn node_row(py: Python<'_>, node: NodeReport) -> PyResult<Bound<'_, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("name", node.name)?;
    row.set_item("alive", node.alive)?;
    row.set_item("labels", node.labels)?;
    row.set_item("resources", in_wholes(&node.amounts))?;
    row.set_item("balance", rows(node.balance))?;
    let bundles = node
        .bundles
        .into_iter()
        .map(|(group, index, balance)| (group.0, index, rows(balance)));
    row.set_item("bundles", bundles.collect::<Vec<_>>())?;
    Ok(row)
}

fn group_row(py: Python<'_>, group: GroupReport) -> PyResult<Bound<'_, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("number", group.id.0)?;
    row.set_item("name", group.spec.name)?;
    let bundles = group.spec.bundles.iter().map(|bundle| in_wholes(bundle));
    row.set_item("bundles", bundles.collect::<Vec<_>>())?;
    row.set_item(
        "strategy",
        match group.spec.layout {
            Layout::Pack => "PACK",
            Layout::Spread => "SPREAD",
            Layout::StrictPack => "STRICT_PACK",
            Layout::StrictSpread => "STRICT_SPREAD",
        },
    )?;
    row.set_item(
        "state",
        match group.state {
            GroupState::Pending => "PENDING",
            GroupState::Created => "CREATED",
            GroupState::Rescheduling => "RESCHEDULING",
            GroupState::Removed => "REMOVED",
        },
    )?;
    row.set_item("nodes", group.nodes)?;
    row.set_item("attempts", group.attempts)?;
    row.set_item("feasible", group.feasible)?;
    row.set_item("latency", group.latency)?;
    Ok(row)
}
