//! Where work may run, as it is said in messages: nodes and their labels, bundles of placement groups, and what a worker is told.
//!
//! A *node* is a partition of the session's machine with amounts and labels of its own. A *bundle* is a part of a node that a placement
//! group has reserved. Work names neither, usually: then it may run on any node, and its message says so in one byte.

use serde::{Deserialize, Serialize};

use crate::id::{GroupId, ObjectId};

use super::message::Amounts;

/// What the value of one label must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LabelTest {
    /// One of these.
    In(Vec<String>),
    /// None of these; a node without the label passes.
    NotIn(Vec<String>),
    /// Anything.
    Exists,
    /// The node has no such label.
    Missing,
}

/// Tests by label; a node must pass all. An empty one is passed by every node.
pub type Selector = Vec<(String, LabelTest)>;

/// Which part of the nodes serves the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A node: the first that is less than half in use, else the one least in use.
    #[default]
    Pack,
    /// A node: one after the other.
    Spread,
    /// What a placement group has reserved.
    Bundle {
        /// The group.
        group: GroupId,
        /// Which bundle; any of them if none is named.
        index: Option<u32>,
    },
}

/// How long work waits for the best of its alternatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Patience {
    /// The first alternative that has room now.
    #[default]
    FirstWithRoom,
    /// The first alternative that could ever have room, even if it has none now.
    FirstFeasible,
    /// What finds no room at once fails.
    None,
}

/// Where work may run, if not simply anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Where {
    /// Which part of the nodes.
    pub target: Target,
    /// Alternatives, best first; every node if there is none. Not asked of bundles.
    pub selectors: Vec<Selector>,
    /// How long to wait for the best one.
    pub patience: Patience,
    /// Work that this work submits goes to the same group unless it says otherwise.
    pub capture: bool,
    /// The interpreter of its worker, if that is another one than the session's.
    pub environment: Option<Environment>,
}

/// An interpreter for workers that is not the session's own, and what it is started with. Workers of equal environments are one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Environment {
    /// As people name it.
    pub name: String,
    /// Program and arguments that start its zygote.
    pub command: Vec<String>,
    /// Environment variables to start it with, over those of the head's process.
    pub variables: Vec<(String, String)>,
    /// The folder to start it in; empty: the head's.
    pub folder: String,
    /// Seconds that it may take until it is ready.
    pub patience: u32,
    /// What it is told besides the session's text; the core does not look inside.
    pub text: String,
}

/// A node to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its id, chosen by the language layer.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// What it has.
    pub amounts: Amounts,
}

/// How the bundles of a group are to lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// On few nodes, if possible.
    #[default]
    Pack,
    /// On many nodes, if possible.
    Spread,
    /// On one node.
    StrictPack,
    /// Each on a node of its own.
    StrictSpread,
}

/// A placement group to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// Namespace and name under which it is found, if it has one.
    pub name: Option<(String, String)>,
    /// What each bundle reserves.
    pub bundles: Vec<Amounts>,
    /// Which nodes each bundle may lie on; empty: any.
    pub selectors: Vec<Selector>,
    /// How they lie.
    pub layout: Layout,
    /// The node to prefer, by name; for `StrictPack`.
    pub target: Option<String>,
    /// A label of which all nodes that it lies on have the same value.
    pub domain: Option<String>,
    /// It outlives the actor that made it.
    pub detached: bool,
}

/// What a worker learns about the work that it is sent next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The node's name.
    pub node: String,
    /// What the work holds.
    pub amounts: Amounts,
    /// Numbers of the node's GPUs that it may use.
    pub devices: Vec<u32>,
    /// The placement group that it runs in.
    pub group: Option<GroupId>,
    /// Whether what it submits goes there too.
    pub capture: bool,
}

/// Total and free amounts by name, in units of 1/10,000.
pub type Balance = Vec<(String, i64, i64)>;

/// A node as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// False once it was removed.
    pub alive: bool,
    /// What it has, without what bundles reserve.
    pub balance: Balance,
    /// What it has altogether.
    pub amounts: Amounts,
    /// Bundles on it: group, index, what they have.
    pub bundles: Vec<(GroupId, u32, Balance)>,
}

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupState {
    /// It waits for room.
    Pending,
    /// Its bundles are reserved.
    Created,
    /// Some of its bundles lay on a node that was removed.
    Rescheduling,
    /// It is gone.
    Removed,
}

/// A placement group as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its number.
    pub id: GroupId,
    /// How it was made.
    pub spec: GroupSpec,
    /// Where it is in its life.
    pub state: GroupState,
    /// Each bundle's node; empty if it has none.
    pub nodes: Vec<String>,
    /// How often it was tried to be placed.
    pub attempts: u32,
    /// Whether each of its bundles by itself has a node that could hold it.
    pub feasible: bool,
    /// Microseconds from its creation until it was placed.
    pub latency: u64,
}

/// The nodes and groups of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementReport {
    /// Nodes, in the order in which they were added.
    pub nodes: Vec<NodeReport>,
    /// Groups, oldest first.
    pub groups: Vec<GroupReport>,
}

/// What processes ask the head about nodes and groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlacementRequest {
    /// Make a group. Answered with its number.
    Create(GroupSpec),
    /// Remove one. Answered with nothing.
    Remove(GroupId),
    /// Which nodes and groups are there? Answered with a `PlacementReport`.
    Report {
        /// Only this group, and no nodes.
        only: Option<GroupId>,
    },
    /// Answered once the group is placed, with what this object holds.
    Await {
        /// The group.
        group: GroupId,
        /// The object (the message owns a reference).
        value: ObjectId,
    },
}

impl PlacementRequest {
    /// The object that the request owns a reference to.
    pub fn held(&self) -> Option<ObjectId> {
        match self {
            Self::Await { value, .. } => Some(*value),
            Self::Create(_) | Self::Remove(_) | Self::Report { .. } => None,
        }
    }
}
